//! What one watch has seen, with the semantics of a relist: until it is complete, the old objects stay.

use crate::snapshot::{
    ClassConfig, ConfigMap, EndpointSlice, Ingress, IngressClass, Node, ObjectName, Pod, Secret, Service,
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// An object in the form that we keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Ingress(Arc<Ingress>),
    IngressClass(Arc<IngressClass>),
    ClassConfig(Arc<ClassConfig>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Secret(Arc<Secret>),
    ConfigMap(Arc<ConfigMap>),
    Pod(Arc<Pod>),
    Node(Arc<Node>),
    /// Only that it exists.
    Namespace,
}

/// What a watch reports.
#[derive(Debug)]
pub(super) enum Event {
    /// A list begins.
    Restarted,
    /// An object of the list.
    Listed(ObjectName, Object),
    /// The list is complete.
    Complete,
    /// An object was made or changed.
    Applied(ObjectName, Object),
    /// An object was deleted, or cannot be understood any more.
    Deleted(ObjectName),
}

/// One object that is different now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) name: ObjectName,
    pub(super) old: Option<Object>,
    pub(super) new: Option<Object>,
}

/// The objects of one watch.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: HashMap<ObjectName, Object>,
    /// The list that is being received.
    list: Option<Vec<(ObjectName, Object)>>,
    /// A list has been complete once.
    synced: bool,
}

// === impl Object ===

impl Object {
    /// The name that the object itself holds, so that it is kept once.
    pub(super) fn name(&self) -> Option<&ObjectName> {
        match self {
            Self::Ingress(ingress) => Some(&ingress.name),
            Self::Service(service) => Some(&service.name),
            Self::EndpointSlice(slice) => Some(&slice.name),
            Self::Secret(secret) => Some(&secret.name),
            Self::ConfigMap(config_map) => Some(&config_map.name),
            Self::Pod(pod) => Some(&pod.name),
            Self::IngressClass(_) | Self::ClassConfig(_) | Self::Node(_) | Self::Namespace => None,
        }
    }

    pub(super) fn ingress(self) -> Option<Arc<Ingress>> {
        if let Self::Ingress(ingress) = self { Some(ingress) } else { None }
    }

    pub(super) fn ingress_class(self) -> Option<Arc<IngressClass>> {
        if let Self::IngressClass(class) = self { Some(class) } else { None }
    }

    pub(super) fn class_config(self) -> Option<Arc<ClassConfig>> {
        if let Self::ClassConfig(config) = self { Some(config) } else { None }
    }

    pub(super) fn service(self) -> Option<Arc<Service>> {
        if let Self::Service(service) = self { Some(service) } else { None }
    }

    pub(super) fn slice(self) -> Option<Arc<EndpointSlice>> {
        if let Self::EndpointSlice(slice) = self { Some(slice) } else { None }
    }

    pub(super) fn secret(self) -> Option<Arc<Secret>> {
        if let Self::Secret(secret) = self { Some(secret) } else { None }
    }

    pub(super) fn config_map(self) -> Option<Arc<ConfigMap>> {
        if let Self::ConfigMap(config_map) = self { Some(config_map) } else { None }
    }
}

// === impl Store ===

impl Store {
    /// Takes in an event and says what is different now; equal objects are no change.
    pub(super) fn apply(&mut self, event: Event) -> Vec<Change> {
        match event {
            Event::Restarted => {
                self.list = Some(Vec::new());
                Vec::new()
            }
            Event::Listed(name, object) => {
                // An object that did not change is kept once, not twice, while a list of many is received.
                let object = self.objects.get(&name).filter(|known| **known == object).cloned().unwrap_or(object);
                self.list.get_or_insert_default().push((name, object));
                Vec::new()
            }
            Event::Complete => self.replace(),
            Event::Applied(name, object) => self.put(name, Some(object)).into_iter().collect(),
            Event::Deleted(name) => self.put(name, None).into_iter().collect(),
        }
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }

