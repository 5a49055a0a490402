//! Picks the endpoints of one request, as its route asks, and learns from what became of them.

use super::{
    InFlight, State,
    peers::{Peer, Peers},
    session::NewCookie,
};
use crate::{
    listener::Scheme,
    table::{Affinity, AffinityMode, Backend, Endpoint, HashBy, LoadBalancing, Policy, Route},
    timeout::{Tick, Timers},
    variable::Scope,
};
use crc32fast::Hasher;
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use rand::Rng as _;
use std::{rc::Rc, sync::Arc, time::Duration};
use tokio::time::Instant;

/// The choice for one request.
#[derive(Debug)]
pub(crate) struct Picker<'a> {
    state: Rc<State>,
    backend: &'a Arc<Backend>,
    policy: &'a Policy,
    timers: &'a Timers,
    /// Endpoints take turns, and there is nothing else to it.
    plain: bool,
    /// The value of the cookie that the client gets.
    cookie: Option<String>,
}

/// An endpoint to try.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    pub(crate) endpoint: Endpoint,
    /// `None` where nothing is remembered about endpoints.
    peer: Option<Rc<Peer>>,
}

/// Which endpoints may be picked; a later one only when there is none of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// Neither tried nor ejected.
    Good,
    /// Not tried.
    Untried,
    /// Not the one that was tried last.
    Others,
    Any,
}

/// Draws for a random endpoint before those that may not be picked are stepped over.
const DRAWS: usize = 8;
/// Keys that are drawn for a session that must not lead to some endpoints, as in ingress-nginx.
const KEYS: usize = 20;

// === impl Picker ===

impl<'a> Picker<'a> {
    pub(crate) fn new(state: Rc<State>, backend: &'a Arc<Backend>, policy: &'a Policy, timers: &'a Timers) -> Self {
        let plain = policy.load_balancing.is_round_robin()
            && policy.affinity.is_none()
            && policy.ejection.is_none()
            && policy.slow_start.is_none()
            && backend.weights().is_empty();
        state.budget().deposit();
        Self { state, backend, policy, timers, plain, cookie: None }
    }

    /// True when a retry is within what the backend is worth.
    pub(crate) fn may_retry(&self) -> bool {
        self.state.budget().withdraw(self.timers.now())
    }

    /// The next endpoint, if possible none of `tried`, which ends with the last one. `None` when there is no endpoint.
    pub(crate) fn pick<'s>(&mut self, tried: &[Endpoint], scope: impl FnOnce() -> Scope<'s>) -> Option<Picked> {
        if self.plain {
            let endpoint = self.state.round_robin.pick(self.backend.endpoints(), tried)?;
            return Some(Picked { endpoint, peer: None });
        }
        let now = self.timers.now();
        let peers = self.state.peers(self.backend, now);
        if peers.list().is_empty() {
            return None;
        }
        let choice = Choice::new(self, &peers, tried, now);
        let position = match (&self.policy.affinity, &self.policy.load_balancing) {
            (Some(affinity), _) => {
                let (position, cookie) = choice.session(affinity, &scope());
                if cookie.is_some() {
                    self.cookie = cookie;
                }
                position
            }
            (None, LoadBalancing::RoundRobin) => choice.turn(),
            (None, LoadBalancing::LeastRequest) => choice.better_of_two(|peer| peer.load(choice.weight(peer))),
            (None, LoadBalancing::Ewma) => {
                let now = Instant::now();
                choice.better_of_two(|peer| peer.latency(choice.weight(peer), now))
            }
            (None, LoadBalancing::Hash(by)) => choice.hashed(by, &scope()),
        };
        let peer = &peers.list()[position];
        Some(Picked { endpoint: peer.endpoint, peer: Some(Rc::clone(peer)) })
    }

    /// Counts the request among those under way, where they decide.
    pub(crate) fn in_flight(&self, picked: &Picked) -> Option<InFlight> {
        let counts = matches!(self.policy.load_balancing, LoadBalancing::LeastRequest);
        picked.peer.as_ref().filter(|_| counts).map(InFlight::new)
    }

    /// The endpoint answered, with a response that goes to the client.
    pub(crate) fn answered(&self, picked: &Picked, time: Duration) {
        let Some(peer) = &picked.peer else { return };
        if matches!(self.policy.load_balancing, LoadBalancing::Ewma) {
            peer.observe(time, Instant::now());
        }
        if self.policy.ejection.is_some() {
            peer.succeeded();
        }
    }

    /// The endpoint failed, or answered what counts as a failure.
    pub(crate) fn failed(&self, picked: &Picked, time: Duration) {
        let Some(peer) = &picked.peer else { return };
        if matches!(self.policy.load_balancing, LoadBalancing::Ewma) {
            peer.observe_failure(time, Instant::now());
        }
        if let Some(ejection) = &self.policy.ejection {
            let now = self.timers.now();
            self.state.peers(self.backend, now).failed(peer, ejection, now);
        }
    }

    /// The cookie for a client that has none, or none that leads to the endpoint.
    pub(crate) fn cookie(&self, route: &Route, scheme: Scheme, headers: &HeaderMap) -> Option<HeaderValue> {
        let value = self.cookie.as_ref()?;
        let affinity = self.policy.affinity.as_deref()?;
        let is_tls = scheme == Scheme::Https;
        NewCookie { affinity, route, is_tls, user_agent: headers.get(header::USER_AGENT) }
            .header(value, Timestamp::now())
    }
}

