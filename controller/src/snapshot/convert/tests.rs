use super::*;
use crate::snapshot::{
    ApiNode, ApiPod, Backend, ConfigMap, EndpointSlice, Ingress, IngressClass, Node, PathType, Pod, Secret, Service,
    ServicePortRef, ServiceType,
};
use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::net::IpAddr;

fn convert<A: DeserializeOwned, M: TryFrom<A, Error = Unconvertible>>(object: Value) -> Result<M, Unconvertible> {
    M::try_from(serde_json::from_value(object).expect("the test writes what the API would accept"))
}

fn ingress(spec: Value) -> Result<Ingress, Unconvertible> {
    convert::<networking::Ingress, _>(json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": spec }))
}

fn service(spec: Value) -> Result<Service, Unconvertible> {
    convert::<core::Service, _>(json!({ "metadata": { "name": "web" }, "spec": spec }))
}

fn field_of<M>(result: Result<M, Unconvertible>) -> String {
    result.err().expect("the object is refused").field
}

fn path(entry: Value) -> Value {
    json!({ "rules": [{}, { "http": { "paths": [entry] } }] })
}

#[test]
fn an_ingress_in_full() {
    let found: Ingress = convert::<networking::Ingress, _>(json!({
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "2026-01-02T03:04:05Z", "annotations": { "a": "b" },
        },
        "spec": {
            "ingressClassName": "rust-nginx",
            "defaultBackend": { "resource": { "kind": "Bucket", "name": "b" } },
            "tls": [{ "hosts": ["a.example.com"], "secretName": "s" }, {}],
            "rules": [
                { "host": "a.example.com", "http": { "paths": [
                    { "path": "/x", "pathType": "Exact", "backend": { "service": { "name": "s", "port": { "number": 80 } } } },
                    { "pathType": "", "backend": { "service": { "name": "s", "port": { "name": "http" } } } },
                ] } },
                { "host": "b.example.com" },
            ],
        },
        "status": { "loadBalancer": { "ingress": [{ "ip": "10.0.0.1" }, { "hostname": "lb" }] } },
    }))
    .unwrap();
    assert_eq!(found.name, ObjectName::new("shop", "web"));
    assert_eq!((&*found.uid, &*found.resource_version), ("u", "7"));
    assert_eq!(found.created.map(Timestamp::as_second), Some(1_767_323_045));
    assert_eq!(found.annotations["a"], "b");
    assert_eq!(found.class_name.as_deref(), Some("rust-nginx"));
    assert_eq!(found.default_backend, Some(Backend::Resource("Bucket/b".into())));
    assert_eq!((&*found.tls[0].secret_name, &*found.tls[1].secret_name), ("s", ""));
    let paths = found.rules[0].paths.as_ref().unwrap();
    assert_eq!((paths[0].path_type, &*paths[0].path), (PathType::Exact, "/x"));
    assert_eq!((paths[1].path_type, &*paths[1].path), (PathType::ImplementationSpecific, ""));
    let Backend::Service(backend) = &paths[1].backend else { panic!("{paths:?}") };
    assert_eq!(backend.port, ServicePortRef::Name("http".into()));
    assert!(found.rules[1].paths.is_none());
    assert_eq!(*found.status, [(Some("10.0.0.1".into()), None), (None, Some("lb".into()))]);
}

#[test]
fn an_ingress_that_the_api_would_refuse_names_the_field() {
    let service = |port: Value| json!({ "service": { "name": "s", "port": port } });
    let prefix = |backend: Value| path(json!({ "pathType": "Prefix", "backend": backend }));
    let at = "spec.rules[1].http.paths[0]";
    for (spec, expected) in [
        (path(json!({ "pathType": "Prefx", "backend": {} })), format!("{at}.pathType")),
        (prefix(service(json!({ "number": 70_000 }))), format!("{at}.backend.service.port.number")),
        (prefix(service(json!({ "number": -1 }))), format!("{at}.backend.service.port.number")),
        (prefix(service(json!({ "number": 80, "name": "http" }))), format!("{at}.backend.service.port")),
        (prefix(json!({ "service": { "name": "" } })), format!("{at}.backend.service.name")),
        (
            prefix(json!({ "service": { "name": "s" }, "resource": { "kind": "k", "name": "n" } })),
            format!("{at}.backend"),
        ),
        (json!({ "defaultBackend": { "service": { "name": "" } } }), "spec.defaultBackend.service.name".to_owned()),
    ] {
        assert_eq!(field_of(ingress(spec.clone())), expected, "{spec}");
    }
    assert_eq!(field_of(convert::<networking::Ingress, Ingress>(json!({ "metadata": {} }))), "metadata.name");
}

