//! Kubernetes objects, written so that a test reads as a story.
//!
//! Every builder ends as a plain [`Manifest`], which [`crate::files`] writes to a
//! directory and [`crate::control_plane`] applies to an API server.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::{Value, json};

use crate::certificate::Pair;
use crate::pod::Pod;

mod ingress;

pub use ingress::{IngressBuilder, Path, exact, implementation_specific, ingress, prefix, resource};

/// One object, in the form that both sources take.
#[derive(Clone, Debug)]
pub struct Manifest(pub Value);

// === impl Manifest ===

impl Manifest {
    /// Any typed object.
    pub fn new(object: &impl Serialize) -> Self {
        Self(serde_json::to_value(object).expect("API types are plain data"))
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or_default()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The namespace, if it names one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.0["metadata"]["namespace"].as_str()
    }

    /// The same in a namespace.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        self.0["metadata"]["namespace"] = json!(namespace);
        self
    }

    /// The same with an annotation more.
    #[must_use]
    pub fn annotated(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = json!(value);
        self
    }

    /// The same Service with this `appProtocol` on its first port.
    #[must_use]
    pub fn app_protocol(mut self, protocol: &str) -> Self {
        self.0["spec"]["ports"][0]["appProtocol"] = json!(protocol);
        self
    }

    /// The same with this time of creation, which only files can state.
    #[must_use]
    pub fn created(mut self, time: &str) -> Self {
        self.0["metadata"]["creationTimestamp"] = json!(time);
        self
    }
}

/// Several objects as one file of several documents. JSON is YAML.
pub fn documents(manifests: impl IntoIterator<Item = Manifest>) -> String {
    manifests.into_iter().map(|manifest| format!("---\n{:#}\n", manifest.0)).collect()
}

fn metadata(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// A class.
#[must_use]
pub fn ingress_class(name: &str, controller: &str) -> Manifest {
    let spec = IngressClassSpec { controller: Some(controller.to_owned()), parameters: None };
    Manifest::new(&IngressClass { metadata: metadata(name), spec: Some(spec) })
}

/// A Service with one unnamed port that leads to the pods' port.
#[must_use]
pub fn service(name: &str, port: u16) -> Manifest {
    service_with_ports(name, &[("", port)])
}

/// A Service with several ports, each leading to pods' port of the same name.
#[must_use]
pub fn service_with_ports(name: &str, ports: &[(&str, u16)]) -> Manifest {
    let port = |(name, port): &(&str, u16)| ServicePort {
        name: Some((*name).to_owned()).filter(|name| !name.is_empty()),
        port: i32::from(*port),
        protocol: Some("TCP".to_owned()),
        target_port: Some(if name.is_empty() {
            IntOrString::Int(i32::from(crate::pod::PORT))
        } else {
            IntOrString::String((*name).to_owned())
        }),
        ..ServicePort::default()
    };
    let spec = ServiceSpec { ports: Some(ports.iter().map(port).collect()), ..ServiceSpec::default() };
    Manifest::new(&Service { metadata: metadata(name), spec: Some(spec), status: None })
}

/// The pods behind a Service with one port.
#[must_use]
pub fn endpoints(service: &str, pods: &[&Pod]) -> Manifest {
    endpoints_at(service, "", &pods.iter().map(|pod| pod.address).collect::<Vec<_>>())
}

/// Ready endpoints of a Service's port; all addresses have the same port number.
#[must_use]
pub fn endpoints_at(service: &str, port_name: &str, addresses: &[SocketAddr]) -> Manifest {
    let ready: Vec<_> = addresses.iter().map(|address| (*address, true)).collect();
    endpoint_slice(&format!("{service}-slice"), service, port_name, &ready)
}

/// One EndpointSlice: addresses and whether each is ready.
#[must_use]
pub fn endpoint_slice(name: &str, service: &str, port_name: &str, addresses: &[(SocketAddr, bool)]) -> Manifest {
    let first = addresses.first().map(|(address, _)| *address);
    let endpoint = |(address, ready): &(SocketAddr, bool)| Endpoint {
        addresses: vec![address.ip().to_string()],
        conditions: Some(EndpointConditions { ready: Some(*ready), ..EndpointConditions::default() }),
        ..Endpoint::default()
    };
    let port = EndpointPort {
        name: Some(port_name.to_owned()),
        port: Some(i32::from(first.map_or(crate::pod::PORT, |address| address.port()))),
        protocol: Some("TCP".to_owned()),
        ..EndpointPort::default()
    };
    let family = if first.is_some_and(|address| address.is_ipv6()) { "IPv6" } else { "IPv4" };
    let labels = BTreeMap::from([("kubernetes.io/service-name".to_owned(), service.to_owned())]);
    Manifest::new(&EndpointSlice {
        metadata: ObjectMeta { labels: Some(labels), ..metadata(name) },
        address_type: family.to_owned(),
        endpoints: Some(addresses.iter().map(endpoint).collect()),
        ports: Some(vec![port]),
    })
}

/// A Service with its endpoints.
#[must_use]
pub fn backend(service: &str, pods: &[&Pod]) -> [Manifest; 2] {
    [self::service(service, 80), endpoints(service, pods)]
}

/// A Secret of type `kubernetes.io/tls`.
#[must_use]
pub fn tls_secret(name: &str, pair: &Pair) -> Manifest {
    let data = BTreeMap::from([
        ("tls.crt".to_owned(), ByteString(pair.certificate.clone().into_bytes())),
        ("tls.key".to_owned(), ByteString(pair.key.clone().into_bytes())),
    ]);
    Manifest::new(&Secret {
        metadata: metadata(name),
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data),
        ..Secret::default()
    })
}

/// A Secret of these texts.
#[must_use]
pub fn secret(name: &str, data: &[(&str, &str)]) -> Manifest {
    let data: BTreeMap<_, _> = data.iter().copied().collect();
    Manifest(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}))
}

/// A ConfigMap.
#[must_use]
pub fn config_map(name: &str, data: &[(&str, &str)]) -> Manifest {
    let data: BTreeMap<_, _> = data.iter().copied().collect();
    Manifest(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
}

/// A Pod that is bound to a node, with the ServiceAccount that it needs to be accepted.
#[must_use]
pub fn pod(name: &str, node: &str, account: &str, labels: Value) -> Manifest {
    Manifest(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {
            "nodeName": node, "serviceAccountName": account, "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "none"}],
        },
    }))
}

/// A Node.
#[must_use]
pub fn node(name: &str, zone: Option<&str>) -> Manifest {
    let labels = zone.map_or_else(|| json!({}), |zone| json!({"topology.kubernetes.io/zone": zone}));
    Manifest(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}))
}

/// A namespace.
#[must_use]
pub fn namespace(name: &str) -> Manifest {
    Manifest(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
}
