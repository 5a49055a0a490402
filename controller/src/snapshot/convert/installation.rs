//! core/v1: Pod and Node, of which only what concerns our own installation is read.
//!
//! The whole structs would bring a megabyte of code to decode volumes, probes and the like. Serde skips what is not here.

use super::{Metadata, Unconvertible, non_empty};
use crate::snapshot::{Node, Pod};
use k8s_openapi::{
    api::core::v1::{NodeAddress, PodCondition},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use serde::Deserialize;
use std::sync::Arc;

/// What is read of core/v1 Pod.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = k8s_openapi::api::core::v1::Pod)]
pub struct ApiPod {
    metadata: ObjectMeta,
    spec: Option<PodSpec>,
    status: Option<PodStatus>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct PodStatus {
    phase: Option<String>,
    conditions: Option<Vec<PodCondition>>,
}

/// What is read of core/v1 Node.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = k8s_openapi::api::core::v1::Node)]
pub struct ApiNode {
    metadata: ObjectMeta,
    status: Option<NodeStatus>,
}

#[derive(Clone, Debug, Deserialize)]
struct NodeStatus {
    addresses: Option<Vec<NodeAddress>>,
}

/// Label of a node, <https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesiozone>.
const ZONE: &str = "topology.kubernetes.io/zone";

impl TryFrom<ApiPod> for Pod {
    type Error = Unconvertible;

    fn try_from(pod: ApiPod) -> Result<Self, Unconvertible> {
        let ApiPod { metadata, spec, status } = pod;
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

impl TryFrom<ApiNode> for Node {
    type Error = Unconvertible;

    fn try_from(node: ApiNode) -> Result<Self, Unconvertible> {
        let ApiNode { metadata, status } = node;
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
