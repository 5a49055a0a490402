//! What is different between two snapshots. Costs as much as it finds, not as much as there is: the maps of a snapshot
//! share what did not change, and what is shared is not looked at.

use crate::snapshot::{ObjectName, Snapshot};
use imbl::{OrdMap, ordmap::DiffItem};
use std::sync::Arc;

/// The objects that are not what they were.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Made, changed or deleted.
    pub(super) ingresses: Vec<ObjectName>,
    /// Services that changed themselves, in their slices or in their former addresses; a name may come twice.
    pub(super) services: Vec<ObjectName>,
    pub(super) secrets: Vec<ObjectName>,
    /// Those that resolve to something else.
    pub(super) host_names: Vec<Arc<str>>,
    /// Any IngressClass or IngressClassConfig, or whether they can be read.
    pub(super) classes: bool,
    /// What the source itself found.
    pub(super) findings: bool,
}

// === impl Changes ===

impl Changes {
    pub(super) fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let Snapshot {
            ingresses,
            ingress_classes,
            class_configs,
            services,
            endpoint_slices,
            secrets,
            config_maps: _,
            host_names,
            former_addresses,
            zone,
            node_addresses: _,
            unreadable: _,
            findings,
        } = new;
        let same_findings = Arc::ptr_eq(&old.findings, findings) || old.findings == *findings;
        let moved = if old.zone == *zone { None } else { Some(services.keys().cloned()) };
        Self {
            ingresses: different(&old.ingresses, ingresses).collect(),
            services: different(&old.services, services)
                .chain(different(&old.endpoint_slices, endpoint_slices))
                .chain(different(&old.former_addresses, former_addresses))
                .chain(moved.into_iter().flatten())
                .collect(),
            secrets: different(&old.secrets, secrets).collect(),
            host_names: different(&old.host_names, host_names).collect(),
            classes: !same_findings || old.ingress_classes != *ingress_classes || old.class_configs != *class_configs,
            findings: !same_findings,
        }
    }
}

fn different<'a, K: Ord + Clone, V: PartialEq>(
    old: &'a OrdMap<K, V>,
    new: &'a OrdMap<K, V>,
) -> impl Iterator<Item = K> + use<'a, K, V> {
    old.diff(new).map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) | DiffItem::Update { new: (key, _), .. } => key.clone(),
    })
}
