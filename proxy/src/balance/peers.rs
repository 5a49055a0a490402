//! What a worker remembers about the endpoints of one backend: load, latency, health, and what is derived from the set.

use super::{ring::Ring, session::Sessions};
use crate::{
    table::{Backend, Ejection, Endpoint},
    timeout::Tick,
};
use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Time in which a latency loses most of its weight, as in ingress-nginx.
const DECAY: f64 = 10.0;

/// What a try without a response counts as at least, in seconds: failing fast must not attract requests.
const FAILURE: f64 = 1.0;

/// Resolution of weights, so that an endpoint that starts slowly can have a part of one.
const WHOLE: u32 = 100;
/// Least share of its weight that a starting endpoint has.
const LEAST: u32 = 10;

/// The endpoints of a backend as of one table.
#[derive(Debug)]
pub(super) struct Peers {
    backend: Arc<Backend>,
    /// In the order of the backend.
    list: Box<[Rc<Peer>]>,
    ring: OnceCell<Ring>,
    /// By size of the groups; hardly ever more than one.
    groups: RefCell<Vec<(usize, Rc<Ring>)>>,
    sessions: OnceCell<Sessions>,
}

/// An endpoint between requests.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(super) endpoint: Endpoint,
    weight: Cell<u32>,
    /// Requests under way, of routes that balance by them.
    in_flight: Cell<u32>,
    /// Moving average of the time until the head of a response, in seconds, as of `touched`.
    latency: Cell<f64>,
    touched: Cell<Instant>,
    /// Failures one after the other.
    failures: Cell<u32>,
    ejected_until: Cell<Tick>,
    /// When it came, unless it was there from the beginning, or came back.
    since: Cell<Option<Tick>>,
    /// Of nginx's smooth weighted round robin.
    turn: Cell<i64>,
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Peer>);

// === impl Peers ===

impl Peers {
    /// Keeps what is known about endpoints that stay. Others begin with the mean latency, or all requests would go to
    /// the newcomer at once.
    pub(super) fn new(backend: &Arc<Backend>, before: Option<&Self>, now: Tick) -> Self {
        let touched = Instant::now();
        let known = before.map_or(&[][..], |before| &before.list);
        let mean = known.iter().map(|peer| peer.latency.get()).sum::<f64>() / known.len().max(1) as f64;
        let peer = |(index, endpoint): (usize, &Endpoint)| {
            let weight = backend.weights().get(index).map_or(1, |weight| u32::from(weight.get()));
            if let Ok(position) = known.binary_search_by_key(endpoint, |peer| peer.endpoint) {
                known[position].weight.set(weight);
                return Rc::clone(&known[position]);
            }
            Rc::new(Peer {
                endpoint: *endpoint,
                weight: Cell::new(weight),
                in_flight: Cell::new(0),
                latency: Cell::new(mean),
                touched: Cell::new(touched),
                failures: Cell::new(0),
                ejected_until: Cell::default(),
                since: Cell::new(before.map(|_| now)),
                turn: Cell::new(0),
            })
        };
        Self {
            backend: Arc::clone(backend),
            list: backend.endpoints().iter().enumerate().map(peer).collect(),
            ring: OnceCell::new(),
            groups: RefCell::default(),
            sessions: OnceCell::new(),
        }
    }

