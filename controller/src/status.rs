//! What is written back to the cluster: status of Ingresses and Events. Only by the leader.
//!
//! Two tasks with a pace of their own, so that thousands of patches do not hold up an Event, nor Events the Lease.

mod address;
mod events;
mod writer;

use crate::{
    args::{Publish, Serve},
    reconcile::Pass,
};
use kube::Client;
use std::sync::Arc;
use tokio::{sync::watch, task::JoinSet};

/// Starts the writers.
pub fn start(
    writers: &mut JoinSet<()>,
    client: &Client,
    config: &Serve,
    passes: &watch::Receiver<Option<Arc<Pass>>>,
    leader: &watch::Receiver<bool>,
) {
    // Without an election nobody knows whether another replica writes the same status.
    if config.election.is_some() && config.status.enabled && config.status.publish != Publish::Nothing {
        let writer = writer::Writer::new(client.clone(), &config.status, passes.clone(), leader.clone());
        writers.spawn(writer.run());
    }
    let recorder =
        events::Recorder::new(client.clone(), &config.identity, config.sync_events, passes.clone(), leader.clone());
    writers.spawn(recorder.run());
}
