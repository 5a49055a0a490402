//! Which port of a Service a rule means.

use crate::snapshot::{Service, ServicePort, ServicePortRef};

/// The port by number (of the Service or of its pods) or name; the first that fits, as in ingress-nginx.
///
/// # Errors
/// A sentence about what is wrong with the reference.
pub(in crate::compile) fn find<'a>(service: &'a Service, wanted: &ServicePortRef) -> Result<&'a ServicePort, String> {
    find_of(service, wanted, true)
}

/// The same of TCP or UDP.
pub(in crate::compile) fn find_of<'a>(
    service: &'a Service,
    wanted: &ServicePortRef,
    tcp: bool,
) -> Result<&'a ServicePort, String> {
    let name = &service.name;
    let fits = |port: &&ServicePort| match wanted {
        ServicePortRef::Number(number) => port.port == *number || port.target_number == Some(*number),
        ServicePortRef::Name(name) => port.name == *name,
        ServicePortRef::Missing => false,
    };
    if *wanted == ServicePortRef::Missing {
        return Err(format!("the backend {} names no port, neither by name nor by number", name.name));
    }
    let fitting = || service.ports.iter().filter(fits);
    match fitting().find(|port| port.tcp == tcp) {
        Some(port) => Ok(port),
        None if fitting().next().is_some() => {
            let transport = if tcp { "TCP" } else { "UDP" };
            Err(format!("port {wanted} of Service {name} is not {transport}"))
        }
        None => {
            let has: Vec<_> = service.ports.iter().map(describe).collect();
            let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
            Err(format!("Service {name} has no port {wanted}; it has {has}"))
        }
    }
}

fn describe(port: &ServicePort) -> String {
    if port.name.is_empty() { port.port.to_string() } else { format!("{} ({})", port.port, port.name) }
}
