//! The fields of API objects that we read, typed.
//!
//! Conversions destructure the API structs field by field, so that a field that a newer API adds is a build error, not
//! a silent hole.

use jiff::Timestamp;
use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

/// Namespace and name. Cheap to clone, ordered by namespace, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// An entry of `status.loadBalancer.ingress`, as (ip, hostname).
pub type LoadBalancerAddress = (Option<Arc<str>>, Option<Arc<str>>);

/// networking.k8s.io/v1 Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.uid`; empty for objects from files that have none.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`, for Events and status patches; empty from files.
    pub resource_version: Arc<str>,
    /// `metadata.creationTimestamp`; `None` from files without one (counts as oldest).
    pub created: Option<Timestamp>,
    /// `metadata.annotations`, without kubectl's copy of the whole object.
    pub annotations: BTreeMap<String, String>,
    /// `spec.ingressClassName`.
    pub class_name: Option<Arc<str>>,
    /// `spec.defaultBackend`.
    pub default_backend: Option<Backend>,
    /// `spec.rules`.
    pub rules: Box<[IngressRule]>,
    /// `spec.tls`.
    pub tls: Box<[IngressTls]>,
    /// Addresses in `status.loadBalancer.ingress`.
    pub status: Box<[LoadBalancerAddress]>,
    /// Who wrote them, by `metadata.managedFields`, when it was one program only and one of ours.
    pub status_writer: Option<Arc<str>>,
}

/// `spec.rules[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressRule {
    /// `host`, empty for every host.
    pub host: String,
    /// `http.paths`; `None` when the rule has no `http`.
    pub paths: Option<Box<[IngressPath]>>,
}

/// `spec.rules[].http.paths[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressPath {
    /// `path`, empty when absent.
    pub path: Arc<str>,
    /// `pathType`.
    pub path_type: PathType,
    /// `backend`.
    pub backend: Backend,
}

/// `pathType`; absent (only possible in files) counts as `ImplementationSpecific`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathType {
    /// Equality.
    Exact,
    /// By path element.
    Prefix,
    /// Ours to define.
    ImplementationSpecific,
}

/// `IngressBackend`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A Service.
    Service(ServiceBackend),
    /// Any other object, which we do not serve: `kind/name`.
    Resource(String),
    /// Neither; only possible in files.
    Nothing,
}

/// A Service and one of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceBackend {
    /// Name of the Service, in the namespace of the Ingress.
    pub name: Arc<str>,
    /// Which port.
    pub port: ServicePortRef,
}

/// How a port is referred to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServicePortRef {
    /// By name.
    Name(Arc<str>),
    /// By number.
    Number(u16),
    /// Neither; only possible in files.
    Missing,
}

/// `spec.tls[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressTls {
    /// `hosts`.
    pub hosts: Box<[String]>,
    /// `secretName`, empty when absent.
    pub secret_name: Arc<str>,
}

/// networking.k8s.io/v1 IngressClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClass {
    /// Name.
    pub name: Arc<str>,
    /// `spec.controller`.
    pub controller: String,
    /// Annotation `ingressclass.kubernetes.io/is-default-class` is `true`.
    pub is_default: bool,
    /// `spec.parameters` as (apiGroup, kind, name).
    pub parameters: Option<(String, String, String)>,
}

/// rust-nginx.io/v1alpha1 IngressClassConfig, as the keys of the ConfigMap that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassConfig {
    /// Name.
    pub name: Arc<str>,
    /// Key and value of the ConfigMap, for each field that is set.
    pub data: BTreeMap<&'static str, String>,
}

/// core/v1 Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// `spec.type`.
    pub service_type: ServiceType,
    /// `spec.clusterIPs` (or `clusterIP`), without `None`; empty for headless Services.
    pub cluster_ips: Box<[IpAddr]>,
    /// `spec.externalName`.
    pub external_name: Option<String>,
    /// `spec.externalIPs`.
    pub external_ips: Box<[String]>,
    /// `spec.ports`.
    pub ports: Box<[ServicePort]>,
    /// Addresses in `status.loadBalancer.ingress`.
    pub load_balancer: Box<[LoadBalancerAddress]>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// `spec.trafficDistribution`.
    pub traffic_distribution: Option<String>,
    /// `metadata.annotations`, only those with the prefix `service.kubernetes.io/`.
    pub annotations: BTreeMap<String, String>,
}

/// What a Service of type ExternalName names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalName {
    /// An address, which needs no DNS.
    Address(IpAddr),
    /// A name of the machine that asks (RFC 6761 §6.3), in lower case.
    Local(Arc<str>),
    /// A name for DNS, in lower case. A dot at the end keeps search domains out, so it stays.
    Name(Arc<str>),
    /// Nothing.
    Nothing,
}

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// The default.
    ClusterIp,
    /// A port on every node.
    NodePort,
    /// An address from the cloud.
    LoadBalancer,
    /// A DNS name.
    ExternalName,
}

/// `spec.ports[]` of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`, empty when absent.
    pub name: Arc<str>,
    /// `port`.
    pub port: u16,
    /// `targetPort` when it is a number; `port` when it is absent.
    pub target_number: Option<u16>,
    /// `protocol` is `TCP`.
    pub tcp: bool,
    /// `appProtocol`.
    pub app_protocol: Option<String>,
}

