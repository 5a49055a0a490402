//! Writes the status of our Ingresses: a few at a time, new ones first, and slower when the server asks for it.
//!
//! Every replica follows the passes when it leads; what to write is decided in `writer/ledger.rs`, how in
//! `writer/request.rs`. Passes go on being looked at while writes are on their way.

mod fellows;
mod ledger;
mod request;

use self::{
    fellows::Fellows,
    ledger::{Job, Ledger, Outcome, View},
    request::Answer,
};
use super::address::addresses;
use crate::{
    args::{Publish, Scope, Serve, Source},
    diagnostic::{ObjectKind, Reason},
    reconcile::Pass,
    snapshot::{Ingress, ObjectName},
};
use futures::{StreamExt as _, future::pending, stream::FuturesUnordered};
use kube::Client;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

/// Writes on their way. What limits the rate is the server's processor time per write; more of them at once would only
/// wait there, and before the Lease and Events.
const CONCURRENCY: usize = 16;

/// Shortest time between two looks at a pass. Nobody reads a status faster.
const COALESCE: Duration = Duration::from_millis(100);

/// Pauses after failures double between these; the server may ask for more by `Retry-After`, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Longest name under which the server notes who has written a field.
const LONGEST_WRITER: usize = 128;

/// The task.
pub(super) struct Writer {
    client: Client,
    /// Name under which the server notes what we write.
    name: Arc<str>,
    publish: Publish,
    /// Ingresses are taken by the name of their class, so that nobody needs to read IngressClasses.
    class_by_name: bool,
    passes: watch::Receiver<Option<Arc<Pass>>>,
    leader: watch::Receiver<bool>,
    /// Asked at the end.
    fellows: Fellows,
    farewell: mpsc::Receiver<oneshot::Sender<()>>,
    ledger: Ledger,
    pace: Pace,
    burst: Option<Burst>,
}

/// When the server may be asked next.
#[derive(Debug)]
struct Pace {
    not_before: Instant,
    pause: Duration,
    /// Refusals since something was written.
    refused: usize,
}

/// What has been written since there was nothing to do, for one line of the log.
#[derive(Debug)]
struct Burst {
    started: Instant,
    written: usize,
    failed: usize,
}

// === impl Writer ===

impl Writer {
    /// `None` when this process writes no status.
    pub(super) fn new(
        client: &Client,
        config: &Serve,
        passes: &watch::Receiver<Option<Arc<Pass>>>,
        leader: &watch::Receiver<bool>,
        farewell: mpsc::Receiver<oneshot::Sender<()>>,
    ) -> Option<Self> {
        let election = config.election.as_ref().filter(|_| config.writes_status())?;
        let name = writer_name(&election.lease);
        let selective = matches!(&config.source, Source::Cluster(access) if matches!(access.scope, Scope::Selector(_)));
        Some(Self {
            client: client.clone(),
            publish: config.status.publish.clone(),
            class_by_name: config.compile.ingress_class_by_name,
            passes: passes.clone(),
            leader: leader.clone(),
            fellows: Fellows::new(client, config.identity.pod()),
            farewell,
            ledger: Ledger::new(Arc::clone(&name), config.status.interval, selective),
            name,
            pace: Pace { not_before: Instant::now(), pause: FIRST_PAUSE, refused: 0 },
            burst: None,
        })
    }

