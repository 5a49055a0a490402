//! Names of watches.

use crate::snapshot::ObjectName;
use std::{fmt, sync::Arc};

/// Names a watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum WatchId {
    Ingresses,
    IngressClasses,
    ClassConfigs,
    Services,
    EndpointSlices,
    TlsSecrets,
    /// Namespaces that the selector selects.
    Namespaces,
    /// One Service outside the watched namespace, which a flag names.
    Service(ObjectName),
    /// Its slices.
    SlicesOf(ObjectName),
    /// One Secret that something refers to.
    Secret(ObjectName),
    /// One ConfigMap that something refers to.
    ConfigMap(ObjectName),
    /// All Secrets that are not for TLS: when single watches would be too many.
    OtherSecrets,
    /// All ConfigMaps: when single watches would be too many.
    ConfigMaps,
    /// Our own pod.
    Pod(ObjectName),
    /// The pods of the same installation.
    Peers {
        namespace: Arc<str>,
        selector: Arc<str>,
    },
    /// One node, without a namespace.
    Node(ObjectName),
    /// All nodes: when single watches would be too many.
    Nodes,
}

// === impl WatchId ===

impl WatchId {
    /// The resource, as roles name it.
    pub(super) fn resource(&self) -> &'static str {
        match self {
            Self::Ingresses => "ingresses",
            Self::IngressClasses => "ingressclasses",
            Self::ClassConfigs => "ingressclassconfigs",
            Self::Services | Self::Service(_) => "services",
            Self::EndpointSlices | Self::SlicesOf(_) => "endpointslices",
            Self::TlsSecrets | Self::OtherSecrets | Self::Secret(_) => "secrets",
            Self::Namespaces => "namespaces",
            Self::ConfigMaps | Self::ConfigMap(_) => "configmaps",
            Self::Pod(_) | Self::Peers { .. } => "pods",
            Self::Node(_) | Self::Nodes => "nodes",
        }
    }

    /// The object, when it is about one.
    pub(super) fn object(&self) -> Option<&ObjectName> {
        match self {
            Self::Service(name)
            | Self::SlicesOf(name)
            | Self::Secret(name)
            | Self::ConfigMap(name)
            | Self::Pod(name)
            | Self::Node(name) => Some(name),
            Self::Ingresses
            | Self::IngressClasses
            | Self::ClassConfigs
            | Self::Services
            | Self::EndpointSlices
            | Self::TlsSecrets
            | Self::Namespaces
            | Self::OtherSecrets
            | Self::ConfigMaps
            | Self::Peers { .. }
            | Self::Nodes => None,
        }
    }

    /// The namespace, when it is about one object or one namespace.
    pub(super) fn namespace(&self) -> Option<Arc<str>> {
        if let Self::Peers { namespace, .. } = self {
            return Some(Arc::clone(namespace));
        }
        self.object().map(|name| Arc::clone(&name.namespace))
    }
}

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object() {
            Some(name) if name.namespace.is_empty() => write!(f, "{} {}", self.resource(), name.name),
            Some(name) => write!(f, "{} {name}", self.resource()),
            None => f.write_str(self.resource()),
        }
    }
}
