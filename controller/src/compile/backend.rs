//! Services → backends of the table, each made once however many routes refer to it, and made anew when its Service or
//! its EndpointSlices change: routes refer to it by a position that stays.
//!
//! Identity is namespace, Service and port as written: port 80 and port `http` are two backends, as in ingress-nginx.
//! What cannot be resolved is a backend without endpoints, so that it needs no new routes when it can.

pub(super) mod port;

use super::{
    Options, app_protocol, endpoints,
    external_name::{self, External},
    host::HostId,
};
use crate::{
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::{ObjectName, Service, ServiceBackend, ServicePort, ServicePortRef, ServiceType, Snapshot},
};
use http::StatusCode;
use imbl::OrdSet;
use rust_nginx_proxy::table::{Backend, BackendIndex, BackendKey, Endpoint, Protocol, TableBuilder, Target};
use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

/// Name of the global default backend in logs and metrics, as ingress-nginx calls it.
const DEFAULT_BACKEND: &str = "upstream-default-backend";

/// The backends of the table.
#[derive(Debug, Default)]
pub(super) struct Backends {
    by_index: HashMap<BackendIndex, Entry>,
    by_reference: HashMap<Reference, BackendIndex>,
    by_service: HashMap<ObjectName, Vec<BackendIndex>>,
    by_host_name: HashMap<Arc<str>, Vec<BackendIndex>>,
    host_names: OrdSet<Arc<str>>,
    /// Who would be called the same.
    namesakes: HashMap<Arc<str>, BTreeSet<Reference>>,
}

#[derive(Debug)]
struct Entry {
    reference: Reference,
    complaint: Option<Complaint>,
    /// The name that its addresses come from, of a Service of type ExternalName.
    host_name: Option<Arc<str>>,
    /// Hosts with a route to it, sorted.
    users: Vec<HostId>,
}

/// What a backend is made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reference {
    /// The first port of the Service of `--default-backend-service`.
    Default(ObjectName),
    /// A Service and one of its ports.
    Port {
        /// The Service.
        service: ObjectName,
        /// As written.
        port: ServicePortRef,
        /// `service-upstream`: the Service's own address, not those of its pods.
        cluster_ip: bool,
    },
}

/// Why not all is well with a backend; said to everybody who refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) reason: Reason,
    /// Says what happens instead, too.
    pub(super) message: Arc<str>,
}

/// Where requests go that no rule claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DefaultBackend {
    /// The Service of `--default-backend-service`, else 404.
    pub(super) target: Target,
    /// Its name, empty without one.
    pub(super) service: Arc<str>,
    /// Its port, empty without one.
    pub(super) service_port: Arc<str>,
}

/// What a reference comes to.
#[derive(Default)]
struct Resolution {
    protocol: Protocol,
    endpoints: Vec<Endpoint>,
    /// Reason and a sentence without end.
    problem: Option<(Reason, String)>,
    /// A name that has to be looked up for it.
    host_name: Option<Arc<str>>,
}

/// What an index stands for.
struct Made {
    backend: Backend,
    complaint: Option<Complaint>,
    host_name: Option<Arc<str>>,
}

// === impl Backends ===

impl Backends {
    /// The backend of a reference. It lives until it is released by its last user.
    pub(super) fn acquire(
        &mut self,
        reference: Reference,
        snapshot: &Snapshot,
        options: &Options,
        table: &mut TableBuilder,
    ) -> BackendIndex {
        if let Some(index) = self.by_reference.get(&reference) {
            return *index;
        }
        let namesakes = self.namesakes.entry(reference.plain_name()).or_default();
        namesakes.insert(reference.clone());
        let crowded = namesakes.len() > 1;
        let Made { backend, complaint, host_name } = self.make(&reference, snapshot, options);
        let index = table.add_backend(Arc::new(backend));
        self.rename_host(index, None, host_name.as_ref());
        self.by_service.entry(reference.service().clone()).or_default().push(index);
        self.by_reference.insert(reference.clone(), index);
        if crowded {
            self.rename(&reference.plain_name(), table);
        }
        self.by_index.insert(index, Entry { reference, complaint, host_name, users: Vec::new() });
        index
    }

    /// A host has routes to the backend.
    pub(super) fn add_user(&mut self, index: BackendIndex, user: HostId) {
        let Some(entry) = self.by_index.get_mut(&index) else { return };
        if let Err(position) = entry.users.binary_search(&user) {
            entry.users.insert(position, user);
        }
    }

