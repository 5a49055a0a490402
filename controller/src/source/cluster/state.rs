//! From the stores of all watches to one snapshot: which objects are in scope, which of two wins, what is missing.
//!
//! Plain data: no I/O, no clock. Every change touches only the entries that it is about, so that an event costs the
//! same in a cluster of any size.

use super::{
    News,
    id::WatchId,
    installation::{Facts, Installation, Own},
    store::{Change, Event, Object, Store},
};
use crate::{
    compile::References,
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason, Severity},
    reconcile::{Coverage, Looked},
    snapshot::{EndpointSlice, Node, ObjectName, Pod, Snapshot, Unconvertible},
};
use imbl::{OrdMap, OrdSet, ordset::DiffItem};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Everything that the watches have told.
#[derive(Debug, Default)]
pub(super) struct State {
    watches: BTreeMap<WatchId, Watched>,
    snapshot: Snapshot,
    /// The snapshot is not what was published last.
    dirty: bool,
    /// What is referred to; only these ConfigMaps and non-TLS Secrets are part of the snapshot.
    references: References,
    /// Secrets that are referred to and are not known as TLS Secrets. There are few: most are, or will be.
    elsewhere: OrdSet<ObjectName>,
    /// To which Service a slice was last counted.
    service_of_slice: HashMap<ObjectName, Arc<str>>,
    /// What has to be known about this installation, and what of it is missing.
    installation: Option<Installation>,
    own_finding: Option<Diagnostic>,
    /// Objects that cannot be understood.
    unreadable: BTreeMap<(WatchId, ObjectName), Diagnostic>,
    /// References, names of TLS Secrets or answers of watches changed: coverage and plan are to be made anew.
    uncovered: bool,
    unplanned: bool,
}

#[derive(Debug, Default)]
struct Watched {
    store: Store,
    /// Why it cannot be read; then it counts as synced.
    unavailable: Option<String>,
}

// === impl State ===

impl State {
    /// Nothing is known yet.
    pub(super) fn new(installation: Option<Installation>) -> Self {
        Self { installation, ..Self::default() }
    }

    /// Begins to wait for a watch.
    pub(super) fn add(&mut self, id: WatchId) {
        self.watches.entry(id).or_default();
        self.uncovered = true;
    }

    /// Forgets the watch of one referenced object and what it has told.
    pub(super) fn remove(&mut self, id: &WatchId) {
        if self.watches.remove(id).is_none() {
            return;
        }
        match id {
            WatchId::Secret(name) => self.show_secret(name),
            WatchId::ConfigMap(name) => self.show_config_map(name),
            WatchId::Peers { .. } | WatchId::Node(_) => self.show_installation(),
            other => debug_assert!(false, "{other:?} lives as long as the source"),
        }
        self.unreadable.retain(|(owner, _), _| owner != id);
        self.refresh_findings();
        self.uncovered = true;
    }

    /// What is referred to.
    pub(super) fn references(&self) -> &References {
        &self.references
    }

    /// The watches that exist.
    pub(super) fn watches(&self) -> impl Iterator<Item = &WatchId> {
        self.watches.keys()
    }

    /// The watches that have not answered yet.
    pub(super) fn waiting_for(&self) -> impl Iterator<Item = &WatchId> {
        self.watches.iter().filter(|(_, watched)| !watched.is_synced()).map(|(id, _)| id)
    }

    pub(super) fn is_synced(&self, id: &WatchId) -> bool {
        self.watches.get(id).is_some_and(Watched::is_synced)
    }

    /// Whether a watch has given a complete list.
    pub(super) fn has_listed(&self, id: &WatchId) -> bool {
        self.watches.get(id).is_some_and(|watched| watched.store.is_synced())
    }

    /// Secrets that are referred to and are not known as TLS Secrets.
    pub(super) fn elsewhere(&self) -> &OrdSet<ObjectName> {
        &self.elsewhere
    }

