//! What Services resolved to before their external name was changed, for as long as DNS says nothing about the new one:
//! first something is known of it, then the old addresses go. No I/O.

use crate::snapshot::{ObjectName, Resolved, Service};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{net::IpAddr, sync::Arc};

/// Follows what a source publishes.
#[derive(Debug, Default)]
pub(super) struct Former {
    services: OrdMap<ObjectName, Arc<Service>>,
    addresses: OrdMap<ObjectName, Arc<Resolved>>,
}

// === impl Former ===

impl Former {
    /// These are the Services now, and this is what has been looked up. Returns what is still used of earlier names.
    pub(super) fn follow(
        &mut self,
        services: &OrdMap<ObjectName, Arc<Service>>,
        resolved: &OrdMap<Arc<str>, Arc<Resolved>>,
    ) -> OrdMap<ObjectName, Arc<Resolved>> {
        let before = std::mem::replace(&mut self.services, services.clone());
        for change in before.diff(services) {
            let DiffItem::Update { old: (name, old), new: (_, new) } = change else { continue };
            if old.external_host() == new.external_host() {
                continue;
            }
            let known = old.external_host().and_then(|host| match host.parse::<IpAddr>() {
                Ok(address) => Some(Arc::new(Resolved::found([address]))),
                Err(_) => {
                    let known = resolved.get(&host).filter(|known| !known.unknown);
                    known.or_else(|| self.addresses.get(name).filter(|_| old.host_to_look_up().is_some())).cloned()
                }
            });
            match known.filter(|known| !known.addresses.is_empty()) {
                Some(known) => _ = self.addresses.insert(name.clone(), known),
                None => _ = self.addresses.remove(name),
            }
        }
        let waits = |name: &ObjectName| {
            let host = services.get(name).and_then(|service| service.host_to_look_up());
            host.is_some_and(|host| resolved.get(&host).is_none_or(|known| known.unknown))
        };
        let over: Vec<_> = self.addresses.keys().filter(|name| !waits(name)).cloned().collect();
        for name in over {
            self.addresses.remove(&name);
        }
        self.addresses.clone()
    }
}
