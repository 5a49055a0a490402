//! core/v1: Pod and Node, of which only what concerns our own installation is read.

use super::{Metadata, Unconvertible, non_empty};
use crate::snapshot::{Node, Pod};
use k8s_openapi::api::core::v1 as api;
use std::sync::Arc;

/// Label of a node, <https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesiozone>.
const ZONE: &str = "topology.kubernetes.io/zone";

impl TryFrom<api::Pod> for Pod {
    type Error = Unconvertible;

    fn try_from(pod: api::Pod) -> Result<Self, Unconvertible> {
        let api::Pod { metadata, spec, status } = pod;
        let terminating = metadata.deletion_timestamp.is_some();
        let metadata = Metadata::read(metadata)?;
        let status = status.unwrap_or_default();
        let running = status.phase.as_deref() == Some("Running");
        let mut conditions = status.conditions.iter().flatten();
        let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
        Ok(Self {
            name: metadata.name,
            labels: metadata.labels,
            node: non_empty(spec.and_then(|spec| spec.node_name)),
            ready: running && ready && !terminating,
        })
    }
}

impl TryFrom<api::Node> for Node {
    type Error = Unconvertible;

    fn try_from(node: api::Node) -> Result<Self, Unconvertible> {
        let api::Node { metadata, spec: _, status } = node;
        let mut metadata = Metadata::read(metadata)?;
        let addresses = status.and_then(|status| status.addresses).unwrap_or_default();
        let of_type = |wanted: &str| -> Vec<Arc<str>> {
            let found = addresses.iter().filter(|entry| entry.type_ == wanted && !entry.address.is_empty());
            found.map(|entry| entry.address.as_str().into()).collect()
        };
        Ok(Self {
            external: of_type("ExternalIP"),
            internal: of_type("InternalIP"),
            name: metadata.name.name,
            zone: non_empty(metadata.labels.remove(ZONE)),
        })
    }
}
