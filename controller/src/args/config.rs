//! The typed results of parsing, and the rules between flags.

use super::{
    Environment,
    flag::{Effect, Flag},
    values::{BindAddress, Values},
};
use crate::{
    compile::{Options, ProcessSettings},
    snapshot::ObjectName,
};
use rust_nginx_proxy::tls::Certificate;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
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
    pub compile: CompileArguments,
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
    Manifests(PathBuf),
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
    Selector(String),
}

/// Who we are: `POD_NAME` and `POD_NAMESPACE`. They need not name a real Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name; the host name where the variable is absent.
    pub pod_name: String,
    /// Namespace; `default` where the variable is absent.
    pub pod_namespace: String,
}

/// Addresses of the traffic listeners, before the ConfigMap had its say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    http: Vec<BindAddress>,
    https: Vec<BindAddress>,
    /// Those of them where connections begin with a PROXY header.
    proxy_protocol: Vec<BindAddress>,
    http_port: u16,
    https_port: u16,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub addresses: Vec<BindAddress>,
    /// `--health-check-path`
    pub health_path: String,
}

/// What the command line says about compiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileArguments {
    /// `--controller-class`
    pub controller_class: String,
    /// `--ingress-class`
    pub ingress_class: String,
    /// `--ingress-class-by-name`
    pub ingress_class_by_name: bool,
    /// `--watch-ingress-without-class`
    pub watch_ingress_without_class: bool,
    /// `--annotations-prefix`
    pub annotations_prefix: String,
    /// `--configmap`
    pub config_map: Option<ObjectName>,
    /// `--default-backend-service`
    pub default_backend_service: Option<ObjectName>,
    /// `--default-ssl-certificate`
    pub default_ssl_certificate: Option<ObjectName>,
    /// The port that redirects to HTTPS name.
    pub https_port: u16,
    /// `--disable-catch-all`
    pub disable_catch_all: bool,
    /// `--disable-svc-external-name`
    pub disable_svc_external_name: bool,
    /// `--strict-host-ownership`
    pub strict_host_ownership: bool,
    /// `--enable-topology-aware-routing`
    pub topology_aware: bool,
    /// `--ignore-app-protocol`
    pub ignore_app_protocol: bool,
    /// `--tcp-services-configmap`
    pub tcp_services: Option<ObjectName>,
    /// `--udp-services-configmap`
    pub udp_services: Option<ObjectName>,
    /// The ports of our own listeners.
    pub reserved_ports: BTreeSet<u16>,
    /// `--enable-ssl-passthrough`
    pub ssl_passthrough: bool,
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
        let mut warnings = values.given().filter_map(|(flag, origin)| warning(flag, origin)).collect();
        check_conflicts(values);
        let identity = Identity::new(environment);
        let (listen, admin) = (Listen::from_values(values), Admin::from_values(values));
        Self {
            source: Source::from_values(values, environment),
            resolv_conf: values.required_text("resolv-conf").into(),
            compile: CompileArguments::from_values(values, &listen, &admin),
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
        let namespace = values.text("watch-namespace");
        let selector = values.text("watch-namespace-selector");
        if let Some(directory) = values.path("manifests") {
            return Self::Manifests(directory);
        }
        let in_cluster = environment.get("KUBERNETES_SERVICE_HOST").is_some();
        if kubeconfig.is_none() && !values.is_given("apiserver-host") && !in_cluster {
            values.error(
                "nowhere to read objects from: give --manifests=DIR or --kubeconfig=FILE \
                 (this process does not run in a pod: KUBERNETES_SERVICE_HOST is not set)"
                    .to_owned(),
            );
        }
        let scope = match (namespace, selector) {
            (Some(namespace), _) => Scope::Namespace(namespace),
            (None, Some(selector)) => Scope::Selector(selector),
            (None, None) => Scope::All,
        };
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

// === impl Listen ===

impl Listen {
    fn from_values(values: &mut Values) -> Self {
        let (http, https) = (values.traffic_addresses("http-addr"), values.traffic_addresses("https-addr"));
        let plain = |addresses: &[(BindAddress, bool)]| addresses.iter().map(|(address, _)| *address).collect();
        Self {
            http: plain(&http),
            https: plain(&https),
            proxy_protocol: http
                .iter()
                .chain(&https)
                .filter(|(_, proxy)| *proxy)
                .map(|(address, _)| *address)
                .collect(),
            http_port: values.port("http-port"),
            https_port: values.port("https-port"),
        }
    }

    /// Only these addresses, whatever the ConfigMap says.
    #[must_use]
    pub fn only(http: Vec<BindAddress>, https: Vec<BindAddress>) -> Self {
        Self { http, https, proxy_protocol: Vec::new(), http_port: 80, https_port: 443 }
    }

    /// The addresses to bind for HTTP and HTTPS: `--http-addr`, else `--http-port` on the addresses of the ConfigMap.
    #[must_use]
    pub fn resolve(&self, process: &ProcessSettings, ipv6: bool) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let ipv6_for_ports = ipv6 && !process.disable_ipv6;
        let resolve = |given: &[BindAddress], port: u16| -> Vec<SocketAddr> {
            if !given.is_empty() {
                return given.iter().flat_map(|address| address.resolve(ipv6)).collect();
            }
            let configured: Vec<_> = process
                .bind_addresses
                .iter()
                .filter(|address| address.is_ipv4() || ipv6_for_ports)
                .map(|address| SocketAddr::new(*address, port))
                .collect();
            if configured.is_empty() { BindAddress::Every(port).resolve(ipv6_for_ports) } else { configured }
        };
        (resolve(&self.http, self.http_port), resolve(&self.https, self.https_port))
    }

    /// Those of the addresses where connections begin with a PROXY header, whatever the ConfigMap says.
    #[must_use]
    pub fn proxy_protocol(&self, ipv6: bool) -> Vec<SocketAddr> {
        self.proxy_protocol.iter().flat_map(|address| address.resolve(ipv6)).collect()
    }

    /// The addresses of services that are not HTTP: those of the ConfigMap, whatever flags say about HTTP.
    #[must_use]
    pub fn streams(process: &ProcessSettings, ipv6: bool) -> Vec<IpAddr> {
        let ipv6 = ipv6 && !process.disable_ipv6;
        let configured: Vec<_> =
            process.bind_addresses.iter().copied().filter(|address| address.is_ipv4() || ipv6).collect();
        if !configured.is_empty() {
            return configured;
        }
        BindAddress::Every(0).resolve(ipv6).iter().map(SocketAddr::ip).collect()
    }

    /// The ports that are ours.
    fn ports(&self) -> impl Iterator<Item = u16> {
        let of = |given: &[BindAddress], port| -> Vec<u16> {
            if given.is_empty() { vec![port] } else { given.iter().map(|address| address.port()).collect() }
        };
        of(&self.http, self.http_port).into_iter().chain(of(&self.https, self.https_port))
    }

    /// The port that redirects to HTTPS name. With a free port nobody knows it yet, so they name the usual one.
    fn redirect_port(&self) -> u16 {
        let port = self.https.first().map_or(self.https_port, |address| address.port());
        if port == 0 { 443 } else { port }
    }
}

