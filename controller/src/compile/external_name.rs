//! Services of type ExternalName → endpoints: the addresses of a name, which a source looks up.
//!
//! Addresses that are near (those of this machine, and what only it can reach) are refused whoever says so, the Service or
//! DNS: the author of a Service must not reach them through us.

use super::backend::port;
use crate::snapshot::{ExternalName, Service, ServicePortRef, Snapshot};
use rust_nginx_proxy::is_near;
use std::{net::SocketAddr, sync::Arc};

/// What an ExternalName comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct External {
    /// Where to connect to.
    pub(super) addresses: Vec<SocketAddr>,
    /// The name that has to be looked up, in lower case.
    pub(super) host_name: Option<Arc<str>>,
    /// What is wrong.
    pub(super) problem: Option<String>,
}

/// The addresses of the external name, with the port that the rule means; `None` is the first port of the Service.
pub(super) fn resolve(service: &Service, wanted: Option<&ServicePortRef>, snapshot: &Snapshot) -> External {
    let name = &service.name;
    let problem = |text: String| External { problem: Some(text), ..External::default() };
    let port = match port_of(service, wanted) {
        Ok(port) => port,
        Err(text) => return problem(text),
    };
    let external = match service.external() {
        Some(ExternalName::Name(name)) => name,
        Some(ExternalName::Address(address)) if !is_near(address) => {
            return External { addresses: vec![SocketAddr::new(address, port)], ..External::default() };
        }
        Some(ExternalName::Address(address)) => {
            return problem(format!("Service {name} names the address {address}, which is refused"));
        }
        Some(ExternalName::Local(local)) => return problem(format!("Service {name} names {local}, which is refused")),
        Some(ExternalName::Nothing) | None => {
            return problem(format!("Service {name} has type ExternalName and no externalName"));
        }
    };
    let (resolved, former) = (snapshot.host_names.get(&external), snapshot.former_addresses.get(name));
    let found = former.or(resolved).map_or(&[][..], |resolved| &resolved.addresses);
    let (refused, usable): (Vec<_>, Vec<_>) = found.iter().copied().partition(|address| is_near(*address));
    let why = match resolved {
        Some(resolved) => resolved.problem.as_deref(),
        None => Some("it has not been looked up yet"),
    };
    let problem = match (refused.first(), why) {
        (Some(refused), _) => Some(format!("{external} of Service {name} has the address {refused}, which is refused")),
        (None, why) if usable.is_empty() => {
            let why = why.unwrap_or("it has no address");
            Some(format!("{external} of Service {name} cannot be resolved: {why}"))
        }
        (None, Some(why)) => {
            let still = if former.is_some() {
                "so far, those of the name before are used"
            } else {
                "any more, its last addresses are used"
            };
            Some(format!("{external} of Service {name} cannot be resolved {still}: {why}"))
        }
        (None, None) => None,
    };
    let addresses = usable.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    External { addresses, host_name: Some(external), problem }
}

