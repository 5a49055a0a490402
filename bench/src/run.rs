//! One run: starts everything, takes the samples round by round, returns them.
//!
//! Within a round all peers do a work directly after one another, in an order that shifts from round
//! to round: what else happens on the machine then hits all of them alike.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail};

use crate::load::h2load::H2load;
use crate::load::wrk::Wrk;
use crate::load::{self, Kept, Outcome, Pace, Plan, Until};
use crate::peer::{Found, Peer};
use crate::process::{self, Launch, Process};
use crate::results::{self, Latency, Machine, MemoryUse, Results, Saturation, Settings, Version};
use crate::site::Site;
use crate::target::Target;
use crate::work::{Lifetime, Protocol, Work};

/// Length of the load before the first sample of a work, which opens connections to the origin.
const WARM_UP: Duration = Duration::from_millis(300);
/// Share of nginx's own rate at which latencies are measured.
const SHARE_OF_NGINX: f64 = 0.6;
/// Idle connections that are open before counting begins, so that what is allocated once per
/// process is not charged to them.
const FIRST_IDLE: usize = 250;
/// Threads of the origin, of wrk and of h2load. One is enough to saturate two workers, and leaves
/// them more of the machine than two would.
const HELPER_THREADS: usize = 1;

/// What to measure.
pub(crate) struct Request {
    pub(crate) works: Vec<Work>,
    pub(crate) peers: Vec<Found>,
    pub(crate) settings: Settings,
    pub(crate) latency: bool,
    pub(crate) memory: bool,
}

/// The origin, running.
pub(crate) struct Origin {
    pub(crate) process: Process,
    pub(crate) address: std::net::SocketAddr,
}

/// A run in progress.
struct Run<'a> {
    request: &'a Request,
    site: &'a Site,
    origin: &'a Origin,
    wrk: Wrk,
    h2load: H2load,
    targets: Vec<Target>,
}

/// Takes all samples. Everything is written below `directory`.
pub(crate) fn run(request: &Request, directory: &Path) -> Result<Results> {
    let mut results = Results {
        started: results::now(),
        machine: Machine::describe()?,
        settings: request.settings,
        targets: request.peers.iter().map(Version::of).collect(),
        saturations: Vec::new(),
        latencies: Vec::new(),
        memories: Vec::new(),
    };
    let origin = Origin::start(directory)?;
    let site = Site::new(directory, origin.address)?;
    if request.memory {
        for found in &request.peers {
            results.memories.push(memory(found, directory, &site, &request.settings)?);
        }
    }
    if request.works.is_empty() {
        return Ok(results);
    }
    let mut targets = Vec::new();
    for found in &request.peers {
        targets.push(Target::start(found, directory, &site, request.settings.workers)?);
    }
    let mut run = Run {
        request,
        site: &site,
        origin: &origin,
        wrk: Wrk::new(directory, HELPER_THREADS)?,
        h2load: H2load::new(directory, HELPER_THREADS),
        targets,
    };
    run.warm_up()?;
    results.saturations = run.saturations()?;
    if request.latency {
        results.latencies = run.latencies()?;
    }
    Ok(results)
}

// === impl Origin ===

