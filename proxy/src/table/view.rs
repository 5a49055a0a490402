//! The readable form of a table: what goldens compare and `/debug/table` prints. Secrets never appear in it.

use super::{Backend, Endpoint, HostMatch, Policy, Protocol, Route, RouteLabels, Settings, Streams, Table, Target};
use crate::{
    filter::Filter,
    tls::{CertificateInfo, TlsPolicy},
};
use serde::Serialize;
use std::num::NonZeroU16;

/// Everything in a fixed order, indexes resolved to names.
#[derive(Serialize)]
pub(super) struct TableView<'a> {
    settings: &'a Settings,
    default_certificate: CertificateInfo<'a>,
    certificates: Vec<CertificateView<'a>>,
    hosts: Vec<HostView<'a>>,
    backends: Vec<BackendView<'a>>,
    #[serde(skip_serializing_if = "is_empty")]
    streams: &'a Streams,
}

#[derive(Serialize)]
struct CertificateView<'a> {
    server_name: HostMatch,
    #[serde(flatten)]
    info: CertificateInfo<'a>,
}

#[derive(Serialize)]
struct HostView<'a> {
    host: &'a HostMatch,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'a TlsPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passthrough: Option<&'a str>,
    routes: Vec<RouteView<'a>>,
}

#[derive(Serialize)]
struct RouteView<'a> {
    #[serde(flatten)]
    path: &'a super::PathMatch,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "<[Filter]>::is_empty")]
    filters: &'a [Filter],
    policy: &'a Policy,
    labels: &'a RouteLabels,
}

#[derive(Serialize)]
struct BackendView<'a> {
    key: &'a str,
    protocol: Protocol,
    endpoints: &'a [Endpoint],
    #[serde(skip_serializing_if = "<[NonZeroU16]>::is_empty")]
    weights: &'a [NonZeroU16],
}

fn is_empty(streams: &Streams) -> bool {
    streams.iter().next().is_none()
}

// === impl TableView ===

impl<'a> TableView<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        let certificates = table.certificates.sorted();
        let mut backends: Vec<_> = table.backends().map(|backend| BackendView::new(backend)).collect();
        backends.sort_by_key(|backend| backend.key);
        Self {
            settings: &table.settings,
            default_certificate: table.certificates.default_certificate().info(),
            certificates: certificates
                .into_iter()
                .map(|(server_name, certificate)| CertificateView { server_name, info: certificate.info() })
                .collect(),
            hosts: table
                .hosts
                .sorted()
                .into_iter()
                .map(|host| HostView {
                    host: host.host(),
                    tls: host.tls().map(|policy| &**policy),
                    passthrough: host.passthrough().map(|backend| table.backend(backend).key().as_str()),
                    routes: host.routes.iter().map(|route| RouteView::new(table, route)).collect(),
                })
                .collect(),
            backends,
            streams: &table.streams,
        }
    }
}

// === impl RouteView ===

impl<'a> RouteView<'a> {
    fn new(table: &'a Table, route: &'a Route) -> Self {
        let (backend, status) = match route.target {
            Target::Backend { backend, no_endpoints } => {
                (Some(table.backend(backend).key().as_str()), (no_endpoints != 503).then(|| no_endpoints.as_u16()))
            }
            Target::Status(status) => (None, Some(status.as_u16())),
        };
        Self {
            path: &route.path,
            backend,
            status,
            filters: &route.filters,
            policy: &route.policy,
            labels: &route.labels,
        }
    }
}

// === impl BackendView ===

impl<'a> BackendView<'a> {
    fn new(backend: &'a Backend) -> Self {
        Self {
            key: backend.key().as_str(),
            protocol: backend.protocol(),
            endpoints: backend.endpoints(),
            weights: backend.weights(),
        }
    }
}
