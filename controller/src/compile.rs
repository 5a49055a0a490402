//! Objects → table. Pure: no clock, no I/O, no logging, no global; the same input gives the same bytes.
//!
//! `compile(&Snapshot, &Options) -> Compiled`. What cannot be served becomes an explicit entry (503, 404, default
//! certificate) plus a [`Diagnostic`], never a hole; everything else stays live.

use crate::{diagnostic::Diagnostic, snapshot::{ObjectName, Snapshot}};
use rust_nginx_proxy::{table::Table, tls::Certificate};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// What the command line decides about compiling. Fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--controller-class`: value of IngressClass `spec.controller` that means us.
    pub controller_class: String,
    /// `--ingress-class`: value of the annotation `kubernetes.io/ingress.class` that means us, and with
    /// `ingress_class_by_name` the name of the IngressClass.
    pub ingress_class: String,
    /// `--ingress-class-by-name`.
    pub ingress_class_by_name: bool,
    /// `--watch-ingress-without-class`.
    pub watch_ingress_without_class: bool,
    /// `--annotations-prefix`, without the slash.
    pub annotations_prefix: String,
    /// `--configmap`.
    pub config_map: Option<ObjectName>,
    /// `--default-backend-service`.
    pub default_backend_service: Option<ObjectName>,
    /// `--default-ssl-certificate`.
    pub default_ssl_certificate: Option<ObjectName>,
    /// Served where no other certificate fits; made at start.
    pub fallback_certificate: Arc<Certificate>,
    /// Port that HTTPS redirects name when they must name one (`--https-port`).
    pub https_port: u16,
    /// `--disable-catch-all`.
    pub disable_catch_all: bool,
    /// `--disable-svc-external-name`.
    pub disable_svc_external_name: bool,
}

/// What a compile gives.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The routing table.
    pub table: Table,
    /// All findings, sorted, each once.
    pub diagnostics: Vec<Diagnostic>,
    /// The Ingresses that are ours (they get status and `Sync` Events).
    pub ingresses: BTreeSet<ObjectName>,
    /// Objects that something refers to, existing or not; the cluster source fetches what its watches do not cover.
    pub references: References,
    /// Settings that are not part of the table because they are read only when the process starts or stops.
    pub process: ProcessSettings,
}

/// Objects by reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Secrets.
    pub secrets: BTreeSet<ObjectName>,
    /// ConfigMaps.
    pub config_maps: BTreeSet<ObjectName>,
}

/// ConfigMap keys that concern the process rather than the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSettings {
    /// `worker-processes`: number of workers, `None` for `auto`. Read at start.
    pub workers: Option<std::num::NonZeroUsize>,
    /// `worker-shutdown-timeout`.
    pub shutdown_timeout: std::time::Duration,
    /// `bind-address`. Read at start.
    pub bind_addresses: Vec<IpAddr>,
    /// `disable-ipv6`. Read at start.
    pub disable_ipv6: bool,
}
