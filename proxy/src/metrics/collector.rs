//! The cells as metric families of the Prometheus text format.

use super::series::{Histogram, LENGTH_BUCKETS, Refusal, SIZE_BUCKETS, Series, SeriesKey, TIME_BUCKETS, WorkerMetrics};
use super::{Totals, total};
use crate::{Handle, table::RouteLabels};
use prometheus::{
    core::{Collector, Desc},
    proto,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const PREFIX: &str = "nginx_ingress_controller_";

/// Labels that every series carries.
#[derive(Clone, Debug, Default)]
pub struct ConstantLabels {
    /// `controller_class`
    pub controller_class: String,
    /// `controller_namespace`
    pub controller_namespace: String,
    /// `controller_pod`
    pub controller_pod: String,
}

/// Renders what the workers count. Register it with a `prometheus::Registry`.
#[derive(Debug)]
pub struct ProxyCollector {
    handle: Arc<Handle>,
    constant: Vec<proto::LabelPair>,
}

/// The sum of one series over all workers.
#[derive(Debug, Default)]
struct Sum {
    requests: u64,
    histograms: [SumHistogram; HISTOGRAMS.len()],
}

#[derive(Debug, Default)]
struct SumHistogram {
    buckets: Vec<u64>,
    over: u64,
    sum: f64,
}

/// Name, help and bounds of the histograms, in the order of [`SumHistogram`]s in a [`Sum`].
const HISTOGRAMS: [(&str, &str, &[f64]); 7] = [
    ("request_duration_seconds", "Time from the request's head to the last byte of the response", &TIME_BUCKETS),
    ("response_duration_seconds", "Time from sending the request to the endpoint to its last byte", &TIME_BUCKETS),
    ("header_duration_seconds", "Time from sending the request to the endpoint to its response head", &TIME_BUCKETS),
    ("connect_duration_seconds", "Time to get a connection to the endpoint", &TIME_BUCKETS),
    ("request_size", "Length of the request in bytes, head included", &LENGTH_BUCKETS),
    ("response_size", "Length of the response body in bytes", &LENGTH_BUCKETS),
    ("bytes_sent", "Length of the response body in bytes (deprecated: use response_size)", &SIZE_BUCKETS),
];

// === impl ProxyCollector ===

impl ProxyCollector {
    /// A collector over the workers of `handle`.
    #[must_use]
    pub fn new(handle: Arc<Handle>, constant: &ConstantLabels) -> Self {
        let constant = vec![
            label("controller_class", &constant.controller_class),
            label("controller_namespace", &constant.controller_namespace),
            label("controller_pod", &constant.controller_pod),
        ];
        Self { handle, constant }
    }

    fn labels(&self, more: Vec<proto::LabelPair>) -> Vec<proto::LabelPair> {
        let mut labels = more;
        labels.extend(self.constant.iter().cloned());
        labels.sort_by(|a, b| a.name().cmp(b.name()));
        labels
    }

    /// Sums the series of routes that the table still has; forgets the others.
    fn sum(&self, workers: &[Arc<WorkerMetrics>]) -> BTreeMap<SeriesKey, Sum> {
        let table = self.handle.table();
        let hosts = table.hosts().sorted();
        let live: BTreeSet<&RouteLabels> =
            hosts.iter().flat_map(|host| host.routes()).map(|route| route.labels.as_ref()).collect();
        let mut sums = BTreeMap::<SeriesKey, Sum>::new();
        for worker in workers {
            let mut series = worker.series.lock();
            series.retain(|key, _| live.contains(key.labels.as_ref()));
            for (key, series) in &*series {
                sums.entry(key.clone()).or_default().add(series);
            }
        }
        sums
    }

    fn request_families(&self, workers: &[Arc<WorkerMetrics>]) -> Vec<proto::MetricFamily> {
        let mut requests = family("requests", "Requests answered", proto::MetricType::COUNTER);
        let mut histograms: Vec<_> =
            HISTOGRAMS.iter().map(|(name, help, _)| family(name, help, proto::MetricType::HISTOGRAM)).collect();
        for (key, sum) in self.sum(workers) {
            let labels = self.labels(request_labels(&key));
            requests.mut_metric().push(counter(labels.clone(), sum.requests));
            for ((family, values), (_, _, bounds)) in histograms.iter_mut().zip(sum.histograms).zip(HISTOGRAMS) {
                if !values.is_empty() {
                    family.mut_metric().push(values.metric(labels.clone(), bounds));
                }
            }
        }
        histograms.insert(0, requests);
        histograms.retain(|family| !family.get_metric().is_empty());
        histograms
    }

    fn process_families(&self, workers: &[Arc<WorkerMetrics>]) -> Vec<proto::MetricFamily> {
        let Totals { accepted, handled, requests, open, busy } = self.handle.metrics().totals();
        let with = |name: &str, value: &str| self.labels(vec![label(name, value)]);

        let mut connections =
            family("nginx_process_connections", "Client connections by state", proto::MetricType::GAUGE);
        for (state, value) in [("active", open), ("reading", 0), ("writing", busy), ("waiting", open - busy)] {
            connections.mut_metric().push(gauge(with("state", state), value));
        }
        let mut connections_total =
            family("nginx_process_connections_total", "Client connections since start", proto::MetricType::COUNTER);
        for (state, value) in [("accepted", accepted), ("handled", handled)] {
            connections_total.mut_metric().push(counter(with("state", state), value));
        }
        let mut refused = family(
            "nginx_process_refused_total",
            "Clients refused or cut off since start for what they sent, or did not take",
            proto::MetricType::COUNTER,
        );
        for refusal in Refusal::ALL {
            refused
                .mut_metric()
                .push(counter(with("reason", refusal.name()), total(workers, |worker| worker.refused(refusal))));
        }
        let mut requests_total =
            family("nginx_process_requests_total", "Requests since start", proto::MetricType::COUNTER);
        requests_total.mut_metric().push(counter(self.labels(Vec::new()), requests));
        let mut proxy_errors = family(
            "proxy_protocol_errors_total",
            "Connections closed because they did not begin with a PROXY header",
            proto::MetricType::COUNTER,
        );
        let errors = total(workers, |worker| &worker.proxy_protocol_errors);
        proxy_errors.mut_metric().push(counter(self.labels(Vec::new()), errors));
        vec![connections, connections_total, requests_total, proxy_errors, refused]
    }
}

impl Collector for ProxyCollector {
    fn desc(&self) -> Vec<&Desc> {
        // The label values come and go with routes, so there is nothing to check in advance.
        Vec::new()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let workers = self.handle.metrics().workers();
        let mut families = self.request_families(&workers);
        families.extend(self.process_families(&workers));
        families
    }
}

// === impl Sum ===

impl Sum {
    fn add(&mut self, series: &Series) {
        self.requests += series.requests.get();
        let [request, response, header, connect, request_size, response_size, bytes] = &mut self.histograms;
        request.add(&series.request_duration);
        response.add(&series.response_duration);
        header.add(&series.header_duration);
        connect.add(&series.connect_duration);
        request_size.add(&series.request_size);
        response_size.add(&series.response_size);
        bytes.add(&series.bytes_sent);
    }
}

// === impl SumHistogram ===

impl SumHistogram {
    fn add<const N: usize>(&mut self, histogram: &Histogram<N>) {
        self.buckets.resize(N, 0);
        for (sum, cell) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += cell.get();
        }
        self.over += histogram.over.get();
        self.sum += histogram.sum();
    }

    fn is_empty(&self) -> bool {
        self.over == 0 && self.buckets.iter().all(|count| *count == 0)
    }

    fn metric(&self, labels: Vec<proto::LabelPair>, bounds: &[f64]) -> proto::Metric {
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(bounds.len());
        for (bound, count) in bounds.iter().zip(&self.buckets) {
            cumulative += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(cumulative + self.over);
        histogram.set_sample_sum(self.sum);
        let mut metric = proto::Metric::default();
        metric.set_label(labels);
        metric.set_histogram(histogram);
        metric
    }
}

fn request_labels(key: &SeriesKey) -> Vec<proto::LabelPair> {
    let labels = &key.labels;
    let status = key.status.to_string();
    [
        ("status", status.as_str()),
        ("method", key.method),
        ("path", &labels.path),
        ("namespace", &labels.namespace),
        ("ingress", &labels.ingress),
        ("service", &labels.service),
        ("canary", ""),
        ("host", &labels.host),
    ]
    .map(|(name, value)| label(name, value))
    .into()
}

fn label(name: &str, value: &str) -> proto::LabelPair {
    let mut pair = proto::LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn family(name: &str, help: &str, kind: proto::MetricType) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(format!("{PREFIX}{name}"));
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are f64")]
fn counter(labels: Vec<proto::LabelPair>, value: u64) -> proto::Metric {
    let mut counter = proto::Counter::default();
    counter.set_value(value as f64);
    let mut metric = proto::Metric::default();
    metric.set_label(labels);
    metric.set_counter(counter);
    metric
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are f64")]
fn gauge(labels: Vec<proto::LabelPair>, value: u64) -> proto::Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value as f64);
    let mut metric = proto::Metric::default();
    metric.set_label(labels);
    metric.set_gauge(gauge);
    metric
}
