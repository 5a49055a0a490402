//! What the workers count, and how it is shown to Prometheus under ingress-nginx's names.
//!
//! Every worker has its own cells with itself as the only writer, so counting is a load and a store; a scrape reads the
//! cells of all workers and sums. Series of routes that the table no longer has are dropped at the next scrape.

mod collector;
mod series;

pub use self::collector::{ConstantLabels, ProxyCollector};
use self::series::Cell;
pub(crate) use self::series::{Durations, Refusal, RouteStats, WorkerMetrics};
use parking_lot::Mutex;
use std::sync::Arc;

/// The counters of all workers.
#[derive(Debug, Default)]
pub struct Metrics {
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
}

/// Sums over all workers: what nginx's `stub_status` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Client connections so far, also those that were closed at once.
    pub(crate) accepted: u64,
    /// Those that were not.
    pub(crate) handled: u64,
    /// Requests so far.
    pub(crate) requests: u64,
    /// Client connections that are open.
    pub(crate) open: u64,
    /// Those of them with a request. hyper does not tell reading a request from writing its response.
    pub(crate) busy: u64,
}

// === impl Metrics ===

impl Metrics {
    /// Adds a worker's cells.
    pub(crate) fn register(&self) -> Arc<WorkerMetrics> {
        let worker = Arc::new(WorkerMetrics::default());
        self.workers.lock().push(Arc::clone(&worker));
        worker
    }

    pub(crate) fn totals(&self) -> Totals {
        let workers = self.workers();
        let of_connection = Refusal::ALL.into_iter().filter(|refusal| refusal.is_of_connection());
        let unhandled: u64 = of_connection.map(|refusal| total(&workers, |worker| worker.refused(refusal))).sum();
        let accepted = total(&workers, |worker| &worker.accepted);
        let open = accepted.wrapping_sub(total(&workers, |worker| &worker.closed));
        Totals {
            accepted,
            handled: accepted.saturating_sub(unhandled),
            requests: total(&workers, |worker| &worker.requests),
            open,
            busy: total(&workers, |worker| &worker.active).min(open),
        }
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

/// The sum of a cell over all workers.
fn total(workers: &[Arc<WorkerMetrics>], cell: impl Fn(&WorkerMetrics) -> &Cell) -> u64 {
    workers.iter().map(|worker| cell(worker).get()).sum()
}