#[test]
fn absent_parts_of_a_backend_are_kept_for_compile_to_report() {
    let found = ingress(path(json!({ "pathType": "Prefix", "backend": { "service": { "name": "s" } } }))).unwrap();
    let Backend::Service(backend) = &found.rules[1].paths.as_ref().unwrap()[0].backend else { panic!("{found:?}") };
    assert_eq!(backend.port, ServicePortRef::Missing);
    let found = ingress(path(json!({ "pathType": "Prefix", "backend": {} }))).unwrap();
    assert_eq!(found.rules[1].paths.as_ref().unwrap()[0].backend, Backend::Nothing);
}

#[test]
fn a_class_is_the_default_only_when_it_says_true() {
    let class = |annotation: &str| {
        let annotations = json!({ "ingressclass.kubernetes.io/is-default-class": annotation });
        let found: IngressClass = convert::<networking::IngressClass, _>(json!({
            "metadata": { "name": "c", "annotations": annotations },
            "spec": { "controller": "x/y", "parameters": { "apiGroup": "g", "kind": "K", "name": "n" } },
        }))
        .unwrap();
        found
    };
    assert!(class("true").is_default);
    assert!(!class("false").is_default);
    assert_eq!(class("").parameters, Some(("g".into(), "K".into(), "n".into())));
}

#[test]
fn a_service_in_full() {
    let found = convert::<core::Service, Service>(json!({
        "metadata": { "name": "web", "annotations": { "service.kubernetes.io/topology-mode": "Auto", "other": "x" } },
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"],
            "externalIPs": ["192.0.2.1"], "publishNotReadyAddresses": true, "trafficDistribution": "PreferClose",
            "ports": [
                { "name": "http", "port": 80, "targetPort": 8080, "appProtocol": "kubernetes.io/h2c" },
                { "name": "dns", "port": 53, "targetPort": "dns", "protocol": "UDP" },
            ],
        },
        "status": { "loadBalancer": { "ingress": [{ "ip": "198.51.100.1" }] } },
    }))
    .unwrap();
    assert_eq!(found.name, ObjectName::new("default", "web"));
    assert_eq!(found.service_type, ServiceType::LoadBalancer);
    assert_eq!(*found.cluster_ips, ["10.0.0.1", "fd00::1"].map(|text| text.parse::<IpAddr>().unwrap()));
    assert_eq!(found.annotations.keys().collect::<Vec<_>>(), ["service.kubernetes.io/topology-mode"]);
    assert_eq!((found.ports[0].target_number, found.ports[0].tcp), (Some(8080), true));
    assert_eq!((found.ports[1].target_number, found.ports[1].tcp), (None, false));
    assert!(found.publish_not_ready);
    assert_eq!(*found.load_balancer, [(Some("198.51.100.1".into()), None)]);
}

#[test]
fn headless_and_external_services() {
    assert!(service(json!({ "clusterIP": "None", "clusterIPs": ["None"] })).unwrap().cluster_ips.is_empty());
    assert_eq!(service(json!({ "clusterIP": "10.0.0.1" })).unwrap().cluster_ips.len(), 1);
    let external = service(json!({ "type": "ExternalName", "externalName": "example.org" })).unwrap();
    assert_eq!(external.external_name.as_deref(), Some("example.org"));
}

#[test]
fn a_service_that_the_api_would_refuse_names_the_field() {
    for (spec, expected) in [
        (json!({ "type": "Cluster" }), "spec.type"),
        (json!({ "clusterIPs": ["here"] }), "spec.clusterIPs"),
        (json!({ "ports": [{ "port": 80 }, { "port": 0 }] }), "spec.ports[1].port"),
        (json!({ "ports": [{ "port": 80, "targetPort": 65536 }] }), "spec.ports[0].targetPort"),
    ] {
        assert_eq!(field_of(service(spec.clone())), expected, "{spec}");
    }
}

