//! The routing table: everything a worker needs to answer a request, in one immutable value.
//!
//! A [`Table`] is plain data. It comes from a [`TableBuilder`], is never changed, and is shared by every worker behind
//! the one pointer of [`Handle`](crate::Handle). Its parts are persistent: the next table shares with it whatever is the
//! same, so that a change costs as much as it changes, and a clone costs next to nothing. Runtime state (connections, counters, balancer positions) lives elsewhere, keyed by
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
mod balancing;
mod builder;
mod by_name;
mod certificate;
mod compression;
mod headers;
mod host;
mod limits;
mod logs;
mod packed;
mod path;
mod path_index;
mod policy;
mod settings;
mod stream;
mod trust;
mod view;

pub(crate) use self::headers::Expanded;
use self::{backend::Backends, path_index::PathIndex};
pub use self::{
    backend::{Backend, BackendIndex, BackendKey, Endpoint, Protocol},
    balancing::{Affinity, AffinityMode, Ejection, HashBy, LoadBalancing, SameSite},
    builder::{TableBuilder, VirtualHostBuilder},
    certificate::CertificateIndex,
    compression::{CodingSettings, Compression, UserAgents},
    headers::{FieldValue, Fields, Headers, Names, Server},
    host::{HostIndex, HostMatch, HostName, InvalidHost},
    limits::{HeadLimits, Limits},
    logs::{Logs, SkippedTargets},
    path::{BadPath, PathMatch, normalize_path},
    policy::{Policy, ProtocolChoice, Retry, RetryOn, RetryStatuses},
    settings::{Hsts, Settings, UpstreamKeepAlive},
    stream::{StreamService, StreamSettings, Streams, Transport},
    trust::{Trust, TrustedPeers},
};
use crate::{
    filter::Filter,
    tls::{ClientAuth, TlsPolicy},
};
use http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// The complete routing state at one moment.
#[derive(Clone, Debug)]
pub struct Table {
    hosts: HostIndex,
    backends: Backends,
    certificates: CertificateIndex,
    streams: Arc<Streams>,
    settings: Arc<Settings>,
}

/// All routes of one host pattern.
///
/// Every virtual host answers every path: the compiler gives each one a `/` prefix route, so a lookup can only
/// fail for targets that are not paths at all (`*` of `OPTIONS *`).
#[derive(Clone, Debug)]
pub struct VirtualHost {
    host: HostMatch,
    tls: Option<Arc<TlsPolicy>>,
    passthrough: Option<BackendIndex>,
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
    pub namespace: Arc<str>,
    /// Name of the Ingress.
    pub ingress: Arc<str>,
    /// Name of the Service.
    pub service: Arc<str>,
    /// Port of the Service, as written in the rule.
    pub service_port: Arc<str>,
    /// Host as declared; `*.example.com` for a wildcard, empty for the catch-all.
    pub host: Arc<str>,
    /// Declared path.
    pub path: Arc<str>,
}

// === impl Table ===

impl Table {
    /// The virtual host for a request's host (any case, port and trailing dot allowed): exact name, else one-label
    /// wildcard, else the catch-all.
    #[must_use]
    pub fn virtual_host(&self, host: &str) -> &Arc<VirtualHost> {
        self.hosts.find(host)
    }

    /// The virtual host that decides about a handshake with this server name, in lower case: the one that requests for it
    /// go to. Without a name it is the catch-all.
    pub(crate) fn virtual_host_of_handshake(&self, server_name: Option<&str>) -> &Arc<VirtualHost> {
        server_name.map_or_else(|| self.hosts.any(), |name| self.hosts.find(name))
    }

    /// What is accepted of TLS from clients of a virtual host of this table.
    #[must_use]
    pub fn tls_of<'a>(&'a self, host: &'a VirtualHost) -> &'a Arc<TlsPolicy> {
        host.tls.as_ref().unwrap_or(&self.settings.tls)
    }

    /// The index of virtual hosts.
    #[must_use]
    pub fn hosts(&self) -> &HostIndex {
        &self.hosts
    }

    /// The backend at an index that came from a [`Target`] of this same table.
    #[must_use]
    pub fn backend(&self, index: BackendIndex) -> &Arc<Backend> {
        self.backends.get(index).expect("the builder takes no host with a route to a backend that does not exist")
    }

    /// All backends.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.backends.iter()
    }

    /// Certificates by server name.
    #[must_use]
    pub fn certificates(&self) -> &CertificateIndex {
        &self.certificates
    }

    /// Services that are not HTTP.
    #[must_use]
    pub fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// Settings of the whole process.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Whether both are the same in memory. A [`TableBuilder`] keeps what is replaced by something equal, so for two
    /// tables of one builder this means that they answer every request alike; it costs the same for tables of any size.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.hosts.ptr_eq(&other.hosts)
            && self.backends.ptr_eq(&other.backends)
            && self.certificates.ptr_eq(&other.certificates)
            && Arc::ptr_eq(&self.streams, &other.streams)
            && Arc::ptr_eq(&self.settings, &other.settings)
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

    /// What is accepted of TLS from its clients, where that is not what the settings say.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<TlsPolicy>> {
        self.tls.as_ref()
    }

    /// Where TLS connections for it go without being ended here.
    #[must_use]
    pub fn passthrough(&self) -> Option<BackendIndex> {
        self.passthrough
    }

    /// What is asked of client certificates.
    #[must_use]
    pub fn client_auth(&self) -> Option<&Arc<ClientAuth>> {
        self.tls.as_ref()?.client_auth()
    }

    /// The route for a path that went through [`normalize_path`].
    #[must_use]
    pub fn route(&self, path: &str) -> Option<&Arc<Route>> {
        self.paths.find(path).map(|position| &self.routes[position])
    }

    /// All routes, best match first.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

impl PartialEq for VirtualHost {
    /// The index of paths is a function of the routes.
    fn eq(&self, other: &Self) -> bool {
        let Self { host, tls, passthrough, paths: _, routes } = self;
        *host == other.host && *tls == other.tls && *passthrough == other.passthrough && *routes == other.routes
    }
}

impl Eq for VirtualHost {}

#[cfg(test)]
mod tests;
