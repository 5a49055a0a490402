//! Every flag, declared once.
//!
//! Names and meanings are ingress-nginx's wherever it has such a flag, so that the arguments of an existing Deployment
//! work unchanged. A flag without effect here is accepted and named in a warning.

use super::flag::{
    Command::{self, Demo, Serve},
    Effect::{self, Meaningless, Unsupported, Used},
    Flag,
    Kind::{self, List, Switch, Value},
};

const BOTH: &[Command] = &[Serve, Demo];
const SERVE: &[Command] = &[Serve];
const DEMO: &[Command] = &[Demo];

const NO_NGINX: &str = "there is no nginx process to talk to";
const NO_KLOG: &str = "logs go to stderr; use -v, --log-format or RUST_LOG";
const NO_SYNC: &str = "every change is applied at once, without a reload";
const NO_PPROF: &str = "there is no Go profiler";

/// Finds a flag by name; underscores count as dashes, as klog's flags are spelled with either.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    let name = name.replace('_', "-");
    FLAGS.iter().find(|flag| flag.name == name)
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, help, effect: Used, commands: SERVE }
}

const fn without_effect(name: &'static str, kind: Kind, effect: Effect) -> Flag {
    Flag { name, kind, default: "", help: "", effect, commands: SERVE }
}

const fn of(commands: &'static [Command], mut flag: Flag) -> Flag {
    flag.commands = commands;
    flag
}

