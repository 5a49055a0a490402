//! core/v1: Service.

use super::{Metadata, Unconvertible, is_tcp, non_empty, port};
use crate::snapshot::{LoadBalancerAddress, Service, ServicePort, ServiceType};
use k8s_openapi::{api::core::v1 as api, apimachinery::pkg::util::intstr::IntOrString};
use std::net::IpAddr;

/// Annotations of a Service outside this prefix are nobody's business here, and some of them are large.
const ANNOTATION_PREFIX: &str = "service.kubernetes.io/";

impl TryFrom<api::Service> for Service {
    type Error = Unconvertible;

    fn try_from(service: api::Service) -> Result<Self, Unconvertible> {
        let api::Service { metadata, spec, status } = service;
        let mut metadata = Metadata::read(metadata)?;
        metadata.annotations.retain(|key, _| key.starts_with(ANNOTATION_PREFIX));
        let api::ServiceSpec {
            allocate_load_balancer_node_ports: _,
            cluster_ip,
            cluster_ips,
            external_ips,
            external_name,
            external_traffic_policy: _,
            health_check_node_port: _,
            internal_traffic_policy: _,
            ip_families: _,
            ip_family_policy: _,
            load_balancer_class: _,
            load_balancer_ip: _,
            load_balancer_source_ranges: _,
            ports,
            publish_not_ready_addresses,
            selector: _,
            session_affinity: _,
            session_affinity_config: _,
            traffic_distribution,
            type_,
        } = spec.unwrap_or_default();
        let cluster_ips = match cluster_ips {
            Some(addresses) if !addresses.is_empty() => addresses,
            _ => cluster_ip.into_iter().collect(),
        };
        Ok(Self {
            name: metadata.name,
            service_type: service_type(type_.as_deref())?,
            cluster_ips: addresses(&cluster_ips)?,
            external_name: external_name.filter(|name| !name.is_empty()),
            external_ips: external_ips.unwrap_or_default().into(),
            ports: ports.unwrap_or_default().into_iter().enumerate().map(service_port).collect::<Result<_, _>>()?,
            load_balancer: status.map(load_balancer).unwrap_or_default(),
            publish_not_ready: publish_not_ready_addresses.unwrap_or_default(),
            traffic_distribution: traffic_distribution.filter(|text| !text.is_empty()),
            annotations: metadata.annotations,
        })
    }
}

fn service_type(text: Option<&str>) -> Result<ServiceType, Unconvertible> {
    match text {
        None | Some("" | "ClusterIP") => Ok(ServiceType::ClusterIp),
        Some("NodePort") => Ok(ServiceType::NodePort),
        Some("LoadBalancer") => Ok(ServiceType::LoadBalancer),
        Some("ExternalName") => Ok(ServiceType::ExternalName),
        Some(other) => {
            let message = format!("{other:?} is not one of ClusterIP, NodePort, LoadBalancer, ExternalName");
            Err(Unconvertible::new("spec.type", message))
        }
    }
}

/// `None` (the word) makes a Service headless.
fn addresses(texts: &[String]) -> Result<Box<[IpAddr]>, Unconvertible> {
    texts
        .iter()
        .filter(|text| !text.is_empty() && *text != "None")
        .map(|text| {
            let invalid = |_| Unconvertible::new("spec.clusterIPs", format!("{text:?} is not an IP address"));
            text.parse().map_err(invalid)
        })
        .collect()
}

fn service_port((index, entry): (usize, api::ServicePort)) -> Result<ServicePort, Unconvertible> {
    let api::ServicePort { app_protocol, name, node_port: _, port: number, protocol, target_port } = entry;
    let number = port(number, || format!("spec.ports[{index}].port"))?;
    let target_number = match target_port {
        // What an API server fills in.
        Some(IntOrString::Int(0)) | None => Some(number),
        Some(IntOrString::String(_)) => None,
        Some(IntOrString::Int(number)) => Some(port(number, || format!("spec.ports[{index}].targetPort"))?),
    };
    Ok(ServicePort {
        name: name.unwrap_or_default().into(),
        port: number,
        target_number,
        tcp: is_tcp(protocol.as_deref()),
        app_protocol: app_protocol.filter(|text| !text.is_empty()),
    })
}

fn load_balancer(status: api::ServiceStatus) -> Box<[LoadBalancerAddress]> {
    let api::ServiceStatus { conditions: _, load_balancer } = status;
    let api::LoadBalancerStatus { ingress } = load_balancer.unwrap_or_default();
    ingress
        .unwrap_or_default()
        .into_iter()
        .map(|address| {
            let api::LoadBalancerIngress { hostname, ip, ip_mode: _, ports: _ } = address;
            (non_empty(ip), non_empty(hostname))
        })
        .collect()
}