    /// The latest snapshot, if it differs from the last one that was taken.
    pub(super) fn take(&mut self) -> Option<Snapshot> {
        std::mem::take(&mut self.dirty).then(|| self.snapshot.clone())
    }

    /// Whether the plan of watches has to be made anew.
    pub(super) fn take_unplanned(&mut self) -> bool {
        std::mem::take(&mut self.unplanned)
    }

    /// Which of the references have been looked for, if that may have changed.
    pub(super) fn take_coverage(&mut self) -> Option<Coverage> {
        std::mem::take(&mut self.uncovered).then(|| self.coverage())
    }

    fn coverage(&self) -> Coverage {
        let missing = |one: WatchId, all: &WatchId| !self.is_synced(&one) && !self.is_synced(all);
        let secrets =
            self.elsewhere.iter().filter(|name| missing(WatchId::Secret((*name).clone()), &WatchId::OtherSecrets));
        let config_maps = self
            .references
            .config_maps
            .iter()
            .filter(|name| missing(WatchId::ConfigMap((*name).clone()), &WatchId::ConfigMaps));
        Coverage::Looked(Arc::new(Looked {
            references: self.references.clone(),
            pending: References {
                secrets: secrets.cloned().collect(),
                config_maps: config_maps.cloned().collect(),
                host_names: OrdSet::new(),
            },
        }))
    }

    /// Changes what is referred to.
    pub(super) fn refer(&mut self, references: References) {
        let before = std::mem::replace(&mut self.references, references);
        for name in different(&before.secrets, &self.references.secrets) {
            self.place(&name);
            self.show_secret(&name);
        }
        for name in different(&before.config_maps, &self.references.config_maps) {
            self.show_config_map(&name);
        }
        self.uncovered = true;
        self.unplanned = true;
    }

    /// Whether a Secret is to be looked for elsewhere than among the TLS Secrets.
    fn place(&mut self, name: &ObjectName) {
        let known = self.watches.get(&WatchId::TlsSecrets).is_some_and(|watched| watched.store.get(name).is_some());
        if self.references.secrets.contains(name) && !known {
            self.elsewhere.insert(name.clone());
        } else {
            self.elsewhere.remove(name);
        }
    }

    /// Takes in what a watch tells. News of a watch that was removed are ignored.
    pub(super) fn hear(&mut self, id: &WatchId, news: News) {
        let Some(watched) = self.watches.get_mut(id) else { return };
        let event = match news {
            News::Failed(_) => return,
            News::Unavailable(message) => {
                // What was known stays, as when the server cannot be reached; only what was never seen counts as empty.
                if !watched.store.is_synced() && watched.unavailable.as_ref() != Some(&message) {
                    watched.unavailable = Some(message);
                    self.refresh_findings();
                    self.uncovered = true;
                    self.show_own(id);
                }
                return;
            }
            News::Unreadable { kind, name, error } => {
                let diagnostic = unreadable(kind, &name, &error);
                self.unreadable.insert((id.clone(), name.clone()), diagnostic);
                self.refresh_findings();
                return self.apply(id, Event::Deleted(name));
            }
            News::Event(event) => event,
        };
        // A list announces itself before it has reached the server; only what comes after it proves that it may be read.
        let available = !matches!(event, Event::Restarted | Event::Listed(..)) && watched.unavailable.take().is_some();
        let count = self.unreadable.len();
        match &event {
            Event::Restarted => self.unreadable.retain(|(owner, _), _| owner != id),
            Event::Applied(name, _) | Event::Deleted(name) => {
                self.unreadable.remove(&(id.clone(), name.clone()));
            }
            Event::Listed(..) | Event::Complete => {}
        }
        if available || self.unreadable.len() != count {
            self.refresh_findings();
        }
        self.apply(id, event);
    }