    pub(super) fn get(&self, name: &ObjectName) -> Option<&Object> {
        self.objects.get(name)
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.objects.keys()
    }

    fn replace(&mut self) -> Vec<Change> {
        self.synced = true;
        let list = self.list.take().unwrap_or_default();
        let listed: HashSet<&ObjectName> = list.iter().map(|(name, _)| name).collect();
        let gone: Vec<ObjectName> = self.objects.keys().filter(|name| !listed.contains(name)).cloned().collect();
        let mut changes: Vec<Change> = gone.into_iter().filter_map(|name| self.put(name, None)).collect();
        changes.extend(list.into_iter().filter_map(|(name, object)| self.put(name, Some(object))));
        changes
    }

    fn put(&mut self, name: ObjectName, new: Option<Object>) -> Option<Change> {
        let old = match &new {
            Some(object) => self.objects.insert(name.clone(), object.clone()),
            None => self.objects.remove(&name),
        };
        (old != new).then_some(Change { name, old, new })
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Event, Object, Store};
    use crate::snapshot::{ConfigMap, ObjectName};
    use std::{collections::BTreeMap, sync::Arc};

    fn name(name: &str) -> ObjectName {
        ObjectName::new("ns", name)
    }

    fn object(of: &str, value: &str) -> Object {
        let data = BTreeMap::from([("key".to_owned(), value.to_owned())]);
        Object::ConfigMap(Arc::new(ConfigMap { name: name(of), data }))
    }

    fn listed(of: &str, value: &str) -> Event {
        Event::Listed(name(of), object(of, value))
    }

    fn change(of: &str, old: Option<&str>, new: Option<&str>) -> Change {
        let object = |value: &str| object(of, value);
        Change { name: name(of), old: old.map(object), new: new.map(object) }
    }

    fn synced(objects: &[(&str, &str)]) -> Store {
        let mut store = Store::default();
        store.apply(Event::Restarted);
        for (name, value) in objects {
            store.apply(listed(name, value));
        }
        store.apply(Event::Complete);
        store
    }

    #[test]
    fn nothing_is_there_before_the_list_is_complete() {
        let mut store = Store::default();
        assert_eq!(store.apply(Event::Restarted), []);
        assert_eq!(store.apply(listed("a", "1")), []);
        assert!(!store.is_synced());
        assert_eq!(store.apply(Event::Complete), [change("a", None, Some("1"))]);
        assert!(store.is_synced());
    }

    #[test]
    fn a_relist_keeps_the_old_objects_until_it_is_complete() {
        let mut store = synced(&[("a", "1"), ("b", "1"), ("c", "1")]);
        assert_eq!(store.apply(Event::Restarted), []);
        assert_eq!(store.apply(listed("a", "1")), []);
        assert_eq!(store.apply(listed("b", "2")), []);
        assert_eq!(store.get(&name("c")), Some(&object("c", "1")));
        assert!(store.is_synced());
        assert_eq!(store.apply(Event::Complete), [change("c", Some("1"), None), change("b", Some("1"), Some("2"))]);
        assert_eq!(store.get(&name("c")), None);
    }

    #[test]
    fn a_list_that_breaks_off_leaves_no_trace() {
        let mut store = synced(&[("a", "1")]);
        store.apply(Event::Restarted);
        store.apply(listed("b", "1"));
        store.apply(Event::Restarted);
        store.apply(listed("a", "1"));
        assert_eq!(store.apply(Event::Complete), []);
    }

    #[test]
    fn equal_objects_are_shared_and_no_change() {
        let mut store = synced(&[("a", "1")]);
        assert_eq!(store.apply(Event::Applied(name("a"), object("a", "1"))), []);
        assert_eq!(store.apply(Event::Applied(name("a"), object("a", "2"))), [change("a", Some("1"), Some("2"))]);
        assert_eq!(store.apply(Event::Deleted(name("a"))), [change("a", Some("2"), None)]);
        assert_eq!(store.apply(Event::Deleted(name("a"))), []);
    }
}
