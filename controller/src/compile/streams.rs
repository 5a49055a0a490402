//! ConfigMaps of `--tcp-services-configmap` and `--udp-services-configmap` → ports that are not HTTP.
//!
//! Each entry is `"PORT": namespace/service:port`, with `:PROXY` behind it when clients begin with a PROXY header and
//! `::PROXY` or `:PROXY:PROXY` when endpoints get one. An entry that cannot be served opens no port and touches no other.

use super::{
    Options,
    backend::port,
    change::Changes,
    endpoints,
    external_name::{self, External},
};
use crate::{
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::{ConfigMap, ObjectName, Service, ServicePortRef, ServiceType, Snapshot},
};
use imbl::OrdSet;
use rust_nginx_proxy::table::{BackendKey, Endpoint, StreamService, Streams, Transport};
use std::{collections::BTreeSet, sync::Arc};

/// What an entry may look like, for whoever wrote another one.
const GRAMMAR: &str =
    "namespace/service:port, with :PROXY behind it to expect a PROXY header and a second one to send one";

/// The ports of the table, and what they were made from.
#[derive(Debug, Default)]
pub(super) struct Made {
    config_maps: [Option<Arc<ConfigMap>>; 2],
    services: BTreeSet<ObjectName>,
    host_names: OrdSet<Arc<str>>,
}

/// An entry, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    service: ObjectName,
    port: ServicePortRef,
    accepts_proxy: bool,
    sends_proxy: bool,
}

/// Where an entry leads.
struct Destination {
    endpoints: Vec<Endpoint>,
    problem: Option<(Reason, String)>,
    host_name: Option<Arc<str>>,
}

// === impl Made ===

impl Made {
    /// The ports anew, with what there is to say about them, if anything has changed that they are made from.
    pub(super) fn follow(
        &mut self,
        changes: &Changes,
        snapshot: &Snapshot,
        options: &Options,
    ) -> Option<(Streams, Vec<Diagnostic>)> {
        let config_maps = names(options).map(|(name, _)| snapshot.config_maps.get(name?).cloned());
        let concerned = changes.services.iter().any(|service| self.services.contains(service))
            || changes.host_names.iter().any(|name| self.host_names.contains(name));
        if config_maps == self.config_maps && !concerned {
            return None;
        }
        self.config_maps = config_maps;
        Some(self.make(snapshot, options))
    }

    /// The host names that addresses of endpoints come from.
    pub(super) fn host_names(&self) -> &OrdSet<Arc<str>> {
        &self.host_names
    }

    /// What there is to say before any ConfigMap is known.
    pub(super) fn missing(&self, options: &Options) -> Vec<Diagnostic> {
        let known = self.config_maps.iter().map(Option::is_some);
        let missing = names(options).into_iter().zip(known).filter(|(_, known)| !known);
        let about = missing.filter_map(|((name, transport), _)| {
            let flag = ObjectRef::named(ObjectKind::Flag, flag(transport));
            let message = format!("ConfigMap {} does not exist; no port is opened", name?);
            Some(Diagnostic::info(flag, Reason::RefNotFound, "", message))
        });
        about.collect()
    }

    fn make(&mut self, snapshot: &Snapshot, options: &Options) -> (Streams, Vec<Diagnostic>) {
        let mut findings = self.missing(options);
        let mut services = Vec::new();
        self.services.clear();
        self.host_names = OrdSet::new();
        for ((_, transport), config_map) in names(options).into_iter().zip(&self.config_maps) {
            let Some(config_map) = config_map else { continue };
            let object = ObjectRef::namespaced(ObjectKind::ConfigMap, &config_map.name);
            for (key, text) in &config_map.data {
                let mut warn = |reason, message: String| {
                    findings.push(Diagnostic::warning(object.clone(), reason, format!("data[{key}]"), message));
                };
                let port = match port_of(key, options) {
                    Ok(port) => port,
                    Err(message) => {
                        warn(Reason::UnsupportedValue, message);
                        continue;
                    }
                };
                let Some(entry) = Entry::parse(text) else {
                    warn(Reason::UnsupportedValue, format!("{text:?} is not {GRAMMAR}; the port stays closed"));
                    continue;
                };
                if transport == Transport::Udp && (entry.accepts_proxy || entry.sends_proxy) {
                    let message = "the PROXY protocol is for TCP only; the port stays closed".to_owned();
                    warn(Reason::UnsupportedValue, message);
                    continue;
                }
                let destination = entry.resolve(transport, snapshot, options);
                self.services.insert(entry.service.clone());
                self.host_names.extend(destination.host_name);
                if let Some((reason, problem)) = destination.problem {
                    let instead =
                        if destination.endpoints.is_empty() { "; the port stays closed until then" } else { "" };
                    warn(reason, format!("{problem}{instead}"));
                }
                services.push(entry.into_service(transport, port, destination.endpoints));
            }
        }
        (Streams::new(services), findings)
    }
}

