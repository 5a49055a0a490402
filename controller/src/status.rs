//! What is written back to the cluster: status of Ingresses and Events. Only by the leader.
//!
//! Two tasks with a pace of their own, so that thousands of patches do not hold up an Event, nor Events the Lease.

mod address;
mod events;
mod writer;

pub use self::address::finding;
use crate::{args::Serve, reconcile::Pass};
use kube::Client;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::warn;

/// Longest time for removing what we have written when the last replica ends. Enough for thousands of Ingresses, and
/// little beside the time that a pod has to end.
const FAREWELL: Duration = Duration::from_secs(20);

/// Lets the last replica take its addresses out of the status.
#[derive(Debug)]
pub struct Farewell(mpsc::Sender<oneshot::Sender<()>>);

/// Starts the writers. The farewell is there when the end is to be written (`--update-status-on-shutdown`).
pub fn start(
    writers: &mut JoinSet<()>,
    client: &Client,
    config: &Serve,
    passes: &watch::Receiver<Option<Arc<Pass>>>,
    leader: &watch::Receiver<bool>,
) -> Option<Farewell> {
    let (sender, receiver) = mpsc::channel(1);
    let writer = writer::Writer::new(client, config, passes, leader, receiver);
    let farewell = writer.is_some() && config.status.clear_on_shutdown;
    if let Some(writer) = writer {
        writers.spawn(writer.run());
    }
    let recorder =
        events::Recorder::new(client.clone(), &config.identity, config.sync_events, passes.clone(), leader.clone());
    writers.spawn(recorder.run());
    farewell.then_some(Farewell(sender))
}

// === impl Farewell ===

impl Farewell {
    /// Waits until the status of our Ingresses is removed, if this is the leader and no other replica is ready.
    pub async fn say(self) {
        let (reply, done) = oneshot::channel();
        if self.0.send(reply).await.is_err() {
            return;
        }
        // The writer drops the reply where there is nothing to do.
        if timeout(FAREWELL, done).await.is_err() {
            warn!(limit = ?FAREWELL, "the API server did not take the last status in time: addresses stay behind");
        }
    }
}
