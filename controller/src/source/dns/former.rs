//! What Services resolved to before their external name was changed, for as long as DNS says nothing about the new one:
//! first something is known of it, then the old addresses go. No I/O; moments are passed in.

use super::{PATIENCE, names::Names};
use crate::snapshot::{ExternalName, ObjectName, Resolved, Service};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::Instant;

/// Follows what a source publishes.
#[derive(Debug, Default)]
pub(super) struct Former {
    services: OrdMap<ObjectName, Arc<Service>>,
    addresses: OrdMap<ObjectName, Arc<Resolved>>,
    /// When the Services of `addresses` were changed.
    since: BTreeMap<ObjectName, Instant>,
}

// === impl Former ===

impl Former {
    /// These are the Services now, and this is what is known of names. Returns what is still used of earlier ones.
    pub(super) fn follow(
        &mut self,
        services: &OrdMap<ObjectName, Arc<Service>>,
        names: &Names,
        now: Instant,
    ) -> OrdMap<ObjectName, Arc<Resolved>> {
        let before = std::mem::replace(&mut self.services, services.clone());
        for change in before.diff(services) {
            let DiffItem::Update { old: (name, old), new: (_, new) } = change else { continue };
            let old = old.external();
            if old == new.external() {
                continue;
            }
            let known = match old {
                Some(ExternalName::Address(address)) => Some(Arc::new(Resolved::found([address]))),
                Some(ExternalName::Name(host)) if names.is_answered(&host) => names.resolved().get(&host).cloned(),
                // It never had addresses of its own.
                Some(ExternalName::Name(_)) => self.addresses.get(name).cloned(),
                Some(ExternalName::Local(_) | ExternalName::Nothing) | None => None,
            };
            self.forget(name);
            if let Some(known) = known.filter(|known| !known.addresses.is_empty()) {
                self.addresses.insert(name.clone(), known);
                self.since.insert(name.clone(), now);
            }
        }
        // What the table does not refer to by now is never looked up.
        let waits = |name: &ObjectName, since: Instant| match services.get(name).and_then(|service| service.external())
        {
            Some(ExternalName::Name(host)) if names.is_referred_to(&host) => !names.is_answered(&host),
            Some(ExternalName::Name(_)) => now < since + PATIENCE,
            _ => false,
        };
        let over: Vec<_> =
            self.since.iter().filter(|(name, since)| !waits(name, **since)).map(|(name, _)| name.clone()).collect();
        over.iter().for_each(|name| self.forget(name));
        self.addresses.clone()
    }

    fn forget(&mut self, name: &ObjectName) {
        self.addresses.remove(name);
        self.since.remove(name);
    }
}
