//! Objects → table. Pure: no clock, no I/O, no logging, no global; the same input gives the same bytes.
//!
//! `compile(&Snapshot, &Options) -> Compiled`. What cannot be served becomes an explicit entry (503, 404, default
//! certificate) plus a [`Diagnostic`](crate::diagnostic::Diagnostic), never a hole; everything else stays live.
//!
//! ```text
//!  ConfigMap ─ config_map ─> Globals ─┐
//!  Ingress ─── class ─> ours ─────────┴─ ingress ─> Translated (roster) ─ host ─> VirtualHost ─┐
//!                                                     │  │  └ ownership, conflict: oldest      ├─> Table
//!  Service, EndpointSlice ── backend, endpoints ──────┘  │                                     │
//!  Secret ── tls ────────────────────────────────────────┘─────────────────────> Certificate ──┘
//! ```
//!
//! It is incremental: [`Compiler`] keeps what it made ([`memory`]), finds what is different between two snapshots
//! ([`change`]) and makes only that anew. What it returns does not depend on what it did before, and a full compile is
//! the change from an empty snapshot.

pub mod annotation;
mod app_protocol;
mod backend;
mod change;
mod cipher_list;
mod class;
mod class_config;
pub mod config_map;
mod conflict;
mod counted;
mod endpoints;
mod expiry;
mod external_name;
mod findings;
mod grammar;
mod host;
mod host_tls;
mod ingress;
mod memory;
mod ownership;
mod proxy_ssl;
mod roster;
mod route;
mod streams;
mod tls;

use self::memory::Memory;
pub use self::{
    expiry::{Expiry, due},
    grammar::Value,
};
use crate::{
    diagnostic::{Diagnostics, ObjectKind, ObjectRef},
    snapshot::{ObjectName, Snapshot},
};
use imbl::OrdSet;
use rust_nginx_proxy::{table::Table, tls::Certificate};
use std::{collections::BTreeSet, net::IpAddr, num::NonZeroUsize, sync::Arc, time::Duration};

/// What is decided about compiling. Fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Options {
    /// The command line.
    pub flags: Flags,
    /// Served where no other certificate fits; made at start.
    pub fallback_certificate: Arc<Certificate>,
}

/// What the command line says about compiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
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
    /// Port that HTTPS redirects name when they must name one (`--https-port`).
    pub https_port: u16,
    /// `--disable-catch-all`.
    pub disable_catch_all: bool,
    /// `--disable-svc-external-name`.
    pub disable_svc_external_name: bool,
    /// `--strict-host-ownership`.
    pub strict_host_ownership: bool,
    /// `--enable-topology-aware-routing`.
    pub topology_aware: bool,
    /// `--ignore-app-protocol`.
    pub ignore_app_protocol: bool,
    /// `--tcp-services-configmap`.
    pub tcp_services: Option<ObjectName>,
    /// `--udp-services-configmap`.
    pub udp_services: Option<ObjectName>,
    /// Ports of our own listeners, which cannot become services.
    pub reserved_ports: BTreeSet<u16>,
    /// `--enable-ssl-passthrough`.
    pub ssl_passthrough: bool,
}

/// What a compile gives. All of it shares with the compile before what did not change.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The routing table.
    pub table: Table,
    /// All findings, sorted, each once.
    pub diagnostics: Diagnostics,
    /// What ends some day: [`due`] makes further findings of it.
    pub expiries: OrdSet<Expiry>,
    /// The Ingresses that are ours (they get status and `Sync` Events).
    pub ingresses: OrdSet<ObjectName>,
    /// Objects that something refers to, existing or not; the cluster source fetches what its watches do not cover.
    pub references: References,
    /// Settings that are not part of the table because they are read only when the process starts or stops.
    pub process: ProcessSettings,
}

/// Compiles snapshots one after the other, and makes anew only what a change between two of them concerns.
#[derive(Debug)]
pub struct Compiler {
    options: Options,
    memory: Option<Memory>,
}

/// Objects by reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Secrets.
    pub secrets: OrdSet<ObjectName>,
    /// ConfigMaps.
    pub config_maps: OrdSet<ObjectName>,
    /// Host names to be looked up, in lower case.
    pub host_names: OrdSet<Arc<str>>,
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
    /// A compiler that has seen nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, memory: None }
    }

    /// Compiles a snapshot. The result is the same as that of [`compile`], whatever was compiled before.
    #[must_use]
    pub fn compile(&mut self, snapshot: &Snapshot) -> Compiled {
        // Taken out, so that a panic leaves no half-changed memory behind.
        let mut memory = self.memory.take().unwrap_or_else(|| Memory::new(&self.options));
        memory.update(snapshot, &self.options);
        let compiled = memory.compiled();
        self.memory = Some(memory);
        compiled
    }
}

// === impl References ===

impl References {
    /// Whether both are the same, where an unchanged set is seen at a glance.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        same(&self.secrets, &other.secrets)
            && same(&self.config_maps, &other.config_maps)
            && same(&self.host_names, &other.host_names)
    }
}

fn same<T: Ord>(a: &OrdSet<T>, b: &OrdSet<T>) -> bool {
    a.ptr_eq(b) || a == b
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

/// The field of an annotation.
fn annotation_field(options: &Options, name: &str) -> String {
    format!("metadata.annotations[{}/{name}]", options.flags.annotations_prefix)
}

fn about_ingress(name: &ObjectName) -> ObjectRef {
    ObjectRef::namespaced(ObjectKind::Ingress, name)
}

#[cfg(test)]
mod tests;
