//! rust-nginx: the Kubernetes objects of the site as a directory of manifests.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressClass, IngressClassSpec, IngressRule,
    IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;

use super::Addresses;
use crate::process::Launch;
use crate::site::{self, HOSTS, PATHS, Site};

/// Where the manifests are, below the directory of the peer.
pub(crate) const MANIFESTS: &str = "manifests";
/// The file of the ConfigMap.
pub(crate) const CONFIG: &str = "config.yaml";
pub(crate) const NAMESPACE: &str = "bench";
pub(crate) const CLASS: &str = "rust-nginx";
const SECRET: &str = "site";
pub(crate) const SERVICE: &str = "origin";
const PORT: i32 = 80;

/// The version, which is not part of what a build without `--version` can tell.
pub(super) fn version(program: &Path) -> Result<String> {
    let output =
        Command::new(program).arg("--version").output().with_context(|| format!("start {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.split_whitespace().next_back();
    let version = last.with_context(|| format!("`{} --version` is empty", program.display()))?;
    Ok(version.to_owned())
}

pub(super) fn prepare(
    program: Launch,
    directory: &Path,
    site: &Site,
    addresses: Addresses,
    workers: usize,
) -> Result<Launch> {
    let manifests = directory.join(MANIFESTS);
    std::fs::create_dir_all(&manifests).with_context(|| format!("create {}", manifests.display()))?;
    site::write(&manifests.join("site.yaml"), &objects(site)?)?;
    site::write(&manifests.join(CONFIG), &config(workers, &[])?)?;
    Ok(program
        .arg("serve")
        .arg("--manifests")
        .arg(manifests.to_string_lossy())
        .arg("--http-addr")
        .arg(addresses.http.to_string())
        .arg("--https-addr")
        .arg(addresses.https.to_string())
        .arg("--admin-addr")
        .arg(addresses.admin.to_string())
        .arg("--configmap")
        .arg(format!("{NAMESPACE}/config")))
}

/// The content of [`CONFIG`] with some keys more.
pub(crate) fn config(workers: usize, more: &[(&str, &str)]) -> Result<String> {
    document(&config_map(workers, more))
}

/// All other objects in one multi-document file. JSON is YAML, and needs no quoting rules of our own.
fn objects(site: &Site) -> Result<String> {
    let mut documents =
        vec![document(&class())?, document(&secret(site))?, document(&service())?, document(&endpoint_slice(site))?];
    for index in 0..HOSTS {
        documents.push(document(&ingress(index))?);
    }
    Ok(documents.join("---\n"))
}

fn document(object: &impl Serialize) -> Result<String> {
    let mut text = serde_json::to_string(object).context("write an object as JSON")?;
    text.push('\n');
    Ok(text)
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), namespace: Some(NAMESPACE.to_owned()), ..ObjectMeta::default() }
}

fn class() -> IngressClass {
    IngressClass {
        metadata: ObjectMeta { name: Some(CLASS.to_owned()), ..ObjectMeta::default() },
        spec: Some(IngressClassSpec {
            controller: Some("rust-nginx.io/ingress-controller".to_owned()),
            ..IngressClassSpec::default()
        }),
    }
}

fn config_map(workers: usize, more: &[(&str, &str)]) -> ConfigMap {
    let workers = workers.to_string();
    let data = [
        ("worker-processes", &*workers),
        ("disable-access-log", "true"),
        ("keep-alive-requests", "1000000000"),
        ("ssl-redirect", "false"),
    ];
    ConfigMap {
        metadata: named("config"),
        data: Some(data.iter().chain(more).map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()),
        ..ConfigMap::default()
    }
}

fn secret(site: &Site) -> Secret {
    let data = [("tls.crt", &site.certificate_pem), ("tls.key", &site.key_pem)];
    Secret {
        metadata: named(SECRET),
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.map(|(key, pem)| (key.to_owned(), ByteString(pem.clone().into_bytes()))).into()),
        ..Secret::default()
    }
}

fn service() -> Service {
    Service {
        metadata: named(SERVICE),
        spec: Some(ServiceSpec {
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: PORT,
                target_port: Some(IntOrString::String("http".to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn endpoint_slice(site: &Site) -> EndpointSlice {
    let mut metadata = named("origin-1");
    metadata.labels = Some(BTreeMap::from([("kubernetes.io/service-name".to_owned(), SERVICE.to_owned())]));
    EndpointSlice {
        metadata,
        address_type: "IPv4".to_owned(),
        endpoints: Some(vec![Endpoint {
            addresses: vec![site.origin.ip().to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
            ..Endpoint::default()
        }]),
        ports: Some(vec![EndpointPort {
            name: Some("http".to_owned()),
            port: Some(site.origin.port().into()),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

fn ingress(index: usize) -> Ingress {
    let host = site::host(index);
    let paths = (0..PATHS).map(|index| HTTPIngressPath {
        path: Some(site::path(index)),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: SERVICE.to_owned(),
                port: Some(ServiceBackendPort { number: Some(PORT), ..ServiceBackendPort::default() }),
            }),
            ..IngressBackend::default()
        },
    });
    Ingress {
        metadata: named(&format!("site-{index:04}")),
        spec: Some(IngressSpec {
            ingress_class_name: Some(CLASS.to_owned()),
            tls: Some(vec![IngressTLS { hosts: Some(vec![host.clone()]), secret_name: Some(SECRET.to_owned()) }]),
            rules: Some(vec![IngressRule {
                host: Some(host),
                http: Some(HTTPIngressRuleValue { paths: paths.collect() }),
            }]),
            ..IngressSpec::default()
        }),
        ..Ingress::default()
    }
}
