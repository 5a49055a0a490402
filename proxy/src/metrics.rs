//! What the workers count, and how it is shown to Prometheus under ingress-nginx's names.
//!
//! Every worker has its own cells with itself as the only writer, so counting is a load and a store; a scrape reads the
//! cells of all workers and sums. Series of routes that the table no longer has are dropped at the next scrape.

mod collector;
mod series;

pub use self::collector::{ConstantLabels, ProxyCollector};
pub(crate) use self::series::{Durations, Refusal, RouteStats, WorkerMetrics};
use parking_lot::Mutex;
use std::sync::Arc;

/// The counters of all workers.
#[derive(Debug, Default)]
pub struct Metrics {
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
}

// === impl Metrics ===

impl Metrics {
    /// Adds a worker's cells.
    pub(crate) fn register(&self) -> Arc<WorkerMetrics> {
        let worker = Arc::new(WorkerMetrics::default());
        self.workers.lock().push(Arc::clone(&worker));
        worker
    }

    fn workers(&self) -> Vec<Arc<WorkerMetrics>> {
        self.workers.lock().clone()
    }

    /// Client connections that are open right now, over all workers.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.workers().iter().map(|worker| worker.open()).sum()
    }
}
