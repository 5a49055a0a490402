//! discovery.k8s.io/v1: EndpointSlice.

use super::{Metadata, Unconvertible, is_tcp, port};
use crate::snapshot::{EndpointPort, EndpointSlice, SliceEndpoint};
use k8s_openapi::api::discovery::v1 as api;
use std::net::IpAddr;

/// Names the Service that a slice belongs to.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

impl TryFrom<api::EndpointSlice> for EndpointSlice {
    type Error = Unconvertible;

    fn try_from(slice: api::EndpointSlice) -> Result<Self, Unconvertible> {
        // The addresses themselves say what they are; names (`FQDN`) are no addresses and drop out there.
        let api::EndpointSlice { address_type: _, endpoints, metadata, ports } = slice;
        let mut metadata = Metadata::read(metadata)?;
        Ok(Self {
            name: metadata.name,
            service: metadata.labels.remove(SERVICE_LABEL).unwrap_or_default().into(),
            ports: ports.unwrap_or_default().into_iter().enumerate().map(endpoint_port).collect::<Result<_, _>>()?,
            endpoints: endpoints.unwrap_or_default().into_iter().flat_map(endpoint).collect(),
        })
    }
}

fn endpoint_port((index, entry): (usize, api::EndpointPort)) -> Result<EndpointPort, Unconvertible> {
    let api::EndpointPort { app_protocol: _, name, port: number, protocol } = entry;
    Ok(EndpointPort {
        name: name.unwrap_or_default().into(),
        port: number.map(|number| port(number, || format!("ports[{index}].port"))).transpose()?,
        tcp: is_tcp(protocol.as_deref()),
    })
}

/// All addresses of an endpoint are used, as in ingress-nginx; what is no IP address drops out.
fn endpoint(endpoint: api::Endpoint) -> impl Iterator<Item = SliceEndpoint> {
    let api::Endpoint {
        addresses,
        conditions,
        deprecated_topology: _,
        hints,
        hostname: _,
        node_name: _,
        target_ref: _,
        zone: _,
    } = endpoint;
    let api::EndpointConditions { ready, serving, terminating } = conditions.unwrap_or_default();
    let api::EndpointHints { for_nodes: _, for_zones } = hints.unwrap_or_default();
    let ready = ready.unwrap_or(true);
    let serving = serving.unwrap_or(ready);
    let terminating = terminating.unwrap_or(false);
    let for_zones: Box<[_]> = for_zones
        .unwrap_or_default()
        .into_iter()
        .map(|zone| {
            let api::ForZone { name } = zone;
            name.into()
        })
        .collect();
    addresses.into_iter().filter_map(move |text| {
        let address = text.parse::<IpAddr>().ok()?;
        Some(SliceEndpoint { address, ready, serving, terminating, for_zones: for_zones.clone() })
    })
}
