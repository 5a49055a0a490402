//! When to read again.
//!
//! The kernel tells of changes where it can; a slow comparison of times and lengths finds what it does not tell: files
//! behind symbolic links, network file systems, a directory that was replaced by another.

use super::directory::{self, Fingerprint};
use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use std::{path::PathBuf, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tracing::debug;

/// An editor empties a file, then writes it; a copy of a tree is many files. Reading waits until nothing has happened
/// for this long,
const QUIET: Duration = Duration::from_millis(25);

/// but no longer than this.
const CEILING: Duration = Duration::from_millis(500);

/// Between two comparisons while the kernel tells of changes.
const POLL_WATCHED: Duration = Duration::from_secs(5);

/// Between two comparisons while it does not.
const POLL_UNWATCHED: Duration = Duration::from_secs(1);

/// Knows when a directory may have changed.
pub(super) struct Watch {
    directory: PathBuf,
    events: mpsc::Receiver<()>,
    sender: mpsc::Sender<()>,
    watcher: Option<notify::RecommendedWatcher>,
    /// What the watched path led to; another target needs another watch.
    target: Option<PathBuf>,
    seen: Option<Fingerprint>,
}

// === impl Watch ===

impl Watch {
    pub(super) fn new(directory: PathBuf) -> Self {
        let (sender, events) = mpsc::channel(1);
        Self { directory, events, sender, watcher: None, target: None, seen: None }
    }

    /// Watches the directory if it is not watched yet, and remembers what it looks like. Called before each reading, so
    /// that what changes during one is noticed after it.
    pub(super) fn renew(&mut self) {
        let target = self.directory.canonicalize().ok();
        if self.watcher.is_none() || self.target != target {
            self.watcher = target.as_ref().and_then(|target| {
                let watcher = self.watcher(target);
                watcher.inspect_err(|error| debug!(%error, "the directory cannot be watched, it is polled")).ok()
            });
            self.target = target;
        }
        self.seen = directory::fingerprint(&self.directory);
    }

    fn watcher(&self, target: &std::path::Path) -> notify::Result<notify::RecommendedWatcher> {
        let sender = self.sender.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Reading is an event too; and an error of the watch may have hidden a change.
            if event.map_or(true, |event| is_change(event.kind)) {
                // A full channel already says what there is to say.
                _ = sender.try_send(());
            }
        })?;
        watcher.watch(target, RecursiveMode::Recursive)?;
        Ok(watcher)
    }

    /// Returns when the directory may have changed and is quiet again.
    pub(super) async fn changed(&mut self) {
        let poll = if self.watcher.is_some() { POLL_WATCHED } else { POLL_UNWATCHED };
        loop {
            match timeout(poll, self.events.recv()).await {
                Ok(_) => return self.settle().await,
                Err(_) if self.looks_different().await => return,
                Err(_) => {}
            }
        }
    }

    async fn settle(&mut self) {
        let ceiling = Instant::now() + CEILING;
        loop {
            let quiet = ceiling.min(Instant::now() + QUIET);
            match timeout_at(quiet, self.events.recv()).await {
                // The sender lives in `self`, so that the channel never closes.
                Ok(_) if Instant::now() < ceiling => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    async fn looks_different(&self) -> bool {
        if self.seen.is_none() || self.directory.canonicalize().ok() != self.target {
            return true;
        }
        let directory = self.directory.clone();
        let look = tokio::task::spawn_blocking(move || directory::fingerprint(&directory));
        look.await.map_or(true, |now| now != self.seen)
    }
}

fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}