/// All flags: used ones in the order of `--help`, then those that are accepted only.
pub(crate) static FLAGS: &[Flag] = &[
    // Where objects come from.
    flag("manifests", Value("DIR"), "", "Read objects from the YAML files of a directory instead of a cluster"),
    flag("kubeconfig", Value("FILE"), "", "Reach the cluster as this kubeconfig says; without it as a pod does"),
    flag("apiserver-host", Value("URL"), "", "Address of the API server, in place of the configured one"),
    flag("certificate-authority", Value("FILE"), "", "PEM file with the authority of the API server's certificate"),
    flag("watch-namespace", Value("NAME"), "", "Watch one namespace only; empty means all"),
    flag("watch-namespace-selector", Value("SELECTOR"), "", "Serve Ingresses of namespaces with these labels only"),
    flag(
        "resolv-conf",
        Value("FILE"),
        "/etc/resolv.conf",
        "How the names of Services of type ExternalName are resolved: servers, search domains, ndots",
    ),
    // Which Ingresses are ours, and what they compile to.
    flag(
        "controller-class",
        Value("TEXT"),
        "rust-nginx.io/ingress-controller",
        "Value of IngressClass spec.controller that means this controller",
    ),
    flag(
        "ingress-class",
        Value("NAME"),
        "rust-nginx",
        "Value of the annotation kubernetes.io/ingress.class that means this controller",
    ),
    flag("ingress-class-by-name", Switch, "false", "Take the IngressClass named by --ingress-class, too"),
    flag("watch-ingress-without-class", Switch, "false", "Serve Ingresses that name no class"),
    flag("annotations-prefix", Value("PREFIX"), "nginx.ingress.kubernetes.io", "Prefix of the annotations"),
    flag("configmap", Value("NS/NAME"), "", "ConfigMap with the settings"),
    flag(
        "tcp-services-configmap",
        Value("NS/NAME"),
        "",
        "ConfigMap with TCP services: port, and namespace/service:port",
    ),
    flag("udp-services-configmap", Value("NS/NAME"), "", "The same for UDP"),
    flag("default-backend-service", Value("NS/NAME"), "", "Service for requests that match no rule"),
    flag("default-ssl-certificate", Value("NS/NAME"), "", "Secret with the certificate for hosts without one"),
    flag("disable-catch-all", Switch, "false", "Ignore spec.defaultBackend of Ingresses"),
    flag("disable-svc-external-name", Switch, "false", "Refuse Services of type ExternalName"),
    flag(
        "strict-host-ownership",
        Switch,
        "false",
        "Refuse Ingresses whose host was claimed first from another namespace",
    ),
    flag(
        "enable-topology-aware-routing",
        Switch,
        "false",
        "Prefer endpoints that are meant for the zone of this node, for Services that ask for it",
    ),
    flag(
        "ignore-app-protocol",
        Switch,
        "false",
        "Speak HTTP/1.1 to pods where no annotation says otherwise, whatever appProtocol of their Service port says",
    ),
    flag(
        "enable-ssl-passthrough",
        Switch,
        "false",
        "Hand TLS connections on as they are for hosts whose Ingress has the annotation ssl-passthrough",
    ),
    // Where we listen.
    of(
        BOTH,
        flag(
            "http-addr",
            List("ADDR:PORT"),
            "",
            "Serve HTTP here; `:PORT` means every address; port 0 a free one; with `/proxy` behind it (serve only) \
             connections begin with a PROXY header",
        ),
    ),
    of(BOTH, flag("https-addr", List("ADDR:PORT"), "", "Serve HTTPS here; with `/proxy` behind it as above")),
    of(BOTH, flag("admin-addr", List("ADDR:PORT"), "", "Serve health, metrics and debug pages here")),
    flag("http-port", Value("PORT"), "80", "Serve HTTP on this port of the addresses of ConfigMap bind-address"),
    flag("https-port", Value("PORT"), "443", "Serve HTTPS on this port of the addresses of ConfigMap bind-address"),
    flag(
        "splice",
        Value("auto|on|off"),
        "auto",
        "Keep large responses in the kernel where client and pod speak HTTP/1.1 in cleartext; auto: not with BBR, which \
         sends at a pace",
    ),
    flag("healthz-host", Value("ADDR"), "", "Address of the admin listener; empty means every address"),
    flag("healthz-port", Value("PORT"), "10254", "Port of the admin listener"),
    flag("health-check-path", Value("PATH"), "/healthz", "Path of the health page"),
    // What we write.
    flag("publish-service", Value("NS/NAME"), "", "Service whose addresses become the status of Ingresses"),
    flag("publish-status-address", List("ADDR"), "", "IP addresses or names that become the status of Ingresses"),
    flag(
        "report-node-internal-ip-address",
        Switch,
        "false",
        "Without the two flags above: publish the internal addresses of the nodes, not the external ones",
    ),
    flag("update-status", Switch, "true", "Write the status of Ingresses"),
    flag(
        "update-status-on-shutdown",
        Switch,
        "true",
        "Take our addresses out of the status when the last replica ends",
    ),
    flag("status-update-interval", Value("SECONDS"), "60", "Time between two corrections of a status; at least 5"),
    flag("disable-sync-events", Switch, "false", "Send no Event of reason Sync"),
    flag("election-id", Value("NAME"), "rust-nginx-leader", "Name of the Lease that chooses who writes"),
    flag("election-ttl", Value("DURATION"), "30s", "How long the Lease is valid without renewal"),
    flag("disable-leader-election", Switch, "false", "Take no Lease and write no status"),
    // The process.
    flag("shutdown-grace-period", Value("SECONDS"), "0", "Keep accepting connections so long after SIGTERM"),
    flag("post-shutdown-grace-period", Value("SECONDS"), "0", "Wait so long after the last request before exiting"),
    of(BOTH, flag("log-format", Value("text|json"), "text", "Format of the log on stderr")),
    of(BOTH, flag("v", Value("LEVEL"), "0", "Log level: 0 info, 2 debug, 4 debug of libraries too")),
    of(DEMO, flag("once", Switch, "false", "Check the demo against itself on free ports and exit with 0 or 1")),
    // Known to ingress-nginx, not to this version.
    without_effect("enable-annotation-validation", Switch, Unsupported),
    without_effect("deep-inspect", Switch, Unsupported),
    without_effect("enable-ssl-chain-completion", Switch, Unsupported),
    without_effect("metrics-per-host", Switch, Unsupported),
    without_effect("metrics-per-undefined-host", Switch, Unsupported),
    without_effect("report-status-classes", Switch, Unsupported),
    without_effect("exclude-socket-metrics", List("NAME"), Unsupported),
    without_effect("time-buckets", List("NUMBER"), Unsupported),
    without_effect("length-buckets", List("NUMBER"), Unsupported),
    without_effect("size-buckets", List("NUMBER"), Unsupported),
    without_effect("bucket-factor", Value("NUMBER"), Unsupported),
    without_effect("max-buckets", Value("NUMBER"), Unsupported),
    without_effect("validating-webhook", Value("ADDR:PORT"), Unsupported),
    without_effect("validating-webhook-certificate", Value("FILE"), Unsupported),
    without_effect("validating-webhook-key", Value("FILE"), Unsupported),
    without_effect("disable-full-test", Switch, Unsupported),
    without_effect("maxmind-license-key", Value("TEXT"), Unsupported),
    without_effect("maxmind-mirror", Value("URL"), Unsupported),
    without_effect("maxmind-edition-ids", List("NAME"), Unsupported),
    without_effect("maxmind-retries-count", Value("NUMBER"), Unsupported),
    without_effect("maxmind-retries-timeout", Value("DURATION"), Unsupported),
    // Without meaning here.
    without_effect(
        "ssl-passthrough-proxy-port",
        Value("PORT"),
        Meaningless("connections are told apart on the HTTPS port itself"),
    ),
    without_effect("enable-metrics", Switch, Meaningless("metrics are always served on the admin listener")),
    without_effect("monitor-max-batch-size", Value("NUMBER"), Meaningless("metrics are not sent in batches")),
    without_effect("default-server-port", Value("PORT"), Meaningless("the built-in 404 needs no port")),
    without_effect("health-check-timeout", Value("SECONDS"), Meaningless("ingress-nginx does not use it either")),
    without_effect("status-port", Value("PORT"), Meaningless(NO_NGINX)),
    without_effect("stream-port", Value("PORT"), Meaningless(NO_NGINX)),
    without_effect("internal-logger-address", Value("ADDR:PORT"), Meaningless(NO_NGINX)),
    without_effect("dynamic-configuration-retries", Value("NUMBER"), Meaningless(NO_NGINX)),
    without_effect("profiling", Switch, Meaningless(NO_PPROF)),
    without_effect("profiler-port", Value("PORT"), Meaningless(NO_PPROF)),
    without_effect("profiler-address", Value("ADDR"), Meaningless(NO_PPROF)),
    without_effect("sync-period", Value("DURATION"), Meaningless(NO_SYNC)),
    without_effect("sync-rate-limit", Value("NUMBER"), Meaningless(NO_SYNC)),
    without_effect("add-dir-header", Switch, Meaningless(NO_KLOG)),
    without_effect("alsologtostderr", Switch, Meaningless(NO_KLOG)),
    without_effect("legacy-stderr-threshold-behavior", Switch, Meaningless(NO_KLOG)),
    without_effect("log-backtrace-at", Value("FILE:LINE"), Meaningless(NO_KLOG)),
    without_effect("log-dir", Value("DIR"), Meaningless(NO_KLOG)),
    without_effect("log-file", Value("FILE"), Meaningless(NO_KLOG)),
    without_effect("log-file-max-size", Value("NUMBER"), Meaningless(NO_KLOG)),
    without_effect("logtostderr", Switch, Meaningless(NO_KLOG)),
    without_effect("one-output", Switch, Meaningless(NO_KLOG)),
    without_effect("skip-headers", Switch, Meaningless(NO_KLOG)),
    without_effect("skip-log-headers", Switch, Meaningless(NO_KLOG)),
    without_effect("stderrthreshold", Value("LEVEL"), Meaningless(NO_KLOG)),
    without_effect("vmodule", Value("TEXT"), Meaningless(NO_KLOG)),
];
