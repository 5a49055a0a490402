//! networking.k8s.io/v1: Ingress and IngressClass.

use super::{Metadata, Unconvertible, non_empty, port, required};
use crate::snapshot::{
    Backend, Ingress, IngressClass, IngressPath, IngressRule, IngressTls, LoadBalancerAddress, PathType,
    ServiceBackend, ServicePortRef,
};
use k8s_openapi::{
    api::{core::v1::TypedLocalObjectReference, networking::v1 as api},
    apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry},
};
use std::{collections::BTreeSet, sync::Arc};

/// kubectl's copy of the whole object, often larger than everything else in it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl TryFrom<api::Ingress> for Ingress {
    type Error = Unconvertible;

    fn try_from(ingress: api::Ingress) -> Result<Self, Unconvertible> {
        let api::Ingress { mut metadata, spec, status } = ingress;
        let status_writer = status_writer(metadata.managed_fields.take());
        let Metadata { name, uid, resource_version, created, mut annotations, labels: _ } = Metadata::read(metadata)?;
        annotations.remove(LAST_APPLIED);
        let api::IngressSpec { default_backend, ingress_class_name, rules, tls } = spec.unwrap_or_default();
        let mut names = Names::default();
        Ok(Self {
            name,
            uid,
            resource_version,
            created,
            annotations,
            class_name: non_empty(ingress_class_name),
            default_backend: default_backend
                .map(|found| backend(found, &mut names, || "spec.defaultBackend".into()))
                .transpose()?,
            rules: rules
                .unwrap_or_default()
                .into_iter()
                .enumerate()
                .map(|(index, found)| rule(index, found, &mut names))
                .collect::<Result<_, _>>()?,
            tls: tls.unwrap_or_default().into_iter().map(tls_entry).collect(),
            status: status.map(addresses).unwrap_or_default(),
            status_writer,
        })
    }
}

impl TryFrom<api::IngressClass> for IngressClass {
    type Error = Unconvertible;

    fn try_from(class: api::IngressClass) -> Result<Self, Unconvertible> {
        let api::IngressClass { metadata, spec } = class;
        let metadata = Metadata::read(metadata)?;
        let api::IngressClassSpec { controller, parameters } = spec.unwrap_or_default();
        Ok(Self {
            name: metadata.name.name,
            controller: controller.unwrap_or_default(),
            is_default: metadata
                .annotations
                .get("ingressclass.kubernetes.io/is-default-class")
                .is_some_and(|value| value == "true"),
            parameters: parameters.map(|parameters| {
                let api::IngressClassParametersReference { api_group, kind, name, namespace: _, scope: _ } = parameters;
                (api_group.unwrap_or_default(), kind, name)
            }),
        })
    }
}

/// The names of Services in one Ingress: many paths lead to few of them.
#[derive(Default)]
struct Names(BTreeSet<Arc<str>>);

// === impl Names ===

impl Names {
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let name = Arc::<str>::from(name);
        self.0.insert(name.clone());
        name
    }
}

fn rule(index: usize, rule: api::IngressRule, names: &mut Names) -> Result<IngressRule, Unconvertible> {
    let api::IngressRule { host, http } = rule;
    let paths = http.map(|http| {
        let api::HTTPIngressRuleValue { paths } = http;
        let paths = paths.into_iter().enumerate();
        paths.map(|(number, entry)| path(index, number, entry, names)).collect::<Result<_, _>>()
    });
    Ok(IngressRule { host: host.unwrap_or_default(), paths: paths.transpose()? })
}

fn path(
    rule: usize,
    index: usize,
    entry: api::HTTPIngressPath,
    names: &mut Names,
) -> Result<IngressPath, Unconvertible> {
    let api::HTTPIngressPath { backend: found, path, path_type } = entry;
    let field = |name: &str| format!("spec.rules[{rule}].http.paths[{index}].{name}");
    let path_type = match &*path_type {
        "Exact" => PathType::Exact,
        "Prefix" => PathType::Prefix,
        "ImplementationSpecific" | "" => PathType::ImplementationSpecific,
        other => {
            let message = format!("{other:?} is not one of Exact, Prefix, ImplementationSpecific");
            return Err(Unconvertible::new(field("pathType"), message));
        }
    };
    Ok(IngressPath {
        path: path.unwrap_or_default().into(),
        path_type,
        backend: backend(found, names, || field("backend"))?,
    })
}

fn backend(
    backend: api::IngressBackend,
    names: &mut Names,
    field: impl Fn() -> String,
) -> Result<Backend, Unconvertible> {
    let api::IngressBackend { resource, service } = backend;
    match (service, resource) {
        (Some(service), None) => {
            let api::IngressServiceBackend { name, port: reference } = service;
            let name = required(name, &format!("{}.service.name", field()))?;
            let api::ServiceBackendPort { name: port_name, number } = reference.unwrap_or_default();
            let reference = match (non_empty(port_name), number.filter(|number| *number != 0)) {
                (Some(name), None) => ServicePortRef::Name(name),
                (None, Some(number)) => {
                    ServicePortRef::Number(port(number, || format!("{}.service.port.number", field()))?)
                }
                (None, None) => ServicePortRef::Missing,
                (Some(_), Some(_)) => {
                    let field = format!("{}.service.port", field());
                    return Err(Unconvertible::new(field, "name and number exclude each other"));
                }
            };
            Ok(Backend::Service(ServiceBackend { name: names.shared(&name), port: reference }))
        }
        (None, Some(resource)) => {
            let TypedLocalObjectReference { api_group: _, kind, name } = resource;
            Ok(Backend::Resource(format!("{kind}/{name}")))
        }
        (None, None) => Ok(Backend::Nothing),
        (Some(_), Some(_)) => Err(Unconvertible::new(field(), "service and resource exclude each other")),
    }
}

fn tls_entry(entry: api::IngressTLS) -> IngressTls {
    let api::IngressTLS { hosts, secret_name } = entry;
    IngressTls { hosts: hosts.unwrap_or_default().into(), secret_name: secret_name.unwrap_or_default().into() }
}

/// The server notes who set which field last. Whoever overwrites the addresses takes them over, and whoever applies the
/// same ones has them together with the first.
fn status_writer(managed: Option<Vec<ManagedFieldsEntry>>) -> Option<Arc<str>> {
    let has_addresses = |entry: &ManagedFieldsEntry| {
        let path = ["f:status", "f:loadBalancer", "f:ingress"];
        let fields = entry.fields_v1.as_ref().map(|FieldsV1(fields)| fields);
        path.iter().try_fold(fields?, |fields, key| fields.get(key)).map(drop)
    };
    let mut owners = managed.into_iter().flatten().filter(|entry| has_addresses(entry).is_some());
    let only = owners.next().filter(|_| owners.next().is_none())?;
    non_empty(only.manager.filter(|manager| manager.starts_with(Ingress::STATUS_WRITER)))
}

fn addresses(status: api::IngressStatus) -> Box<[LoadBalancerAddress]> {
    let api::IngressStatus { load_balancer } = status;
    let api::IngressLoadBalancerStatus { ingress } = load_balancer.unwrap_or_default();
    ingress
        .unwrap_or_default()
        .into_iter()
        .map(|address| {
            let api::IngressLoadBalancerIngress { hostname, ip, ports: _ } = address;
            (non_empty(ip), non_empty(hostname))
        })
        .collect()
}
