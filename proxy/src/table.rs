//! The routing table: everything a worker needs to answer a request, in one immutable value.
//!
//! A [`Table`] is plain data. It is built once by [`TableBuilder`], never changed, compared as a whole
//! (an equal table is not installed) and shared by every worker behind the one pointer of
//! [`Handle`](crate::Handle). Runtime state (connections, counters, balancer positions) lives elsewhere, keyed by
//! [`BackendKey`], so that it outlives tables.
//!
//! ```text
//!  Table ─ HostIndex ─> VirtualHost ─ PathIndex ─> Route ─ Target::Backend(BackendIndex) ─> Backend ─> Endpoint
//!    │                                               ├─ filters (ordered)
//!    ├─ CertificateIndex ─> Certificate              ├─ policy (timeouts, retry, limits)
//!    └─ Settings (whole process)                     └─ labels (log, metrics)
//! ```
//!
//! Must not know: Kubernetes, sockets, clocks.

mod backend;
mod builder;
mod certificate;
mod host;
mod path;
mod policy;
mod settings;
mod view;

pub use self::{
    backend::{Backend, BackendIndex, BackendKey, Endpoint, Protocol},
    builder::{TableBuilder, VirtualHostBuilder},
    certificate::CertificateIndex,
    host::{HostIndex, HostMatch, HostName, InvalidHost},
    path::{BadPath, PathIndex, PathMatch, normalize_path},
    policy::{Policy, Retry, RetryOn},
    settings::{Hsts, LoadBalancing, Settings, UpstreamKeepAlive},
};
use crate::filter::Filter;
use http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// The complete routing state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    hosts: Arc<HostIndex>,
    backends: Arc<[Arc<Backend>]>,
    certificates: Arc<CertificateIndex>,
    settings: Arc<Settings>,
}

/// All routes of one host pattern.
///
/// Every virtual host answers every path: the compiler gives each one a `/` prefix route, so a lookup can only
/// fail for targets that are not paths at all (`*` of `OPTIONS *`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    host: HostMatch,
    paths: PathIndex,
    routes: Box<[Arc<Route>]>,
}

/// One compiled entry: what matched, what happens on the way, and where the request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path predicate as declared by the rule.
    pub path: PathMatch,
    /// Who is accountable for this route in logs and metrics.
    pub labels: Arc<RouteLabels>,
    /// Where the request goes when all filters let it pass.
    pub target: Target,
    /// Steps before and after the upstream, in the order of execution.
    pub filters: Box<[Filter]>,
    /// Unordered settings: timeouts, retry, limits.
    pub policy: Arc<Policy>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To an endpoint of the backend; `no_endpoints` is the answer when it has none (503 for a rule's backend,
    /// 404 for the default backend).
    Backend {
        /// Position in [`Table::backend`].
        backend: BackendIndex,
        /// The status that stands for "nobody there".
        no_endpoints: StatusCode,
    },
    /// A fixed answer: 503 where the backend cannot be resolved, 404 where nothing is declared.
    Status(StatusCode),
}

/// Names under which a route appears in the access log and in metrics.
///
/// All values are as declared in the objects; a route that belongs to no Ingress has empty strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RouteLabels {
    /// Namespace of the Ingress.
    pub namespace: Box<str>,
    /// Name of the Ingress.
    pub ingress: Box<str>,
    /// Name of the Service.
    pub service: Box<str>,
    /// Port of the Service, as written in the rule.
    pub service_port: Box<str>,
    /// Host as declared; `*.example.com` for a wildcard, empty for the catch-all.
    pub host: Box<str>,
    /// Declared path.
    pub path: Box<str>,
}

// === impl Table ===

impl Table {
    /// The virtual host for a request's host (any case, port and trailing dot allowed): exact name, else one-label
    /// wildcard, else the catch-all.
    #[must_use]
    pub fn virtual_host(&self, host: &str) -> &Arc<VirtualHost> {
        self.hosts.find(host)
    }

    /// The index of virtual hosts.
    #[must_use]
    pub fn hosts(&self) -> &HostIndex {
        &self.hosts
    }

    /// The backend at an index that came from a [`Target`] of this same table.
    #[must_use]
    pub fn backend(&self, index: BackendIndex) -> &Arc<Backend> {
        &self.backends[index.get()]
    }

    /// All backends, in index order.
    #[must_use]
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// Certificates by server name.
    #[must_use]
    pub fn certificates(&self) -> &CertificateIndex {
        &self.certificates
    }

    /// Settings of the whole process.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }
}

impl Serialize for Table {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        view::TableView::new(self).serialize(serializer)
    }
}

// === impl VirtualHost ===

impl VirtualHost {
    /// The pattern that this virtual host answers.
    #[must_use]
    pub fn host(&self) -> &HostMatch {
        &self.host
    }

    /// The route for a path that went through [`normalize_path`].
    #[must_use]
    pub fn route(&self, path: &str) -> Option<&Arc<Route>> {
        self.paths.find(path).map(|index| &self.routes[index])
    }

    /// All routes, sorted by declared path.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

#[cfg(test)]
mod tests;
