//! Snapshot → compile → install → tell the others. The only loop with effects.
//!
//! The first events are handled at once; while they keep coming there is one pass per [`COALESCE`]. Compiling happens
//! off the threads of the runtime, so that watches, leases and health checks go on meanwhile. Nothing is installed
//! before the objects that the first table refers to have been looked for.
//!
//! Must not know: the API server, sockets.

mod report;

use self::report::Report;
use crate::{
    compile::{self, Compiled, References},
    diagnostic::Diagnostic,
    metrics::ReconcileMetrics,
    snapshot::Snapshot,
};
use imbl::{OrdSet, ordset::DiffItem};
use rust_nginx_proxy::Handle;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task,
    time::{Instant, sleep_until, timeout_at},
};
use tracing::{debug, error, info};

/// Time between two passes while events keep coming. A rollout of one Deployment is dozens of events; 10 ms gather most
/// of them and stay far below what anybody can notice.
const COALESCE: Duration = Duration::from_millis(10);

/// Passes that may follow one another without that time, when there were none for a while. A change to an Ingress is
/// often two or three events (a Service, the Ingress, the echo of its status), and the last one should not wait for the
/// first.
const AT_ONCE: u32 = 8;

/// How long a pass waits for objects that it is the first to refer to. Long enough for a watch to answer, short enough
/// not to hold up the rest when one does not.
const SETTLE: Duration = Duration::from_millis(250);

/// Where snapshots come from.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The latest snapshot; `None` before the source has synced.
    pub snapshots: watch::Receiver<Option<Snapshot>>,
    /// Which references the source has looked for.
    pub coverage: watch::Receiver<Coverage>,
}

/// The objects that a source has looked for, so that their absence from a snapshot means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Whatever anybody refers to.
    Everything,
    /// Some. The snapshot with the outcome is always published first.
    Looked(Arc<Looked>),
}

/// What a source was asked to look for, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// What it was asked for.
    pub references: References,
    /// Those of them that it has not looked for yet.
    pub pending: References,
}

/// What a pass leaves behind.
#[derive(Debug)]
pub struct Pass {
    /// What went in.
    pub snapshot: Snapshot,
    /// What came out.
    pub compiled: Compiled,
}

/// Where the results go.
#[derive(Debug)]
pub struct Outlets {
    /// The latest pass.
    pub passes: watch::Sender<Option<Arc<Pass>>>,
    /// What the latest table refers to; the source fetches it.
    pub references: watch::Sender<References>,
    /// The pointer that workers read, from the first install on.
    pub handle: watch::Sender<Option<Arc<Handle>>>,
    /// Turns whenever the loop does.
    pub heartbeat: watch::Sender<Instant>,
}

/// Makes the compiling function anew, at start and after it panicked: its memory may be inconsistent then.
pub trait MakeCompile: Fn() -> Self::Compile + Send + 'static {
    /// Compiles one snapshot; may remember things from call to call.
    type Compile: FnMut(&Snapshot) -> Compiled + Send + 'static;
}

impl<M, C> MakeCompile for M
where
    M: Fn() -> C + Send + 'static,
    C: FnMut(&Snapshot) -> Compiled + Send + 'static,
{
    type Compile = C;
}

struct Reconciler<M: MakeCompile> {
    feed: Feed,
    outlets: Outlets,
    metrics: ReconcileMetrics,
    make: M,
    compile: Option<M::Compile>,
    report: Report,
    /// References that a pass has waited for in vain.
    given_up: References,
    /// What the latest pass said about what ends some day.
    ending: Vec<Arc<Diagnostic>>,
}

/// Runs until the source is gone.
pub async fn run(feed: Feed, outlets: Outlets, metrics: ReconcileMetrics, make: impl MakeCompile) {
    let compile = Some(make());
    let (report, given_up, ending) = (Report::default(), References::default(), Vec::new());
    Reconciler { feed, outlets, metrics, make, compile, report, given_up, ending }.run().await;
}

// === impl Coverage ===

impl Coverage {
    /// Whether both are the same, where unchanged sets are seen at a glance.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, Self::Everything) => true,
            (Self::Looked(looked), Self::Looked(other)) => Arc::ptr_eq(looked, other) || looked.is_same(other),
            (Self::Everything, Self::Looked(_)) | (Self::Looked(_), Self::Everything) => false,
        }
    }
}

// === impl Looked ===

impl Looked {
    /// Whether both are the same, where unchanged sets are seen at a glance.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.references.is_same(&other.references) && self.pending.is_same(&other.pending)
    }
}

// === impl Reconciler ===

impl<M: MakeCompile> Reconciler<M> {
    /// How often the heartbeat turns when nothing happens.
    const IDLE: Duration = Duration::from_secs(5);

    async fn run(mut self) {
        // The snapshot may be there already.
        self.feed.snapshots.mark_changed();
        // When all passes so far would have been through, were they [`COALESCE`] apart.
        let mut paid_until = Instant::now();
        loop {
            self.outlets.heartbeat.send_replace(Instant::now());
            tokio::select! {
                changed = self.feed.snapshots.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(Self::IDLE) => {
                    self.free_retired();
                    if !self.has_something_ended() {
                        continue;
                    }
                }
            }
            sleep_until(paid_until.checked_sub(COALESCE * (AT_ONCE - 1)).unwrap_or(paid_until)).await;
            self.pass().await;
            paid_until = paid_until.max(Instant::now()) + COALESCE;
        }
    }