#[test]
fn absent_conditions_of_an_endpoint_mean_ready() {
    let found: EndpointSlice = convert::<discovery::EndpointSlice, _>(json!({
        "metadata": { "name": "web-1", "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }, {}],
        "endpoints": [
            { "addresses": ["10.0.0.1", "not an address"] },
            { "addresses": ["10.0.0.2"], "conditions": { "ready": false }, "zone": "z",
              "hints": { "forZones": [{ "name": "a" }, { "name": "b" }] } },
            { "addresses": ["10.0.0.3"], "conditions": { "ready": false, "serving": true, "terminating": true } },
        ],
    }))
    .unwrap();
    assert_eq!(&*found.service, "web");
    assert_eq!((found.ports[0].port, found.ports[1].port), (Some(8080), None));
    let conditions: Vec<_> = found.endpoints.iter().map(|it| (it.ready, it.serving, it.terminating)).collect();
    assert_eq!(conditions, [(true, true, false), (false, false, false), (false, true, true)]);
    assert_eq!(*found.endpoints[1].for_zones, ["a".into(), "b".into()]);
}

#[test]
fn plain_text_of_a_secret_wins_over_its_data_and_nothing_prints_it() {
    let found: Secret = convert::<core::Secret, _>(json!({
        "metadata": { "name": "s" }, "data": { "a": "b2xk", "b": "a2VlcA==" }, "stringData": { "a": "new" },
    }))
    .unwrap();
    assert_eq!(found.secret_type, "Opaque");
    assert_eq!((&*found.data["a"], &*found.data["b"]), (&b"new"[..], &b"keep"[..]));
    let printed = format!("{found:?}");
    assert!(!printed.contains("new") && !printed.contains("110"), "{printed}");
}

#[test]
fn a_config_map_keeps_its_texts() {
    let found: ConfigMap = convert::<core::ConfigMap, _>(json!({
        "metadata": { "name": "c", "namespace": "n" }, "data": { "k": "v" }, "binaryData": { "x": "AA==" },
    }))
    .unwrap();
    assert_eq!(found.name, ObjectName::new("n", "c"));
    assert_eq!(found.data.len(), 1);
}

#[test]
fn the_server_notes_who_wrote_a_status() {
    let entry =
        |manager: &str, fields: Value| json!({ "manager": manager, "fieldsType": "FieldsV1", "fieldsV1": fields });
    let addresses = || json!({ "f:status": { "f:loadBalancer": { "f:ingress": {} } } });
    let writer = |managed: Value| {
        let metadata = json!({ "name": "web", "managedFields": managed });
        convert::<networking::Ingress, Ingress>(json!({ "metadata": metadata })).unwrap().status_writer
    };
    let others = entry("kubectl", json!({ "f:spec": { "f:rules": {} } }));
    let ours = || entry("rust-nginx:edge/leader", addresses());
    assert_eq!(writer(json!([others, ours()])).as_deref(), Some("rust-nginx:edge/leader"));
    assert_eq!(writer(json!([others])), None);
    assert_eq!(writer(json!([entry("nginx-ingress-controller", addresses())])), None);
    // Ours, and applied by somebody else as well.
    assert_eq!(writer(json!([ours(), entry("gitops", addresses())])), None);
    assert_eq!(writer(json!([entry("rust-nginx:edge/leader", json!({ "f:status": {} }))])), None);
}

#[test]
fn pods_are_ready_when_they_run_and_stay() {
    let pod = |phase: &str, ready: &str, metadata: Value| -> Pod {
        let mut object = json!({
            "metadata": { "name": "p", "namespace": "edge", "labels": { "app": "proxy" } },
            "spec": { "nodeName": "n1", "containers": [] },
            "status": { "phase": phase, "conditions": [
                { "type": "Initialized", "status": "True" }, { "type": "Ready", "status": ready },
            ] },
        });
        object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        convert::<ApiPod, _>(object).unwrap()
    };
    let found = pod("Running", "True", json!({}));
    assert_eq!((found.node.as_deref(), found.ready, &*found.labels["app"]), (Some("n1"), true, "proxy"));
    assert!(!pod("Running", "False", json!({})).ready);
    assert!(!pod("Succeeded", "True", json!({})).ready);
    assert!(!pod("Running", "True", json!({ "deletionTimestamp": "2026-01-02T03:04:05Z" })).ready);
    assert!(!convert::<ApiPod, Pod>(json!({ "metadata": { "name": "p" } })).unwrap().ready);
}

#[test]
fn nodes_have_addresses_and_a_zone() {
    let node: Node = convert::<ApiNode, _>(json!({
        "metadata": { "name": "n1", "labels": { "topology.kubernetes.io/zone": "a", "other": "b" } },
        "status": { "addresses": [
            { "type": "InternalIP", "address": "10.0.0.1" }, { "type": "Hostname", "address": "n1" },
            { "type": "ExternalIP", "address": "203.0.113.1" }, { "type": "ExternalIP", "address": "2001:db8::1" },
        ] },
    }))
    .unwrap();
    assert_eq!((&*node.name, node.zone.as_deref()), ("n1", Some("a")));
    assert_eq!(node.external.iter().map(|text| &**text).collect::<Vec<_>>(), ["203.0.113.1", "2001:db8::1"]);
    assert_eq!(node.internal.iter().map(|text| &**text).collect::<Vec<_>>(), ["10.0.0.1"]);
}
