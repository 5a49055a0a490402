//! Drives a target: one thread per connection, blocking, either as fast as answers come or at a
//! fixed rate with exact times.
//!
//! The rate is kept by threads that sleep until their request is due, each with its own place in an
//! even schedule. A tool with one timer per connection and a tick of 10 ms sends the same rate in
//! bursts, and its p99 is then the time to work off a burst. A request that is sent late because
//! the answer before it was late counts from the moment it was due, so that a stalled target cannot
//! hide behind a client that waits for it.

use std::net::SocketAddr;
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;
use crate::site::{self, HOSTS, PATHS, STRIDE, Site};
use crate::work::{Lifetime, Protocol, Size, Work};
use client::{Connection, Connector};

pub(crate) mod client;
pub(crate) mod h2load;
pub(crate) mod wrk;

/// How fast requests are sent, over all connections together.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// The next request follows the answer to the one before.
    Closed,
    /// So many per second.
    PerSecond(f64),
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Elapsed(Duration),
    /// So many requests on each connection.
    Count(u64),
}

/// What becomes of a connection that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It waits for the next request.
    Idle,
    /// A WebSocket, over which a message went to the origin and back.
    WebSocket,
}

/// One piece of load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) work: Work,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) until: Until,
}

/// What a piece of load, by whatever tool, has achieved.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) elapsed: Duration,
    /// In microseconds, ascending; empty from tools that only count.
    pub(crate) latencies: Vec<u32>,
}

/// Runs `plan` to its end. The clock starts when all connections stand.
pub(crate) fn run(plan: &Plan, site: &Site) -> Result<Outcome> {
    let connector = Connector::new(plan.address, plan.work.protocol(), site)?;
    let (connected, started) = (Barrier::new(plan.connections + 1), Barrier::new(plan.connections + 1));
    let start = OnceLock::new();
    let drives = thread::scope(|scope| {
        let one = |index| {
            let first = first_connection(plan, &connector, index);
            // Waits also when it has failed: the others count on being complete.
            connected.wait();
            started.wait();
            let start = start.get().expect("set between the two barriers");
            Drive::new(plan, &connector, index, first?, *start).run()
        };
        let threads: Vec<_> = (0..plan.connections).map(|index| scope.spawn(move || one(index))).collect();
        connected.wait();
        start.get_or_init(Instant::now);
        started.wait();
        let ends: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        let ends = ends.into_iter().map(|end| end.expect("a connection's thread does not panic"));
        ends.collect::<Result<Vec<Outcome>>>()
    })?;
    process::check_interrupted()?;
    let start = start.get().expect("set between the two barriers");
    let mut outcome = Outcome { elapsed: start.elapsed(), ..Outcome::default() };
    for drive in drives {
        outcome.requests += drive.requests;
        outcome.errors += drive.errors;
        outcome.latencies.extend(drive.latencies);
    }
    outcome.latencies.sort_unstable();
    if outcome.requests == 0 {
        bail!("no request of `{}` was answered by {}", plan.work, plan.address);
    }
    Ok(outcome)
}

/// The connection of a client that keeps one.
fn first_connection(plan: &Plan, connector: &Connector, index: usize) -> Result<Option<Connection>> {
    match plan.work.lifetime() {
        Lifetime::OneRequest => Ok(None),
        Lifetime::KeepAlive => connector.connect(&site::target(first_pair(plan, index), Size::Small).0).map(Some),
    }
}

/// Where in the list of hosts and paths a connection begins: they are spread over all of it.
fn first_pair(plan: &Plan, index: usize) -> usize {
    index * (HOSTS * PATHS / plan.connections.max(1))
}

/// Opens `count` connections, has one request answered on each, and keeps them open.
pub(crate) fn hold(
    address: SocketAddr,
    protocol: Protocol,
    kept: Kept,
    site: &Site,
    count: usize,
) -> Result<Vec<Connection>> {
    let connector = Connector::new(address, protocol, site)?;
    let mut held = Vec::with_capacity(count);
    for index in 0..count {
        process::check_interrupted()?;
        let (host, target) = site::target(index * STRIDE, Size::Small);
        let mut connection = connector.connect(&host)?;
        let (status, expected) = match kept {
            Kept::Idle => {
                (connection.exchange(&host, &target, Lifetime::KeepAlive, &mut |_| {}).map(|reply| reply.status), 200)
            }
            Kept::WebSocket => (connection.upgrade(&host, &target), 101),
        };
        let status = status.with_context(|| format!("idle connection {index}"))?;
        if status != expected {
            bail!("idle connection {index}: status {status} from {address}");
        }
        held.push(connection);
    }
    Ok(held)
}

