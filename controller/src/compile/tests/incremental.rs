//! What an incremental compile gives is what a full one gives, after every one of many random changes, and it costs no
//! more than the change.

use super::*;
use crate::snapshot::{
    Backend, ClassConfig, ConfigMap, EndpointPort, EndpointSlice, Ingress, IngressClass, IngressPath, IngressRule,
    IngressTls, PathType, Resolved, Secret, Service, ServiceBackend, ServicePort, ServicePortRef, ServiceType,
    SliceEndpoint,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use std::{collections::BTreeMap, sync::LazyLock};

/// One object is made, changed or deleted (`None`).
#[derive(Clone, Debug)]
enum Change {
    Ingress(ObjectName, Option<Ingress>),
    Status(ObjectName, u32),
    Service(ObjectName, Option<Service>),
    Slice(ObjectName, &'static str, Option<EndpointSlice>),
    Secret(ObjectName, Option<&'static str>),
    Class(&'static str, Option<&'static str>, Option<&'static str>),
    ClassConfig(&'static str, Option<&'static str>),
    ConfigMap(Option<BTreeMap<String, String>>),
    HostName(&'static str, Option<Resolved>),
    Former(ObjectName, Option<Resolved>),
    Findings(bool),
}

fn name(names: &'static [&'static str]) -> impl Strategy<Value = ObjectName> {
    (select(vec!["a", "a-b", "c"]), select(names)).prop_map(|(namespace, name)| ObjectName::new(namespace, name))
}

fn port_ref() -> impl Strategy<Value = ServicePortRef> {
    select(vec![ServicePortRef::Number(80), ServicePortRef::Name("http".into()), ServicePortRef::Number(81)])
}

fn backend() -> impl Strategy<Value = Backend> {
    let service = (select(vec!["web", "b-web", "api"]), port_ref())
        .prop_map(|(name, port)| Backend::Service(ServiceBackend { name: name.into(), port }));
    prop_oneof![9 => service, 1 => Just(Backend::Resource("StorageBucket/x".into()))]
}

fn rule() -> impl Strategy<Value = IngressRule> {
    let host = select(vec!["", "x.com", "*.x.com", "y.x.com", "z.x.com", "Y.x.com", "bad_host:1"]);
    let path =
        (select(vec!["", "/", "/p", "/p/", "/q", "bad"]), select(vec![PathType::Exact, PathType::Prefix]), backend())
            .prop_map(|(path, path_type, backend)| IngressPath { path: path.into(), path_type, backend });
    (host, option::weighted(0.9, vec(path, 0..4)))
        .prop_map(|(host, paths)| IngressRule { host: host.into(), paths: paths.map(Into::into) })
}

fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let prefix = "nginx.ingress.kubernetes.io/";
    let pair = select(vec![
        (format!("{prefix}ssl-redirect"), "false"),
        (format!("{prefix}auth-type"), "basic"),
        (format!("{prefix}auth-tls-secret"), "a/other"),
        (format!("{prefix}auth-tls-verify-client"), "on"),
        (format!("{prefix}proxy-ssl-secret"), "a/site"),
        (format!("{prefix}proxy-ssl-verify"), "on"),
        (format!("{prefix}ssl-ciphers"), "ECDHE+AES128"),
        (format!("{prefix}proxy-read-timeout"), "7"),
        (format!("{prefix}proxy-read-timeout"), "nonsense"),
        (format!("{prefix}service-upstream"), "true"),
        (format!("{prefix}canary"), "true"),
        ("rust-nginx.io/allow-namespaces".to_owned(), "c"),
        (Ingress::CLASS_ANNOTATION.to_owned(), "rust-nginx"),
        ("other".to_owned(), "x"),
    ]);
    vec(pair, 0..3).prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect())
}

fn ingress(name: ObjectName) -> impl Strategy<Value = Ingress> {
    let tls = (vec(select(vec!["x.com", "y.x.com", "*.x.com"]), 0..2), select(vec!["", "site", "other"])).prop_map(
        |(hosts, secret)| IngressTls {
            hosts: hosts.into_iter().map(str::to_owned).collect(),
            secret_name: secret.into(),
        },
    );
    let class = select(vec![Some("rust-nginx"), Some("rust-nginx"), Some("theirs"), None]);
    let parts = (0..3_i64, annotations(), class, option::weighted(0.2, backend()), vec(rule(), 0..3), vec(tls, 0..2));
    parts.prop_map(move |(created, annotations, class, default_backend, rules, tls)| Ingress {
        name: name.clone(),
        uid: "".into(),
        resource_version: "".into(),
        created: jiff::Timestamp::from_second(created).ok(),
        annotations,
        class_name: class.map(Into::into),
        default_backend,
        rules: rules.into(),
        tls: tls.into(),
        status: Box::default(),
        status_writer: None,
    })
}

fn service(name: ObjectName) -> impl Strategy<Value = Service> {
    let types = vec![ServiceType::ClusterIp, ServiceType::ClusterIp, ServiceType::ExternalName];
    let port = (select(vec!["http", ""]), select(vec![80, 8080]), any::<bool>()).prop_map(|(name, port, tcp)| {
        ServicePort { name: name.into(), port, target_number: Some(8080), tcp, app_protocol: None }
    });
    let external = select(vec!["db.example.com", "Web.example.com.", "192.0.2.7", "localhost"]);
    (select(types), external, any::<bool>(), any::<bool>(), vec(port, 0..3)).prop_map(
        move |(service_type, external, headless, publish_not_ready, ports)| Service {
            name: name.clone(),
            service_type,
            cluster_ips: if headless { Box::default() } else { Box::new(["10.0.0.1".parse().unwrap()]) },
            external_name: Some(external.to_owned()),
            external_ips: Box::default(),
            ports: ports.into(),
            load_balancer: Box::default(),
            publish_not_ready,
            traffic_distribution: None,
            annotations: BTreeMap::new(),
        },
    )
}

fn slice(service: ObjectName, own: &'static str) -> impl Strategy<Value = EndpointSlice> {
    let endpoint = (0..4_u8, any::<bool>(), any::<bool>()).prop_map(|(last, ready, terminating)| SliceEndpoint {
        address: [10, 244, 0, last].into(),
        ready,
        serving: true,
        terminating,
        for_zones: Box::default(),
    });
    (vec(endpoint, 0..4), select(vec!["http", ""])).prop_map(move |(endpoints, port)| EndpointSlice {
        name: ObjectName::new(service.namespace.clone(), own),
        service: service.name.clone(),
        ports: Box::new([EndpointPort { name: port.into(), port: Some(8080), tcp: true }]),
        endpoints: endpoints.into(),
    })
}

fn change() -> impl Strategy<Value = Change> {
    const INGRESSES: &[&str] = &["one", "two", "three"];
    const SERVICES: &[&str] = &["web", "b-web", "api"];
    let ingress = name(INGRESSES).prop_flat_map(|name| {
        option::weighted(0.8, ingress(name.clone())).prop_map(move |ingress| Change::Ingress(name.clone(), ingress))
    });
    let service = name(SERVICES).prop_flat_map(|name| {
        option::weighted(0.8, service(name.clone())).prop_map(move |service| Change::Service(name.clone(), service))
    });
    let slice = (name(SERVICES), select(vec!["s1", "s2"])).prop_flat_map(|(name, own)| {
        option::weighted(0.8, slice(name.clone(), own)).prop_map(move |slice| Change::Slice(name.clone(), own, slice))
    });
    let secret =
        (name(&["site", "other", "default"]), select(vec![None, Some("site"), Some("legacy"), Some("fallback")]))
            .prop_map(|(name, content)| Change::Secret(name, content));
    let controllers = vec![None, Some(OURS), Some(OURS), Some("else.io/c")];
    let class = (select(vec!["rust-nginx", "theirs"]), select(controllers), select(vec![None, Some("x"), Some("y")]))
        .prop_map(|(name, controller, config)| Change::Class(name, controller, config));
    let class_config = (select(vec!["x", "y"]), select(vec![None, Some("true"), Some("false"), Some("bad")]))
        .prop_map(|(name, redirect)| Change::ClassConfig(name, redirect));
    let pairs = vec![
        ("ssl-redirect", "false"),
        ("hsts", "false"),
        ("proxy-read-timeout", "9"),
        ("service-upstream", "true"),
        ("ssl-protocols", "TLSv1.3"),
        ("ssl-session-tickets", "true"),
        ("ssl-session-ticket-key", "a/other"),
        ("proxy-ssl-location-only", "true"),
        ("x", "y"),
    ];
    let data = vec(select(pairs), 0..3)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
    let config_map = option::weighted(0.8, data).prop_map(Change::ConfigMap);
    let resolved = vec![
        None,
        Some(Resolved::failed("no such name")),
        Some(Resolved::found(["192.0.2.1".parse().unwrap()])),
        Some(Resolved::found(["192.0.2.1".parse().unwrap(), "127.0.0.1".parse().unwrap()])),
    ];
    let former = (name(SERVICES), select(resolved.clone())).prop_map(|(name, former)| Change::Former(name, former));
    let host_name = (select(vec!["db.example.com", "web.example.com"]), select(resolved))
        .prop_map(|(name, resolved)| Change::HostName(name, resolved));
    prop_oneof![
        2 => host_name,
        1 => former,
        8 => ingress,
        2 => (name(INGRESSES), any::<u32>()).prop_map(|(name, version)| Change::Status(name, version)),
        4 => service,
        4 => slice,
        3 => secret,
        2 => class,
        1 => class_config,
        1 => config_map,
        1 => any::<bool>().prop_map(Change::Findings),
    ]
}

const OURS: &str = "rust-nginx.io/ingress-controller";

impl Change {
    fn apply(self, snapshot: &mut Snapshot) {
        fn set<K: Ord + Clone, V: Clone>(map: &mut imbl::OrdMap<K, V>, key: K, value: Option<V>) {
            match value {
                Some(value) => _ = map.insert(key, value),
                None => _ = map.remove(&key),
            }
        }
        match self {
            Self::Ingress(name, ingress) => set(&mut snapshot.ingresses, name, ingress.map(Arc::new)),
            Self::Status(name, version) => {
                if let Some(ingress) = snapshot.ingresses.get_mut(&name) {
                    Arc::make_mut(ingress).resource_version = version.to_string().into();
                }
            }
            Self::Service(name, service) => set(&mut snapshot.services, name, service.map(Arc::new)),
            Self::Slice(service, own, slice) => {
                let mut slices = snapshot.endpoint_slices.get(&service).cloned().unwrap_or_default();
                set(&mut slices, own.into(), slice.map(Arc::new));
                set(&mut snapshot.endpoint_slices, service, Some(slices).filter(|slices| !slices.is_empty()));
            }
            Self::Secret(name, content) => {
                let secret = content.map(|content| Arc::new(secret_of(&name, content)));
                set(&mut snapshot.secrets, name, secret);
            }
            Self::Class(name, controller, config) => {
                let class = controller.map(|controller| IngressClass {
                    name: name.into(),
                    controller: controller.to_owned(),
                    is_default: false,
                    parameters: config
                        .map(|config| ("rust-nginx.io".into(), "IngressClassConfig".into(), config.into())),
                });
                set(&mut snapshot.ingress_classes, name.into(), class.map(Arc::new));
            }
            Self::ClassConfig(name, redirect) => {
                let config = redirect.map(|redirect| ClassConfig {
                    name: name.into(),
                    data: BTreeMap::from([("force-ssl-redirect", redirect.to_owned())]),
                });
                set(&mut snapshot.class_configs, name.into(), config.map(Arc::new));
            }
            Self::ConfigMap(data) => {
                let name = ObjectName::new("a", "settings");
                let config_map = data.map(|data| Arc::new(ConfigMap { name: name.clone(), data }));
                set(&mut snapshot.config_maps, name, config_map);
            }
            Self::HostName(name, resolved) => set(&mut snapshot.host_names, name.into(), resolved.map(Arc::new)),
            Self::Former(service, resolved) => {
                set(&mut snapshot.former_addresses, service, resolved.map(Arc::new));
            }
            Self::Findings(unreadable) => {
                let resource = ObjectRef::named(ObjectKind::Resource, "ingressclasses");
                let reason = crate::diagnostic::Reason::ResourceUnavailable;
                let finding = unreadable.then(|| Diagnostic::warning(resource, reason, "", "forbidden"));
                snapshot.findings = finding.into_iter().collect();
            }
        }
    }
}

fn secret_of(name: &ObjectName, content: &str) -> Secret {
    let part = |extension: &str| {
        fs::read(testdata().join(format!("certificates/{content}.{extension}"))).unwrap().into_boxed_slice()
    };
    let mut data = BTreeMap::from([("tls.crt".to_owned(), part("crt")), ("tls.key".to_owned(), part("key"))]);
    if content != "legacy" {
        data.insert("ca.crt".to_owned(), part("crt"));
        data.insert("ticket.key".to_owned(), part("key").iter().copied().take(48).collect());
    }
    Secret { name: name.clone(), secret_type: "kubernetes.io/tls".to_owned(), data }
}

static OPTIONS: LazyLock<[Options; 2]> = LazyLock::new(|| {
    let flags = "--configmap=a/settings --default-backend-service=a/web --default-ssl-certificate=a/default";
    [
        options(flags),
        options(&format!("{flags} --strict-host-ownership --disable-catch-all --watch-ingress-without-class")),
    ]
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Several changes may fall into one pass.
    #[test]
    fn the_past_makes_no_difference(passes in vec(vec(change(), 1..4), 1..24), strict in any::<bool>()) {
        let options = &OPTIONS[usize::from(strict)];
        let mut compiler = Compiler::new(options.clone());
        let mut snapshot = Snapshot::default();
        Change::Class("rust-nginx", Some(OURS), None).apply(&mut snapshot);
        let mut before = compiler.compile(&snapshot);
        for changes in passes {
            for change in changes.clone() {
                change.apply(&mut snapshot);
            }
            let (now, fresh) = (compiler.compile(&snapshot), compile(&snapshot, options));
            prop_assert_eq!(view(&now), view(&fresh), "after {:?}", changes);
            prop_assert_eq!(&now.diagnostics, &fresh.diagnostics, "after {:?}", changes);
            prop_assert_eq!(&now.expiries, &fresh.expiries, "after {:?}", changes);
            prop_assert_eq!(&now.ingresses, &fresh.ingresses);
            prop_assert_eq!(&now.references, &fresh.references);
            prop_assert_eq!(&now.process, &fresh.process);
            // What is the same is not installed again. (A backend that is made from something else and comes out the same
            // has another position.)
            let same = now.table.is_same(&before.table);
            prop_assert!(!same || view(&now) == view(&before), "after {:?}", changes);
            prop_assert!(same || !changes.iter().all(|change| matches!(change, Change::Status(..))));
            before = now;
        }
    }
}

#[test]
fn an_endpoint_that_changes_touches_no_route() {
    let mut snapshot = Snapshot::default();
    let service = ObjectName::new("a", "web");
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut sample = |ready: bool| {
        let tree = slice(service.clone(), "s1").new_tree(&mut runner).unwrap();
        let mut slice = proptest::strategy::ValueTree::current(&tree);
        slice.endpoints = Box::new([SliceEndpoint {
            address: "10.244.0.1".parse().unwrap(),
            ready,
            serving: ready,
            terminating: false,
            for_zones: Box::default(),
        }]);
        slice
    };
    let manifests = site();
    snapshot.clone_from(&super::snapshot(&[("site.yaml", &manifests)]));
    let options = options("");
    let mut compiler = Compiler::new(options);
    let first = compiler.compile(&snapshot);
    for ready in [true, false, true] {
        Change::Slice(service.clone(), "s1", Some(sample(ready))).apply(&mut snapshot);
        let next = compiler.compile(&snapshot);
        for host in first.table.hosts().sorted() {
            let same = next.table.hosts().sorted().into_iter().any(|other| Arc::ptr_eq(host, other));
            assert!(same, "{} was made anew", host.host());
        }
    }
}
