//! The immutable set of objects that one compile sees.
//!
//! Objects are not kept as the API server sends them but as the few typed fields that we read (`snapshot/model.rs`),
//! parsed once at the border (`snapshot/convert.rs`). The maps are persistent: a clone is O(1), and two snapshots share
//! what did not change, which is what the incremental compile compares by.

mod convert;
mod model;

pub use self::{
    convert::Unconvertible,
    model::{
        Backend, ClassConfig, ConfigMap, EndpointPort, EndpointSlice, Ingress, IngressClass, IngressPath, IngressRule,
        IngressTls, LoadBalancerAddress, ObjectName, PathType, Secret, Service, ServiceBackend, ServicePort,
        ServicePortRef, ServiceType, SliceEndpoint,
    },
};
use crate::diagnostic::Diagnostic;
use imbl::OrdMap;
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
    /// The zone of the node that this process runs on, where it is known and asked for (`--enable-topology-aware-routing`).
    pub zone: Option<Arc<str>>,
    /// What the source itself found: unparsable documents, resources that cannot be watched.
    pub findings: Arc<[Diagnostic]>,
}