/// One choice among the endpoints that are there now. Their list is not empty.
struct Choice<'a> {
    state: &'a State,
    policy: &'a Policy,
    peers: &'a Peers,
    tried: &'a [Endpoint],
    now: Tick,
    allowed: Allowed,
}

// === impl Choice ===

impl<'a> Choice<'a> {
    fn new(picker: &'a Picker<'_>, peers: &'a Peers, tried: &'a [Endpoint], now: Tick) -> Self {
        let Picker { state, policy, .. } = picker;
        let mut choice = Self { state, policy, peers, tried, now, allowed: Allowed::Good };
        for allowed in [Allowed::Good, Allowed::Untried, Allowed::Others, Allowed::Any] {
            choice.allowed = allowed;
            if peers.list().iter().any(|peer| choice.allows(peer)) {
                break;
            }
        }
        choice
    }

    fn allows(&self, peer: &Peer) -> bool {
        match self.allowed {
            Allowed::Good => !self.tried.contains(&peer.endpoint) && !self.is_ejected(peer),
            Allowed::Untried => !self.tried.contains(&peer.endpoint),
            Allowed::Others => self.tried.last() != Some(&peer.endpoint),
            Allowed::Any => true,
        }
    }

    fn is_ejected(&self, peer: &Peer) -> bool {
        self.policy.ejection.is_some() && peer.is_ejected(self.now)
    }

    fn weight(&self, peer: &Peer) -> u32 {
        peer.weight(self.policy.slow_start, self.now)
    }

    fn may_pick(&self, position: &usize) -> bool {
        self.allows(&self.peers.list()[*position])
    }

    /// In turn. With different weights it is nginx's smooth round robin: everybody gains its weight, the first pays the
    /// sum of them.
    fn turn(&self) -> usize {
        let list = self.peers.list();
        let starting = |slow_start| list.iter().any(|peer| peer.is_starting(slow_start, self.now));
        if self.peers.backend().weights().is_empty() && !self.policy.slow_start.is_some_and(starting) {
            let positions = (0..list.len()).map(|_| self.state.round_robin.next(list.len()));
            let mut last = 0;
            return positions.inspect(|position| last = *position).find(|p| self.may_pick(p)).unwrap_or(last);
        }
        let (mut total, mut first) = (0, None);
        for (position, peer) in list.iter().enumerate().filter(|(_, peer)| self.allows(peer)) {
            let weight = self.weight(peer);
            let standing = peer.advance(weight);
            total += i64::from(weight);
            if first.is_none_or(|(_, best)| standing > best) {
                first = Some((position, standing));
            }
        }
        let (position, _) = first.unwrap_or_default();
        list[position].pay(total);
        position
    }

