//! The one pointer through which the control plane speaks to the workers.

use crate::{
    listener::Clients,
    metrics::Metrics,
    stream::Unbound,
    table::{Streams, Table},
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

/// Holds the installed table and the state that outlives tables.
#[derive(Debug)]
pub struct Handle {
    table: ArcSwap<Table>,
    metrics: Arc<Metrics>,
    clients: Arc<Clients>,
    /// Tables that were replaced and that a worker may still hold. Freeing a large table takes a tenth of a second, so
    /// it must not be a worker that drops the last reference.
    retired: Mutex<Vec<Arc<Table>>>,
    /// The services of the installed table that are not HTTP, for whoever opens their ports.
    streams: watch::Sender<Arc<Streams>>,
    unbound: watch::Sender<Arc<[Unbound]>>,
}

// === impl Handle ===

impl Handle {
    /// A handle with a first table.
    #[must_use]
    pub fn new(first: Table) -> Arc<Self> {
        Arc::new(Self {
            streams: watch::Sender::new(Arc::clone(first.streams())),
            table: ArcSwap::from_pointee(first),
            metrics: Arc::default(),
            clients: Arc::default(),
            retired: Mutex::default(),
            unbound: watch::Sender::new(Arc::default()),
        })
    }

    /// Makes `table` the one that every request from now on sees, unless it is the installed one.
    ///
    /// Returns whether it was installed. There is one caller at a time: the reconcile loop.
    pub fn install(&self, table: Table) -> bool {
        if self.table.load().is_same(&table) {
            return false;
        }
        let streams = Arc::clone(table.streams());
        let replaced = self.table.swap(Arc::new(table));
        // After the table: a port means what the table says by then.
        self.streams.send_if_modified(|known| {
            let changed = !Arc::ptr_eq(known, &streams);
            *known = streams;
            changed
        });
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

    /// The services that are not HTTP, as tables are installed.
    pub(crate) fn streams(&self) -> watch::Receiver<Arc<Streams>> {
        self.streams.subscribe()
    }

    pub(crate) fn set_unbound(&self, unbound: Arc<[Unbound]>) {
        self.unbound.send_replace(unbound);
    }

    /// Ports of services that could not be opened; they are tried again and again.
    #[must_use]
    pub fn unbound(&self) -> watch::Receiver<Arc<[Unbound]>> {
        self.unbound.subscribe()
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
