//! A long mixed run: does anything grow that must not?
//!
//! ```text
//!   traffic (all kinds at a fixed pace) ─> target (rust-nginx) ─> two origins
//!   changes ─> manifests ──────────────────────┘  │
//!                               samples <─────────┘─> verdict ─> report
//! ```
//!
//! Clients are tasks of one thread of this process, origins of another. The load is the same from
//! the first second to the last, and the first wrong answer ends the run: what the verdict compares
//! is the same work done early and late.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::peer::Found;
use crate::peer::rust_nginx::MANIFESTS;
use crate::process;
use crate::results::{self, Machine};
use crate::site::Site;
use crate::target::Target;
use crate::work::Protocol;

use origin::Origin;
use samples::{Held, PARTS, Part, Sample};
use traffic::{Counts, Scene};
use verdict::Idle;

mod changes;
mod origin;
mod report;
mod samples;
mod traffic;
mod verdict;

/// Threads of the origins, which also drive the connections of HTTP/2.
const THREADS: usize = 1;
/// Workers of the target, as in a comparison.
const WORKERS: usize = 2;
/// Time between two samples of a long run; a short one takes as many in less time.
const INTERVAL: Duration = Duration::from_secs(5);
const SAMPLES: u32 = 50;
/// How long clients may take to end once they are told to. Longer than they wait for an answer.
const END_LIMIT: Duration = Duration::from_secs(60);
/// How long the target may hold connections to origins that nobody uses: 60 s, and time to notice.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(250);

/// What a run has shown.
pub(crate) struct Outcome {
    started: String,
    machine: Machine,
    version: String,
    length: Duration,
    parts: [Part; PARTS],
    requests: u64,
    broken_off: u64,
    changes: u64,
    idle: Idle,
    drained: Duration,
    rss_after: u64,
    failures: Vec<String>,
}

/// Runs `found` under mixed traffic for this long. Everything is written below `directory`.
pub(crate) fn run(found: &Found, length: Duration, directory: &Path) -> Result<Outcome> {
    let started = results::now();
    let machine = Machine::describe()?;
    let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let runtime = runtime.context("start the runtime of clients and origins")?;
    let (first, second) = runtime.block_on(async { anyhow::Ok((Origin::start().await?, Origin::start().await?)) })?;
    let site = Site::new(directory, first.address)?;
    let mut target = Target::start(found, directory, &site, WORKERS)?;
    let scene = Arc::new(Scene {
        http: target.address_for(Protocol::Http1),
        https: target.address_for(Protocol::Http1Tls),
        manifests: directory.join(found.peer.name()).join(MANIFESTS),
        second,
        counts: Counts::default(),
    });
    let clients = LocalSet::new();
    let mut outcome = clients.block_on(&runtime, async {
        changes::prepare(&scene, WORKERS).await.context("prepare the manifests")?;
        let start = Held::by(target.id())?.descriptors;
        let samples = load(&mut target, &scene, length).await?;
        let emptied = Instant::now();
        let end = drained(&mut target, start).await?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        anyhow::Ok(Outcome {
            started,
            machine,
            version: found.version.clone(),
            length,
            parts: samples::parts(&samples, length)?,
            requests: count(&scene.counts.requests),
            broken_off: count(&scene.counts.broken_off),
            changes: count(&scene.counts.changes),
            idle: Idle { start, end: end.descriptors },
            drained: emptied.elapsed(),
            rss_after: end.rss,
            failures: Vec::new(),
        })
    })?;
    outcome.failures = verdict::judge(&outcome.parts, outcome.idle, traffic::transient());
    Ok(outcome)
}

/// All traffic for this long, and what the target held meanwhile. Afterwards no client is there.
async fn load(target: &mut Target, scene: &Arc<Scene>, length: Duration) -> Result<Vec<Sample>> {
    let (stop, stopped) = watch::channel(false);
    traffic::flood(scene, &stopped).await.context("many request bodies at once")?;
    let mut clients = traffic::start(scene, &stopped);
    let mut ticks = interval(INTERVAL.min(length / SAMPLES));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let start = Instant::now();
    let mut samples = Vec::new();
    while start.elapsed() < length {
        tokio::select! {
            Some(ended) = clients.join_next() => {
                // The death of the target explains more than what clients make of it.
                target.check_alive()?;
                ended.context("a client panicked")??;
                bail!("a client ended before it was told to");
            }
            _ = ticks.tick() => {}
        }
        process::check_interrupted()?;
        target.check_alive()?;
        let requests = scene.counts.requests.load(Ordering::Relaxed);
        let sample = Sample { elapsed: start.elapsed(), requests, held: Held::by(target.id())? };
        progress(&sample);
        samples.push(sample);
    }
    stop.send_replace(true);
    timeout(END_LIMIT, join(&mut clients)).await.context("clients did not end when they were told to")??;
    Ok(samples)
}

async fn join(clients: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = clients.join_next().await {
        ended.context("a client panicked")??;
    }
    Ok(())
}

/// What the target holds once its connections to origins have gone too, or when that has taken too long.
async fn drained(target: &mut Target, start: u64) -> Result<Held> {
    let deadline = Instant::now() + DRAIN_LIMIT;
    loop {
        process::check_interrupted()?;
        target.check_alive()?;
        let held = Held::by(target.id())?;
        if Instant::now() > deadline || (Idle { start, end: held.descriptors }).is_back() {
            return Ok(held);
        }
        sleep(POLL).await;
    }
}

/// For the person who waits.
fn progress(sample: &Sample) {
    let Sample { elapsed, requests, held } = sample;
    let line = format!(
        "{:4} s: {requests} requests, RSS {:.1} MB, anonymous {:.1} MB, {} descriptors, {} threads",
        elapsed.as_secs(),
        held.rss as f64 / 1e6,
        held.anonymous as f64 / 1e6,
        held.descriptors,
        held.threads,
    );
    writeln!(std::io::stderr(), "{line}").ok();
}

// === impl Outcome ===

impl Outcome {
    /// The table and what it means.
    pub(crate) fn report(&self) -> String {
        report::full(self)
    }

    /// An error when anything grew.
    pub(crate) fn verdict(&self) -> Result<()> {
        if self.failures.is_empty() {
            return Ok(());
        }
        bail!("the soak failed: {}", self.failures.join("; "))
    }
}
