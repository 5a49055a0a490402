use super::{
    Admin, BindAddress, Environment, Identity, Invocation, LabelSelector, LogFormat, NodeAddress, Publish, Scope,
    Serve, Source, flag::Effect, parse, registry::FLAGS,
};
use crate::{compile::ProcessSettings, snapshot::ObjectName};
use rust_nginx_proxy::Splice;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

#[derive(Default)]
struct Fixed(BTreeMap<&'static str, &'static str>);

impl Environment for Fixed {
    fn get(&self, variable: &str) -> Option<String> {
        self.0.get(variable).map(|value| (*value).to_owned())
    }

    fn host_name(&self) -> Option<String> {
        Some("machine".to_owned())
    }
}

fn environment(variables: &[(&'static str, &'static str)]) -> Fixed {
    Fixed(variables.iter().copied().collect())
}

fn try_parse(line: &str, environment: &Fixed) -> Result<Invocation, String> {
    parse(line.split_whitespace().map(Into::into), environment).map_err(|mistakes| mistakes.to_string())
}

fn serve(line: &str) -> Serve {
    serve_in(line, &environment(&[]))
}

fn serve_in(line: &str, environment: &Fixed) -> Serve {
    match try_parse(&format!("serve {line}"), environment) {
        Ok(Invocation::Serve(serve)) => *serve,
        other => panic!("{other:?}"),
    }
}

fn mistakes(line: &str) -> Vec<String> {
    let text = try_parse(line, &environment(&[])).expect_err("the arguments are wrong");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert!(lines.pop().is_some_and(|last| last.starts_with("Try '")), "{text}");
    lines.iter().map(|line| line.strip_prefix("rust-nginx: ").expect("every line says who speaks").to_owned()).collect()
}

