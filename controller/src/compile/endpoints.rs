//! EndpointSlices → endpoints of one port of a Service.

use super::Options;
use crate::snapshot::{EndpointPort, EndpointSlice, Service, ServicePort, SliceEndpoint, Snapshot};
use imbl::OrdMap;
use rust_nginx_proxy::table::Endpoint;
use std::{net::SocketAddr, sync::Arc};

/// The slices of one Service.
type Slices = OrdMap<Arc<str>, Arc<EndpointSlice>>;

/// The addresses that serve the port: the ready ones; when nothing is ready, those that still serve while they
/// terminate. Duplicates across slices are the caller's to remove.
pub(super) fn of_port(service: &Service, port: &ServicePort, snapshot: &Snapshot, _: &Options) -> Vec<Endpoint> {
    let Some(slices) = snapshot.endpoint_slices.get(&service.name) else { return Vec::new() };
    let ready = |endpoint: &SliceEndpoint| endpoint.ready || service.publish_not_ready;
    let found = collect(port, slices, ready);
    if !found.is_empty() {
        return found;
    }
    collect(port, slices, |endpoint| endpoint.terminating && endpoint.serving)
}

fn collect(port: &ServicePort, slices: &Slices, admit: impl Fn(&SliceEndpoint) -> bool) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for slice in slices.values() {
        let Some(number) = target_port(port, slice) else { continue };
        let admitted = slice.endpoints.iter().filter(|endpoint| admit(endpoint));
        let addresses = admitted.flat_map(|endpoint| &endpoint.addresses);
        found.extend(addresses.map(|address| Endpoint { address: SocketAddr::new(*address, number) }));
    }
    found
}

/// A slice's ports carry the names of the Service's ports. A name may be left out on either side when there is only one
/// port. The number may differ from slice to slice, because a named target port differs by pod.
fn target_port(port: &ServicePort, slice: &EndpointSlice) -> Option<u16> {
    let tcp = || slice.ports.iter().filter(|candidate| candidate.tcp);
    let named = tcp().find(|candidate| candidate.name == port.name);
    let only = || match slice.ports.as_slice() {
        [only] if only.tcp && (only.name.is_empty() || port.name.is_empty()) => Some(only),
        _ => None,
    };
    named.or_else(only).and_then(|EndpointPort { port, .. }| *port)
}
