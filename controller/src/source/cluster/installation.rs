//! What this process has to know about its own installation: where its pods run, and the zone of its own node.
//!
//! The pod finds itself by name, its fellows by the labels that it has itself, and the nodes by `spec.nodeName`; nothing
//! else of Pods and Nodes is watched. What is not known stays unknown until it appears: never an empty list.

use crate::{
    args::NodeAddress,
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::{LoadBalancerAddress, Node, ObjectName, Pod},
};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Our own pod, by `POD_NAMESPACE` and `POD_NAME`.
    pub pod: ObjectName,
    /// The addresses of the nodes where pods of this installation run.
    pub addresses: Option<NodeAddress>,
    /// The zone of the node where our own pod runs.
    pub zone: bool,
}

/// The own pod, as far as it has been looked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Own<'a> {
    /// Not yet, or the answer is not allowed.
    Unknown,
    /// There is none of this name.
    Missing,
    /// There it is.
    Found(&'a Pod),
}

/// What came out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) zone: Option<Arc<str>>,
    pub(super) addresses: Option<Arc<[LoadBalancerAddress]>>,
    pub(super) finding: Option<Diagnostic>,
}

// === impl Installation ===

impl Installation {
    /// The nodes that have to be known. All nodes of fellows, ready or not, so that a pod that is not ready for a moment
    /// costs no new watch.
    pub(super) fn nodes<'a>(&self, own: Own<'a>, peers: impl Iterator<Item = &'a Pod>) -> BTreeSet<Arc<str>> {
        let Own::Found(own) = own else { return BTreeSet::new() };
        let mut nodes: BTreeSet<_> =
            if self.addresses.is_some() { peers.filter_map(|pod| pod.node.clone()).collect() } else { BTreeSet::new() };
        if self.zone {
            nodes.extend(own.node.clone());
        }
        nodes
    }

    /// Puts together what is known. `peers` are the pods with the same labels, `None` while they are not known; `node`
    /// finds a node, with an outer `None` while it is not known whether it exists.
    pub(super) fn facts<'a>(
        &self,
        own: Own<'a>,
        peers: Option<&[&'a Pod]>,
        node: impl Fn(&Arc<str>) -> Option<Option<&'a Node>>,
    ) -> Facts {
        let pod = match own {
            Own::Found(pod) => pod,
            Own::Unknown => return Facts::default(),
            Own::Missing => return Facts { finding: Some(self.missing()), ..Facts::default() },
        };
        let own = pod.node.as_ref().filter(|_| self.zone).and_then(|name| Some((name, node(name)?)));
        let zone = own.and_then(|(_, node)| node?.zone.clone());
        let finding = own.filter(|_| zone.is_none()).map(|(name, node)| zoneless(name, node.is_some()));
        let addresses = self.addresses.zip(peers).and_then(|(kind, peers)| addresses(kind, peers, node));
        Facts { zone, addresses, finding }
    }

    fn missing(&self) -> Diagnostic {
        let lost: Vec<&str> = [
            self.addresses.map(|_| "the addresses of the nodes are not known and no status is written"),
            self.zone.then_some("the zone of the node is not known and --enable-topology-aware-routing has no effect"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let object =
            ObjectRef { kind: ObjectKind::Resource, namespace: Arc::clone(&self.pod.namespace), name: "pods".into() };
        let message = format!(
            "POD_NAMESPACE and POD_NAME name {}, and there is no such Pod: until it appears, {}",
            self.pod,
            lost.join(", and ")
        );
        Diagnostic::warning(object, Reason::RefNotFound, "", message)
    }
}

/// Our own node is not there, or says nothing of a zone.
fn zoneless(name: &Arc<str>, exists: bool) -> Diagnostic {
    let flag = ObjectRef::named(ObjectKind::Flag, "enable-topology-aware-routing");
    let what = if exists { "has no label topology.kubernetes.io/zone" } else { "does not exist" };
    let message = format!("Node {name}, where this pod runs, {what}: endpoints of all zones are used");
    Diagnostic::warning(flag, Reason::RefNotFound, "", message)
}

/// Of all nodes where ready pods run. `None` as long as one of them is being looked for, and where nothing is found: this
/// pod runs, so an empty list is certainly not the truth, and publishing it would take the addresses away from clients.
fn addresses<'a>(
    kind: NodeAddress,
    peers: &[&'a Pod],
    node: impl Fn(&Arc<str>) -> Option<Option<&'a Node>>,
) -> Option<Arc<[LoadBalancerAddress]>> {
    let mut found = BTreeSet::new();
    for name in peers.iter().filter(|pod| pod.ready).filter_map(|pod| pod.node.as_ref()) {
        let Some(node) = node(name)? else { continue };
        let external = kind == NodeAddress::External && !node.external.is_empty();
        let texts = if external { &node.external } else { &node.internal };
        // Some clouds state a name as address.
        found.extend(texts.iter().map(|text| match text.parse::<IpAddr>() {
            Ok(_) => (Some(Arc::clone(text)), None),
            Err(_) => (None, Some(Arc::clone(text))),
        }));
    }
    (!found.is_empty()).then(|| found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::{Facts, Installation, Own};
    use crate::{
        args::NodeAddress,
        diagnostic::Reason,
        snapshot::{Node, ObjectName, Pod},
    };
    use std::{collections::BTreeMap, sync::Arc};

    fn wanted(addresses: Option<NodeAddress>, zone: bool) -> Installation {
        Installation { pod: ObjectName::new("edge", "one"), addresses, zone }
    }

    fn pod(name: &str, node: &str, ready: bool) -> Pod {
        let labels = BTreeMap::from([("app".to_owned(), "proxy".to_owned())]);
        Pod { name: ObjectName::new("edge", name), labels, node: Some(node.into()), ready }
    }

    fn node(name: &str, external: &[&str], internal: &[&str]) -> Node {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
        Node { name: name.into(), external: texts(external), internal: texts(internal), zone: Some("a".into()) }
    }

    /// With nodes of which all are known.
    fn facts(wanted: &Installation, peers: &[&Pod], nodes: &[Node]) -> Facts {
        wanted.facts(Own::Found(peers[0]), Some(peers), |name| Some(nodes.iter().find(|node| node.name == *name)))
    }

    fn shown(facts: &Facts) -> Option<Vec<String>> {
        let text =
            |(ip, name): &(Option<Arc<str>>, Option<Arc<str>>)| ip.as_ref().or(name.as_ref()).unwrap().to_string();
        facts.addresses.as_ref().map(|all| all.iter().map(text).collect())
    }

    #[test]
    fn addresses_are_those_of_nodes_with_ready_pods() {
        let nodes = [
            node("n1", &["203.0.113.2", "2001:db8::2"], &["10.0.0.1"]),
            node("n2", &[], &["10.0.0.2"]),
            node("n3", &["203.0.113.3"], &["10.0.0.3"]),
        ];
        let pods = [pod("one", "n1", true), pod("two", "n2", true), pod("three", "n3", false), pod("four", "n1", true)];
        let peers: Vec<&Pod> = pods.iter().collect();
        let external = facts(&wanted(Some(NodeAddress::External), false), &peers, &nodes);
        assert_eq!(shown(&external).unwrap(), ["10.0.0.2", "2001:db8::2", "203.0.113.2"]);
        let internal = facts(&wanted(Some(NodeAddress::Internal), false), &peers, &nodes);
        assert_eq!(shown(&internal).unwrap(), ["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn what_is_not_known_is_not_an_empty_list() {
        let wanted = wanted(Some(NodeAddress::External), false);
        let (ready, starting) = (pod("one", "n1", true), pod("one", "n1", false));
        // Nobody is ready yet, the node is gone, the node or the pods are being looked for.
        assert_eq!(shown(&facts(&wanted, &[&starting], &[node("n1", &["203.0.113.1"], &[])])), None);
        assert_eq!(shown(&facts(&wanted, &[&ready], &[])), None);
        assert_eq!(shown(&wanted.facts(Own::Found(&ready), Some(&[&ready]), |_| None)), None);
        assert_eq!(shown(&wanted.facts(Own::Found(&ready), None, |_| Some(None))), None);
    }

    #[test]
    fn a_pod_that_does_not_exist_is_a_finding() {
        let both = wanted(Some(NodeAddress::External), true);
        let finding = both.facts(Own::Missing, None, |_| None).finding.unwrap();
        assert_eq!(finding.reason, Reason::RefNotFound);
        assert!(finding.message.contains("edge/one") && finding.message.contains("topology"), "{}", finding.message);
        assert_eq!(both.facts(Own::Unknown, None, |_| None), Facts::default());
    }

    #[test]
    fn only_the_nodes_that_matter_are_looked_at() {
        let (one, two) = (pod("one", "n1", true), pod("two", "n2", false));
        let names = |wanted: Installation| -> Vec<String> {
            wanted.nodes(Own::Found(&one), [&one, &two].into_iter()).iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(wanted(None, true)), ["n1"]);
        assert_eq!(names(wanted(Some(NodeAddress::External), false)), ["n1", "n2"]);
        assert!(wanted(None, true).nodes(Own::Missing, [&one].into_iter()).is_empty());
    }

    #[test]
    fn the_zone_is_that_of_the_own_node() {
        let one = pod("one", "n1", false);
        let nodes = [node("n1", &[], &[])];
        assert_eq!(facts(&wanted(None, true), &[&one], &nodes).zone.as_deref(), Some("a"));
        assert_eq!(facts(&wanted(None, false), &[&one], &nodes).zone, None);
        let message = |nodes: &[Node]| facts(&wanted(None, true), &[&one], nodes).finding.map(|found| found.message);
        assert_eq!(message(&nodes), None);
        let nowhere = Node { zone: None, ..node("n1", &[], &[]) };
        assert_eq!(
            message(&[nowhere]).as_deref(),
            Some(
                "Node n1, where this pod runs, has no label topology.kubernetes.io/zone: endpoints of all zones are used"
            )
        );
    }

    #[test]
    fn fellows_share_all_labels_but_those_of_a_revision() {
        let mut one = pod("one", "n1", true);
        one.labels.insert("pod-template-hash".into(), "5d9".into());
        one.labels.insert("helm.sh/chart".into(), "rust-nginx-0.1.0".into());
        one.labels.insert("component".into(), "controller".into());
        assert_eq!(one.peers().as_deref(), Some("app=proxy,component=controller"));
        one.labels.clear();
        assert_eq!(one.peers(), None);
    }
}
