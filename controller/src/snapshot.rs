//! The immutable set of objects that one compile sees.
//!
//! Objects are not kept as the API server sends them but as the few typed fields that we read (`snapshot/model.rs`),
//! parsed once at the border (`snapshot/convert.rs`). The maps are persistent: a clone is O(1), and two snapshots share
//! what did not change, which is what the incremental compile compares by.

mod convert;
mod model;
mod name;
mod resolved;

pub use self::{
    convert::{ApiNode, ApiPod, Unconvertible},
    model::{
        Backend, ClassConfig, ConfigMap, EndpointPort, EndpointSlice, ExternalName, Ingress, IngressClass, IngressPath,
        IngressRule, IngressTls, LoadBalancerAddress, Node, ObjectName, PathType, Pod, Secret, Service, ServiceBackend,
        ServicePort, ServicePortRef, ServiceType, SliceEndpoint,
    },
    name::{is_dns_label, is_dns_subdomain},
    resolved::Resolved,
};
use crate::diagnostic::Diagnostic;
use imbl::{OrdMap, OrdSet};
use std::sync::Arc;

/// All objects at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Every Ingress in scope, ours or not.
    pub ingresses: OrdMap<ObjectName, Arc<Ingress>>,
    /// Every IngressClass, by name.
    pub ingress_classes: OrdMap<Arc<str>, Arc<IngressClass>>,
    /// Every IngressClassConfig, by name.
    pub class_configs: OrdMap<Arc<str>, Arc<ClassConfig>>,
    /// Every Service in scope.
    pub services: OrdMap<ObjectName, Arc<Service>>,
    /// EndpointSlices by Service, then by their own name. A Service without slices has no entry.
    pub endpoint_slices: OrdMap<ObjectName, OrdMap<Arc<str>, Arc<EndpointSlice>>>,
    /// TLS Secrets, and others that were fetched because something refers to them.
    pub secrets: OrdMap<ObjectName, Arc<Secret>>,
    /// ConfigMaps that flags or objects refer to.
    pub config_maps: OrdMap<ObjectName, Arc<ConfigMap>>,
    /// Host names that something refers to, in lower case, as far as they have been looked up.
    pub host_names: OrdMap<Arc<str>, Arc<Resolved>>,
    /// For Services whose external name was changed to one about which DNS has said nothing yet: what the one before
    /// resolved to. Nothing has to go without addresses for as long as DNS takes.
    pub former_addresses: OrdMap<ObjectName, Arc<Resolved>>,
    /// The zone of the node that this process runs on, where it is known and asked for (`--enable-topology-aware-routing`).
    pub zone: Option<Arc<str>>,
    /// The addresses of the nodes where ready pods of this installation run, sorted, each once; `None` where they are not
    /// known or not asked for.
    pub node_addresses: Option<Arc<[LoadBalancerAddress]>>,
    /// ConfigMaps that are there and cannot be read; `None` among them stands for a document that may be any object.
    pub unreadable: OrdSet<Option<ObjectName>>,
    /// What the source itself found: unparsable documents, resources that cannot be watched.
    pub findings: Arc<[Diagnostic]>,
}

// === impl Snapshot ===

impl Snapshot {
    /// Whether a ConfigMap that is not part of it may be there nevertheless.
    #[must_use]
    pub fn may_be_unreadable(&self, config_map: &ObjectName) -> bool {
        self.unreadable.contains(&None) || self.unreadable.contains(&Some(config_map.clone()))
    }

    /// Whether both are the same: their objects in memory, which costs no comparison of them, and their findings, which
    /// are few and made anew each time, by value.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let Self {
            ingresses,
            ingress_classes,
            class_configs,
            services,
            endpoint_slices,
            secrets,
            config_maps,
            host_names,
            former_addresses,
            zone,
            node_addresses,
            unreadable,
            findings,
        } = self;
        ingresses.ptr_eq(&other.ingresses)
            && ingress_classes.ptr_eq(&other.ingress_classes)
            && class_configs.ptr_eq(&other.class_configs)
            && services.ptr_eq(&other.services)
            && endpoint_slices.ptr_eq(&other.endpoint_slices)
            && secrets.ptr_eq(&other.secrets)
            && config_maps.ptr_eq(&other.config_maps)
            && host_names.ptr_eq(&other.host_names)
            && former_addresses.ptr_eq(&other.former_addresses)
            && *zone == other.zone
            && *node_addresses == other.node_addresses
            && *unreadable == other.unreadable
            && *findings == other.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{ObjectKind, ObjectRef, Reason};

    #[test]
    fn findings_are_compared_by_value() {
        let with = |message: &str| {
            let object = ObjectRef::namespaced(ObjectKind::ConfigMap, &ObjectName::new("a", "tcp"));
            let finding = Diagnostic::warning(object, Reason::PortUnavailable, "data[1]", message);
            Snapshot { findings: Arc::new([finding]), ..Snapshot::default() }
        };
        let base = with("taken");
        let again = Snapshot { findings: with("taken").findings, ..base.clone() };
        let other = Snapshot { findings: with("free").findings, ..base.clone() };
        assert!(base.is_same(&again));
        assert!(!base.is_same(&other));
    }
}