    /// A host has no route to the backend any more; without any, the backend is removed.
    pub(super) fn remove_user(&mut self, index: BackendIndex, user: HostId, table: &mut TableBuilder) {
        let Some(entry) = self.by_index.get_mut(&index) else { return };
        if let Ok(position) = entry.users.binary_search(&user) {
            entry.users.remove(position);
        }
        let pinned = matches!(entry.reference, Reference::Default(_));
        if !entry.users.is_empty() || pinned {
            return;
        }
        let Some(Entry { reference, host_name, .. }) = self.by_index.remove(&index) else { return };
        self.rename_host(index, host_name.as_ref(), None);
        table.remove_backend(index);
        self.by_reference.remove(&reference);
        if let Some(indexes) = self.by_service.get_mut(reference.service()) {
            indexes.retain(|other| *other != index);
            if indexes.is_empty() {
                self.by_service.remove(reference.service());
            }
        }
        let name = reference.plain_name();
        if let Some(namesakes) = self.namesakes.get_mut(&name) {
            namesakes.remove(&reference);
            if namesakes.is_empty() {
                self.namesakes.remove(&name);
            } else {
                self.rename(&name, table);
            }
        }
    }

    /// What there is to say about a backend.
    pub(super) fn complaint(&self, index: BackendIndex) -> Option<&Complaint> {
        self.by_index.get(&index)?.complaint.as_ref()
    }

    /// The backends that are made from a Service.
    pub(super) fn of_service(&self, service: &ObjectName) -> &[BackendIndex] {
        self.by_service.get(service).map_or(&[], Vec::as_slice)
    }

    /// The backends whose addresses come from a host name.
    pub(super) fn of_host_name(&self, host_name: &str) -> &[BackendIndex] {
        self.by_host_name.get(host_name).map_or(&[], Vec::as_slice)
    }

    /// The names that addresses of backends come from.
    pub(super) fn host_names(&self) -> &OrdSet<Arc<str>> {
        &self.host_names
    }

    /// Makes a backend anew. Returns the hosts to which there is something else to say now.
    pub(super) fn refresh(
        &mut self,
        index: BackendIndex,
        snapshot: &Snapshot,
        options: &Options,
        table: &mut TableBuilder,
    ) -> Vec<HostId> {
        let Some(entry) = self.by_index.get(&index) else { return Vec::new() };
        let Made { backend, complaint, host_name } = self.make(&entry.reference, snapshot, options);
        table.replace_backend(index, backend);
        let Some(entry) = self.by_index.get_mut(&index) else { return Vec::new() };
        let concerned = if entry.complaint == complaint { Vec::new() } else { entry.users.clone() };
        entry.complaint = complaint;
        let before = std::mem::replace(&mut entry.host_name, host_name.clone());
        self.rename_host(index, before.as_ref(), host_name.as_ref());
        concerned
    }

    /// The addresses of a backend come from another name.
    fn rename_host(&mut self, index: BackendIndex, old: Option<&Arc<str>>, new: Option<&Arc<str>>) {
        if old == new {
            return;
        }
        if let Some(old) = old
            && let Some(indexes) = self.by_host_name.get_mut(old)
        {
            indexes.retain(|other| *other != index);
            if indexes.is_empty() {
                self.by_host_name.remove(old);
                self.host_names.remove(old);
            }
        }
        if let Some(new) = new {
            self.by_host_name.entry(new.clone()).or_default().push(index);
            self.host_names.insert(new.clone());
        }
    }

    fn make(&self, reference: &Reference, snapshot: &Snapshot, options: &Options) -> Made {
        let Resolution { protocol, endpoints, problem, host_name } = resolve(reference, snapshot, options);
        let serves = !endpoints.is_empty();
        let complaint = problem.map(|(reason, text)| {
            let answer = reference.without_endpoints().as_u16();
            let message = match reason {
                // Something is wrong, and something else serves.
                _ if serves => text,
                Reason::NoEndpoints => format!("{text}: {answer} until it has one"),
                _ => format!("{text}: {answer}"),
            };
            Complaint { reason, message: message.into() }
        });
        Made { backend: Backend::new(self.key(reference), protocol, endpoints), complaint, host_name }
    }

    /// `namespace-service-port` is ambiguous (`a-b`/`c` and `a`/`b-c`), and two namespaces must never share a backend:
    /// of those that read alike, all but the first get a name that cannot be misread.
    fn key(&self, reference: &Reference) -> BackendKey {
        let name = reference.plain_name();
        let first = self.namesakes.get(&name).and_then(BTreeSet::first);
        if first.is_none_or(|first| first == reference) { BackendKey::new(name) } else { reference.full_name() }
    }

    /// Somebody came or went who would be called the same.
    fn rename(&self, name: &Arc<str>, table: &mut TableBuilder) {
        for reference in self.namesakes.get(name).into_iter().flatten() {
            let Some(index) = self.by_reference.get(reference) else { continue };
            if let Some(backend) = table.backend(*index) {
                let renamed = Backend::new(self.key(reference), backend.protocol(), backend.endpoints().to_vec());
                table.replace_backend(*index, renamed);
            }
        }
    }
}

// === impl Reference ===

impl Reference {
    /// The backend of a rule in `namespace`.
    pub(super) fn of_rule(namespace: &Arc<str>, backend: &ServiceBackend, cluster_ip: bool) -> Self {
        let service = ObjectName { namespace: namespace.clone(), name: backend.name.clone() };
        Self::Port { service, port: backend.port.clone(), cluster_ip }
    }

