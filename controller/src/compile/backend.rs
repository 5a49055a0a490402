//! Services → backends of the table, each made once however many routes refer to it.
//!
//! Identity is namespace, Service and port as written: port 80 and port `http` are two backends, as in ingress-nginx.

use super::{Options, endpoints};
use crate::{
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::{ObjectName, Service, ServiceBackend, ServicePort, ServicePortRef, ServiceType, Snapshot},
};
use http::StatusCode;
use rust_nginx_proxy::table::{Backend, BackendIndex, BackendKey, Protocol, TableBuilder, Target};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Name of the global default backend in logs and metrics, as ingress-nginx calls it.
const DEFAULT_BACKEND: &str = "upstream-default-backend";

/// The backends of one compile.
pub(super) struct Backends<'a> {
    snapshot: &'a Snapshot,
    options: &'a Options,
    resolved: HashMap<Reference, Resolution>,
    keys: HashSet<Arc<str>>,
}

/// A Service and one of its ports.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Reference {
    service: ObjectName,
    port: ServicePortRef,
}

/// What a reference came to: the target, and what there is to say to everybody who refers to it.
#[derive(Clone)]
pub(super) struct Resolution {
    /// Where requests go.
    pub(super) target: Target,
    /// Why not all is well, and what happens instead.
    pub(super) complaint: Option<(Reason, Arc<str>)>,
}

/// Where requests go that no rule claims.
pub(super) struct DefaultBackend {
    /// The Service of `--default-backend-service`, else 404.
    pub(super) target: Target,
    /// Its name, empty without one.
    pub(super) service: Box<str>,
    /// Its port, empty without one.
    pub(super) service_port: Box<str>,
}

// === impl Backends ===

