//! The typed results of parsing, and the rules between flags.

mod listen;

pub use self::listen::Listen;
use super::{
    Environment,
    flag::{Effect, Flag},
    selector::LabelSelector,
    values::{BindAddress, Values},
};
use crate::{
    compile::Flags,
    snapshot::{ObjectName, is_dns_subdomain},
};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// `rust-nginx serve`.
#[derive(Clone, Debug)]
pub struct Serve {
    /// Where objects come from.
    pub source: Source,
    /// `--resolv-conf`: how host names are resolved.
    pub resolv_conf: PathBuf,
    /// Who we are.
    pub identity: Identity,
    /// Traffic listeners.
    pub listen: Listen,
    /// Admin listener.
    pub admin: Admin,
    /// What compile needs to know.
    pub compile: Flags,
    /// The Lease; `None` with `--disable-leader-election`.
    pub election: Option<Election>,
    /// Status of Ingresses.
    pub status: Status,
    /// Whether `Sync` Events are sent.
    pub sync_events: bool,
    /// The end.
    pub shutdown: Shutdown,
    /// The log.
    pub log: Log,
    /// To be logged once logging works: flags without effect, values that were replaced.
    pub warnings: Vec<String>,
}

/// `rust-nginx demo`.
#[derive(Clone, Debug)]
pub struct Demo {
    /// `--once`: check itself and exit.
    pub once: bool,
    /// `--http-addr`; empty for the demo's own choice.
    pub http: Vec<BindAddress>,
    /// `--https-addr`; empty for the demo's own choice.
    pub https: Vec<BindAddress>,
    /// `--admin-addr`; empty for the demo's own choice.
    pub admin: Vec<BindAddress>,
    /// The log.
    pub log: Log,
}

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `--manifests`
    Manifests(PathBuf, Scope),
    /// A cluster.
    Cluster(ClusterAccess),
}

/// How the cluster is reached and what of it is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterAccess {
    /// `--kubeconfig`; `None` means the ServiceAccount of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// `--apiserver-host`
    pub api_server: Option<String>,
    /// `--certificate-authority`
    pub certificate_authority: Option<PathBuf>,
    /// Which namespaces.
    pub scope: Scope,
}

/// Which namespaces are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// One: `--watch-namespace`.
    Namespace(String),
    /// Those with labels: `--watch-namespace-selector`.
    Selector(LabelSelector),
}

/// Who we are: `POD_NAME` and `POD_NAMESPACE`. They need not name a real Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name; the host name where the variable is absent.
    pub pod_name: String,
    /// Namespace; `default` where the variable is absent.
    pub pod_namespace: String,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub addresses: Vec<BindAddress>,
    /// `--health-check-path`
    pub health_path: String,
}

/// Leader election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// `--election-id`, in the namespace of the pod.
    pub lease: ObjectName,
    /// `--election-ttl`
    pub ttl: Duration,
}

/// Status of Ingresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `--update-status`
    pub enabled: bool,
    /// Which addresses.
    pub publish: Publish,
    /// `--status-update-interval`
    pub interval: Duration,
    /// `--update-status-on-shutdown`
    pub clear_on_shutdown: bool,
}

/// Where the addresses of the status come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// Nobody said: those of the nodes that this installation runs on.
    Nodes(NodeAddress),
    /// `--publish-status-address`
    Addresses(Vec<String>),
    /// `--publish-service`
    Service(ObjectName),
}

/// Which addresses of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAddress {
    /// The external ones; where a node has none, the internal ones.
    External,
    /// The internal ones: `--report-node-internal-ip-address`.
    Internal,
}

/// The end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// `--shutdown-grace-period`
    pub grace: Duration,
    /// `--post-shutdown-grace-period`
    pub post_grace: Duration,
}

/// The log on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// `--log-format`
    pub format: LogFormat,
    /// `-v`
    pub verbosity: u32,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

// === impl Serve ===