impl Origin {
    /// Starts this very program as the origin and waits for the address that it prints.
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        const LIMIT: Duration = Duration::from_secs(10);
        let program = std::env::current_exe().context("path of this program")?;
        let launch = Launch::new(program).arg("origin").arg(HELPER_THREADS.to_string());
        let log = directory.join("origin.log");
        let mut process = Process::start("origin", &launch, &log)?;
        let deadline = Instant::now() + LIMIT;
        loop {
            process.check_alive()?;
            let text = fs::read_to_string(&log).context("read what the origin prints")?;
            if let Some(line) = text.strip_suffix('\n') {
                let address = line.parse().with_context(|| format!("origin's address `{line}`"))?;
                return Ok(Self { process, address });
            }
            if Instant::now() > deadline {
                bail!("the origin does not listen after {LIMIT:?}");
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

// === impl Run ===

impl Run<'_> {
    fn warm_up(&self) -> Result<()> {
        for &work in &self.request.works {
            for target in &self.targets {
                process::check_interrupted()?;
                let until = Until::Elapsed(WARM_UP);
                load::run(&Plan { until, ..self.plan(target, work, Pace::Closed) }, self.site)
                    .with_context(|| format!("warm up {} with `{work}`", target.peer))?;
            }
        }
        Ok(())
    }

    fn saturations(&mut self) -> Result<Vec<Saturation>> {
        let mut samples = Vec::new();
        for round in 0..self.request.settings.rounds {
            for &work in &self.request.works {
                for index in self.order(round) {
                    let sample = self.saturation(round, work, index)?;
                    progress(&format!(
                        "round {} {:9} {:10} {:7.2} us/request {:8.0} requests/s",
                        round + 1,
                        work.name(),
                        sample.peer.name(),
                        sample.cpu_us(),
                        sample.per_second
                    ));
                    samples.push(sample);
                }
            }
        }
        Ok(samples)
    }

    fn saturation(&mut self, round: usize, work: Work, index: usize) -> Result<Saturation> {
        process::check_interrupted()?;
        let target = &self.targets[index];
        let origin_before = self.origin.process.cpu()?;
        let before = target.cpu()?;
        let outcome = self.saturate(target, work)?;
        let cpu = target.cpu()? - before;
        let origin_cpu = self.origin.process.cpu()? - origin_before;
        let peer = target.peer;
        outcome.check(peer.name(), work)?;
        self.targets[index].check_alive()?;
        Ok(Saturation {
            round,
            work,
            peer,
            requests: outcome.requests,
            errors: outcome.errors,
            per_second: outcome.per_second(),
            cpu,
            origin_cpu,
        })
    }

    /// Each kind of load comes from the lightest tool that does it right: wrk for HTTP/1.1 and
    /// h2load for HTTP/2 on kept connections, our own client where every request has a new one
    /// (wrk would offer to resume TLS sessions, h2load does not reconnect).
    fn saturate(&self, target: &Target, work: Work) -> Result<Outcome> {
        let address = target.address(work);
        let seconds = self.request.settings.seconds;
        let outcome = match (work.lifetime(), work.protocol()) {
            (Lifetime::OneRequest, _) => load::run(&self.plan(target, work, Pace::Closed), self.site),
            (Lifetime::KeepAlive, Protocol::Http2Tls) => self.h2load.run(work, address, seconds),
            (Lifetime::KeepAlive, Protocol::Http1 | Protocol::Http1Tls) => self.wrk.run(work, address, seconds),
        };
        outcome.with_context(|| format!("`{work}` against {}", target.peer))
    }

    fn latencies(&mut self) -> Result<Vec<Latency>> {
        let mut samples = Vec::new();
        for round in 0..self.request.settings.rounds {
            for &work in &self.request.works {
                let rate = self.rate_of_nginx(work)? * SHARE_OF_NGINX;
                for index in self.order(round) {
                    let sample = self.latency(round, work, index, rate)?;
                    progress(&format!(
                        "round {} {:9} {:10} p50 {:6} us, p99 {:6} us at {:.0} of {rate:.0} requests/s",
                        round + 1,
                        work.name(),
                        sample.peer.name(),
                        sample.p50_us,
                        sample.p99_us,
                        sample.per_second
                    ));
                    samples.push(sample);
                }
            }
        }
        Ok(samples)
    }

    /// How many requests nginx answers in a second, at this moment and to the client that will keep
    /// the rate: client, proxy and origin share the cores, so another client's number, or an older
    /// one, could be out of reach.
    fn rate_of_nginx(&self, work: Work) -> Result<f64> {
        process::check_interrupted()?;
        let nginx = self.targets.iter().find(|target| target.peer == Peer::Nginx);
        let nginx = nginx.context("latencies need nginx among the peers")?;
        let outcome = load::run(&self.plan(nginx, work, Pace::Closed), self.site)?;
        outcome.check(nginx.peer.name(), work)?;
        Ok(outcome.per_second())
    }

    fn latency(&mut self, round: usize, work: Work, index: usize, rate: f64) -> Result<Latency> {
        process::check_interrupted()?;
        let target = &self.targets[index];
        let peer = target.peer;
        let outcome = load::run(&self.plan(target, work, Pace::PerSecond(rate)), self.site)
            .with_context(|| format!("`{work}` against {peer} at {rate:.0} requests/s"))?;
        outcome.check(peer.name(), work)?;
        self.targets[index].check_alive()?;
        Ok(Latency {
            round,
            work,
            peer,
            rate,
            per_second: outcome.per_second(),
            errors: outcome.errors,
            p50_us: outcome.quantile(0.5).context("no latency was taken")?,
            p99_us: outcome.quantile(0.99).context("no latency was taken")?,
        })
    }

    /// Load by our own client for the length of one sample.
    fn plan(&self, target: &Target, work: Work, pace: Pace) -> Plan {
        Plan {
            address: target.address(work),
            work,
            connections: work.connections(),
            pace,
            until: Until::Elapsed(Duration::from_secs(self.request.settings.seconds)),
        }
    }

    /// All targets, beginning with another one in each round.
    fn order(&self, round: usize) -> Vec<usize> {
        let count = self.targets.len();
        (0..count).map(|index| (index + round) % count).collect()
    }
}

/// Memory of a target of its own: idle after its first requests, and what more connections add.
fn memory(found: &Found, directory: &Path, site: &Site, settings: &Settings) -> Result<MemoryUse> {
    let mut idle = None;
    let mut per_connection = |protocol, kept| -> Result<f64> {
        let target = Target::start(found, directory, site, settings.workers)?;
        idle.get_or_insert(target.memory()?);
        let address = target.address_for(protocol);
        let first = load::hold(address, protocol, kept, site, FIRST_IDLE)?;
        let before = target.memory()?;
        let more = load::hold(address, protocol, kept, site, settings.idle_connections)?;
        let after = target.memory()?;
        drop((first, more));
        // By PSS: pages that a worker has shared with its master and now writes to are new memory, but
        // not to RSS, which counted them in both processes before.
        Ok((after.pss as f64 - before.pss as f64) / settings.idle_connections as f64)
    };
    let context = || format!("memory of {}", found.peer);
    let http_bytes_per_connection = per_connection(Protocol::Http1, Kept::Idle).with_context(context)?;
    let https_bytes_per_connection = per_connection(Protocol::Http1Tls, Kept::Idle).with_context(context)?;
    let websocket_bytes = per_connection(Protocol::Http1, Kept::WebSocket).with_context(context)?;
    let sample = MemoryUse {
        peer: found.peer,
        idle: idle.context("no target was started")?,
        http_bytes_per_connection,
        https_bytes_per_connection,
        websocket_bytes: Some(websocket_bytes),
    };
    progress(&format!(
        "memory  {:10} idle {:.1} MB, {:.1} KB per connection, {:.1} KB over TLS, {:.1} KB per WebSocket",
        found.peer.name(),
        sample.idle.rss as f64 / 1e6,
        http_bytes_per_connection / 1e3,
        https_bytes_per_connection / 1e3,
        websocket_bytes / 1e3,
    ));
    Ok(sample)
}

/// Tells the person who waits how far the run is; nothing depends on it being read.
fn progress(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}

// === impl Version ===

impl Version {
    fn of(found: &Found) -> Self {
        Self { peer: found.peer, version: found.version.clone() }
    }
}

// === impl Machine ===

impl Machine {
    pub(crate) fn describe() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("read osrelease")?;
        let congestion_control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")
            .context("read which congestion control TCP has")?;
        Ok(Self {
            processor: model.map_or("unnamed", |name| name.trim_start_matches([' ', '\t', ':'])).to_owned(),
            cores: thread::available_parallelism().context("count the cores")?.get(),
            // Only the version: the rest of the name says who built it.
            kernel: kernel.split('-').next().unwrap_or_default().trim().to_owned(),
            congestion_control: Some(congestion_control.trim().to_owned()),
        })
    }
}
