//! EndpointSlices → endpoints of one port of a Service.

use super::Options;
use crate::{
    diagnostic::Reason,
    snapshot::{EndpointPort, EndpointSlice, Service, ServicePort, SliceEndpoint, Snapshot},
};
use imbl::OrdMap;
use rust_nginx_proxy::table::Endpoint;
use std::{fmt::Write as _, net::SocketAddr, sync::Arc};

/// The slices of one Service.
type Slices = OrdMap<Arc<str>, Arc<EndpointSlice>>;

/// Annotations that ask for endpoints of the own zone, the current one first.
const TOPOLOGY_MODE: [&str; 2] = ["service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"];

/// The addresses that serve the port: the ready ones; when nothing is ready, those that still serve while they
/// terminate. Duplicates across slices are the caller's to remove.
pub(super) fn of_port(service: &Service, port: &ServicePort, snapshot: &Snapshot, options: &Options) -> Vec<Endpoint> {
    let Some(slices) = snapshot.endpoint_slices.get(&service.name) else { return Vec::new() };
    let ready = |endpoint: &SliceEndpoint| endpoint.ready || service.publish_not_ready;
    if let Some(zone) = snapshot.zone.as_ref().filter(|_| options.flags.topology_aware && wants_proximity(service)) {
        let near = near(port, slices, zone, ready);
        if !near.is_empty() {
            return near;
        }
    }
    let found = collect(port, slices, ready);
    if !found.is_empty() {
        return found;
    }
    collect(port, slices, |endpoint| endpoint.terminating && endpoint.serving)
}

/// `spec.trafficDistribution` (KEP-4444, KEP-3015) or the annotation before it (KEP-2433).
fn wants_proximity(service: &Service) -> bool {
    let distribution = service.traffic_distribution.as_deref();
    let mode = TOPOLOGY_MODE.iter().find_map(|name| service.annotations.get(*name));
    matches!(distribution, Some("PreferClose" | "PreferSameZone" | "PreferSameNode"))
        || mode.is_some_and(|mode| mode.eq_ignore_ascii_case("auto"))
}

/// The ready endpoints whose hints name the zone. None when a single one has no hints: the hints are then not complete,
/// and following them could overload the few (the safeguard of kube-proxy).
fn near(
    port: &ServicePort,
    slices: &Slices,
    zone: &Arc<str>,
    ready: impl Fn(&SliceEndpoint) -> bool + Copy,
) -> Vec<Endpoint> {
    if !collect(port, slices, |endpoint| ready(endpoint) && endpoint.for_zones.is_empty()).is_empty() {
        return Vec::new();
    }
    collect(port, slices, |endpoint| ready(endpoint) && endpoint.for_zones.contains(zone))
}

fn collect(port: &ServicePort, slices: &Slices, admit: impl Fn(&SliceEndpoint) -> bool) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for slice in slices.values() {
        let Some(number) = target_port(port, slice) else { continue };
        let admitted = slice.endpoints.iter().filter(|endpoint| admit(endpoint));
        found.extend(admitted.map(|endpoint| Endpoint { address: SocketAddr::new(endpoint.address, number) }));
    }
    found
}

/// Why [`of_port`] finds nothing. `of_port` ends the sentence, where the port was asked for.
pub(super) fn none(service: &Service, port: &ServicePort, snapshot: &Snapshot, of_port: &str) -> (Reason, String) {
    let slices = snapshot.endpoint_slices.get(&service.name);
    let ready = |slice: &&Arc<EndpointSlice>| slice.endpoints.iter().any(|endpoint| endpoint.ready);
    let mut others: Vec<String> = slices
        .into_iter()
        .flat_map(OrdMap::values)
        .filter(|slice| target_port(port, slice).is_none())
        .filter(ready)
        .flat_map(|slice| slice.ports.iter().map(|port| described(&port.name, port.tcp)))
        .collect();
    others.sort_unstable();
    others.dedup();
    let name = &service.name;
    let mut text = format!("Service {name} has no ready endpoint{of_port}");
    if !others.is_empty() {
        let wanted = described(&port.name, port.tcp);
        let _ = write!(text, "; its EndpointSlices have {}, and not {wanted}", others.join(", "));
    }
    (Reason::NoEndpoints, text)
}

/// A port in a sentence.
fn described(name: &str, tcp: bool) -> String {
    let protocol = if tcp { "TCP" } else { "UDP or SCTP" };
    match name {
        "" => format!("a port of {protocol} without a name"),
        name => format!("the port {name:?} of {protocol}"),
    }
}

/// A slice's ports carry the names of the Service's ports. A name may be left out on either side when there is only one
/// port. The number may differ from slice to slice, because a named target port differs by pod. Where no name fits, and
/// where a slice names no ports, a target port that is a number counts, as in ingress-nginx: who writes slices by hand
/// need not know of the names.
fn target_port(port: &ServicePort, slice: &EndpointSlice) -> Option<u16> {
    let fitting = || slice.ports.iter().filter(|candidate| candidate.tcp == port.tcp);
    let named = fitting().find(|candidate| candidate.name == port.name);
    let only = || match &*slice.ports {
        [only] if only.tcp == port.tcp && (only.name.is_empty() || port.name.is_empty()) => Some(only),
        _ => None,
    };
    let number = named.or_else(only).and_then(|EndpointPort { port, .. }| *port);
    number.or_else(|| port.target_number.filter(|_| slice.ports.is_empty() || fitting().next().is_some()))
}

