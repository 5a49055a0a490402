//! What stages between a source and the reconcile loop have in common: they take what the source publishes, and publish
//! it again with something added.
//!
//! What is covered is part of what was published: coverage is read before the snapshot and sent after it. What does not
//! differ is not sent. Must not know: what a stage adds.

use crate::{
    reconcile::{Coverage, Feed},
    snapshot::Snapshot,
};
use tokio::sync::watch;

/// Both ends of a stage.
pub(super) struct Outlet {
    source: Feed,
    /// A source that covers everything says so once and never again.
    covering: bool,
    snapshots: watch::Sender<Option<Snapshot>>,
    coverage: watch::Sender<Coverage>,
}

// === impl Outlet ===

impl Outlet {
    /// An outlet behind a source, and what comes out of it: no snapshot yet, and this coverage.
    pub(super) fn new(mut source: Feed, coverage: Coverage) -> (Self, Feed) {
        let (snapshots, snapshots_receiver) = watch::channel(None);
        let (coverage, coverage_receiver) = watch::channel(coverage);
        source.snapshots.mark_changed();
        source.coverage.mark_changed();
        let outlet = Self { source, covering: true, snapshots, coverage };
        (outlet, Feed { snapshots: snapshots_receiver, coverage: coverage_receiver })
    }

    /// Waits until the source has published something; false once it is gone. May be given up and called again.
    pub(super) async fn changed(&mut self) -> bool {
        tokio::select! {
            biased;
            changed = self.source.snapshots.changed() => changed.is_ok(),
            changed = self.source.coverage.changed(), if self.covering => {
                self.covering = changed.is_ok();
                true
            }
        }
    }

    /// The latest of the source.
    pub(super) fn take(&mut self) -> (Coverage, Option<Snapshot>) {
        let coverage = self.source.coverage.borrow_and_update().clone();
        (coverage, self.source.snapshots.borrow_and_update().clone())
    }

    /// Publishes, as far as it differs.
    pub(super) fn put(&self, snapshot: Option<Snapshot>, coverage: Coverage) {
        if let Some(snapshot) = snapshot {
            self.snapshots.send_if_modified(|current| {
                let differs = current.as_ref().is_none_or(|current| !current.is_same(&snapshot));
                if differs {
                    *current = Some(snapshot);
                }
                differs
            });
        }
        self.coverage.send_if_modified(|current| {
            let differs = !current.is_same(&coverage);
            if differs {
                *current = coverage;
            }
            differs
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn what_does_not_differ_is_not_sent() {
        let (snapshots, snapshots_receiver) = watch::channel(Some(Snapshot::default()));
        let (coverage, coverage_receiver) = watch::channel(Coverage::Looked(Arc::default()));
        let source = Feed { snapshots: snapshots_receiver, coverage: coverage_receiver };
        let (mut outlet, mut feed) = Outlet::new(source, Coverage::Looked(Arc::default()));
        assert!(outlet.changed().await, "what was there before counts");
        let (covered, snapshot) = outlet.take();
        outlet.put(snapshot.clone(), covered);
        assert!(feed.snapshots.has_changed().unwrap(), "the first one");
        assert!(!feed.coverage.has_changed().unwrap(), "as it was");
        feed.snapshots.mark_unchanged();
        outlet.put(snapshot, Coverage::Everything);
        assert!(!feed.snapshots.has_changed().unwrap(), "the same again");
        assert!(feed.coverage.has_changed().unwrap(), "something else");
        drop((snapshots, coverage));
        assert!(!outlet.changed().await, "the source is gone");
    }

    #[tokio::test]
    async fn a_source_may_have_said_all_about_its_coverage() {
        let (snapshots, snapshots_receiver) = watch::channel(None);
        let source = Feed { snapshots: snapshots_receiver, coverage: watch::channel(Coverage::Everything).1 };
        let (mut outlet, _feed) = Outlet::new(source, Coverage::Everything);
        assert!(outlet.changed().await);
        assert!(matches!(outlet.take(), (Coverage::Everything, None)));
        snapshots.send_replace(Some(Snapshot::default()));
        while outlet.take().1.is_none() {
            assert!(outlet.changed().await);
        }
    }
}
