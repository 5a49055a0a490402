//! The one pointer through which the control plane speaks to the workers.

use crate::{listener::Clients, metrics::Metrics, table::Table};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::sync::Arc;

/// Holds the installed table and the state that outlives tables.
#[derive(Debug)]
pub struct Handle {
    table: ArcSwap<Table>,
    metrics: Arc<Metrics>,
    clients: Arc<Clients>,
    /// Tables that were replaced and that a worker may still hold. Freeing a large table takes a tenth of a second, so
    /// it must not be a worker that drops the last reference.
    retired: Mutex<Vec<Arc<Table>>>,
}

// === impl Handle ===

impl Handle {
    /// A handle with a first table.
    #[must_use]
    pub fn new(first: Table) -> Arc<Self> {
        Arc::new(Self {
            table: ArcSwap::from_pointee(first),
            metrics: Arc::default(),
            clients: Arc::default(),
            retired: Mutex::default(),
        })
    }

    /// Makes `table` the one that every request from now on sees, unless it is the installed one.
    ///
    /// Returns whether it was installed. There is one caller at a time: the reconcile loop.
    pub fn install(&self, table: Table) -> bool {
        if self.table.load().is_same(&table) {
            return false;
        }
        let replaced = self.table.swap(Arc::new(table));
        self.retired.lock().push(replaced);
        self.free_retired();
        true
    }

    /// Frees replaced tables that no worker holds any more. Every worker lets go of an old table within about a second,
    /// also when it has no requests.
    pub fn free_retired(&self) {
        let unused: Vec<_> = self.retired.lock().extract_if(.., |table| Arc::strong_count(table) == 1).collect();
        drop(unused);
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

    /// Who is connected, where that is limited.
    pub(crate) fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// What the workers counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}