impl<'a> Backends<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, options: &'a Options) -> Self {
        Self { snapshot, options, resolved: HashMap::new(), keys: HashSet::new() }
    }

    /// Resolves the backend of a rule in `namespace`.
    pub(super) fn resolve(
        &mut self,
        table: &mut TableBuilder,
        namespace: &Arc<str>,
        backend: &ServiceBackend,
    ) -> Resolution {
        let service = ObjectName { namespace: namespace.clone(), name: backend.name.clone() };
        let reference = Reference { service, port: backend.port.clone() };
        if let Some(known) = self.resolved.get(&reference) {
            return known.clone();
        }
        let resolution = self.resolve_new(table, &reference);
        self.resolved.insert(reference, resolution.clone());
        resolution
    }

    fn resolve_new(&mut self, table: &mut TableBuilder, reference: &Reference) -> Resolution {
        let Reference { service: name, port: wanted } = reference;
        let Some(service) = self.snapshot.services.get(name) else {
            return Resolution::unavailable(Reason::BackendNotFound, format!("Service {name} does not exist"));
        };
        if service.service_type == ServiceType::ExternalName {
            return Resolution::unavailable(Reason::UnsupportedValue, self.external_name(service));
        }
        let port = match find_port(service, wanted) {
            Ok(port) => port,
            Err(message) => return Resolution::unavailable(Reason::BackendNotFound, message),
        };
        let key = self.key(name, wanted);
        let (index, is_empty) = self.add(table, key, service, port);
        let target = Target::Backend { backend: index, no_endpoints: StatusCode::SERVICE_UNAVAILABLE };
        let complaint = is_empty.then(|| {
            let message = format!("Service {name} has no ready endpoint for port {wanted}: 503 until it has one");
            (Reason::NoEndpoints, message.into())
        });
        Resolution { target, complaint }
    }

    fn external_name(&self, service: &Service) -> String {
        let name = &service.name;
        if self.options.disable_svc_external_name {
            return format!("Service {name} has type ExternalName, which --disable-svc-external-name switches off");
        }
        format!("Service {name} has type ExternalName, which is not served by this version")
    }

    fn add(
        &self,
        table: &mut TableBuilder,
        key: BackendKey,
        service: &Service,
        port: &ServicePort,
    ) -> (BackendIndex, bool) {
        let found = endpoints::of_port(service, port, self.snapshot.endpoint_slices.get(&service.name));
        let is_empty = found.is_empty();
        (table.add_backend(Arc::new(Backend::new(key, Protocol::Http1, found))), is_empty)
    }

    /// `namespace-service-port` is ambiguous (`a-b`/`c` and `a`/`b-c`), and two namespaces must never share a backend:
    /// of those that read alike, all but the first get a name that cannot be misread.
    fn key(&mut self, service: &ObjectName, port: &ServicePortRef) -> BackendKey {
        let plain: Arc<str> = format!("{}-{}-{port}", service.namespace, service.name).into();
        if self.keys.insert(plain.clone()) {
            BackendKey::new(plain)
        } else {
            BackendKey::new(format!("{service}:{port}"))
        }
    }

    /// `--default-backend-service`, its first port. Without it, or while it does not exist, 404.
    pub(super) fn default_backend(&self, table: &mut TableBuilder, findings: &mut Vec<Diagnostic>) -> DefaultBackend {
        let not_found = Target::Status(StatusCode::NOT_FOUND);
        let nothing = DefaultBackend { target: not_found, service: "".into(), service_port: "".into() };
        let Some(name) = &self.options.default_backend_service else { return nothing };
        let flag = || ObjectRef::named(ObjectKind::Flag, "default-backend-service");
        let mut warn = |reason, message| findings.push(Diagnostic::warning(flag(), reason, "", message));
        let Some(service) = self.snapshot.services.get(name) else {
            warn(Reason::RefNotFound, format!("Service {name} does not exist: 404 until it does"));
            return nothing;
        };
        if service.service_type == ServiceType::ExternalName {
            warn(Reason::UnsupportedValue, format!("{}: 404", self.external_name(service)));
            return nothing;
        }
        let Some(port) = service.ports.iter().find(|port| port.tcp) else {
            warn(Reason::BackendNotFound, format!("Service {name} has no TCP port: 404"));
            return nothing;
        };
        let (backend, is_empty) = self.add(table, BackendKey::new(DEFAULT_BACKEND), service, port);
        if is_empty {
            warn(Reason::NoEndpoints, format!("Service {name} has no ready endpoint: 404 until it has one"));
        }
        DefaultBackend {
            target: Target::Backend { backend, no_endpoints: StatusCode::NOT_FOUND },
            service: (*name.name).into(),
            service_port: port.port.to_string().into(),
        }
    }
}

// === impl Resolution ===

impl Resolution {
    fn unavailable(reason: Reason, message: impl std::fmt::Display) -> Self {
        Self {
            target: Target::Status(StatusCode::SERVICE_UNAVAILABLE),
            complaint: Some((reason, format!("{message}: 503").into())),
        }
    }
}

/// The port by number (of the Service or of its pods) or name; the first that fits, as in ingress-nginx.
fn find_port<'a>(service: &'a Service, wanted: &ServicePortRef) -> Result<&'a ServicePort, String> {
    let name = &service.name;
    let fits = |port: &&ServicePort| match wanted {
        ServicePortRef::Number(number) => port.port == *number || port.target_number == Some(*number),
        ServicePortRef::Name(name) => port.name == *name,
        ServicePortRef::Missing => false,
    };
    if *wanted == ServicePortRef::Missing {
        return Err(format!("the backend {} names no port, neither by name nor by number", name.name));
    }
    let fitting = || service.ports.iter().filter(fits);
    match fitting().find(|port| port.tcp) {
        Some(port) => Ok(port),
        None if fitting().next().is_some() => Err(format!("port {wanted} of Service {name} is not TCP")),
        None => {
            let has: Vec<_> = service.ports.iter().map(describe).collect();
            let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
            Err(format!("Service {name} has no port {wanted}; it has {has}"))
        }
    }
}

fn describe(port: &ServicePort) -> String {
    if port.name.is_empty() { port.port.to_string() } else { format!("{} ({})", port.port, port.name) }
}