/// The ConfigMaps that flags name.
fn names(options: &Options) -> [(Option<&ObjectName>, Transport); 2] {
    [(options.flags.tcp_services.as_ref(), Transport::Tcp), (options.flags.udp_services.as_ref(), Transport::Udp)]
}

fn flag(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp-services-configmap",
        Transport::Udp => "udp-services-configmap",
    }
}

fn port_of(key: &str, options: &Options) -> Result<u16, String> {
    // One spelling for each, so that no port stands there twice.
    let digits = Some(key).filter(|key| key.bytes().all(|byte| byte.is_ascii_digit()) && !key.starts_with('0'));
    let port = digits.and_then(|digits| digits.parse().ok());
    let port = port.ok_or_else(|| format!("{key:?} is not a port from 1 to 65535"))?;
    if options.flags.reserved_ports.contains(&port) {
        return Err(format!("port {port} is one of the controller's own; it does not become a service"));
    }
    Ok(port)
}

// === impl Entry ===

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split(':').map(str::trim);
        let service = ObjectName::parse(parts.next()?)?;
        let port = parts.next().filter(|port| !port.is_empty())?;
        let port = port.parse().map_or_else(|_| ServicePortRef::Name(port.into()), ServicePortRef::Number);
        let mut proxy = || match parts.next() {
            None | Some("") => Some(false),
            Some(word) => word.eq_ignore_ascii_case("PROXY").then_some(true),
        };
        let (accepts_proxy, sends_proxy) = (proxy()?, proxy()?);
        parts.next().is_none().then_some(Self { service, port, accepts_proxy, sends_proxy })
    }

    fn resolve(&self, transport: Transport, snapshot: &Snapshot, options: &Options) -> Destination {
        let nothing = |reason, text: String| Destination {
            endpoints: Vec::new(),
            problem: Some((reason, text)),
            host_name: None,
        };
        let name = &self.service;
        let Some(service) = snapshot.services.get(name) else {
            return nothing(Reason::BackendNotFound, format!("Service {name} does not exist"));
        };
        if service.service_type == ServiceType::ExternalName {
            if options.flags.disable_svc_external_name {
                let text =
                    format!("Service {name} has type ExternalName, which --disable-svc-external-name switches off");
                return nothing(Reason::UnsupportedValue, text);
            }
            return self.external(service, snapshot);
        }
        let port = match port::find_of(service, &self.port, transport == Transport::Tcp) {
            Ok(port) => port,
            Err(text) => return nothing(Reason::BackendNotFound, text),
        };
        let endpoints = endpoints::of_port(service, port, snapshot, options);
        let problem =
            endpoints.is_empty().then(|| endpoints::none(service, port, snapshot, &format!(" for port {}", self.port)));
        Destination { endpoints, problem, host_name: None }
    }

    fn external(&self, service: &Service, snapshot: &Snapshot) -> Destination {
        let External { addresses, host_name, problem } = external_name::resolve(service, Some(&self.port), snapshot);
        Destination {
            endpoints: addresses.into_iter().map(|address| Endpoint { address }).collect(),
            problem: problem.map(|text| (Reason::BackendNotFound, text)),
            host_name,
        }
    }

    fn into_service(self, transport: Transport, port: u16, mut endpoints: Vec<Endpoint>) -> StreamService {
        endpoints.sort_unstable();
        endpoints.dedup();
        let Self { service, port: service_port, accepts_proxy, sends_proxy } = self;
        let backend = BackendKey::new(format!("{}-{}-{service_port}", service.namespace, service.name));
        StreamService { transport, port, backend, endpoints: endpoints.into(), accepts_proxy, sends_proxy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_a_service_a_port_and_where_proxy_headers_go() {
        let entry = |text| {
            Entry::parse(text).map(|entry| {
                let Entry { service, port, accepts_proxy, sends_proxy } = entry;
                (format!("{service} {port}"), accepts_proxy, sends_proxy)
            })
        };
        let some = |name: &str, accepts, sends| Some((name.to_owned(), accepts, sends));
        assert_eq!(entry("default/db:5432"), some("default/db 5432", false, false));
        assert_eq!(entry(" default/db:postgres:PROXY "), some("default/db postgres", true, false));
        assert_eq!(entry("default/db:5432:proxy:Proxy"), some("default/db 5432", true, true));
        assert_eq!(entry("default/db:5432::PROXY"), some("default/db 5432", false, true));
        for bad in ["", "db:5432", "default/db", "default/db:", "default/db:1:TLS", "default/db:1:PROXY:PROXY:PROXY"] {
            assert_eq!(entry(bad), None, "{bad}");
        }
    }
}
