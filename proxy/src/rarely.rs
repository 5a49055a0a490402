//! What is worth a line in the log, and could be caused without end: it is said the first time, and then now and then.

use crate::{
    table::BackendKey,
    timeout::{Tick, Timers},
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    net::SocketAddr,
    time::Duration,
};

/// Time between two lines about the same.
const EVERY: Duration = Duration::from_secs(10);

/// When the last line was, and what has had none since.
#[derive(Debug, Default)]
pub(crate) struct Rarely {
    said: Cell<Option<Tick>>,
    unsaid: Cell<u32>,
}

/// Endpoints that fail, per backend and worker: nginx has a line for each of them.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    by_backend: RefCell<HashMap<BackendKey, Rarely>>,
}

// === impl Rarely ===

impl Rarely {
    /// Whether it is time for a line: then with the number of those that had none since the last one.
    pub(crate) fn due(&self, now: Tick) -> Option<u32> {
        if self.said.get().is_some_and(|said| now.since(said) < EVERY) {
            self.unsaid.set(self.unsaid.get().saturating_add(1));
            return None;
        }
        self.said.set(Some(now));
        Some(self.unsaid.replace(0))
    }
}

// === impl Failures ===

impl Failures {
    /// An endpoint failed; none if there was none to try.
    #[cold]
    pub(crate) fn note(
        &self,
        timers: &Timers,
        backend: &BackendKey,
        endpoint: Option<SocketAddr>,
        error: &impl fmt::Display,
    ) {
        let endpoint = endpoint.map(tracing::field::display);
        let mut by_backend = self.by_backend.borrow_mut();
        match by_backend.entry(backend.clone()).or_default().due(timers.now()) {
            Some(unsaid) => tracing::warn!(%error, endpoint, %backend, unsaid, "endpoint failed"),
            None => tracing::debug!(%error, endpoint, %backend, "endpoint failed"),
        }
    }

    /// Forgets backends that the table no longer has.
    pub(crate) fn retain(&self, keep: impl Fn(&BackendKey) -> bool) {
        self.by_backend.borrow_mut().retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_now_and_then_says_how_many_had_none() {
        let (timers, rarely) = (Timers::new(), Rarely::default());
        assert_eq!(rarely.due(timers.now()), Some(0));
        assert_eq!(rarely.due(timers.now()), None);
        assert_eq!(rarely.due(timers.now().after(Duration::from_secs(9))), None);
        assert_eq!(rarely.due(timers.now().after(Duration::from_secs(10))), Some(2));
        assert_eq!(rarely.due(timers.now().after(Duration::from_secs(11))), None);
        assert_eq!(rarely.due(timers.now().after(Duration::from_secs(40))), Some(1));
    }
}
