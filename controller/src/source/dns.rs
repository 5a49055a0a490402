//! Host names → addresses: a stage between a source and the reconcile loop, which adds to every snapshot what the names
//! that the latest table refers to resolve to.
//!
//! A name is looked up again when its answer has run out. A failure leaves the last addresses in place for as long as it
//! lasts, since a resolver that is down says nothing about the name; only the answer that there is no such name, given
//! twice, empties it. A name that nobody refers to any more is forgotten. A Service that gets another external name keeps the
//! addresses of the one before for as long as DNS says nothing about the new one. Must not know: routes and backends.

mod former;
mod lookup;
mod names;

use self::{former::Former, names::Names};
pub use self::{lookup::Resolver, names::Outcome};
use super::outlet::Outlet;
use crate::{
    compile::References,
    reconcile::{Coverage, Feed, Looked},
    snapshot::Snapshot,
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::debug;

/// Lookups at the same time.
const CONCURRENCY: usize = 32;

/// Looks one name up. Implemented by [`Resolver`], and by tests.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of a name, and for how long they hold.
    fn lookup(&self, host_name: Arc<str>) -> BoxFuture<'static, Outcome>;
}

/// The stage.
pub struct Stage<L> {
    lookup: L,
    outlet: Outlet,
    references: watch::Receiver<References>,
    names: Names,
    former: Former,
    lookups: FuturesUnordered<BoxFuture<'static, (Arc<str>, Outcome)>>,
}

// === impl Stage ===

impl<L: Lookup> Stage<L> {
    /// A stage behind a source. `references` is what tables refer to.
    #[must_use]
    pub fn new(lookup: L, source: Feed, references: watch::Receiver<References>) -> (Self, Feed) {
        let (outlet, feed) = Outlet::new(source, Coverage::Looked(Arc::default()));
        let (names, former) = (Names::default(), Former::default());
        let stage = Self { lookup, outlet, references, names, former, lookups: FuturesUnordered::new() };
        (stage, feed)
    }

    /// Runs until the source is gone.
    pub async fn run(mut self) {
        self.references.mark_changed();
        loop {
            let next = self.names.next(CONCURRENCY.saturating_sub(self.lookups.len()), CONCURRENCY);
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.references.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.names.refer(&self.references.borrow_and_update().host_names, Instant::now());
                }
                changed = self.outlet.changed() => if !changed { return },
                Some((name, outcome)) = self.lookups.next(), if !self.lookups.is_empty() => {
                    debug!(%name, ?outcome, "looked up");
                    self.names.heard(&name, outcome, Instant::now());
                }
                () = due => {}
            }
            let free = CONCURRENCY.saturating_sub(self.lookups.len());
            for name in self.names.take_due(free, CONCURRENCY, Instant::now()) {
                let lookup = AssertUnwindSafe(self.lookup.lookup(Arc::clone(&name))).catch_unwind();
                self.lookups.push(Box::pin(async move {
                    // One lookup that fails in a way that nobody thought of must not end all of them.
                    let outcome = lookup.await.unwrap_or_else(|_| Outcome::Failed("the lookup panicked".into()));
                    (name, outcome)
                }));
            }
            self.publish();
        }
    }

    fn publish(&mut self) {
        let (covered, snapshot) = self.outlet.take();
        let snapshot = snapshot.map(|snapshot| Snapshot {
            host_names: self.names.resolved().clone(),
            former_addresses: self.former.follow(&snapshot.services, &self.names, Instant::now()),
            ..snapshot
        });
        let referred = self.references.borrow();
        let host_names = referred.host_names.clone();
        let pending = self.names.pending(Instant::now());
        let looked = match covered {
            Coverage::Looked(looked) => Looked {
                references: References { host_names, ..looked.references.clone() },
                pending: References { host_names: pending, ..looked.pending.clone() },
            },
            Coverage::Everything => Looked {
                references: referred.clone(),
                pending: References { host_names: pending, ..References::default() },
            },
        };
        drop(referred);
        self.outlet.put(snapshot, Coverage::Looked(Arc::new(looked)));
    }
}

/// How long a table waits for a name that it is the first to refer to. A resolver that does not answer must not keep
/// everything else from being served.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