    fn apply(&mut self, id: &WatchId, event: Event) {
        let Some(watched) = self.watches.get_mut(id) else { return };
        let was_synced = watched.store.is_synced();
        let changes = watched.store.apply(event);
        if watched.store.is_synced() != was_synced {
            self.uncovered = true;
            self.unplanned = true;
        }
        for change in changes {
            let came_or_went = change.old.is_none() != change.new.is_none();
            if *id == WatchId::TlsSecrets && came_or_went && self.references.secrets.contains(&change.name) {
                self.place(&change.name);
                self.uncovered = true;
                self.unplanned = true;
            }
            self.merge(id, change);
        }
        self.show_own(id);
    }

    fn merge(&mut self, id: &WatchId, change: Change) {
        let Change { name, old: _, new } = change;
        match id {
            WatchId::Ingresses => self.show_ingress(&name),
            WatchId::Namespaces => self.show_namespace(&name.name),
            WatchId::IngressClasses => {
                let class = new.and_then(Object::ingress_class);
                self.dirty |= set(&mut self.snapshot.ingress_classes, &name.name, class);
                self.refresh_findings();
            }
            WatchId::ClassConfigs => {
                let config = new.and_then(Object::class_config);
                self.dirty |= set(&mut self.snapshot.class_configs, &name.name, config);
            }
            WatchId::Services | WatchId::Service(_) => {
                self.dirty |= set(&mut self.snapshot.services, &name, new.and_then(Object::service));
            }
            WatchId::EndpointSlices | WatchId::SlicesOf(_) => self.show_slice(name, new.and_then(Object::slice)),
            WatchId::TlsSecrets | WatchId::OtherSecrets | WatchId::Secret(_) => self.show_secret(&name),
            WatchId::ConfigMaps | WatchId::ConfigMap(_) => self.show_config_map(&name),
            // These are shown together, once all changes are in.
            WatchId::Pod(_) | WatchId::Peers { .. } | WatchId::Node(_) | WatchId::Nodes => {}
        }
    }

    /// The watch of the pods of the same installation. A pod without labels of its own has no fellows but itself.
    pub(super) fn peers(&self, installation: &Installation) -> Option<WatchId> {
        installation.addresses?;
        let Own::Found(pod) = self.own(installation) else { return None };
        let namespace = Arc::clone(&pod.name.namespace);
        pod.peers().map(|selector| WatchId::Peers { namespace, selector: selector.into() })
    }

    /// The nodes that have to be known.
    pub(super) fn nodes(&self, installation: &Installation) -> BTreeSet<Arc<str>> {
        let peers = self.pods(installation).unwrap_or_default();
        installation.nodes(self.own(installation), peers.into_iter())
    }

