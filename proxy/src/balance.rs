//! Picks an endpoint of a backend. State is per worker and keyed by backend, so that it outlives tables.

mod round_robin;

use self::round_robin::RoundRobin;
use crate::table::{Backend, BackendIndex, BackendKey, Endpoint};
use std::{collections::HashMap, rc::Rc};

/// The balancer state of one worker.
#[derive(Debug, Default)]
pub(crate) struct Balancers {
    /// By position in the table, checked by key: after an install a position may mean another backend.
    by_index: Vec<Option<Rc<State>>>,
    by_key: HashMap<BackendKey, Rc<State>>,
}

/// What is remembered about one backend between requests.
#[derive(Debug)]
pub(crate) struct State {
    key: BackendKey,
    round_robin: RoundRobin,
}

// === impl Balancers ===

impl Balancers {
    /// The state of a backend, made on first use.
    pub(crate) fn state(&mut self, index: BackendIndex, backend: &Backend) -> &Rc<State> {
        let index = index.get();
        if self.by_index.len() <= index {
            self.by_index.resize(index + 1, None);
        }
        let stale = self.by_index[index].as_ref().is_none_or(|state| state.key != *backend.key());
        if stale {
            let state =
                self.by_key.entry(backend.key().clone()).or_insert_with(|| Rc::new(State::new(backend.key().clone())));
            self.by_index[index] = Some(Rc::clone(state));
        }
        self.by_index[index].as_ref().expect("filled in just above")
    }

    /// Forgets backends that the table no longer has.
    pub(crate) fn retain(&mut self, keep: impl Fn(&BackendKey) -> bool) {
        self.by_index.clear();
        self.by_key.retain(|key, _| keep(key));
    }
}

// === impl State ===

impl State {
    fn new(key: BackendKey) -> Self {
        Self { key, round_robin: RoundRobin::default() }
    }

    /// The next endpoint, if possible none of `tried`. `None` when the backend has no endpoint at all.
    pub(crate) fn pick(&self, backend: &Backend, tried: &[Endpoint]) -> Option<Endpoint> {
        let endpoints = backend.endpoints();
        let first = self.round_robin.next(endpoints)?;
        if tried.is_empty() || !tried.contains(&first) {
            return Some(first);
        }
        (1..endpoints.len())
            .filter_map(|_| self.round_robin.next(endpoints))
            .find(|endpoint| !tried.contains(endpoint))
            .or(Some(first))
    }
}