// === impl BindAddress ===

impl BindAddress {
    fn port(self) -> u16 {
        match self {
            Self::Every(port) => port,
            Self::One(address) => address.port(),
        }
    }

    /// The sockets that it takes: each family has its own.
    #[must_use]
    pub fn resolve(self, ipv6: bool) -> Vec<SocketAddr> {
        match self {
            Self::One(address) => vec![address],
            Self::Every(port) => {
                let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                let ipv6 = ipv6.then(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
                std::iter::once(ipv4).chain(ipv6).collect()
            }
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

// === impl CompileArguments ===

impl CompileArguments {
    fn from_values(values: &mut Values, listen: &Listen, admin: &Admin) -> Self {
        Self {
            controller_class: values.required_text("controller-class"),
            ingress_class: values.required_text("ingress-class"),
            ingress_class_by_name: values.switch("ingress-class-by-name"),
            watch_ingress_without_class: values.switch("watch-ingress-without-class"),
            annotations_prefix: values.required_text("annotations-prefix").trim_end_matches('/').to_owned(),
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

    /// The options of compile, with the certificate that stands in where no other one fits.
    #[must_use]
    pub fn options(&self, fallback_certificate: Arc<Certificate>) -> Options {
        let this = self.clone();
        Options {
            controller_class: this.controller_class,
            ingress_class: this.ingress_class,
            ingress_class_by_name: this.ingress_class_by_name,
            watch_ingress_without_class: this.watch_ingress_without_class,
            annotations_prefix: this.annotations_prefix,
            config_map: this.config_map,
            default_backend_service: this.default_backend_service,
            default_ssl_certificate: this.default_ssl_certificate,
            fallback_certificate,
            https_port: this.https_port,
            disable_catch_all: this.disable_catch_all,
            disable_svc_external_name: this.disable_svc_external_name,
            strict_host_ownership: this.strict_host_ownership,
            topology_aware: this.topology_aware,
            ignore_app_protocol: this.ignore_app_protocol,
            tcp_services: this.tcp_services,
            udp_services: this.udp_services,
            reserved_ports: this.reserved_ports,
            ssl_passthrough: this.ssl_passthrough,
        }
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
    const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

    fn from_values(values: &mut Values, warnings: &mut Vec<String>) -> Self {
        let mut interval = values.seconds("status-update-interval");
        if interval < Self::SHORTEST_INTERVAL {
            warnings.push(format!("--status-update-interval: {} is less than 5; using 60", interval.as_secs()));
            interval = Self::DEFAULT_INTERVAL;
        }
        let addresses = values.texts("publish-status-address");
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