/// As in ingress-nginx: the target port of the Service's port that fits; a number that none has stands for itself.
fn port_of(service: &Service, wanted: Option<&ServicePortRef>) -> Result<u16, String> {
    let name = &service.name;
    let target = |port: &crate::snapshot::ServicePort| port.target_number.unwrap_or(port.port);
    let Some(wanted) = wanted else {
        let first = service.ports.iter().find(|port| port.tcp).map(target);
        return first.ok_or_else(|| format!("Service {name} has no TCP port"));
    };
    match (port::find(service, wanted), wanted) {
        (Ok(port), _) => Ok(target(port)),
        (Err(_), ServicePortRef::Number(number)) if *number != 0 => Ok(*number),
        (Err(problem), _) => Err(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::{External, resolve};
    use crate::snapshot::{ObjectName, Resolved, Service, ServicePort, ServicePortRef, ServiceType, Snapshot};
    use std::sync::Arc;

    fn service(external: &str, ports: &[(&str, u16, u16)]) -> Service {
        Service {
            name: ObjectName::new("a", "x"),
            service_type: ServiceType::ExternalName,
            cluster_ips: Box::default(),
            external_name: Some(external.to_owned()),
            external_ips: Box::default(),
            ports: ports
                .iter()
                .map(|(name, port, target)| ServicePort {
                    name: (*name).into(),
                    port: *port,
                    target_number: Some(*target),
                    tcp: true,
                    app_protocol: None,
                })
                .collect(),
            load_balancer: Box::default(),
            publish_not_ready: false,
            traffic_distribution: None,
            annotations: Default::default(),
        }
    }

    fn with(resolved: Option<Resolved>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        if let Some(resolved) = resolved {
            snapshot.host_names.insert("db.example.com".into(), Arc::new(resolved));
        }
        snapshot
    }

    fn number(number: u16) -> ServicePortRef {
        ServicePortRef::Number(number)
    }

    fn addresses(external: &External) -> Vec<String> {
        external.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_addresses_of_a_name_are_used() {
        let found = Resolved::found(["2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap()]);
        let external = resolve(&service("DB.example.com", &[]), Some(&number(8080)), &with(Some(found)));
        assert_eq!(addresses(&external), ["192.0.2.1:8080", "[2001:db8::1]:8080"]);
        assert_eq!((external.host_name.as_deref(), external.problem), (Some("db.example.com"), None));
    }

    #[test]
    fn a_dot_at_the_end_stays_for_the_resolver() {
        let external = resolve(&service("DB.example.com.", &[]), Some(&number(80)), &Snapshot::default());
        assert_eq!(external.host_name.as_deref(), Some("db.example.com."));
    }

    #[test]
    fn a_port_need_not_exist_and_a_target_port_counts() {
        let service = service("192.0.2.1", &[("http", 80, 8080)]);
        let of = |port: Option<&ServicePortRef>| addresses(&resolve(&service, port, &Snapshot::default()));
        assert_eq!(of(Some(&number(80))), ["192.0.2.1:8080"]);
        assert_eq!(of(Some(&number(9))), ["192.0.2.1:9"]);
        assert_eq!(of(Some(&ServicePortRef::Name("http".into()))), ["192.0.2.1:8080"]);
        assert_eq!(of(None), ["192.0.2.1:8080"]);
        assert_eq!(of(Some(&ServicePortRef::Name("other".into()))), Vec::<String>::new());
    }

    #[test]
    fn what_leads_back_to_this_machine_is_refused() {
        for external in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "0.0.0.0",
            "fe80::1",
            "::ffff:127.0.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "224.0.0.1",
        ] {
            let found = resolve(&service(external, &[]), Some(&number(80)), &Snapshot::default());
            assert!(
                found.addresses.is_empty() && found.problem.is_some_and(|text| text.contains("refused")),
                "{external}"
            );
        }
        let mixed = Resolved::found(["127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap()]);
        let found = resolve(&service("db.example.com", &[]), Some(&number(80)), &with(Some(mixed)));
        assert_eq!(addresses(&found), ["192.0.2.1:80"]);
        assert!(found.problem.is_some_and(|text| text.contains("127.0.0.1, which is refused")));
    }

    #[test]
    fn a_name_that_cannot_be_resolved_says_why() {
        let service = service("db.example.com", &[]);
        let problem = |resolved| resolve(&service, Some(&number(80)), &with(resolved)).problem.unwrap_or_default();
        assert!(problem(None).ends_with("it has not been looked up yet"));
        assert!(problem(Some(Resolved::failed("no such name"))).ends_with("no such name"));
    }

    #[test]
    fn a_name_that_was_changed_waits_with_the_addresses_before() {
        let service = service("db.example.com", &[]);
        let before = |snapshot: Snapshot, address: &str| {
            let former = Arc::new(Resolved::found([address.parse().unwrap()]));
            Snapshot { former_addresses: [(service.name.clone(), former)].into_iter().collect(), ..snapshot }
        };
        let external = resolve(&service, Some(&number(80)), &before(with(None), "192.0.2.9"));
        assert_eq!(addresses(&external), ["192.0.2.9:80"]);
        assert_eq!(external.host_name.as_deref(), Some("db.example.com"));
        assert!(
            external.problem.is_some_and(|text| text.contains("those of the name before are used: it has not been"))
        );
        let silent = Resolved::failed("timed out");
        let silent = resolve(&service, Some(&number(80)), &before(with(Some(silent)), "192.0.2.9"));
        assert_eq!(addresses(&silent), ["192.0.2.9:80"]);
        assert!(silent.problem.is_some_and(|text| text.ends_with("those of the name before are used: timed out")));
        let refused = resolve(&service, Some(&number(80)), &before(with(None), "127.0.0.1"));
        assert!(refused.addresses.is_empty());
    }
}