#[cfg(test)]
mod tests {
    use super::{of_port, target_port};
    use crate::{
        compile::tests::options,
        snapshot::{
            EndpointPort, EndpointSlice, ObjectName, Service, ServicePort, ServiceType, SliceEndpoint, Snapshot,
        },
    };
    use std::{collections::BTreeMap, sync::Arc};

    fn endpoint(last: u8, zones: &[&str]) -> SliceEndpoint {
        SliceEndpoint {
            address: [10, 0, 0, last].into(),
            ready: true,
            serving: true,
            terminating: false,
            for_zones: zones.iter().map(|zone| (*zone).into()).collect(),
        }
    }

    /// The last numbers of the addresses that are used in zone `a`.
    fn used(endpoints: Vec<SliceEndpoint>, distribution: Option<&str>, mode: Option<&str>, flags: &str) -> Vec<u8> {
        let name = ObjectName::new("default", "web");
        let port = ServicePort { name: "".into(), port: 80, target_number: None, tcp: true, app_protocol: None };
        let mode = mode.map(|mode| ("service.kubernetes.io/topology-mode".to_owned(), mode.to_owned()));
        let service = Service {
            name: name.clone(),
            service_type: ServiceType::ClusterIp,
            cluster_ips: Box::default(),
            external_name: None,
            external_ips: Box::default(),
            ports: Box::new([port.clone()]),
            load_balancer: Box::default(),
            publish_not_ready: false,
            traffic_distribution: distribution.map(str::to_owned),
            annotations: mode.into_iter().collect::<BTreeMap<_, _>>(),
        };
        let slice = EndpointSlice {
            name: ObjectName::new("default", "web-1"),
            service: "web".into(),
            ports: Box::new([EndpointPort { name: "".into(), port: Some(80), tcp: true }]),
            endpoints: endpoints.into(),
        };
        let mut snapshot = Snapshot { zone: Some("a".into()), ..Snapshot::default() };
        let slices = imbl::OrdMap::unit("web-1".into(), Arc::new(slice));
        snapshot.endpoint_slices.insert(name, slices);
        let found = of_port(&service, &port, &snapshot, &options(flags));
        found
            .iter()
            .map(|endpoint| endpoint.address.ip().to_string().rsplit('.').next().unwrap().parse().unwrap())
            .collect()
    }

    #[test]
    fn hints_are_followed_where_they_are_complete_and_asked_for() {
        const ON: &str = "--enable-topology-aware-routing";
        let hinted = || vec![endpoint(1, &["a"]), endpoint(2, &["b"]), endpoint(3, &["b", "a"])];
        assert_eq!(used(hinted(), Some("PreferClose"), None, ON), [1, 3]);
        assert_eq!(used(hinted(), Some("PreferSameZone"), None, ON), [1, 3]);
        assert_eq!(used(hinted(), None, Some("Auto"), ON), [1, 3]);
        assert_eq!(used(hinted(), None, Some("Disabled"), ON), [1, 2, 3]);
        assert_eq!(used(hinted(), None, None, ON), [1, 2, 3]);
        assert_eq!(used(hinted(), Some("PreferClose"), None, ""), [1, 2, 3]);
    }

    /// The port that is used of a slice with these ports, by a Service with this one.
    fn used_port(name: &str, target_number: Option<u16>, ports: &[(&str, Option<u16>, bool)]) -> Option<u16> {
        let port = ServicePort { name: name.into(), port: 80, target_number, tcp: true, app_protocol: None };
        let ports = ports.iter().map(|(name, port, tcp)| EndpointPort { name: (*name).into(), port: *port, tcp: *tcp });
        let slice = EndpointSlice {
            name: ObjectName::new("default", "web-1"),
            service: "web".into(),
            ports: ports.collect(),
            endpoints: Box::default(),
        };
        target_port(&port, &slice)
    }

    #[test]
    fn ports_are_found_by_name_and_else_by_number() {
        let two = [("http", Some(8080), true), ("admin", Some(9090), true)];
        assert_eq!(used_port("admin", Some(1), &two), Some(9090));
        assert_eq!(used_port("", Some(1), &two[..1]), Some(8080));
        assert_eq!(used_port("http", Some(1), &[("", Some(8080), true)]), Some(8080));
        assert_eq!(used_port("other", Some(1), &two), Some(1));
        assert_eq!(used_port("other", None, &two), None);
        assert_eq!(used_port("http", Some(1), &[]), Some(1));
        assert_eq!(used_port("http", None, &[]), None);
        // All ports.
        assert_eq!(used_port("http", Some(1), &[("http", None, true)]), Some(1));
        // What is not TCP is no port for HTTP, whatever its number.
        assert_eq!(used_port("http", Some(1), &[("http", Some(8080), false)]), None);
    }

    #[test]
    fn incomplete_hints_and_empty_zones_fall_back_to_everybody() {
        const ON: &str = "--enable-topology-aware-routing";
        let distribution = Some("PreferClose");
        assert_eq!(used(vec![endpoint(1, &["a"]), endpoint(2, &[])], distribution, None, ON), [1, 2]);
        assert_eq!(used(vec![endpoint(1, &["b"]), endpoint(2, &["c"])], distribution, None, ON), [1, 2]);
        // One that is not ready needs no hint, and its hint does not count.
        let unready = SliceEndpoint { ready: false, serving: false, ..endpoint(3, &[]) };
        assert_eq!(used(vec![endpoint(1, &["a"]), endpoint(2, &["b"]), unready], distribution, None, ON), [1]);
        let near = SliceEndpoint { ready: false, serving: false, ..endpoint(1, &["a"]) };
        assert_eq!(used(vec![near, endpoint(2, &["b"])], distribution, None, ON), [2]);
    }
}
