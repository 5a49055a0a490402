//! A directory of manifests as source: everything that `kubectl apply -f` would take from it and that we read, again
//! whenever something changes.
//!
//! Here the directory is the API server: a document that cannot be parsed is one finding and the rest stays; the default
//! class is filled in; what the API server would refuse (loopback endpoints) is taken as written. A directory that is
//! lost later keeps the last objects.

mod directory;
mod document;
mod manifest;
mod watch;

use self::{
    directory::Listing,
    document::Place,
    manifest::{Entry, Object},
    watch::Watch,
};
use crate::{
    args::Scope,
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::{Ingress, ObjectName, Snapshot},
};
use imbl::OrdMap;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{sync::watch as channel, task};
use tracing::{debug, error, info, warn};

/// Publishes the objects of a directory, after the first time that it can be read and after each change that changes
/// something, until the receiver is gone.
pub async fn run(directory: PathBuf, scope: Scope, publish: channel::Sender<Option<Snapshot>>) {
    let mut state = (Reader::new(directory.clone(), scope.clone()), Watch::new(directory.clone()));
    loop {
        let (mut reader, mut watch) = state;
        let reading = task::spawn_blocking(move || {
            // Watched before it is read, so that nothing falls between.
            watch.renew();
            let snapshot = reader.read();
            (reader, watch, snapshot)
        });
        let (reader, mut watch, snapshot) = match reading.await {
            Ok((reader, watch, snapshot)) => (reader, watch, Some(snapshot)),
            Err(error) => {
                error!(%error, directory = %directory.display(), "reading the manifests failed, starting over");
                (Reader::new(directory.clone(), scope.clone()), Watch::new(directory.clone()), None)
            }
        };
        match snapshot {
            // Nothing has ever been read: to publish emptiness would be to answer everybody with 404.
            Some(snapshot) if !reader.has_read && publish.borrow().is_none() => {
                for finding in &*snapshot.findings {
                    warn!("{finding}; trying again");
                }
            }
            Some(snapshot) => {
                let changed = publish.send_if_modified(|current| {
                    let changes = current.as_ref() != Some(&snapshot);
                    if changes {
                        *current = Some(snapshot);
                    }
                    changes
                });
                if changed {
                    info!(directory = %directory.display(), "manifests read");
                } else {
                    debug!(directory = %directory.display(), "manifests read, nothing changed");
                }
            }
            None => {}
        }
        tokio::select! {
            () = publish.closed() => return,
            () = watch.changed() => {}
        }
        state = (reader, watch);
    }
}

/// The objects of a directory, sharing with `previous` what is equal.
#[must_use]
pub fn read(directory: &Path, previous: &Snapshot) -> Snapshot {
    let mut reader = Reader::new(directory.to_owned(), Scope::All);
    reader.snapshot = previous.clone();
    reader.read()
}

/// Reads one directory again and again; files that did not change are not parsed again.
struct Reader {
    directory: PathBuf,
    scope: Scope,
    files: BTreeMap<Arc<str>, Parsed>,
    snapshot: Snapshot,
    has_read: bool,
}

/// A file and what was in it.
struct Parsed {
    /// Of the content; keeping that would double what a large directory takes.
    digest: [u8; 32],
    entries: Arc<[Entry]>,
}

// === impl Reader ===

impl Reader {
    fn new(directory: PathBuf, scope: Scope) -> Self {
        Self { directory, scope, files: BTreeMap::new(), snapshot: Snapshot::default(), has_read: false }
    }

    fn read(&mut self) -> Snapshot {
        let Listing { files, problems } = match directory::list(&self.directory) {
            Ok(listing) => listing,
            Err(error) => {
                let object = ObjectRef::named(ObjectKind::File, self.directory.display().to_string());
                let message = format!("the directory cannot be read: {error}");
                let finding = Diagnostic::warning(object, Reason::ResourceUnavailable, "", message);
                return Snapshot { findings: Arc::new([finding]), ..self.snapshot.clone() };
            }
        };
        let mut collected = Collected { findings: problems, ..Collected::default() };
        let mut parsed = BTreeMap::new();
        for (name, path) in files {
            let content = match std::fs::read(&path) {
                Ok(content) => content,
                // Gone between listing and reading: the next event is on its way.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let object = ObjectRef::named(ObjectKind::File, name);
                    let message = format!("the file cannot be read: {error}");
                    collected.findings.push(Diagnostic::warning(object, Reason::ResourceUnavailable, "", message));
                    continue;
                }
            };
            let digest = digest_of(&content);
            let file = match self.files.remove(&name) {
                Some(known) if known.digest == digest => known,
                _ => Parsed { entries: manifest::parse(&name, &content).into(), digest },
            };
            collected.add(&file.entries);
            parsed.insert(name, file);
        }
        self.files = parsed;
        self.snapshot = collected.finish(&self.scope, &self.snapshot);
        self.has_read = true;
        self.snapshot.clone()
    }
}

/// The content of all files, on the way to a snapshot.
#[derive(Default)]
struct Collected {
    snapshot: Snapshot,
    findings: Vec<Diagnostic>,
    places: HashMap<ObjectRef, Place>,
    /// Labels by namespace, for those that are declared.
    namespaces: BTreeMap<Arc<str>, Arc<BTreeMap<String, String>>>,
}

// === impl Collected ===

