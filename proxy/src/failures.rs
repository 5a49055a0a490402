//! Endpoints that fail, in the log.

use crate::{rarely::Rarely, table::BackendKey, timeout::Timers};
use std::{cell::RefCell, collections::HashMap, fmt, net::SocketAddr};

/// Endpoints that fail, per backend and worker: nginx has a line for each of them.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    by_backend: RefCell<HashMap<BackendKey, Rarely>>,
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
