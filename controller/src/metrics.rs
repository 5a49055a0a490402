//! What the control plane counts, under ingress-nginx's names, and the registry that renders everything.
//!
//! Handles are made once and passed in; there is no global registry. Series about objects are made from the latest pass
//! when somebody scrapes, so that those of deleted objects are gone by themselves.

mod objects;
mod process;

use self::{objects::ObjectCollector, process::ProcessCollector};
use crate::{args::Serve, reconcile::Pass};
use prometheus::{IntCounter, IntGauge, Opts, Registry, TextEncoder, core::Collector};
use rust_nginx_proxy::{
    Handle,
    metrics::{ConstantLabels, ProxyCollector},
};
use std::{collections::HashMap, sync::Arc, time::SystemTime};
use tokio::sync::watch;

/// Prefix of all names.
const PREFIX: &str = "nginx_ingress_controller_";

/// The registry.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    constant: ConstantLabels,
}

/// What the reconcile loop counts.
#[derive(Clone, Debug)]
pub struct ReconcileMetrics {
    success: IntCounter,
    errors: IntCounter,
    last_successful: IntGauge,
    last_timestamp: IntGauge,
}

// === impl Metrics ===

impl Metrics {
    /// A registry with what is known about this process.
    #[must_use]
    pub fn new(config: &Serve) -> Self {
        let this = Self {
            registry: Registry::new(),
            constant: ConstantLabels {
                controller_class: config.compile.controller_class.clone(),
                controller_namespace: config.identity.pod_namespace.clone(),
                controller_pod: config.identity.pod_name.clone(),
            },
        };
        let build =
            this.opts("build_info", "A metric with a constant value of 1, labelled by version of the controller");
        let build = build
            .const_label("release", env!("CARGO_PKG_VERSION"))
            .const_label("build", crate::cli::BUILD)
            .const_label("repository", env!("CARGO_PKG_REPOSITORY"));
        this.gauge(build).set(1);
        this.register(ProcessCollector::new(&this.constant));
        this
    }

    /// The counters of the reconcile loop.
    #[must_use]
    pub fn reconcile(&self) -> ReconcileMetrics {
        ReconcileMetrics {
            success: self.counter(self.opts("success", "Tables installed")),
            errors: self.counter(self.opts("errors", "Passes that gave no table")),
            last_successful: self
                .gauge(self.opts("config_last_reload_successful", "Whether the last pass gave a table")),
            last_timestamp: self.gauge(self.opts(
                "config_last_reload_successful_timestamp_seconds",
                "When the last table was installed, in seconds since the epoch",
            )),
        }
    }

    /// The gauge that says whether this replica is the leader.
    #[must_use]
    pub fn leader(&self, election: &str) -> IntGauge {
        let opts = self.opts("leader_election_status", "1 on the leader, 0 on the others");
        self.gauge(opts.const_label("name", election))
    }

    /// Adds the series about objects.
    pub fn watch_passes(&self, passes: watch::Receiver<Option<Arc<Pass>>>, leader: watch::Receiver<bool>) {
        self.register(ObjectCollector::new(&self.constant, passes, leader));
    }

    /// Adds what the workers count.
    pub fn watch_workers(&self, handle: &Arc<Handle>) {
        self.register(ProxyCollector::new(Arc::clone(handle), &self.constant));
    }

    /// Everything in Prometheus's text format.
    ///
    /// # Errors
    /// When a collector gives something that the format cannot express.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        opts(&self.constant, name, help)
    }

    fn counter(&self, opts: Opts) -> IntCounter {
        let counter = IntCounter::with_opts(opts).expect("names and labels are constants that Prometheus accepts");
        self.register(counter.clone());
        counter
    }

    fn gauge(&self, opts: Opts) -> IntGauge {
        let gauge = IntGauge::with_opts(opts).expect("names and labels are constants that Prometheus accepts");
        self.register(gauge.clone());
        gauge
    }

    fn register(&self, collector: impl Collector + 'static) {
        self.registry.register(Box::new(collector)).expect("each collector is registered once");
    }
}

fn opts(constant: &ConstantLabels, name: &str, help: &str) -> Opts {
    let labels = HashMap::from([
        ("controller_class".to_owned(), constant.controller_class.clone()),
        ("controller_namespace".to_owned(), constant.controller_namespace.clone()),
        ("controller_pod".to_owned(), constant.controller_pod.clone()),
    ]);
    Opts::new(format!("{PREFIX}{name}"), help).const_labels(labels)
}

// === impl ReconcileMetrics ===

impl ReconcileMetrics {
    /// A table went live.
    pub fn installed(&self) {
        self.success.inc();
        self.last_successful.set(1);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_timestamp.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    /// A pass gave no table.
    pub fn failed(&self) {
        self.errors.inc();
        self.last_successful.set(0);
    }

    /// Counters that nobody renders.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        let counter = |name: &str| IntCounter::new(name, name).unwrap();
        let gauge = |name: &str| IntGauge::new(name, name).unwrap();
        Self { success: counter("a"), errors: counter("b"), last_successful: gauge("c"), last_timestamp: gauge("d") }
    }

    #[cfg(test)]
    pub(crate) fn installs(&self) -> u64 {
        self.success.get()
    }

    #[cfg(test)]
    pub(crate) fn failures(&self) -> u64 {
        self.errors.get()
    }
}
