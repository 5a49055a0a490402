//! Cells with one writer.

use crate::table::RouteLabels;
use hashbrown::HashMap;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Upper bounds of `*_duration_seconds`, in seconds.
pub(super) const TIME_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of `request_size` and `response_size`, in bytes.
pub(super) const LENGTH_BUCKETS: [f64; 10] = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0];
/// Upper bounds of `bytes_sent`, in bytes.
pub(super) const SIZE_BUCKETS: [f64; 7] = [10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7];

/// A number with one writer and any number of readers.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

/// Counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerMetrics {
    /// Connections accepted.
    pub(crate) accepted: Cell,
    /// Connections closed.
    pub(crate) closed: Cell,
    /// Connections that were closed for want of a PROXY header.
    pub(crate) proxy_protocol_errors: Cell,
    /// Requests of any kind, also those that no route counts.
    pub(crate) requests: Cell,
    /// Requests being answered right now.
    pub(crate) active: Cell,
    refused: [Cell; Refusal::ALL.len()],
    pub(super) series: Mutex<HashMap<SeriesKey, Arc<Series>>>,
}

/// Why a client was refused or cut off before, or instead of, an answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A head that is not HTTP: 400.
    BadRequest,
    /// A request line beyond the limit: 414.
    LongLine,
    /// A head beyond the limit: 400, or 431.
    LargeHead,
    /// A head that was not complete in time.
    SlowHead,
    /// HTTP/2 broken beyond repair.
    Protocol,
    /// Too many frames that do nothing.
    Flood,
    /// The client did not take what it asked for.
    Stalled,
    /// The worker has as many connections as it may.
    Connections,
    /// The client has as many connections as it may.
    ConnectionsPerClient,
}

/// What distinguishes one series from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SeriesKey {
    pub(super) labels: Arc<RouteLabels>,
    pub(super) method: &'static str,
    pub(super) status: u16,
}

/// Counters of one route, method and status on one worker.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) requests: Cell,
    pub(super) request_duration: Histogram<{ TIME_BUCKETS.len() }>,
    pub(super) response_duration: Histogram<{ TIME_BUCKETS.len() }>,
    pub(super) header_duration: Histogram<{ TIME_BUCKETS.len() }>,
    pub(super) connect_duration: Histogram<{ TIME_BUCKETS.len() }>,
    pub(super) request_size: Histogram<{ LENGTH_BUCKETS.len() }>,
    pub(super) response_size: Histogram<{ LENGTH_BUCKETS.len() }>,
    pub(super) bytes_sent: Histogram<{ SIZE_BUCKETS.len() }>,
}

/// A histogram with fixed bounds; counts are per bucket, not cumulative.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    pub(super) buckets: [Cell; N],
    pub(super) over: Cell,
    /// Sum in the unit of the bounds, as the bits of an `f64`.
    sum: AtomicU64,
}

/// The series of one route on one worker, found without hashing names.
#[derive(Debug)]
pub(crate) struct RouteStats {
    labels: Arc<RouteLabels>,
    worker: Arc<WorkerMetrics>,
    known: RefCell<Vec<(&'static str, u16, Arc<Series>)>>,
}

/// Times of one exchange with an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Durations {
    pub(crate) connect: Option<Duration>,
    pub(crate) header: Duration,
    pub(crate) response: Duration,
}

// === impl Cell ===

impl Cell {
    /// Adds; only the one writer calls this.
    pub(crate) fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// Subtracts; only the one writer calls this.
    pub(crate) fn sub(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(by), Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

// === impl WorkerMetrics ===

impl WorkerMetrics {
    pub(crate) fn open(&self) -> u64 {
        self.accepted.get().wrapping_sub(self.closed.get())
    }

    pub(crate) fn refused(&self, refusal: Refusal) -> &Cell {
        &self.refused[refusal as usize]
    }

    fn series(&self, key: SeriesKey) -> Arc<Series> {
        Arc::clone(self.series.lock().entry(key).or_default())
    }
}

// === impl Refusal ===

impl Refusal {
    /// In the order of their numbers.
    pub(super) const ALL: [Self; 9] = [
        Self::BadRequest,
        Self::LongLine,
        Self::LargeHead,
        Self::SlowHead,
        Self::Protocol,
        Self::Flood,
        Self::Stalled,
        Self::Connections,
        Self::ConnectionsPerClient,
    ];

    /// The label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::LongLine => "long_request_line",
            Self::LargeHead => "large_head",
            Self::SlowHead => "slow_head",
            Self::Protocol => "protocol_error",
            Self::Flood => "flood",
            Self::Stalled => "stalled",
            Self::Connections => "connections",
            Self::ConnectionsPerClient => "connections_per_client",
        }
    }

    /// Before there was a connection to speak of.
    pub(super) fn is_of_connection(self) -> bool {
        matches!(self, Self::Connections | Self::ConnectionsPerClient)
    }
}

// === impl Histogram ===

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Cell::default()), over: Cell::default(), sum: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    fn observe(&self, bounds: &[f64; N], value: f64) {
        match bounds.iter().position(|bound| value <= *bound) {
            Some(index) => self.buckets[index].add(1),
            None => self.over.add(1),
        }
        self.sum.store((f64::from_bits(self.sum.load(Relaxed)) + value).to_bits(), Relaxed);
    }

    pub(super) fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Relaxed))
    }
}

// === impl RouteStats ===

impl RouteStats {
    pub(crate) fn new(labels: &Arc<RouteLabels>, worker: &Arc<WorkerMetrics>) -> Rc<Self> {
        Rc::new(Self { labels: Arc::clone(labels), worker: Arc::clone(worker), known: RefCell::default() })
    }

    pub(crate) fn labels(&self) -> &RouteLabels {
        &self.labels
    }

    /// Counts one finished request. `upstream` is absent when no endpoint answered, or more than one was tried.
    pub(crate) fn count(
        &self,
        method: &Method,
        status: StatusCode,
        duration: Duration,
        request_length: u64,
        bytes_sent: u64,
        upstream: Option<Durations>,
    ) {
        let (method, status) = (method_label(method), status.as_u16());
        let mut known = self.known.borrow_mut();
        let index = known.iter().position(|(m, s, _)| std::ptr::eq(*m, method) && *s == status).unwrap_or_else(|| {
            let key = SeriesKey { labels: Arc::clone(&self.labels), method, status };
            known.push((method, status, self.worker.series(key)));
            known.len() - 1
        });
        let series = &known[index].2;
        series.requests.add(1);
        series.request_duration.observe(&TIME_BUCKETS, duration.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a histogram of sizes needs no exact bytes beyond 2^52")]
        {
            series.request_size.observe(&LENGTH_BUCKETS, request_length as f64);
            series.response_size.observe(&LENGTH_BUCKETS, bytes_sent as f64);
            series.bytes_sent.observe(&SIZE_BUCKETS, bytes_sent as f64);
        }
        if let Some(upstream) = upstream {
            if let Some(connect) = upstream.connect {
                series.connect_duration.observe(&TIME_BUCKETS, connect.as_secs_f64());
            }
            series.header_duration.observe(&TIME_BUCKETS, upstream.header.as_secs_f64());
            series.response_duration.observe(&TIME_BUCKETS, upstream.response.as_secs_f64());
        }
    }
}

/// The label for a method. A client chooses the method, so unknown ones share a label.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "OTHER",
    }
}
