//! The objects of a fleet, in the form in which an API server takes them.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, ObjectReference, Secret, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressClass, IngressClassSpec, IngressRule,
    IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    Fleet, NAMESPACES, PER_CERTIFICATE, PER_SHARED_HOST, POD_PORT, Shape, ingress_name, namespace_name, pods,
    secret_name, service_name,
};

const PREFIX: &str = "nginx.ingress.kubernetes.io";

/// A copy of the object as it was applied, which `kubectl apply` leaves behind.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

// === impl Fleet ===

impl Fleet {
    /// All namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Namespace> {
        let namespace = |index| {
            let metadata = ObjectMeta { name: Some(namespace_name(index)), ..ObjectMeta::default() };
            Namespace { metadata, ..Namespace::default() }
        };
        (0..NAMESPACES).map(namespace).collect()
    }

    /// The class of all Ingresses.
    #[must_use]
    pub fn ingress_class(&self, controller: &str) -> IngressClass {
        IngressClass {
            metadata: ObjectMeta { name: Some(self.class.clone()), ..ObjectMeta::default() },
            spec: Some(IngressClassSpec { controller: Some(controller.to_owned()), ..IngressClassSpec::default() }),
        }
    }

    /// The Ingress number `index`.
    #[must_use]
    pub fn ingress(&self, index: usize) -> Ingress {
        let shape = Shape::of(index);
        let host = shape.host();
        let tls = shape.tls.then(|| {
            let secret_name = Some(secret_name(index / PER_CERTIFICATE));
            vec![IngressTLS { hosts: Some(vec![host.clone()]), secret_name }]
        });
        let [first, second] = shape.services;
        let own = path("/", "Prefix", first, index);
        let rules = if shape.shared {
            let shared = format!("shared-{:02}.example.com", index / PER_SHARED_HOST);
            let other = path(&format!("/{}", ingress_name(index)), "Prefix", second, index);
            vec![rule(host, vec![own]), rule(shared, vec![other])]
        } else {
            let (text, kind) = match index % 10 {
                0 => ("/status", "Exact"),
                1 => ("/static", "ImplementationSpecific"),
                _ => ("/api/v1", "Prefix"),
            };
            vec![rule(host, vec![own, path(text, kind, second, index)])]
        };
        let mut ingress = Ingress {
            metadata: metadata(shape.namespace, &ingress_name(index)),
            spec: Some(IngressSpec {
                ingress_class_name: Some(self.class.clone()),
                default_backend: None,
                rules: Some(rules),
                tls,
            }),
            status: None,
        };
        let mut annotations = annotations(index);
        if index.is_multiple_of(2) {
            annotations.insert(LAST_APPLIED.to_owned(), serde_json::to_string(&ingress).unwrap_or_default());
        }
        ingress.metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
        ingress
    }

    /// The Service number `index`.
    #[must_use]
    pub fn service(&self, index: usize) -> Service {
        let port = |name: &str, port| ServicePort {
            name: Some(name.to_owned()),
            port,
            target_port: Some(IntOrString::String(name.to_owned())),
            protocol: Some("TCP".to_owned()),
            ..ServicePort::default()
        };
        let mut ports = vec![port("http", 80)];
        if index.is_multiple_of(2) {
            ports.push(port("metrics", 9090));
        }
        let selector = BTreeMap::from([("app.kubernetes.io/name".to_owned(), service_name(index))]);
        Service {
            metadata: metadata(Shape::namespace_of_service(index), &service_name(index)),
            spec: Some(ServiceSpec { ports: Some(ports), selector: Some(selector), ..ServiceSpec::default() }),
            status: None,
        }
    }

    /// The EndpointSlice of the Service number `index`.
    #[must_use]
    pub fn endpoint_slice(&self, index: usize) -> EndpointSlice {
        let namespace = namespace_name(Shape::namespace_of_service(index));
        let endpoint = |(pod, address): (usize, std::net::Ipv4Addr)| Endpoint {
            addresses: vec![address.to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), serving: Some(true), terminating: Some(false) }),
            node_name: Some(format!("node-{:03}", (index + pod) % 200)),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                name: Some(format!("{}-7d4b9c6f8-{pod:05}", service_name(index))),
                namespace: Some(namespace.clone()),
                uid: Some(format!("00000000-0000-4000-8000-{:012}", index * 10 + pod)),
                ..ObjectReference::default()
            }),
            zone: Some(format!("zone-{}", pod % 3)),
            ..Endpoint::default()
        };
        let port = |name: &str, port: i32| EndpointPort {
            name: Some(name.to_owned()),
            port: Some(port),
            protocol: Some("TCP".to_owned()),
            app_protocol: None,
        };
        let mut ports = vec![port("http", POD_PORT.into())];
        if index.is_multiple_of(2) {
            ports.push(port("metrics", 9090));
        }
        let mut metadata = metadata(Shape::namespace_of_service(index), &format!("{}-x7k2p", service_name(index)));
        metadata.labels.get_or_insert_default().extend([
            ("kubernetes.io/service-name".to_owned(), service_name(index)),
            ("endpointslice.kubernetes.io/managed-by".to_owned(), "endpointslice-controller.k8s.io".to_owned()),
        ]);
        EndpointSlice {
            metadata,
            address_type: "IPv4".to_owned(),
            endpoints: Some(pods(index).into_iter().enumerate().map(endpoint).collect()),
            ports: Some(ports),
        }
    }
}

/// A Secret with a certificate.
pub(super) fn tls_secret(namespace: usize, name: &str, certificate: &str, key: &str) -> Secret {
    let data = [("tls.crt", certificate), ("tls.key", key)];
    let data = data.map(|(name, pem)| (name.to_owned(), ByteString(pem.as_bytes().to_vec())));
    Secret {
        metadata: metadata(namespace, name),
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.into()),
        ..Secret::default()
    }
}

fn metadata(namespace: usize, name: &str) -> ObjectMeta {
    let labels = [("app.kubernetes.io/name", name), ("app.kubernetes.io/managed-by", "Helm")];
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace_name(namespace)),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        ..ObjectMeta::default()
    }
}

/// What people set: a third has a timeout, a fifth a limit of bodies, a seventh no redirect.
fn annotations(index: usize) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut set = |name: &str, value: &str| annotations.insert(format!("{PREFIX}/{name}"), value.to_owned());
    if index.is_multiple_of(3) {
        set("proxy-read-timeout", ["30", "120", "300"][index / 3 % 3]);
    }
    if index.is_multiple_of(5) {
        set("proxy-body-size", ["8m", "64m"][index / 5 % 2]);
    }
    if index.is_multiple_of(7) {
        set("ssl-redirect", "false");
    }
    annotations
}

fn rule(host: String, paths: Vec<HTTPIngressPath>) -> IngressRule {
    IngressRule { host: Some(host), http: Some(HTTPIngressRuleValue { paths }) }
}

/// A quarter of the Ingresses names ports, the others number them.
fn path(text: &str, kind: &str, service: usize, ingress: usize) -> HTTPIngressPath {
    let port = if ingress % 4 == 3 {
        ServiceBackendPort { name: Some("http".to_owned()), number: None }
    } else {
        ServiceBackendPort { name: None, number: Some(80) }
    };
    HTTPIngressPath {
        path: Some(text.to_owned()),
        path_type: kind.to_owned(),
        backend: IngressBackend {
            resource: None,
            service: Some(IngressServiceBackend { name: service_name(service), port: Some(port) }),
        },
    }
}