impl Serve {
    pub(super) fn from_values(values: &mut Values, environment: &dyn Environment) -> Self {
        let mut warnings: Vec<_> = values.given().filter_map(|(flag, origin)| warning(flag, origin)).collect();
        check_conflicts(values);
        let identity = Identity::new(environment);
        let (listen, admin) = (Listen::from_values(values), Admin::from_values(values));
        let (source, compile) = (Source::from_values(values, environment), flags(values, &listen, &admin));
        if compile.topology_aware && matches!(source, Source::Manifests(..)) {
            let reason = "nobody knows the zone of a node there";
            warnings.push(format!("--enable-topology-aware-routing has no effect with --manifests: {reason}"));
        }
        Self {
            source,
            resolv_conf: values.required_text("resolv-conf").into(),
            compile,
            admin,
            election: Election::from_values(values, &identity),
            status: Status::from_values(values, &mut warnings),
            sync_events: !values.switch("disable-sync-events"),
            shutdown: Shutdown {
                grace: values.seconds("shutdown-grace-period"),
                post_grace: values.seconds("post-shutdown-grace-period"),
            },
            log: Log::from_values(values),
            identity,
            listen,
            warnings,
        }
    }

    /// Whether this process writes the status of Ingresses. Without an election nobody knows whether another replica
    /// writes the same status.
    #[must_use]
    pub fn writes_status(&self) -> bool {
        self.status.enabled && self.election.is_some()
    }
}

fn warning(flag: &Flag, origin: &str) -> Option<String> {
    match flag.effect {
        Effect::Used => None,
        Effect::Unsupported => Some(format!("{origin} is ignored: this version does not support it")),
        Effect::Meaningless(reason) => Some(format!("{origin} has no effect: {reason}")),
    }
}

fn check_conflicts(values: &mut Values) {
    const EXCLUSIVE: [(&str, &str); 5] = [
        ("publish-service", "publish-status-address"),
        ("watch-namespace", "watch-namespace-selector"),
        ("kubeconfig", "manifests"),
        ("apiserver-host", "manifests"),
        ("certificate-authority", "manifests"),
    ];
    for (one, other) in EXCLUSIVE {
        if values.is_given(one) && values.is_given(other) {
            values.error(format!("--{one} and --{other} exclude each other"));
        }
    }
}

// === impl Demo ===

impl Demo {
    pub(super) fn from_values(values: &mut Values) -> Self {
        Self {
            once: values.switch("once"),
            http: values.addresses("http-addr"),
            https: values.addresses("https-addr"),
            admin: values.addresses("admin-addr"),
            log: Log::from_values(values),
        }
    }
}

// === impl Source ===

impl Source {
    fn from_values(values: &mut Values, environment: &dyn Environment) -> Self {
        let kubeconfig = values.path("kubeconfig");
        let api_server = values.parse("apiserver-host", "a URL such as https://10.0.0.1:6443", |text| {
            let uri: http::Uri = text.parse().ok()?;
            (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()).then(|| text.to_owned())
        });
        let certificate_authority = values.path("certificate-authority");
        let namespace = values.namespace("watch-namespace");
        let selector = values.parse("watch-namespace-selector", LabelSelector::ACCEPTED, LabelSelector::parse);
        let scope = match (namespace, selector) {
            (Some(namespace), _) => Scope::Namespace(namespace),
            (None, Some(selector)) => Scope::Selector(selector),
            (None, None) => Scope::All,
        };
        if let Some(directory) = values.path("manifests") {
            return Self::Manifests(directory, scope);
        }
        let in_cluster = environment.get("KUBERNETES_SERVICE_HOST").is_some();
        if kubeconfig.is_none() && !values.is_given("apiserver-host") && !in_cluster {
            values.error(
                "nowhere to read objects from: give --manifests=DIR or --kubeconfig=FILE \
                 (this process does not run in a pod: KUBERNETES_SERVICE_HOST is not set)"
                    .to_owned(),
            );
        }
        Self::Cluster(ClusterAccess { kubeconfig, api_server, certificate_authority, scope })
    }
}

// === impl Identity ===

impl Identity {
    /// The Pod that this process is, if there is one of this name.
    #[must_use]
    pub fn pod(&self) -> ObjectName {
        ObjectName::new(self.pod_namespace.as_str(), self.pod_name.as_str())
    }

    fn new(environment: &dyn Environment) -> Self {
        let variable = |name| environment.get(name).filter(|value| !value.is_empty());
        Self {
            pod_name: variable("POD_NAME")
                .or_else(|| environment.host_name())
                .unwrap_or_else(|| "rust-nginx".to_owned()),
            pod_namespace: variable("POD_NAMESPACE").unwrap_or_else(|| "default".to_owned()),
        }
    }
}