    pub(super) fn are_of(&self, backend: &Arc<Backend>) -> bool {
        Arc::ptr_eq(&self.backend, backend)
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(super) fn list(&self) -> &[Rc<Peer>] {
        &self.list
    }

    /// The hash ring of the endpoints, made once.
    pub(super) fn ring(&self) -> &Ring {
        self.ring.get_or_init(|| {
            Ring::new(self.list.iter().map(|peer| (peer.endpoint.address.to_string(), peer.weight.get())))
        })
    }

    /// The hash ring of groups of endpoints, made once per size.
    pub(super) fn groups(&self, size: usize) -> Rc<Ring> {
        let mut groups = self.groups.borrow_mut();
        if let Some((_, ring)) = groups.iter().find(|(known, _)| *known == size) {
            return Rc::clone(ring);
        }
        // Ingress-nginx's names of groups.
        let ring = Rc::new(Ring::new((1..=self.list.len().div_ceil(size)).map(|number| (format!("set{number}"), 1))));
        groups.push((size, Rc::clone(&ring)));
        ring
    }

    /// The names of endpoints in cookies, made once.
    pub(super) fn sessions(&self) -> &Sessions {
        self.sessions.get_or_init(|| Sessions::new(&self.backend))
    }

    /// Ejects a peer after a failure where that is due and others are left.
    pub(super) fn failed(&self, peer: &Peer, policy: &Ejection, now: Tick) {
        let failures = peer.failures.get().saturating_add(1);
        peer.failures.set(failures);
        let limit = policy.failures.get();
        if failures < limit || peer.is_ejected(now) {
            return;
        }
        let share = self.list.len() * usize::from(policy.max_percent) / 100;
        let most = share.max(1).min(self.list.len().saturating_sub(1));
        if self.list.iter().filter(|other| other.is_ejected(now)).count() >= most {
            return;
        }
        let until = now.after(policy.time);
        peer.ejected_until.set(until);
        peer.since.set(Some(until));
        // One more after its return is enough.
        peer.failures.set(limit - 1);
        tracing::info!(endpoint = %peer.endpoint.address, backend = %self.backend.key(), time = ?policy.time, "endpoint ejected");
    }
}

// === impl Peer ===

impl Peer {
    pub(super) fn succeeded(&self) {
        self.failures.set(0);
    }

    pub(super) fn is_ejected(&self, now: Tick) -> bool {
        now < self.ejected_until.get()
    }

    /// True while it has less than its full share.
    pub(super) fn is_starting(&self, slow_start: Duration, now: Tick) -> bool {
        self.since.get().is_some_and(|since| now.since(since) < slow_start)
    }

    /// Its share in hundredths.
    pub(super) fn weight(&self, slow_start: Option<Duration>, now: Tick) -> u32 {
        let whole = self.weight.get() * WHOLE;
        match (slow_start, self.since.get()) {
            (Some(slow_start), Some(since)) if now.since(since) < slow_start => {
                let part = now.since(since).as_secs_f64() / slow_start.as_secs_f64();
                let started = f64::from(whole) * part;
                // Between the least share and the whole, which both fit.
                (started as u32).clamp(self.weight.get() * LEAST, whole)
            }
            _ => whole,
        }
    }

    /// Requests under way for its weight, were it given one more.
    pub(super) fn load(&self, weight: u32) -> f64 {
        f64::from(self.in_flight.get() + 1) / f64::from(weight)
    }

    /// Expected latency for its weight. It falls while nobody asks, so that a slow endpoint is tried again.
    pub(super) fn latency(&self, weight: u32, now: Instant) -> f64 {
        self.decayed(0.0, now) / f64::from(weight)
    }

    /// Notes how long a response took.
    pub(super) fn observe(&self, latency: Duration, now: Instant) {
        self.latency.set(self.decayed(latency.as_secs_f64(), now));
        self.touched.set(now);
    }

    /// Notes that there was none.
    pub(super) fn observe_failure(&self, time: Duration, now: Instant) {
        let time = time.as_secs_f64().max(FAILURE).max(self.latency.get());
        self.latency.set(self.decayed(time, now));
        self.touched.set(now);
    }

    fn decayed(&self, sample: f64, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.touched.get()).as_secs_f64();
        let weight = (-passed / DECAY).exp();
        self.latency.get() * weight + sample * (1.0 - weight)
    }

    /// Takes part in a round; returns the standing.
    pub(super) fn advance(&self, weight: u32) -> i64 {
        self.turn.set(self.turn.get() + i64::from(weight));
        self.turn.get()
    }

    /// Won a round in which so much was given out.
    pub(super) fn pay(&self, total: i64) {
        self.turn.set(self.turn.get() - total);
    }
}

// === impl InFlight ===

impl InFlight {
    pub(super) fn new(peer: &Rc<Peer>) -> Self {
        peer.in_flight.set(peer.in_flight.get() + 1);
        Self(Rc::clone(peer))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}
