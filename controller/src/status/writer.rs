//! Writes the status of our Ingresses: only on difference, several at a time, and never in a loop against somebody else.

use super::address::{Address, addresses};
use crate::{
    args::{Publish, Status},
    reconcile::Pass,
    snapshot::{Ingress, ObjectName, Snapshot},
    telemetry::chain,
};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::networking::v1::Ingress as ApiIngress;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{debug, info, warn};

/// Patches in flight. At 5 ms each that is 3,000 a second: the Ingresses of the largest clusters in a few seconds.
const CONCURRENCY: usize = 16;

/// Longest wait for one patch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Shortest time between two looks at a pass. Nobody reads a status faster, and a look costs time per Ingress.
const COALESCE: Duration = Duration::from_millis(100);

/// Pauses after failures double between these.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Name under which the server remembers who wrote a field.
const MANAGER: &str = "rust-nginx";

/// The task.
pub(super) struct Writer {
    client: Client,
    publish: Publish,
    passes: watch::Receiver<Option<Arc<Pass>>>,
    leader: watch::Receiver<bool>,
    ledger: Ledger,
}

/// What has been written, so that nothing is written twice while the watch lags behind, nor again and again when
/// somebody else disagrees.
#[derive(Debug)]
struct Ledger {
    /// Time between two corrections of the same status.
    interval: Duration,
    written: HashMap<ObjectName, Written>,
    /// What the last look was about; nothing can be different when it is the same.
    seen: Option<(Snapshot, Vec<Address>)>,
}

#[derive(Debug)]
struct Written {
    uid: Arc<str>,
    addresses: Arc<[Address]>,
    at: Instant,
}

/// Ingresses whose status differs.
#[derive(Debug, Default)]
struct Work {
    due: Vec<Arc<Ingress>>,
    /// When a correction that has to wait is due.
    later: Option<Instant>,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(
        client: Client,
        status: &Status,
        passes: watch::Receiver<Option<Arc<Pass>>>,
        leader: watch::Receiver<bool>,
    ) -> Self {
        Self { client, publish: status.publish.clone(), passes, leader, ledger: Ledger::new(status.interval) }
    }

    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.leader.wait_for(|leader| *leader).await.is_err() {
                return;
            }
            let pass = self.passes.borrow_and_update().clone();
            let mut later = None;
            if let Some(pass) = pass
                && let Some(desired) = addresses(&self.publish, &pass.snapshot)
            {
                let work = self.ledger.work(&pass, &desired, Instant::now());
                later = work.later;
                if self.write(work.due, desired.into()).await == 0 {
                    pause = FIRST_PAUSE;
                } else {
                    self.ledger.seen = None;
                    later = Some(Instant::now() + pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            sleep(COALESCE).await;
            let wake_up = async {
                match later {
                    Some(later) => sleep_until(later).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.passes.changed() => if changed.is_err() { return },
                changed = self.leader.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Another leader may have written other things meanwhile.
                    self.ledger.forget();
                }
                () = wake_up => self.ledger.seen = None,
            }
        }
    }

    /// Returns how many failed.
    async fn write(&mut self, due: Vec<Arc<Ingress>>, desired: Arc<[Address]>) -> usize {
        if due.is_empty() {
            return 0;
        }
        let started = Instant::now();
        let patch = Patch::Merge(patch(&desired));
        let (client, leader, patch) = (&self.client, &self.leader, &patch);
        let results: Vec<_> = stream::iter(due)
            .map(|ingress| async move {
                let result = if *leader.borrow() { put(client, &ingress.name, patch).await } else { Ok(false) };
                (ingress, result)
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        let (mut done, mut failed) = (0, 0);
        for (ingress, result) in results {
            match result {
                Ok(true) => {
                    done += 1;
                    self.ledger.wrote(&ingress, &desired, Instant::now());
                }
                Ok(false) => {}
                Err(error) => {
                    failed += 1;
                    if failed == 1 {
                        warn!(ingress = %ingress.name, error, "cannot write the status; trying again");
                    } else {
                        debug!(ingress = %ingress.name, error, "cannot write the status");
                    }
                }
            }
        }
        if done > 0 {
            info!(ingresses = done, failed, elapsed = ?started.elapsed(), "status written");
        }
        failed
    }
}

/// False when the Ingress is gone.
async fn put(client: &Client, name: &ObjectName, patch: &Patch<Value>) -> Result<bool, String> {
    let api = Api::<ApiIngress>::namespaced(client.clone(), &name.namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match timeout(TIMEOUT, api.patch_status(&name.name, &params, patch)).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Ok(false),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err("the API server did not answer in time".to_owned()),
    }
}

fn patch(addresses: &[Address]) -> Value {
    let entries: Vec<Value> = addresses
        .iter()
        .map(|(ip, hostname)| {
            let entry = [("ip", ip), ("hostname", hostname)];
            entry.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))).collect::<Value>()
        })
        .collect();
    // Null removes the field (RFC 7396 §2).
    let entries = if entries.is_empty() { Value::Null } else { Value::Array(entries) };
    json!({ "status": { "loadBalancer": { "ingress": entries } } })
}

// === impl Ledger ===

impl Ledger {
    fn new(interval: Duration) -> Self {
        Self { interval, written: HashMap::new(), seen: None }
    }

    fn forget(&mut self) {
        self.written.clear();
        self.seen = None;
    }

    fn wrote(&mut self, ingress: &Ingress, addresses: &Arc<[Address]>, at: Instant) {
        let written = Written { uid: Arc::clone(&ingress.uid), addresses: Arc::clone(addresses), at };
        self.written.insert(ingress.name.clone(), written);
    }

    fn work(&mut self, pass: &Pass, desired: &[Address], now: Instant) -> Work {
        let Snapshot { ingresses, ingress_classes, .. } = &pass.snapshot;
        if let Some((seen, addresses)) = &self.seen
            && seen.ingresses.ptr_eq(ingresses)
            && seen.ingress_classes.ptr_eq(ingress_classes)
            && addresses == desired
        {
            return Work::default();
        }
        let ours = &pass.compiled.ingresses;
        self.written.retain(|name, written| ours.contains(name) && now < written.at + self.interval);
        let mut work = Work::default();
        for ingress in ours.iter().filter_map(|name| ingresses.get(name)) {
            if is_same(&ingress.status, desired) {
                continue;
            }
            let wait = self
                .written
                .get(&ingress.name)
                .filter(|written| written.uid == ingress.uid && *written.addresses == *desired);
            match wait {
                Some(written) => {
                    let at = written.at + self.interval;
                    work.later = Some(work.later.map_or(at, |later| later.min(at)));
                }
                None => work.due.push(Arc::clone(ingress)),
            }
        }
        let kept =
            Snapshot { ingresses: ingresses.clone(), ingress_classes: ingress_classes.clone(), ..Snapshot::default() };
        self.seen = Some((kept, desired.to_vec()));
        work
    }
}

/// Whether the status names exactly these addresses, in any order.
fn is_same(status: &[Address], sorted: &[Address]) -> bool {
    if status == sorted {
        return true;
    }
    let mut status = status.to_vec();
    status.sort();
    status == sorted
}

#[cfg(test)]
mod tests;