// === impl Admin ===

impl Admin {
    fn from_values(values: &mut Values) -> Self {
        let mut addresses = values.addresses("admin-addr");
        let port = values.port("healthz-port");
        let host = values.parse("healthz-host", "an IP address", |text| text.parse::<IpAddr>().ok());
        if addresses.is_empty() {
            addresses.push(host.map_or(BindAddress::Every(port), |host| BindAddress::One(SocketAddr::new(host, port))));
        }
        let health_path = values
            .parse("health-check-path", "a path that begins with /", |text| {
                text.starts_with('/').then(|| text.to_owned())
            })
            .unwrap_or_else(|| "/healthz".to_owned());
        Self { addresses, health_path }
    }
}

/// What compile needs to know. The ports of our own listeners cannot become services.
fn flags(values: &mut Values, listen: &Listen, admin: &Admin) -> Flags {
    Flags {
        controller_class: values.required_text("controller-class"),
        ingress_class: values.required_text("ingress-class"),
        ingress_class_by_name: values.switch("ingress-class-by-name"),
        watch_ingress_without_class: values.switch("watch-ingress-without-class"),
        annotations_prefix: values.required(
            "annotations-prefix",
            "the name of a domain such as nginx.ingress.kubernetes.io",
            |text| {
                let prefix = text.trim_end_matches('/');
                is_dns_subdomain(prefix).then(|| prefix.to_owned())
            },
        ),
        config_map: values.object("configmap"),
        default_backend_service: values.object("default-backend-service"),
        default_ssl_certificate: values.object("default-ssl-certificate"),
        https_port: listen.redirect_port(),
        disable_catch_all: values.switch("disable-catch-all"),
        disable_svc_external_name: values.switch("disable-svc-external-name"),
        strict_host_ownership: values.switch("strict-host-ownership"),
        topology_aware: values.switch("enable-topology-aware-routing"),
        ignore_app_protocol: values.switch("ignore-app-protocol"),
        tcp_services: values.object("tcp-services-configmap"),
        udp_services: values.object("udp-services-configmap"),
        reserved_ports: listen.ports().chain(admin.addresses.iter().map(|address| address.port())).collect(),
        ssl_passthrough: values.switch("enable-ssl-passthrough"),
    }
}

// === impl Election ===

impl Election {
    const DEFAULT_TTL: Duration = Duration::from_secs(30);

    fn from_values(values: &mut Values, identity: &Identity) -> Option<Self> {
        let name = values.required_text("election-id");
        // As in ingress-nginx, zero and negative times mean the default.
        let ttl = values.duration("election-ttl").unwrap_or(Self::DEFAULT_TTL);
        if ttl < Duration::from_secs(1) {
            values.error(format!("--election-ttl: {ttl:?} is less than 1s, the resolution of a Lease"));
        }
        let lease = ObjectName::new(identity.pod_namespace.as_str(), name);
        (!values.switch("disable-leader-election")).then_some(Self { lease, ttl })
    }
}

// === impl Status ===

impl Status {
    const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);

    fn from_values(values: &mut Values, warnings: &mut Vec<String>) -> Self {
        let mut interval = values.seconds("status-update-interval");
        if interval < Self::SHORTEST_INTERVAL {
            warnings.push(format!("--status-update-interval: {} is less than 5; using 5", interval.as_secs()));
            interval = Self::SHORTEST_INTERVAL;
        }
        let addresses = values.public_addresses("publish-status-address");
        let internal = values.switch("report-node-internal-ip-address");
        let publish = match values.object("publish-service") {
            Some(service) => Publish::Service(service),
            None if !addresses.is_empty() => Publish::Addresses(addresses),
            None if internal => Publish::Nodes(NodeAddress::Internal),
            None => Publish::Nodes(NodeAddress::External),
        };
        Self {
            enabled: values.switch("update-status"),
            publish,
            interval,
            clear_on_shutdown: values.switch("update-status-on-shutdown"),
        }
    }
}

// === impl Log ===

impl Log {
    fn from_values(values: &mut Values) -> Self {
        Self {
            format: values
                .word("log-format", &[("text", LogFormat::Text), ("json", LogFormat::Json)])
                .unwrap_or(LogFormat::Text),
            verbosity: values.number("v"),
        }
    }
}