    fn own(&self, installation: &Installation) -> Own<'_> {
        let Some(watched) = self.watches.get(&WatchId::Pod(installation.pod.clone())) else { return Own::Unknown };
        match watched.store.get(&installation.pod) {
            Some(Object::Pod(pod)) => Own::Found(pod),
            _ if watched.store.is_synced() => Own::Missing,
            _ => Own::Unknown,
        }
    }

    /// The pods of the same installation, ourselves among them; `None` while they are not known.
    fn pods(&self, installation: &Installation) -> Option<Vec<&Pod>> {
        let Own::Found(own) = self.own(installation) else { return None };
        let Some(peers) = self.peers(installation) else { return Some(vec![own]) };
        let store = &self.watches.get(&peers)?.store;
        let pods = || {
            store
                .objects()
                .filter_map(|object| if let Object::Pod(pod) = object { Some(&**pod) } else { None })
                .collect()
        };
        store.is_synced().then(pods)
    }

    fn node(&self, name: &Arc<str>) -> Option<Option<&Node>> {
        let name = ObjectName::new("", Arc::clone(name));
        let ids = [WatchId::Nodes, WatchId::Node(name.clone())];
        let found = ids.iter().find_map(|id| self.object(id, &name));
        match found {
            Some(Object::Node(node)) => Some(Some(node)),
            _ => ids.iter().any(|id| self.is_synced(id)).then_some(None),
        }
    }

    /// Shows what is known about the installation, if the watch is about it.
    fn show_own(&mut self, id: &WatchId) {
        if matches!(id, WatchId::Pod(_) | WatchId::Peers { .. } | WatchId::Node(_) | WatchId::Nodes) {
            self.show_installation();
            self.unplanned = true;
        }
    }

    fn show_installation(&mut self) {
        let Some(installation) = &self.installation else { return };
        let peers = self.pods(installation);
        let Facts { zone, addresses, finding } =
            installation.facts(self.own(installation), peers.as_deref(), |name| self.node(name));
        self.dirty |= self.snapshot.zone != zone || self.snapshot.node_addresses != addresses;
        self.snapshot.zone = zone;
        self.snapshot.node_addresses = addresses;
        if self.own_finding != finding {
            self.own_finding = finding;
            self.refresh_findings();
        }
    }

    fn object(&self, id: &WatchId, name: &ObjectName) -> Option<&Object> {
        self.watches.get(id)?.store.get(name)
    }

    /// An Ingress is part of the snapshot when its namespace is one of those that the selector selects.
    fn show_ingress(&mut self, name: &ObjectName) {
        let selected = self
            .watches
            .get(&WatchId::Namespaces)
            .is_none_or(|namespaces| namespaces.store.get(&ObjectName::new("", Arc::clone(&name.namespace))).is_some());
        let ingress = self.object(&WatchId::Ingresses, name).filter(|_| selected).cloned().and_then(Object::ingress);
        self.dirty |= set(&mut self.snapshot.ingresses, name, ingress);
    }

    fn show_namespace(&mut self, namespace: &Arc<str>) {
        let Some(ingresses) = self.watches.get(&WatchId::Ingresses) else { return };
        let names: Vec<ObjectName> =
            ingresses.store.names().filter(|name| name.namespace == *namespace).cloned().collect();
        for name in names {
            self.show_ingress(&name);
        }
    }

    fn show_slice(&mut self, name: ObjectName, slice: Option<Arc<EndpointSlice>>) {
        // The label that names the Service may have changed.
        let service = slice.as_ref().map(|slice| Arc::clone(&slice.service));
        let before = match &service {
            Some(service) => self.service_of_slice.insert(name.clone(), Arc::clone(service)),
            None => self.service_of_slice.remove(&name),
        };
        if let Some(before) = before.filter(|before| Some(before) != service.as_ref()) {
            self.set_slice(&name, &before, None);
        }
        if let Some(service) = service {
            self.set_slice(&name, &service, slice);
        }
    }

    fn set_slice(&mut self, name: &ObjectName, service: &Arc<str>, slice: Option<Arc<EndpointSlice>>) {
        let service = ObjectName::new(Arc::clone(&name.namespace), Arc::clone(service));
        let mut slices = self.snapshot.endpoint_slices.get(&service).cloned().unwrap_or_default();
        if !set(&mut slices, &name.name, slice) {
            return;
        }
        self.dirty = true;
        if slices.is_empty() {
            self.snapshot.endpoint_slices.remove(&service);
        } else {
            self.snapshot.endpoint_slices.insert(service, slices);
        }
    }

    /// Two watches can know one Secret for a moment, when it was made anew with another type; the TLS one wins.
    fn show_secret(&mut self, name: &ObjectName) {
        let referenced = self.references.secrets.contains(name);
        let secret = self
            .object(&WatchId::TlsSecrets, name)
            .or_else(|| self.object(&WatchId::Secret(name.clone()), name).filter(|_| referenced))
            .or_else(|| self.object(&WatchId::OtherSecrets, name).filter(|_| referenced));
        let secret = secret.cloned().and_then(Object::secret);
        self.dirty |= set(&mut self.snapshot.secrets, name, secret);
    }

    fn show_config_map(&mut self, name: &ObjectName) {
        let found = self
            .object(&WatchId::ConfigMap(name.clone()), name)
            .or_else(|| self.object(&WatchId::ConfigMaps, name))
            .filter(|_| self.references.config_maps.contains(name));
        let config_map = found.cloned().and_then(Object::config_map);
        self.dirty |= set(&mut self.snapshot.config_maps, name, config_map);
    }

    fn needs_class_configs(&self) -> bool {
        let parameters = self.snapshot.ingress_classes.values().filter_map(|class| class.parameters.as_ref());
        parameters.into_iter().any(|(group, _, _)| group == rust_nginx_crds::GROUP)
    }

    fn refresh_findings(&mut self) {
        // Nobody misses the configurations of classes that no class names: our CRDs need not be installed.
        let needs_class_configs = self.needs_class_configs();
        let unavailable = self
            .watches
            .iter()
            .filter(|(id, _)| **id != WatchId::ClassConfigs || needs_class_configs)
            .filter_map(|(id, watched)| Some((id, watched.unavailable.as_ref()?)));
        // Where all objects of a resource cannot be read, it is no news that one of them cannot.
        let resources: BTreeSet<&str> =
            unavailable.clone().filter(|(id, _)| id.object().is_none()).map(|(id, _)| id.resource()).collect();
        // Who may not read one node may read none.
        let mut nodes = 0;
        let findings: BTreeSet<Diagnostic> = unavailable
            .filter(|(id, _)| {
                nodes += usize::from(matches!(id, WatchId::Node(_)));
                nodes <= 1 || !matches!(id, WatchId::Node(_))
            })
            .filter(|(id, _)| id.object().is_none() || !resources.contains(id.resource()))
            .map(|(id, message)| self::unavailable(id, message))
            .chain(self.unreadable.values().cloned())
            .chain(self.own_finding.clone())
            .collect();
        if !findings.iter().eq(self.snapshot.findings.iter()) {
            self.snapshot.findings = findings.into_iter().collect();
            self.dirty = true;
        }
    }
}