fn printed(line: &str) -> String {
    match try_parse(line, &environment(&[])) {
        Ok(Invocation::Print(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("tests write valid addresses")
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = serve("--manifests=dir");
    assert_eq!(config.source, Source::Manifests("dir".into(), Scope::All));
    assert_eq!(config.compile.controller_class, "rust-nginx.io/ingress-controller");
    assert_eq!(config.compile.ingress_class, "rust-nginx");
    assert_eq!(config.compile.annotations_prefix, "nginx.ingress.kubernetes.io");
    assert_eq!(config.compile.https_port, 443);
    let election = config.election.clone().expect("there is an election unless it is disabled");
    assert_eq!(election.lease, ObjectName::new("default", "rust-nginx-leader"));
    assert_eq!(election.ttl, Duration::from_secs(30));
    assert_eq!(config.identity, Identity { pod_name: "machine".into(), pod_namespace: "default".into() });
    assert_eq!(config.admin, Admin { addresses: vec![BindAddress::Every(10254)], health_path: "/healthz".into() });
    assert!(config.status.enabled);
    assert_eq!(config.status.publish, Publish::Nodes(NodeAddress::External));
    assert!(config.status.clear_on_shutdown && config.writes_status());
    assert_eq!(config.status.interval, Duration::from_secs(60));
    assert!(config.sync_events);
    assert_eq!(config.shutdown.grace, Duration::ZERO);
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn values_are_written_in_every_way_of_pflag() {
    let config = serve(
        "--manifests dir --controller-class=example.com/x --ingress-class nginx --ingress-class-by-name \
         --update-status=false --watch-ingress-without-class=T -v=2 --log_format json",
    );
    assert_eq!(config.compile.controller_class, "example.com/x");
    assert_eq!(config.compile.ingress_class, "nginx");
    assert!(config.compile.ingress_class_by_name);
    assert!(config.compile.watch_ingress_without_class);
    assert!(!config.status.enabled);
    assert_eq!(config.log.verbosity, 2);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(serve("--manifests=d -v 5").log.verbosity, 5);
    assert_eq!(serve("--manifests=d --v=3").log.verbosity, 3);
    assert_eq!(serve("--manifests=d --configmap=a/b --configmap=c/d").compile.config_map, ObjectName::parse("c/d"));
    assert_eq!(serve("--manifests=d --configmap=").compile.config_map, None);
}

#[test]
fn every_mistake_is_reported() {
    assert_eq!(
        mistakes(
            "serve --manifests=d --http-port=99999 --configmap=nonsense --publish-service=a/b \
             --publish-status-address=1.2.3.4 --electon-id=x --update-status=maybe --watch-namespace=a \
             --watch-namespace-selector=b --election-ttl=soon --http-addr=localhost:80 --kubeconfig"
        ),
        [
            "unknown flag --electon-id; did you mean --election-id?",
            "--kubeconfig: a value is missing (--kubeconfig=FILE)",
            "--publish-service and --publish-status-address exclude each other",
            "--watch-namespace and --watch-namespace-selector exclude each other",
            "--http-addr: \"localhost:80\" is not ADDRESS:PORT (10.0.0.1:80, [::1]:80, or :80 for every address), \
             or that followed by /proxy",
            "--http-port: \"99999\" is not a port from 0 to 65535 (0 picks a free one)",
            "--configmap: \"nonsense\" is not namespace/name",
            "--election-ttl: \"soon\" is not a duration such as 30s, 1m30s or 500ms",
            "--update-status: \"maybe\" is not true or false",
        ]
    );
}

#[test]
fn commands_are_checked() {
    assert_eq!(mistakes(""), ["no command: expected demo, serve or crds"]);
    assert_eq!(
        mistakes("--configmap=a/b"),
        ["no command: expected demo, serve or crds; to serve a cluster, `rust-nginx serve …`"]
    );
    assert_eq!(mistakes("serv"), ["unknown command \"serv\": expected demo, serve or crds; did you mean serve?"]);
    assert_eq!(mistakes("serve demo --manifests=d"), ["unexpected argument \"demo\""]);
    assert_eq!(mistakes("demo --kubeconfig=x"), ["--kubeconfig: the command demo has no such flag; serve has"]);
    assert_eq!(mistakes("serve --manifests=d --wat x"), ["unknown flag --wat"]);
    assert_eq!(mistakes("serve --manifests=d -x"), ["unknown flag -x"]);
    assert_eq!(mistakes("serve --kubeconfig=a --manifests=b"), ["--kubeconfig and --manifests exclude each other"]);
}

#[test]
fn somewhere_to_read_from_is_needed() {
    let [message] = mistakes("serve").try_into().expect("there is one mistake");
    assert!(message.contains("--manifests=DIR") && message.contains("--kubeconfig=FILE"), "{message}");
    let Source::Cluster(access) =
        serve_in("--watch-namespace-selector=team=a", &environment(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")])).source
    else {
        panic!("a pod reads its cluster");
    };
    assert_eq!(access.kubeconfig, None);
    assert_eq!(access.scope, Scope::Selector(LabelSelector::parse("team=a").unwrap()));
    let Source::Cluster(access) = serve("--kubeconfig=k --watch-namespace=shop").source else {
        panic!("a kubeconfig means a cluster");
    };
    assert_eq!(access.kubeconfig.as_deref(), Some(Path::new("k")));
    assert_eq!(access.scope, Scope::Namespace("shop".into()));
    assert!(mistakes("serve --apiserver-host=nonsense")[0].starts_with("--apiserver-host: \"nonsense\" is not a URL"));
}

#[test]
fn large_responses_go_where_the_flag_says() {
    for (flag, expected) in [
        ("", Splice::Auto),
        ("--splice=auto", Splice::Auto),
        ("--splice=on", Splice::Always),
        ("--splice=off", Splice::Never),
    ] {
        assert_eq!(serve(&format!("--manifests=d {flag}")).listen.splice(), expected, "{flag}");
    }
    assert_eq!(mistakes("serve --manifests=d --splice=yes"), ["--splice: \"yes\" is not auto or on or off"]);
}

#[test]
fn flags_come_from_the_environment_too() {
    let variables = environment(&[
        ("RUST_NGINX_MANIFESTS", "dir"),
        ("RUST_NGINX_HTTP_PORT", "8080"),
        ("RUST_NGINX_CONTROLLER_CLASS", "from-variable"),
        ("RUST_NGINX_PROFILING", "true"),
        ("RUST_NGINX_ONCE", "nonsense"),
        ("POD_NAME", "pod-1"),
        ("POD_NAMESPACE", "edge"),
    ]);
    let config = serve_in("--controller-class=from-flag", &variables);
    assert_eq!(config.source, Source::Manifests("dir".into(), Scope::All));
    assert_eq!(config.compile.controller_class, "from-flag");
    assert_eq!(config.identity, Identity { pod_name: "pod-1".into(), pod_namespace: "edge".into() });
    assert_eq!(config.election.map(|election| election.lease), ObjectName::parse("edge/rust-nginx-leader"));
    assert_eq!(config.warnings, ["RUST_NGINX_PROFILING has no effect: there is no Go profiler"]);
    let (http, _) = config.listen.resolve(&process(&[], false), false);
    assert_eq!(http, [address("0.0.0.0:8080")]);
    let text = try_parse("serve", &environment(&[("RUST_NGINX_MANIFESTS", "d"), ("RUST_NGINX_HTTPS_PORT", "x")]))
        .expect_err("the port is wrong");
    assert!(text.starts_with("rust-nginx: RUST_NGINX_HTTPS_PORT: \"x\" is not a port"), "{text}");
}

#[test]
fn variables_of_service_links_are_not_flags() {
    // The kubelet sets this in every pod beside a Service named `rust-nginx-http`.
    let config = serve_in("--manifests=d", &environment(&[("RUST_NGINX_HTTP_PORT", "tcp://10.0.0.1:80")]));
    assert_eq!(config.listen.resolve(&process(&[], false), false).0, [address("0.0.0.0:80")]);
}

/// Under a prefix that cannot be, no guard would be read.
#[test]
fn what_decides_which_annotations_and_namespaces_count_is_checked() {
    assert_eq!(mistakes("serve --manifests=d --annotations-prefix="), ["--annotations-prefix may not be empty"]);
    assert_eq!(
        mistakes("serve --manifests=d --annotations-prefix=a/b"),
        ["--annotations-prefix: \"a/b\" is not the name of a domain such as nginx.ingress.kubernetes.io"]
    );
    assert_eq!(serve("--manifests=d --annotations-prefix=a.example/").compile.annotations_prefix, "a.example");
    let [message] = mistakes("serve --manifests=d --watch-namespace-selector=a=b=c").try_into().expect("one mistake");
    assert!(message.starts_with("--watch-namespace-selector: \"a=b=c\" is not a label selector such as"), "{message}");
}

#[test]
fn zones_need_a_cluster() {
    let config = serve("--manifests=d --enable-topology-aware-routing");
    let [warning] = config.warnings.try_into().expect("one warning");
    assert!(warning.starts_with("--enable-topology-aware-routing has no effect with --manifests"), "{warning}");
    assert_eq!(serve("--manifests=d --enable-topology-aware-routing=false").warnings, [] as [&str; 0]);
}

#[test]
fn flags_without_effect_are_warned_about() {
    let config = serve("--manifests=d --deep-inspect --sync-rate-limit 5 --logtostderr --status-update-interval=1");
    assert_eq!(
        config.warnings,
        [
            "--deep-inspect is ignored: this version does not support it",
            "--logtostderr has no effect: logs go to stderr; use -v, --log-format or RUST_LOG",
            "--sync-rate-limit has no effect: every change is applied at once, without a reload",
            "--status-update-interval: 1 is less than 5; using 5",
        ]
    );
    assert_eq!(config.status.interval, Duration::from_secs(5));
}

fn process(bind: &[&str], disable_ipv6: bool) -> ProcessSettings {
    ProcessSettings {
        workers: None,
        shutdown_timeout: Duration::from_secs(240),
        bind_addresses: bind.iter().map(|text| text.parse().expect("tests write valid addresses")).collect(),
        disable_ipv6,
    }
}

#[test]
fn addresses_win_over_ports_and_ports_over_the_config_map() {
    let http = |line: &str, process: &ProcessSettings, ipv6| {
        serve(&format!("--manifests=d {line}")).listen.resolve(process, ipv6).0
    };
    let nothing = process(&[], false);
    assert_eq!(http("", &nothing, true), [address("0.0.0.0:80"), address("[::]:80")]);
    assert_eq!(http("", &nothing, false), [address("0.0.0.0:80")]);
    assert_eq!(http("", &process(&[], true), true), [address("0.0.0.0:80")]);
    assert_eq!(
        http("--http-port=81", &process(&["10.0.0.1", "::1"], false), true),
        [address("10.0.0.1:81"), address("[::1]:81")]
    );
    assert_eq!(http("", &process(&["10.0.0.1", "::1"], true), true), [address("10.0.0.1:80")]);
    assert_eq!(
        http("--http-addr=127.0.0.1:0 --http-addr=:82 --http-port=81", &process(&["10.0.0.1"], true), true),
        [address("127.0.0.1:0"), address("0.0.0.0:82"), address("[::]:82")]
    );
    let config = serve("--manifests=d --https-addr=127.0.0.1:8443 --https-port=444");
    assert_eq!(config.listen.resolve(&nothing, true).1, [address("127.0.0.1:8443")]);
    assert_eq!(config.compile.https_port, 8443);
    assert_eq!(serve("--manifests=d --https-port=444").compile.https_port, 444);
    let admin = |line: &str| serve(&format!("--manifests=d {line}")).admin.addresses;
    assert_eq!(admin("--healthz-host=127.0.0.1 --healthz-port=1"), [BindAddress::One(address("127.0.0.1:1"))]);
    assert_eq!(admin("--healthz-port=1 --admin-addr=[::1]:2"), [BindAddress::One(address("[::1]:2"))]);
}

#[test]
fn help_lists_what_is_used() {
    assert!(printed("--help").contains("serve"));
    assert_eq!(printed("serve --help"), printed("help serve"));
    assert_eq!(printed("--help serve"), printed("serve -h"));
    let text = printed("serve --help --nonsense");
    for flag in FLAGS.iter().filter(|flag| flag.effect == Effect::Used && flag.name != "once" && flag.name != "v") {
        assert!(text.contains(&format!("--{}", flag.name)), "{}", flag.name);
    }
    assert!(!text.contains("--once"));
    assert!(printed("demo --help").contains("--once"));
    assert!(printed("--version").starts_with("rust-nginx "));
}

#[test]
fn the_registry_is_consistent() {
    let mut names = BTreeSet::new();
    let mut variables = BTreeSet::new();
    for flag in FLAGS {
        assert!(names.insert(flag.name), "--{} is declared twice", flag.name);
        assert!(variables.insert(flag.variable()), "{} is declared twice", flag.variable());
        assert_eq!(flag.effect == Effect::Used, !flag.help.is_empty(), "--{}", flag.name);
    }
}

#[test]
fn published_addresses_are_such_that_a_status_may_have() {
    let published = |text: &str| serve(&format!("--manifests=d --publish-status-address={text}")).status.publish;
    let addresses = |texts: &[&str]| Publish::Addresses(texts.iter().map(|text| (*text).to_owned()).collect());
    assert_eq!(published("192.0.2.1,2001:DB8::1"), addresses(&["192.0.2.1", "2001:db8::1"]));
    assert_eq!(published("LB.Example.com."), addresses(&["lb.example.com"]));
    assert_eq!(published("::ffff:192.0.2.1"), addresses(&["192.0.2.1"]));
    for bad in ["[::1]", "1.2.3.4:80", "http://x", "*.example.com", "a_b.example.com", "001.2.3.4", "1.2.3.999", "-a"] {
        assert_eq!(
            mistakes(&format!("serve --manifests=d --publish-status-address=192.0.2.1,{bad}")),
            [format!("--publish-status-address: {bad:?} is not an IP address or a host name")]
        );
    }
    let bad = mistakes("serve --manifests=d --watch-namespace=Bad_NS");
    assert!(bad[0].starts_with("--watch-namespace: \"Bad_NS\" is not the name of a namespace"), "{bad:?}");
}

#[test]
fn the_status_has_its_flags() {
    let config = serve("--manifests=d --report-node-internal-ip-address --update-status-on-shutdown=false");
    assert_eq!(config.status.publish, Publish::Nodes(NodeAddress::Internal));
    assert!(!config.status.clear_on_shutdown);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(!serve("--manifests=d --disable-leader-election").writes_status());
    assert!(!serve("--manifests=d --update-status=false").writes_status());
}