impl Collected {
    fn add(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Finding(finding) => self.findings.push(finding.clone()),
                Entry::Object(place, object) => self.add_object(place, object),
                Entry::Unreadable(config_map, finding) => {
                    self.findings.push(finding.clone());
                    self.snapshot.unreadable.insert(config_map.clone());
                }
            }
        }
    }

    fn add_object(&mut self, place: &Place, object: &Object) {
        let reference = object.reference();
        if let Some(before) = self.places.insert(reference.clone(), place.clone()) {
            let message = format!("declared in {before} and again in {place}, which holds");
            self.findings.push(Diagnostic::warning(reference, Reason::Conflict, "", message));
        }
        let snapshot = &mut self.snapshot;
        match object {
            Object::Ingress(object) => _ = snapshot.ingresses.insert(object.name.clone(), object.clone()),
            Object::IngressClass(object) => _ = snapshot.ingress_classes.insert(object.name.clone(), object.clone()),
            Object::ClassConfig(object) => _ = snapshot.class_configs.insert(object.name.clone(), object.clone()),
            Object::Service(object) => _ = snapshot.services.insert(object.name.clone(), object.clone()),
            Object::Secret(object) => _ = snapshot.secrets.insert(object.name.clone(), object.clone()),
            Object::ConfigMap(object) => _ = snapshot.config_maps.insert(object.name.clone(), object.clone()),
            Object::Namespace(name, labels) => _ = self.namespaces.insert(name.clone(), labels.clone()),
            Object::EndpointSlice(object) => {
                let service = ObjectName { namespace: object.name.namespace.clone(), name: object.service.clone() };
                if !object.service.is_empty() {
                    let slices = snapshot.endpoint_slices.entry(service).or_default();
                    slices.insert(object.name.name.clone(), object.clone());
                }
            }
        }
    }

    fn finish(mut self, scope: &Scope, previous: &Snapshot) -> Snapshot {
        self.keep_to(scope);
        self.fill_in_default_class();
        self.findings.sort_unstable();
        self.findings.dedup();
        let Snapshot {
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
            findings: _,
        } = self.snapshot;
        Snapshot {
            ingresses: share(ingresses, &previous.ingresses),
            ingress_classes: share(ingress_classes, &previous.ingress_classes),
            class_configs: share(class_configs, &previous.class_configs),
            services: share(services, &previous.services),
            endpoint_slices: share_slices(endpoint_slices, &previous.endpoint_slices),
            secrets: share(secrets, &previous.secrets),
            config_maps: share(config_maps, &previous.config_maps),
            host_names,
            former_addresses,
            zone,
            node_addresses,
            unreadable,
            findings: if *previous.findings == *self.findings {
                previous.findings.clone()
            } else {
                self.findings.into()
            },
        }
    }

    /// Leaves out the Ingresses of namespaces that are not to be served, as the watches of a cluster do. A selector needs
    /// the Namespaces themselves among the manifests.
    fn keep_to(&mut self, scope: &Scope) {
        let mut undeclared = BTreeSet::new();
        let mut is_served = |namespace: &Arc<str>| match scope {
            Scope::All => true,
            Scope::Namespace(only) => **only == **namespace,
            Scope::Selector(selector) => match self.namespaces.get(namespace) {
                Some(labels) => selector.matches(labels),
                None => {
                    undeclared.insert(namespace.clone());
                    false
                }
            },
        };
        let names: Vec<_> =
            self.snapshot.ingresses.keys().filter(|name| !is_served(&name.namespace)).cloned().collect();
        for name in names {
            self.snapshot.ingresses.remove(&name);
        }
        self.findings.extend(undeclared.into_iter().map(|namespace| {
            let flag = ObjectRef::named(ObjectKind::Flag, "watch-namespace-selector");
            let message = format!(
                "Namespace {namespace} is not among the manifests, so that its labels are not known: its Ingresses are not \
                 served"
            );
            Diagnostic::warning(flag, Reason::RefNotFound, "", message)
        }));
    }

    /// What the API server's DefaultIngressClass plugin does when an Ingress is created. Of several it takes the youngest;
    /// a class of a file has no age, so that it is the first by name.
    fn fill_in_default_class(&mut self) {
        let Some(class) = self.snapshot.ingress_classes.values().find(|class| class.is_default) else { return };
        let class = class.name.clone();
        let classless = |ingress: &Ingress| {
            ingress.class_name.is_none() && !ingress.annotations.contains_key(Ingress::CLASS_ANNOTATION)
        };
        let names: Vec<_> =
            self.snapshot.ingresses.iter().filter(|(_, it)| classless(it)).map(|(name, _)| name.clone()).collect();
        for name in names {
            if let Some(ingress) = self.snapshot.ingresses.get_mut(&name) {
                Arc::make_mut(ingress).class_name = Some(class.clone());
            }
        }
    }
}

fn digest_of(content: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content).as_ref());
    digest
}

/// The new map with the old objects wherever they are equal; the old map when all of it is.
fn share<K: Ord + Clone, V: PartialEq>(new: OrdMap<K, Arc<V>>, old: &OrdMap<K, Arc<V>>) -> OrdMap<K, Arc<V>> {
    if new == *old {
        return old.clone();
    }
    new.into_iter()
        .map(|(key, value)| {
            let same = old.get(&key).filter(|known| ***known == *value).cloned();
            (key, same.unwrap_or(value))
        })
        .collect()
}

/// [`share`], one level deeper.
fn share_slices<K: Ord + Clone, L: Ord + Clone, V: PartialEq>(
    new: OrdMap<K, OrdMap<L, Arc<V>>>,
    old: &OrdMap<K, OrdMap<L, Arc<V>>>,
) -> OrdMap<K, OrdMap<L, Arc<V>>> {
    if new == *old {
        return old.clone();
    }
    new.into_iter()
        .map(|(key, slices)| {
            let shared = match old.get(&key) {
                Some(known) => share(slices, known),
                None => slices,
            };
            (key, shared)
        })
        .collect()
}

#[cfg(test)]
mod tests;
