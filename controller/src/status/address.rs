//! Which addresses the status of our Ingresses names.

use crate::{
    args::Publish,
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::{Service, ServiceType, Snapshot},
};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// An entry of `status.loadBalancer.ingress`: IP address and host name, one of them absent.
pub(super) type Address = (Option<Arc<str>>, Option<Arc<str>>);

/// The addresses, sorted; `None` when they are not known, so that a status is left as it is.
pub(super) fn addresses(publish: &Publish, snapshot: &Snapshot) -> Option<Arc<[Address]>> {
    let found: BTreeSet<Address> = match publish {
        Publish::Nodes(_) => return snapshot.node_addresses.clone(),
        Publish::Addresses(addresses) => addresses.iter().map(|text| address(text)).collect(),
        Publish::Service(name) => of_service(snapshot.services.get(name)?),
    };
    Some(found.into_iter().collect())
}

/// What is wrong with where the addresses come from, if they are not known for that reason.
pub fn finding(publish: &Publish, snapshot: &Snapshot) -> Option<Diagnostic> {
    let Publish::Service(name) = publish else { return None };
    let missing = !snapshot.services.contains_key(name);
    missing.then(|| {
        let flag = ObjectRef::named(ObjectKind::Flag, "publish-service");
        let text = format!("Service {name} does not exist: until it does, the status of Ingresses stays as it is");
        Diagnostic::warning(flag, Reason::RefNotFound, "", text)
    })
}

/// What of a Service can be reached from outside, as ingress-nginx sees it.
fn of_service(service: &Service) -> BTreeSet<Address> {
    let external = service.external_ips.iter().map(|text| address(text));
    let cluster = service.cluster_ips.iter().map(|ip| address(&ip.to_string()));
    match service.service_type {
        ServiceType::ExternalName => service.external_name.iter().map(|name| address(name)).collect(),
        ServiceType::ClusterIp => cluster.collect(),
        ServiceType::NodePort if service.external_ips.is_empty() => cluster.collect(),
        ServiceType::NodePort => external.collect(),
        ServiceType::LoadBalancer => service.load_balancer.iter().cloned().chain(external).collect(),
    }
}

fn address(text: &str) -> Address {
    let text = text.trim();
    if text.parse::<IpAddr>().is_ok() { (Some(text.into()), None) } else { (None, Some(text.into())) }
}

#[cfg(test)]
mod tests {
    use super::{Address, address, addresses, finding};
    use crate::{
        args::{NodeAddress, Publish},
        snapshot::{ObjectName, Service, ServiceType, Snapshot},
    };
    use std::sync::Arc;

    fn service(service_type: ServiceType) -> Service {
        Service {
            name: ObjectName::new("edge", "lb"),
            service_type,
            cluster_ips: Box::new(["10.0.0.1".parse().unwrap()]),
            external_name: Some("lb.example.com".into()),
            external_ips: Box::new(["192.0.2.9".into()]),
            ports: Box::default(),
            load_balancer: Box::new([address("192.0.2.1"), address("elb.example.com")]),
            publish_not_ready: false,
            traffic_distribution: None,
            annotations: Default::default(),
        }
    }

    fn published(service: Service) -> Option<Arc<[Address]>> {
        let mut snapshot = Snapshot::default();
        snapshot.services.insert(service.name.clone(), Arc::new(service));
        addresses(&Publish::Service(ObjectName::new("edge", "lb")), &snapshot)
    }

    fn all(texts: &[&str]) -> Option<Arc<[Address]>> {
        Some(texts.iter().map(|text| address(text)).collect())
    }

    #[test]
    fn services_publish_what_can_be_reached() {
        assert_eq!(published(service(ServiceType::LoadBalancer)), all(&["elb.example.com", "192.0.2.1", "192.0.2.9"]));
        assert_eq!(published(service(ServiceType::ClusterIp)), all(&["10.0.0.1"]));
        assert_eq!(published(service(ServiceType::NodePort)), all(&["192.0.2.9"]));
        assert_eq!(
            published(Service { external_ips: Box::default(), ..service(ServiceType::NodePort) }),
            all(&["10.0.0.1"])
        );
        assert_eq!(published(service(ServiceType::ExternalName)), all(&["lb.example.com"]));
    }

    #[test]
    fn a_missing_service_changes_nothing_and_is_said() {
        let publish = Publish::Service(ObjectName::new("edge", "lb"));
        assert_eq!(addresses(&publish, &Snapshot::default()), None);
        let found = finding(&publish, &Snapshot::default()).expect("a finding");
        assert_eq!(
            (found.object.to_string().as_str(), &*found.message),
            (
                "Flag publish-service",
                "Service edge/lb does not exist: until it does, the status of Ingresses stays as it is"
            )
        );
        assert_eq!(finding(&Publish::Nodes(NodeAddress::External), &Snapshot::default()), None);
        assert_eq!(addresses(&Publish::Nodes(NodeAddress::External), &Snapshot::default()), None);
    }

    #[test]
    fn addresses_of_the_flag_are_sorted_and_distinct() {
        let publish = Publish::Addresses(vec!["192.0.2.2".into(), "name.example".into(), "192.0.2.2".into()]);
        assert_eq!(addresses(&publish, &Snapshot::default()), all(&["name.example", "192.0.2.2"]));
    }
}
