//! Changes at a steady rate while clients ask: how long each takes from the API call to the first answer that shows it,
//! beside how long a bare watcher waits for the same change.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::subject::Subject;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use self::clients::Clients;
use super::bare::Bare;
use super::results::{ChangeKind, Churned, Sample};
use lanes::{Lane, Lanes, Turn};

mod clients;
pub(super) mod lanes;

/// Distance of changes when nothing else goes on: none is in flight when the next begins.
const ALONE: usize = 1;

/// How changes follow one another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// The next begins when the one before is served.
    OneByOne,
    /// So many per second.
    PerSecond(u32),
}

/// What a churn needs.
pub(super) struct Churn<'a> {
    pub(super) lanes: &'a mut Lanes,
    pub(super) subject: &'a Subject,
    pub(super) bare: &'a Bare,
    /// Hosts that no change touches, with the pods that may answer.
    pub(super) untouched: Vec<Untouched>,
}

pub(super) use clients::Untouched;

/// What the task of one change needs.
#[derive(Clone)]
struct Task {
    http: SocketAddr,
    https: SocketAddr,
    bare: Bare,
}

// === impl Churn ===

impl Churn<'_> {
    /// Makes `changes` changes.
    pub(super) async fn run(&mut self, changes: usize, pace: Pace) -> Result<Churned> {
        self.bare.forget();
        let clients = Clients::start(self.subject.http(), &self.untouched);
        let done = self.changes(changes, pace).await;
        let asked = clients.stop().await?;
        let (samples, took) = done?;
        Ok(Churned {
            rate: match pace {
                Pace::OneByOne => None,
                Pace::PerSecond(rate) => Some(rate),
            },
            seconds: took.as_secs_f64(),
            requests: asked.requests,
            lost: asked.lost,
            first_loss: asked.first_loss,
            samples,
        })
    }

    /// What was measured, and the time in which all changes were begun.
    async fn changes(&mut self, changes: usize, pace: Pace) -> Result<(Vec<Sample>, Duration)> {
        let start = Instant::now();
        let task = Task { http: self.subject.http(), https: self.subject.https(), bare: self.bare.clone() };
        let period = match pace {
            Pace::OneByOne => Duration::from_millis(1),
            Pace::PerSecond(rate) => Duration::from_secs(1) / rate,
        };
        let most = match pace {
            Pace::OneByOne => ALONE,
            Pace::PerSecond(_) => usize::MAX,
        };
        let mut ticks = interval(period);
        // A change that came late is made up for, so that the rate holds.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut running = JoinSet::new();
        let mut samples = Vec::with_capacity(changes);
        for kind in ChangeKind::ALL.into_iter().cycle().take(changes) {
            ticks.tick().await;
            let lane = loop {
                if running.len() < most
                    && let Some(lane) = self.lanes.free(kind)
                {
                    break lane;
                }
                self.collect(&mut running, &mut samples).await?;
            };
            let turn = self.lanes.turn(kind, lane)?;
            running.spawn(task.clone().run(turn));
            while let Some(done) = running.try_join_next() {
                self.take(done?, &mut samples)?;
            }
        }
        let took = start.elapsed();
        while !running.is_empty() {
            self.collect(&mut running, &mut samples).await?;
        }
        Ok((samples, took))
    }

    async fn collect(
        &mut self,
        running: &mut JoinSet<Result<(Sample, Lane)>>,
        samples: &mut Vec<Sample>,
    ) -> Result<()> {
        let done = running.join_next().await.context("no change is under way, and none can begin")?;
        self.take(done?, samples)
    }

    fn take(&mut self, done: Result<(Sample, Lane)>, samples: &mut Vec<Sample>) -> Result<()> {
        let (sample, lane) = done?;
        self.lanes.give_back(sample.kind, lane);
        samples.push(sample);
        Ok(())
    }
}

// === impl Task ===

impl Task {
    async fn run(self, turn: Turn) -> Result<(Sample, Lane)> {
        let what = format!("{} {}", turn.kind.label(), turn.key.name);
        self.measure(turn).await.context(what)
    }

    async fn measure(self, turn: Turn) -> Result<(Sample, Lane)> {
        let sent = Instant::now();
        let version = turn.send().await?;
        let answered = Instant::now();
        let Turn { kind, key, expect, lane, .. } = turn;
        let served = async {
            match kind {
                ChangeKind::Certificate => expect.first_over_tls(self.https).await,
                _ => spawn_blocking(move || expect.first_over_http(self.http)).await?,
            }
        };
        let seen = async {
            match version {
                Some(version) => self.bare.saw(&key, version).await,
                None => self.bare.saw_end(&key).await,
            }
        };
        let (served, seen) = tokio::try_join!(served, seen)?;
        ensure!(served > sent && seen > sent, "a change was served before it was made");
        let milliseconds = |at: Instant| (at - sent).as_secs_f64() * 1e3;
        let sample =
            Sample { kind, answered: milliseconds(answered), bare: milliseconds(seen), ours: milliseconds(served) };
        Ok((sample, lane))
    }
}
