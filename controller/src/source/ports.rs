//! Ports of TCP and UDP services that could not be opened → findings: a stage between a source and the reconcile loop.
//!
//! Whether a port is free is known to the workers only, and whoever wrote it into a ConfigMap should learn of it there. It
//! is tried again for as long as the table asks for it, and the finding goes when it has worked. Must not know: what a
//! service is.

use super::outlet::Outlet;
use crate::{
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    reconcile::Feed,
    snapshot::ObjectName,
};
use rust_nginx_proxy::{Handle, Unbound, table::Transport};
use std::sync::Arc;
use tokio::sync::watch;

/// The ConfigMaps that ports stand in.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// `--tcp-services-configmap`
    pub tcp: Option<ObjectName>,
    /// `--udp-services-configmap`
    pub udp: Option<ObjectName>,
}

/// The stage.
pub struct Stage {
    declared: Declared,
    outlet: Outlet,
    handle: watch::Receiver<Option<Arc<Handle>>>,
}

// === impl Stage ===

impl Stage {
    /// A stage behind a source. `handle` is where the workers say what they could not open.
    #[must_use]
    pub fn new(declared: Declared, source: Feed, handle: watch::Receiver<Option<Arc<Handle>>>) -> (Self, Feed) {
        let coverage = source.coverage.borrow().clone();
        let (outlet, feed) = Outlet::new(source, coverage);
        (Self { declared, outlet, handle }, feed)
    }

    /// Runs until the source is gone.
    pub async fn run(mut self) {
        let mut unbound: Option<watch::Receiver<Arc<[Unbound]>>> = None;
        loop {
            tokio::select! {
                changed = self.outlet.changed() => if !changed { return },
                known = self.handle.wait_for(Option::is_some), if unbound.is_none() => {
                    let Ok(known) = known else { return };
                    unbound = known.as_ref().map(|handle| handle.unbound());
                    // It may have failed already.
                    unbound.iter_mut().for_each(watch::Receiver::mark_changed);
                    continue;
                }
                changed = changed(unbound.as_mut()) => if !changed { return },
            }
            let failed = unbound.as_mut().map(|unbound| Arc::clone(&unbound.borrow_and_update()));
            self.publish(&failed.unwrap_or_default());
        }
    }

    fn publish(&mut self, unbound: &[Unbound]) {
        let (covered, mut snapshot) = self.outlet.take();
        if let Some(snapshot) = snapshot.as_mut().filter(|_| !unbound.is_empty()) {
            let found = unbound.iter().filter_map(|unbound| self.declared.finding(unbound));
            snapshot.findings = snapshot.findings.iter().cloned().chain(found).collect();
        }
        self.outlet.put(snapshot, covered);
    }
}

async fn changed(unbound: Option<&mut watch::Receiver<Arc<[Unbound]>>>) -> bool {
    match unbound {
        Some(unbound) => unbound.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

// === impl Declared ===

impl Declared {
    fn finding(&self, unbound: &Unbound) -> Option<Diagnostic> {
        let Unbound { port, error } = unbound;
        let config_map = match port.transport {
            Transport::Tcp => self.tcp.as_ref()?,
            Transport::Udp => self.udp.as_ref()?,
        };
        let object = ObjectRef::namespaced(ObjectKind::ConfigMap, config_map);
        let field = format!("data[{}]", port.address.port());
        let message = format!("cannot listen on {}: {error}; it is tried again", port.address);
        Some(Diagnostic::warning(object, Reason::PortUnavailable, field, message))
    }
}
