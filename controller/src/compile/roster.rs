//! Our Ingresses by number. A number is what hosts remember, so that an Ingress is kept once.

use super::ingress::Translated;
use crate::snapshot::ObjectName;
use imbl::OrdSet;
use std::collections::HashMap;

/// Position of an Ingress in the [`Roster`]; another Ingress may have it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct IngressId(u32);

/// The Ingresses that are ours.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: Vec<Option<Translated>>,
    by_name: HashMap<ObjectName, IngressId>,
    vacant: Vec<IngressId>,
    names: OrdSet<ObjectName>,
}

// === impl Roster ===

impl Roster {
    pub(super) fn add(&mut self, translated: Translated) -> IngressId {
        let name = translated.ingress.name.clone();
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.entries.push(None);
            IngressId(u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 Ingresses fit in memory"))
        });
        self.entries[id.0 as usize] = Some(translated);
        self.names.insert(name.clone());
        self.by_name.insert(name, id);
        id
    }

    /// Removes an Ingress; nobody may hold its number any more.
    pub(super) fn remove(&mut self, id: IngressId) -> Translated {
        let translated =
            self.entries[id.0 as usize].take().expect("a number stands for an Ingress until it is removed");
        self.by_name.remove(&translated.ingress.name);
        self.names.remove(&translated.ingress.name);
        self.vacant.push(id);
        translated
    }

    pub(super) fn find(&self, name: &ObjectName) -> Option<IngressId> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, id: IngressId) -> &Translated {
        self.entries[id.0 as usize].as_ref().expect("a number stands for an Ingress until it is removed")
    }

    pub(super) fn get_mut(&mut self, id: IngressId) -> &mut Translated {
        self.entries[id.0 as usize].as_mut().expect("a number stands for an Ingress until it is removed")
    }

    /// Their names.
    pub(super) fn names(&self) -> &OrdSet<ObjectName> {
        &self.names
    }
}
