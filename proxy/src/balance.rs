//! Picks an endpoint of a backend. State is per worker and keyed by backend, so that it outlives tables.
//!
//! A route that takes turns, which is the default, costs a number that is counted up. Everything else has [`Peers`]:
//! what is remembered about each endpoint, made when a request of such a route comes for the first time and made anew
//! when the endpoints change. Nothing is shared between backends, even where they have an endpoint in common: what one
//! tenant's requests meet must not decide about another's.

mod budget;
mod peers;
mod picker;
mod ring;
mod round_robin;
mod session;

use self::{budget::Budget, peers::Peers, round_robin::RoundRobin};
pub(crate) use self::{
    peers::InFlight,
    picker::{Picked, Picker},
};
use crate::{
    table::{Backend, BackendIndex, BackendKey},
    timeout::Tick,
};
use rand::{SeedableRng as _, rngs::SmallRng};
use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

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
    budget: Budget,
    peers: RefCell<Option<Rc<Peers>>>,
    random: OnceCell<RefCell<SmallRng>>,
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
        Self {
            key,
            round_robin: RoundRobin::default(),
            budget: Budget::default(),
            peers: RefCell::new(None),
            random: OnceCell::new(),
        }
    }

    /// What retries may cost.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What is known about the endpoints, which are those of the request's table.
    fn peers(&self, backend: &Arc<Backend>, now: Tick) -> Rc<Peers> {
        let mut slot = self.peers.borrow_mut();
        match &*slot {
            Some(peers) if peers.are_of(backend) => Rc::clone(peers),
            known => {
                let fresh = Rc::new(Peers::new(backend, known.as_deref(), now));
                *slot = Some(Rc::clone(&fresh));
                fresh
            }
        }
    }

    /// A random number below `end`, which is not 0.
    fn random(&self, end: usize) -> usize {
        use rand::Rng as _;
        let random = self.random.get_or_init(|| RefCell::new(SmallRng::from_rng(&mut rand::rng())));
        random.borrow_mut().random_range(0..end)
    }
}

#[cfg(test)]
mod tests;