/// The work of one connection's thread.
struct Drive<'a> {
    plan: &'a Plan,
    connector: &'a Connector,
    /// Time between two requests of this connection, and the moment of its first.
    interval: Option<Duration>,
    first: Instant,
    pair: usize,
    connection: Option<Connection>,
    outcome: Outcome,
}

// === impl Drive ===

impl<'a> Drive<'a> {
    fn new(
        plan: &'a Plan,
        connector: &'a Connector,
        index: usize,
        connection: Option<Connection>,
        start: Instant,
    ) -> Self {
        let (interval, first) = match plan.pace {
            Pace::Closed => (None, start),
            Pace::PerSecond(rate) => {
                let place = Duration::from_secs_f64(index as f64 / rate);
                (Some(Duration::from_secs_f64(plan.connections as f64 / rate)), start + place)
            }
        };
        let pair = first_pair(plan, index);
        Self { plan, connector, interval, first, pair, connection, outcome: Outcome::default() }
    }

    fn run(mut self) -> Result<Outcome> {
        let mut due = self.first;
        let mut sent: u64 = 0;
        loop {
            match self.plan.until {
                Until::Elapsed(limit) if due >= self.first + limit => break,
                Until::Count(limit) if sent >= limit => break,
                Until::Elapsed(_) | Until::Count(_) => {}
            }
            let now = Instant::now();
            let begun = if due > now {
                // Oversleeping is the client's own delay and is not charged to the target.
                thread::sleep(due - now);
                Instant::now()
            } else if self.interval.is_some() {
                due
            } else {
                now
            };
            self.request(sent, begun);
            sent += 1;
            due = match self.interval {
                Some(interval) => due + interval,
                None => Instant::now(),
            };
        }
        Ok(self.outcome)
    }

    /// Sends one request and counts what comes of it.
    fn request(&mut self, number: u64, begun: Instant) {
        let step = usize::try_from(number).expect("a run is far shorter than 2^32 requests");
        let (host, target) = site::target(self.pair + step * STRIDE, self.plan.work.size());
        match self.exchange(&host, &target) {
            Ok(()) => {
                self.outcome.requests += 1;
                let micros = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
                self.outcome.latencies.push(micros);
            }
            Err(_) => {
                self.outcome.errors += 1;
                self.connection = None;
            }
        }
    }

    fn exchange(&mut self, host: &str, target: &str) -> Result<()> {
        let lifetime = self.plan.work.lifetime();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connector.connect(host)?,
        };
        let mut length = 0;
        let reply = connection.exchange(host, target, lifetime, &mut |bytes| length += bytes.len())?;
        let wanted = self.plan.work.size().bytes();
        if reply.status != 200 || length != wanted {
            bail!("status {} with {length} bytes instead of 200 with {wanted}", reply.status);
        }
        if lifetime == Lifetime::KeepAlive {
            self.connection = Some(connection);
        }
        Ok(())
    }
}

// === impl Outcome ===

impl Outcome {
    /// The latency below which `share` of all requests stayed, in microseconds.
    pub(crate) fn quantile(&self, share: f64) -> Option<u32> {
        let last = self.latencies.len().checked_sub(1)?;
        let index = (last as f64 * share).round() as usize;
        self.latencies.get(index).copied()
    }

    /// Fails when so many requests failed that the rest says little about the work. A handful may
    /// fail on a machine that others use, and is reported with the result.
    pub(crate) fn check(&self, name: &str, work: Work) -> Result<()> {
        const TOLERATED: f64 = 0.005;
        if self.errors as f64 > self.requests as f64 * TOLERATED {
            bail!("{name}, `{work}`: {} requests failed, {} were answered", self.errors, self.requests);
        }
        Ok(())
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_and_many() {
        let outcome = |latencies| Outcome { latencies, ..Outcome::default() };
        assert_eq!(outcome(vec![]).quantile(0.99), None);
        assert_eq!(outcome(vec![7]).quantile(0.99), Some(7));
        assert_eq!(outcome((1..=101).collect()).quantile(0.5), Some(51));
        assert_eq!(outcome((1..=101).collect()).quantile(0.99), Some(100));
    }

    #[test]
    fn more_than_a_handful_of_errors_is_no_result() {
        let outcome = |errors| Outcome { requests: 1000, errors, ..Outcome::default() };
        assert!(outcome(5).check("nginx", Work::H1).is_ok());
        assert!(outcome(6).check("nginx", Work::H1).is_err());
    }
}
