//! The one pointer through which the control plane speaks to the workers.

use crate::{metrics::Metrics, table::Table};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Holds the installed table and the state that outlives tables.
#[derive(Debug)]
pub struct Handle {
    table: ArcSwap<Table>,
    metrics: Arc<Metrics>,
}

// === impl Handle ===

impl Handle {
    /// A handle with a first table.
    #[must_use]
    pub fn new(first: Table) -> Arc<Self> {
        Arc::new(Self { table: ArcSwap::from_pointee(first), metrics: Arc::new(Metrics::default()) })
    }

    /// Makes `table` the one that every request from now on sees, unless it equals the installed one.
    ///
    /// Returns whether it was installed. There is one caller at a time: the reconcile loop.
    pub fn install(&self, table: Table) -> bool {
        if **self.table.load() == table {
            return false;
        }
        self.table.store(Arc::new(table));
        true
    }

    /// The installed table.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The installed table without touching its reference count: for the request path.
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }

    /// What the workers counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}
