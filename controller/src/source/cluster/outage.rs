//! Says that the API server cannot be reached: once when it happens, now and then while it lasts, and when it is over.

use super::id::WatchId;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// Time between two lines about the same outage.
const REMINDER: Duration = Duration::from_secs(30);

/// A connection that breaks once is normal life; a watch that fails twice in a row is an outage.
const TOLERATED: u32 = 1;

/// Which watches fail.
#[derive(Debug)]
pub(super) struct Outages {
    server: String,
    failing: BTreeMap<WatchId, u32>,
    reported: Option<Instant>,
}

// === impl Outages ===

impl Outages {
    pub(super) fn new(server: String) -> Self {
        Self { server, failing: BTreeMap::new(), reported: None }
    }

    pub(super) fn failed(&mut self, id: &WatchId, error: &str) {
        let failures = self.failing.entry(id.clone()).or_default();
        *failures += 1;
        let due = self.reported.is_none_or(|reported| reported.elapsed() >= REMINDER);
        if *failures > TOLERATED && due {
            let resources = self.resources();
            warn!(server = self.server, resources, error, "cannot watch; trying again, and serving what is known");
            self.reported = Some(Instant::now());
        } else {
            debug!(server = self.server, watch = ?id, error, "a watch failed");
        }
    }

    pub(super) fn succeeded(&mut self, id: &WatchId) {
        if self.failing.remove(id).is_some() && self.failing.is_empty() && self.reported.take().is_some() {
            info!(server = self.server, "the API server can be reached again");
        }
    }

    pub(super) fn forget(&mut self, id: &WatchId) {
        self.failing.remove(id);
    }

    fn resources(&self) -> String {
        let mut resources: Vec<&str> = self.failing.keys().map(WatchId::resource).collect();
        resources.dedup();
        resources.join(", ")
    }
}