    /// Runs until the passes or the election end.
    pub(super) async fn run(mut self) {
        let (client, name) = (self.client.clone(), Arc::clone(&self.name));
        let send = async |job: Job| {
            let answer = request::send(&client, &name, &job).await;
            (job, answer)
        };
        let mut on_their_way = FuturesUnordered::new();
        let mut next_look = Instant::now();
        // The pass may be there already.
        self.passes.mark_changed();
        let mut unseen = false;
        let mut leads = false;
        let mut goodbye: Option<oneshot::Sender<()>> = None;
        loop {
            if leads != *self.leader.borrow_and_update() {
                leads = !leads;
                self.ledger.forget();
                self.burst = None;
                unseen = true;
            }
            let now = Instant::now();
            while leads
                && now >= self.pace.not_before
                && on_their_way.len() < CONCURRENCY
                && let Some(job) = self.ledger.take(now)
            {
                self.burst.get_or_insert(Burst { started: now, written: 0, failed: 0 });
                on_their_way.push(send(job));
            }
            if on_their_way.is_empty() && !self.ledger.has_queued() {
                self.report();
            }
            if goodbye.is_some() && (!leads || on_their_way.is_empty() && self.ledger.is_done()) {
                // Nobody listens when it has taken too long.
                let _ = goodbye.take().map(|reply| reply.send(()));
                return;
            }
            let due = match self.ledger.next() {
                _ if self.ledger.has_queued() => Some(self.pace.not_before),
                next => next.map(|next| next.max(self.pace.not_before)),
            };
            let due = due.filter(|_| leads && on_their_way.len() < CONCURRENCY);
            tokio::select! {
                changed = self.passes.changed(), if !unseen => match changed {
                    Ok(()) => unseen = true,
                    Err(_) => return,
                },
                () = sleep_until(next_look), if unseen && leads => {
                    unseen = false;
                    next_look = Instant::now() + COALESCE;
                    self.look();
                }
                changed = self.leader.changed() => if changed.is_err() { return },
                Some((job, answer)) = on_their_way.next() => self.take_in(&job, answer),
                () = maybe_until(due) => {}
                Some(reply) = self.farewell.recv(), if goodbye.is_none() => {
                    if leads && self.fellows.is_last().await {
                        info!("this is the last replica: taking our addresses out of the status");
                        self.ledger.end(Instant::now());
                        self.pace.pause = FIRST_PAUSE;
                        goodbye = Some(reply);
                    }
                }
            }
        }
    }

    fn look(&mut self) {
        let Some(pass) = self.passes.borrow_and_update().clone() else { return };
        let Pass { snapshot, compiled } = &*pass;
        let unreadable = snapshot.findings.iter().any(|finding| {
            finding.reason == Reason::ResourceUnavailable
                && finding.object.kind == ObjectKind::Resource
                && (&*finding.object.name == "ingressclasses" && !self.class_by_name
                    || &*finding.object.name == "namespaces")
        });
        let view = View {
            ingresses: snapshot.ingresses.clone(),
            ours: compiled.ingresses.clone(),
            desired: addresses(&self.publish, snapshot),
            certain: !unreadable,
        };
        self.ledger.follow(view, Instant::now());
    }

    fn take_in(&mut self, job: &Job, answer: Answer) {
        let Answer { outcome, error, not_before } = answer;
        let now = Instant::now();
        let paused = self.pace.follow(&outcome, not_before, now);
        self.ledger.done(job, &outcome, now);
        let ingress = &job.ingress.name;
        let Some(burst) = &mut self.burst else { return };
        match outcome {
            Outcome::Written => burst.written += 1,
            Outcome::Gone => {}
            Outcome::Collided => debug!(%ingress, error, "an Ingress has changed before its status was written"),
            Outcome::Refused | Outcome::Failed => {
                burst.failed += 1;
                // Those that were on their way as well have the same to say.
                if paused || burst.failed == 1 {
                    warn!(%ingress, error, "cannot write the status; trying again");
                } else {
                    debug!(%ingress, error, "cannot write the status");
                }
            }
        }
    }

    fn report(&mut self) {
        if let Some(Burst { started, written, failed }) = self.burst.take()
            && written > 0
        {
            info!(ingresses = written, failed, elapsed = ?started.elapsed(), "status written");
        }
    }
}

async fn maybe_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// An installation is what shares a Lease.
fn writer_name(lease: &ObjectName) -> Arc<str> {
    let name = format!("{}{lease}", Ingress::STATUS_WRITER);
    name[..name.floor_char_boundary(LONGEST_WRITER)].into()
}

// === impl Pace ===

impl Pace {
    /// Takes in an answer; true when a pause begins.
    fn follow(&mut self, outcome: &Outcome, not_before: Option<Duration>, now: Instant) -> bool {
        match outcome {
            Outcome::Written => {
                self.refused = 0;
                if now >= self.not_before {
                    self.pause = FIRST_PAUSE;
                }
                return false;
            }
            Outcome::Gone | Outcome::Collided => return false,
            // One that is refused is no reason to keep the others waiting, as long as others are not.
            Outcome::Refused => {
                self.refused += 1;
                if self.refused < CONCURRENCY {
                    return false;
                }
            }
            Outcome::Failed => {}
        }
        // What was on its way when the pause began fails for the same reason.
        if now < self.not_before {
            return false;
        }
        let asked = not_before.unwrap_or_default().min(LONGEST_PAUSE);
        self.not_before = now + self.pause.max(asked);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

#[cfg(test)]
mod tests;