/// discovery.k8s.io/v1 EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: ObjectName,
    /// Label `kubernetes.io/service-name`; empty when absent, then no Service has this slice.
    pub service: Arc<str>,
    /// `ports`.
    pub ports: Box<[EndpointPort]>,
    /// `endpoints`, one for each of their addresses.
    pub endpoints: Box<[SliceEndpoint]>,
}

/// `ports[]` of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// `name`, empty when absent: the name of the Service's port.
    pub name: Arc<str>,
    /// `port`; `None` means all ports, which no Ingress backend can use.
    pub port: Option<u16>,
    /// `protocol` is `TCP`.
    pub tcp: bool,
}

/// One address of `endpoints[]` of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// One of `addresses`.
    pub address: IpAddr,
    /// `conditions.ready`, absent counts as true.
    pub ready: bool,
    /// `conditions.serving`, absent counts as `ready`.
    pub serving: bool,
    /// `conditions.terminating`, absent counts as false.
    pub terminating: bool,
    /// `hints.forZones`.
    pub for_zones: Box<[Arc<str>]>,
}

/// core/v1 Secret. The values cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Namespace and name.
    pub name: ObjectName,
    /// `type`.
    pub secret_type: String,
    /// `data`, and `stringData` in files.
    pub data: BTreeMap<String, Box<[u8]>>,
}

/// core/v1 ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMap {
    /// Namespace and name.
    pub name: ObjectName,
    /// `data`.
    pub data: BTreeMap<String, String>,
}

/// core/v1 Pod, as far as we look at those of this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.nodeName`.
    pub node: Option<Arc<str>>,
    /// It runs, its condition `Ready` is true, and nobody is deleting it.
    pub ready: bool,
}

/// core/v1 Node, as far as we look at those of this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// `status.addresses[]` of type `ExternalIP`.
    pub external: Vec<Arc<str>>,
    /// `status.addresses[]` of type `InternalIP`.
    pub internal: Vec<Arc<str>>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
}

// === impl Ingress ===

impl Ingress {
    /// The annotation that selected a class before `spec.ingressClassName` existed.
    pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

    /// How the names begin under which installations of this program write the status.
    pub const STATUS_WRITER: &str = "rust-nginx:";

    /// Whether two states of an Ingress ask for the same; what others write into it aside.
    #[must_use]
    pub fn declares_same(&self, other: &Self) -> bool {
        let Self {
            name,
            uid: _,
            resource_version: _,
            created,
            annotations,
            class_name,
            default_backend,
            rules,
            tls,
            status: _,
            status_writer: _,
        } = self;
        *name == other.name
            && *created == other.created
            && *annotations == other.annotations
            && *class_name == other.class_name
            && *default_backend == other.default_backend
            && *rules == other.rules
            && *tls == other.tls
    }

    /// The Secrets that `spec.tls` names, in its own namespace.
    pub fn tls_secrets(&self) -> impl Iterator<Item = ObjectName> {
        let named = self.tls.iter().filter(|entry| !entry.secret_name.is_empty());
        named.map(|entry| ObjectName { namespace: self.name.namespace.clone(), name: entry.secret_name.clone() })
    }
}

// === impl Service ===

impl Service {
    /// What it names; `None` for the other types.
    #[must_use]
    pub fn external(&self) -> Option<ExternalName> {
        if self.service_type != ServiceType::ExternalName {
            return None;
        }
        let name: Arc<str> = self.external_name.as_deref().unwrap_or_default().trim().to_ascii_lowercase().into();
        if let Ok(address) = name.parse() {
            return Some(ExternalName::Address(address));
        }
        Some(match name.strip_suffix('.').unwrap_or(&name) {
            "" => ExternalName::Nothing,
            bare if bare == "localhost" || bare.ends_with(".localhost") => ExternalName::Local(name),
            _ => ExternalName::Name(name),
        })
    }
}

// === impl Pod ===

impl Pod {
    /// Labels that tell one pod of an installation from another, or one revision or version of it from the next.
    const OWN_LABELS: [&str; 7] = [
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "app.kubernetes.io/version",
        "helm.sh/chart",
    ];

    /// The label selector of all pods of the same installation; `None` when nothing but its name tells this pod from any
    /// other.
    #[must_use]
    pub fn peers(&self) -> Option<String> {
        let common = self.labels.iter().filter(|(key, _)| !Self::OWN_LABELS.contains(&key.as_str()));
        let terms: Vec<String> = common.map(|(key, value)| format!("{key}={value}")).collect();
        (!terms.is_empty()).then(|| terms.join(","))
    }
}

// === impl ObjectName ===

impl ObjectName {
    /// From its parts.
    #[must_use]
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Parses `namespace/name`; `None` when it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains('/')).then(|| Self::new(namespace, name))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl Secret ===

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .field("secret_type", &self.secret_type)
            .field("keys", &self.data.keys().collect::<Vec<_>>())
            .finish()
    }
}

// === impl ServicePortRef ===

impl fmt::Display for ServicePortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
            Self::Missing => Ok(()),
        }
    }
}