/// The names that are in one of two sets.
fn different(a: &OrdSet<ObjectName>, b: &OrdSet<ObjectName>) -> Vec<ObjectName> {
    let differences = a.diff(b).map(|item| match item {
        DiffItem::Add(name) | DiffItem::Remove(name) => name.clone(),
    });
    differences.collect()
}

/// Puts or removes an entry; true when the map is different then.
fn set<K: Ord + Clone, V: PartialEq>(map: &mut OrdMap<K, Arc<V>>, key: &K, value: Option<Arc<V>>) -> bool {
    if map.get(key) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => map.insert(key.clone(), value),
        None => map.remove(key),
    };
    true
}

fn unavailable(id: &WatchId, message: &str) -> Diagnostic {
    Diagnostic {
        object: ObjectRef {
            kind: ObjectKind::Resource,
            namespace: id.namespace().unwrap_or_default(),
            name: id.resource().into(),
        },
        severity: Severity::Warning,
        reason: Reason::ResourceUnavailable,
        field: String::new(),
        message: format!("cannot be read, so it counts as empty until it can ({message})"),
    }
}

fn unreadable(kind: ObjectKind, name: &ObjectName, error: &Unconvertible) -> Diagnostic {
    Diagnostic {
        object: ObjectRef { kind, namespace: Arc::clone(&name.namespace), name: Arc::clone(&name.name) },
        severity: Severity::Warning,
        reason: Reason::Unparsable,
        field: error.field.clone(),
        message: format!("{}; the object is ignored", error.message),
    }
}

// === impl Watched ===

impl Watched {
    fn is_synced(&self) -> bool {
        self.store.is_synced() || self.unavailable.is_some()
    }
}

#[cfg(test)]
mod tests;