    fn service(&self) -> &ObjectName {
        match self {
            Self::Default(service) | Self::Port { service, .. } => service,
        }
    }

    /// What is answered while there is no endpoint.
    pub(super) fn without_endpoints(&self) -> StatusCode {
        match self {
            Self::Default(_) => StatusCode::NOT_FOUND,
            Self::Port { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The name in logs and metrics.
    fn plain_name(&self) -> Arc<str> {
        match self {
            Self::Default(_) => DEFAULT_BACKEND.into(),
            Self::Port { service, port, .. } => format!("{}-{}-{port}", service.namespace, service.name).into(),
        }
    }

    fn full_name(&self) -> BackendKey {
        BackendKey::new(match self {
            Self::Default(service) => format!("{DEFAULT_BACKEND} {service}"),
            Self::Port { service, port, cluster_ip: false } => format!("{service}:{port}"),
            Self::Port { service, port, cluster_ip: true } => format!("{service}:{port} (cluster IP)"),
        })
    }
}

// === impl DefaultBackend ===

impl DefaultBackend {
    /// No Service: 404.
    pub(super) fn nothing() -> Self {
        Self { target: Target::Status(StatusCode::NOT_FOUND), service: "".into(), service_port: "".into() }
    }

    /// The first TCP port of a Service.
    pub(super) fn of(name: &ObjectName, index: BackendIndex, snapshot: &Snapshot) -> Self {
        let port = snapshot.services.get(name).and_then(|service| first_port(service));
        Self {
            target: Target::Backend { backend: index, no_endpoints: StatusCode::NOT_FOUND },
            service: name.name.clone(),
            service_port: port.map_or_else(|| "".into(), |port| port.port.to_string().into()),
        }
    }
}

// === impl Complaint ===

impl Complaint {
    /// About the Service of a flag.
    pub(super) fn about_flag(&self, flag: &'static str) -> Diagnostic {
        let reason = if self.reason == Reason::BackendNotFound { Reason::RefNotFound } else { self.reason };
        Diagnostic::warning(ObjectRef::named(ObjectKind::Flag, flag), reason, "", &*self.message)
    }
}

fn first_port(service: &Service) -> Option<&ServicePort> {
    service.ports.iter().find(|port| port.tcp)
}

fn resolve(reference: &Reference, snapshot: &Snapshot, options: &Options) -> Resolution {
    let nothing = |reason, text| Resolution { problem: Some((reason, text)), ..Resolution::default() };
    let name = reference.service();
    let Some(service) = snapshot.services.get(name) else {
        return nothing(Reason::BackendNotFound, format!("Service {name} does not exist"));
    };
    if service.service_type == ServiceType::ExternalName {
        if options.flags.disable_svc_external_name {
            let switch = "--disable-svc-external-name switches off";
            return nothing(Reason::UnsupportedValue, format!("Service {name} has type ExternalName, which {switch}"));
        }
        return external(service, reference, snapshot, options);
    }
    let (port, cluster_ip) = match reference {
        Reference::Default(_) => match first_port(service) {
            Some(port) => (port, false),
            None => return nothing(Reason::BackendNotFound, format!("Service {name} has no TCP port")),
        },
        Reference::Port { port, cluster_ip, .. } => match port::find(service, port) {
            Ok(port) => (port, *cluster_ip),
            Err(text) => return nothing(Reason::BackendNotFound, text),
        },
    };
    // A headless Service has no address of its own; ingress-nginx then uses its endpoints, too.
    let endpoints = match service.cluster_ips.first().filter(|_| cluster_ip) {
        Some(address) => vec![Endpoint { address: SocketAddr::new(*address, port.port) }],
        None => endpoints::of_port(service, port, snapshot, options),
    };
    let problem = endpoints.is_empty().then(|| {
        let of_port = match reference {
            Reference::Default(_) => String::new(),
            Reference::Port { port, .. } => format!(" for port {port}"),
        };
        endpoints::none(service, port, snapshot, &of_port)
    });
    let protocol = match reference {
        // As in ingress-nginx, which speaks plain HTTP to the global default backend whatever anybody says.
        Reference::Default(_) => Protocol::Http1,
        Reference::Port { .. } => app_protocol::of(port, options),
    };
    Resolution { protocol, endpoints, problem, host_name: None }
}

fn external(service: &Service, reference: &Reference, snapshot: &Snapshot, options: &Options) -> Resolution {
    let wanted = match reference {
        Reference::Default(_) => None,
        Reference::Port { port, .. } => Some(port),
    };
    // A port that the Service does not have says nothing about what is spoken on it.
    let known = wanted.and_then(|wanted| port::find(service, wanted).ok());
    let External { addresses, host_name, problem } = external_name::resolve(service, wanted, snapshot);
    Resolution {
        protocol: known.map_or(Protocol::Http1, |port| app_protocol::of(port, options)),
        endpoints: addresses.into_iter().map(|address| Endpoint { address }).collect(),
        problem: problem.map(|text| (Reason::BackendNotFound, text)),
        host_name,
    }
}