    /// Of two at random the one with the lower cost ("power of two choices").
    fn better_of_two(&self, cost: impl Fn(&Peer) -> f64) -> usize {
        let list = self.peers.list();
        let one = self.at_random(|position| self.may_pick(&position)).unwrap_or_default();
        let other = self.at_random(|position| position != one && self.may_pick(&position)).unwrap_or(one);
        if cost(&list[other]) < cost(&list[one]) { other } else { one }
    }

    fn at_random(&self, may_pick: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.peers.list().len();
        let drawn = (0..DRAWS).map(|_| self.state.random(count)).find(|position| may_pick(*position));
        drawn.or_else(|| {
            let start = self.state.random(count);
            (0..count).map(|step| (start + step) % count).find(|position| may_pick(*position))
        })
    }

    fn hashed(&self, by: &HashBy, scope: &Scope<'_>) -> usize {
        let mut hasher = Hasher::new();
        by.key.expand(scope, |piece| hasher.update(piece));
        let hash = hasher.finalize();
        let Some(size) = by.subset else {
            return self.next_on_ring(hash);
        };
        // The last group is filled up with endpoints from the beginning.
        let (size, count) = (size.get(), self.peers.list().len());
        let group = self.peers.groups(size).from(hash).next().unwrap_or_default();
        let member = |number| (group * size + number) % count;
        let drawn = (0..DRAWS).map(|_| member(self.state.random(size))).find(|position| self.may_pick(position));
        drawn.or_else(|| (0..size).map(member).find(|position| self.may_pick(position))).unwrap_or_else(|| {
            // The whole group was tried: anybody else.
            self.at_random(|position| self.may_pick(&position)).unwrap_or_default()
        })
    }

    fn next_on_ring(&self, hash: u32) -> usize {
        self.peers.ring().from(hash).find(|position| self.may_pick(position)).unwrap_or_default()
    }

    /// The endpoint of a session, and the value of a new cookie.
    fn session(&self, affinity: &Affinity, scope: &Scope<'_>) -> (usize, Option<String>) {
        let sessions = self.peers.sessions();
        let ring = |key: &[u8]| self.peers.ring().from(crc32fast::hash(key)).next();
        if let Some(key) = sessions.key_of(&scope.head.headers, &affinity.name) {
            let position = match affinity.mode {
                AffinityMode::Balanced => ring(key),
                AffinityMode::Persistent => sessions.position(key),
            };
            if let Some(position) = position {
                let ejected = self.is_ejected(&self.peers.list()[position]);
                let failed = ejected || !self.tried.is_empty();
                if !failed || (!affinity.change_on_failure && !ejected) {
                    return (position, None);
                }
                if !affinity.change_on_failure {
                    // Back to its own endpoint when that is back.
                    return (self.next_on_ring(crc32fast::hash(key)), None);
                }
            }
        }
        match affinity.mode {
            AffinityMode::Balanced => {
                let mut drawn = (0, String::new());
                for _ in 0..KEYS {
                    let key = new_key();
                    drawn = (ring(key.as_bytes()).unwrap_or_default(), key);
                    if self.may_pick(&drawn.0) {
                        break;
                    }
                }
                (drawn.0, Some(sessions.value(&drawn.1)))
            }
            AffinityMode::Persistent => {
                let position = self.at_random(|position| self.may_pick(&position)).unwrap_or_default();
                (position, Some(sessions.value(sessions.key(position))))
            }
        }
    }
}

/// Text that no other session has, in the form of ingress-nginx.
fn new_key() -> String {
    let now = Timestamp::now();
    let random: u64 = rand::rng().random();
    format!("{}.{:03}.{random}", now.as_second(), now.subsec_millisecond())
}
