//! Objects → table. Pure: no clock, no I/O, no logging, no global; the same input gives the same bytes.
//!
//! `compile(&Snapshot, &Options) -> Compiled`. What cannot be served becomes an explicit entry (503, 404, default
//! certificate) plus a [`Diagnostic`], never a hole; everything else stays live.
//!
//! ```text
//!  ConfigMap ─ config_map ─> Globals ──┐
//!  Ingress ─── class ─> ours, by age ──┴─ ingress ─> Translated ─ host ─> VirtualHost ─┐
//!                                                     │  │  └ conflict: oldest claim   ├─> Table
//!  Service, EndpointSlice ── backend, endpoints ──────┘  │                             │
//!  Secret ── tls, memo ──────────────────────────────────┘─────────────> Certificate ──┘
//! ```
//!
//! [`Compiler`] remembers from one compile to the next what was expensive to make; what it returns does not depend on
//! what it remembers.

pub mod annotation;
mod backend;
mod class;
pub mod config_map;
mod conflict;
mod endpoints;
mod grammar;
mod host;
mod ingress;
mod memo;
mod route;
mod tls;

pub use self::grammar::Value;
use self::{backend::Backends, host::Hosts, ingress::Translated, memo::Memo, tls::Certificates};
use crate::{
    diagnostic::{Diagnostic, ObjectKind, ObjectRef},
    snapshot::{ObjectName, Snapshot},
};
use rust_nginx_proxy::{
    table::{Table, TableBuilder},
    tls::Certificate,
};
use std::{collections::BTreeSet, net::IpAddr, num::NonZeroUsize, sync::Arc, time::Duration};

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

/// Compiles snapshots one after the other, and remembers what was expensive to make.
#[derive(Debug)]
pub struct Compiler {
    options: Options,
    memo: Memo,
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
    pub workers: Option<NonZeroUsize>,
    /// `worker-shutdown-timeout`.
    pub shutdown_timeout: Duration,
    /// `bind-address`. Read at start.
    pub bind_addresses: Vec<IpAddr>,
    /// `disable-ipv6`. Read at start.
    pub disable_ipv6: bool,
}

/// Compiles one snapshot with an empty memory.
#[must_use]
pub fn compile(snapshot: &Snapshot, options: &Options) -> Compiled {
    Compiler::new(options.clone()).compile(snapshot)
}

// === impl Compiler ===

impl Compiler {
    /// A compiler with an empty memory.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, memo: Memo::default() }
    }

    /// Compiles a snapshot. The result is the same as that of [`compile`], whatever was compiled before.
    #[must_use]
    pub fn compile(&mut self, snapshot: &Snapshot) -> Compiled {
        let options = &self.options;
        let mut findings = snapshot.findings.to_vec();
        let mut references = References::default();

        let globals = config_map::read(snapshot, options, &mut references, &mut findings);
        let translated: Vec<Translated> = class::select(snapshot, options, &mut findings)
            .into_iter()
            .map(|ingress| ingress::translate(ingress, &globals, options))
            .collect();

        let mut certificates = Certificates::new(snapshot, &mut self.memo.certificates);
        let default_certificate = tls::default_certificate(options, &mut certificates, &mut references, &mut findings);
        let mut table = TableBuilder::new(globals.settings.clone(), default_certificate.clone());
        let backends = Backends::new(snapshot, options);
        let default_backend = backends.default_backend(&mut table, &mut findings);

        let mut hosts = Hosts::new();
        for ingress in &translated {
            references.add(&ingress.ingress);
            findings.extend_from_slice(&ingress.findings);
            hosts.claim(ingress);
        }
        let mut assembly = host::Assembly {
            globals: &globals,
            options,
            default_backend,
            default_certificate,
            backends,
            certificates,
            findings,
            table,
        };
        for (host, claims) in hosts {
            assembly.add(&host, &claims);
        }
        let host::Assembly { mut findings, table, .. } = assembly;
        self.memo.certificates.forget_unused();

        findings.sort_unstable();
        findings.dedup();
        Compiled {
            table: table.build(),
            diagnostics: findings,
            ingresses: translated.iter().map(|translated| translated.ingress.name.clone()).collect(),
            references,
            process: globals.process,
        }
    }
}

// === impl References ===

impl References {
    fn add(&mut self, ingress: &crate::snapshot::Ingress) {
        let named = ingress.tls.iter().filter(|entry| !entry.secret_name.is_empty());
        let namespace = &ingress.name.namespace;
        self.secrets.extend(named.map(|entry| ObjectName::new(namespace.clone(), entry.secret_name.clone())));
    }
}

// === impl ProcessSettings ===

impl Default for ProcessSettings {
    /// With an empty ConfigMap.
    fn default() -> Self {
        Self {
            workers: None,
            shutdown_timeout: Duration::from_secs(240),
            bind_addresses: Vec::new(),
            disable_ipv6: false,
        }
    }
}

fn about_ingress(name: &ObjectName) -> ObjectRef {
    ObjectRef::namespaced(ObjectKind::Ingress, name)
}

#[cfg(test)]
mod tests;