    /// Whether there is more, or something else, to say about what ends than in the latest pass.
    fn has_something_ended(&self) -> bool {
        let pass = self.outlets.passes.borrow();
        pass.as_ref().is_some_and(|pass| ending(&pass.compiled) != self.ending)
    }

    /// Frees tables that the workers have let go of, on a thread that may take its time.
    fn free_retired(&self) {
        if let Some(handle) = self.outlets.handle.borrow().clone() {
            task::spawn_blocking(move || handle.free_retired());
        }
    }

    async fn pass(&mut self) {
        let started = Instant::now();
        let first = self.outlets.handle.borrow().is_none();
        // A first reference: give the source a moment to look, so that nobody is served a table that misses an object
        // which exists. The first table waits as long as it takes, since nobody is served yet.
        let deadline = started + if first { Self::IDLE } else { SETTLE };
        let (snapshot, compiled) = loop {
            // Read before the snapshot: what it covers is then part of it.
            let coverage = self.feed.coverage.borrow_and_update().clone();
            let Some((snapshot, compiled)) = self.compile_latest().await else { return };
            self.outlets.references.send_if_modified(|references| replace(references, &compiled.references));
            if self.is_settled(&compiled.references, &coverage) {
                break (snapshot, compiled);
            }
            let change = async {
                tokio::select! {
                    changed = self.feed.coverage.changed() => changed.is_ok(),
                    changed = self.feed.snapshots.changed() => changed.is_ok(),
                }
            };
            match timeout_at(deadline, change).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) if first => return self.feed.snapshots.mark_changed(),
                Err(_) => {
                    debug!("some references are still being looked for; going on without them");
                    self.given_up = compiled.references.clone();
                    break (snapshot, compiled);
                }
            }
        };
        self.install(snapshot, compiled, started).await;
    }

    async fn install(&mut self, snapshot: Snapshot, mut compiled: Compiled, started: Instant) {
        let handle = self.outlets.handle.borrow().clone();
        // Comparing two tables and freeing an old one takes as long as they are large.
        let work = task::spawn_blocking(move || {
            let (handle, installed) = match handle {
                Some(handle) => {
                    let installed = handle.install(compiled.table.clone());
                    (handle, installed)
                }
                None => (Handle::new(compiled.table.clone()), true),
            };
            if !installed {
                // Of two equal tables one is enough.
                compiled.table = (*handle.table()).clone();
            }
            (handle, compiled, installed)
        });
        let (handle, mut compiled, installed) = match work.await {
            Ok(done) => done,
            Err(error) => {
                error!(%error, "installing failed; the table stays as it is");
                return self.metrics.failed();
            }
        };
        if installed {
            self.metrics.installed();
            debug!(elapsed = ?started.elapsed(), ingresses = compiled.ingresses.len(), "table installed");
        }
        self.outlets.handle.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                info!(ingresses = compiled.ingresses.len(), "first table installed");
                *current = Some(handle);
            }
            first
        });
        self.ending = ending(&compiled);
        compiled.diagnostics.extend(self.ending.iter().cloned());
        self.report.log(&compiled.diagnostics);
        self.report.process(&compiled.process);
        let last = self.outlets.passes.send_replace(Some(Arc::new(Pass { snapshot, compiled })));
        task::spawn_blocking(move || drop(last));
    }

    /// Whether everything that is referred to has been looked for, or waited for in vain once.
    fn is_settled(&self, references: &References, coverage: &Coverage) -> bool {
        let Coverage::Looked(looked) = coverage else { return true };
        let (asked, pending, given_up) = (&looked.references, &looked.pending, &self.given_up);
        is_known(&references.secrets, &asked.secrets, &pending.secrets, &given_up.secrets)
            && is_known(&references.config_maps, &asked.config_maps, &pending.config_maps, &given_up.config_maps)
            && is_known(&references.host_names, &asked.host_names, &pending.host_names, &given_up.host_names)
    }

    async fn compile_latest(&mut self) -> Option<(Snapshot, Compiled)> {
        let snapshot = self.feed.snapshots.borrow_and_update().clone()?;
        let mut compile = self.compile.take().unwrap_or_else(|| (self.make)());
        let work = task::spawn_blocking(move || {
            let compiled = compile(&snapshot);
            (compile, snapshot, compiled)
        });
        match work.await {
            Ok((compile, snapshot, compiled)) => {
                self.compile = Some(compile);
                Some((snapshot, compiled))
            }
            Err(error) => {
                // The installed table stays. The next event may bring a snapshot that compiles.
                error!(%error, "compiling failed; the table stays as it is");
                self.metrics.failed();
                None
            }
        }
    }
}

/// What there is to say now about what ends some day.
fn ending(compiled: &Compiled) -> Vec<Arc<Diagnostic>> {
    let now = jiff::Timestamp::now().as_second();
    compile::due(&compiled.expiries, now).map(Arc::new).collect()
}

/// Whether all names were asked for and are not pending, or were given up. What was asked for and what is referred to
/// share nearly everything, which is not looked at.
fn is_known<T: Ord>(names: &OrdSet<T>, asked: &OrdSet<T>, pending: &OrdSet<T>, given_up: &OrdSet<T>) -> bool {
    let not_asked = asked.diff(names).filter_map(|item| match item {
        DiffItem::Add(name) => Some(name),
        DiffItem::Remove(_) => None,
    });
    let not_found = pending.iter().filter(|name| names.contains(*name));
    not_asked.chain(not_found).all(|name| given_up.contains(name))
}

fn replace(current: &mut References, latest: &References) -> bool {
    let differs = !current.is_same(latest);
    if differs {
        current.clone_from(latest);
    }
    differs
}

#[cfg(test)]
mod tests;
