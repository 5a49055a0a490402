//! When to take, refresh and give up a Lease. No I/O and no clock of its own: moments are passed in.

use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};
use std::time::Duration;
use tokio::time::Instant;

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Whose it is; `None` when it was released.
    pub(super) holder: Option<String>,
    /// `leaseDurationSeconds`
    pub(super) valid_for: Option<Duration>,
    /// `metadata.resourceVersion`
    pub(super) version: String,
    /// `acquireTime`
    pub(super) acquired: Option<jiff::Timestamp>,
    /// `leaseTransitions`
    pub(super) transitions: i32,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Nothing: it belongs to somebody.
    Wait,
    /// There is none.
    Create(LeaseSpec),
    /// It is ours to take or refresh, if it still has this resource version.
    Replace(LeaseSpec, String),
}

/// The state of one candidate.
#[derive(Debug)]
pub(super) struct Rules {
    identity: String,
    ttl: Duration,
    /// The Lease as it was last seen; `None` when it must be read before the next write.
    seen: Option<Seen>,
    /// When our last successful write was sent; `None` when the Lease is not ours.
    renewed: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    claim: Option<Claim>,
    /// Since when it has looked like that to us.
    since: Instant,
}

// === impl Rules ===

impl Rules {
    pub(super) fn new(identity: &str, ttl: Duration) -> Self {
        Self { identity: identity.to_owned(), ttl, seen: None, renewed: None }
    }

    /// Time between two attempts, and the longest time for one.
    pub(super) fn retry(&self) -> Duration {
        self.ttl / 4
    }

    /// Takes in the answer to a read.
    pub(super) fn read(&mut self, claim: Option<Claim>, now: Instant) {
        if !claim.as_ref().is_some_and(|claim| self.is_ours(claim)) {
            self.renewed = None;
        }
        match &self.seen {
            Some(seen) if seen.claim == claim => {}
            _ => self.seen = Some(Seen { claim, since: now }),
        }
    }

    /// Takes in the answer to a write of ours that was sent at `sent`.
    pub(super) fn written(&mut self, claim: Claim, sent: Instant) {
        self.seen = Some(Seen { claim: Some(claim), since: sent });
        self.renewed = Some(sent);
    }

    /// A write was refused because the Lease is not what we took it for.
    pub(super) fn conflict(&mut self) {
        self.seen = None;
    }

    /// Whether the Lease is known well enough to write without reading it first.
    pub(super) fn knows_own_lease(&self) -> bool {
        self.renewed.is_some() && self.seen.is_some()
    }

    /// Whether we may act as the leader. Ends well before anybody else may take the Lease.
    pub(super) fn is_leader(&self, now: Instant) -> bool {
        self.renewed.is_some_and(|renewed| now < renewed + self.ttl / 2)
    }

    /// What to write, given that the Lease has just been read or written.
    pub(super) fn act(&self, now: Instant, clock: jiff::Timestamp) -> Action {
        let Some(seen) = &self.seen else { return Action::Wait };
        let Some(claim) = &seen.claim else { return Action::Create(self.spec(clock, clock, 0)) };
        if self.is_ours(claim) {
            let acquired = claim.acquired.unwrap_or(clock);
            return Action::Replace(self.spec(clock, acquired, claim.transitions), claim.version.clone());
        }
        if claim.holder.is_some() && now < self.expiry(seen, claim) {
            return Action::Wait;
        }
        let transitions = claim.transitions.saturating_add(1);
        Action::Replace(self.spec(clock, clock, transitions), claim.version.clone())
    }

    /// How long until the next attempt makes sense.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        let limit = match (self.renewed, &self.seen) {
            (Some(renewed), _) => renewed + self.ttl / 2,
            (None, Some(seen @ Seen { claim: Some(claim), .. })) if claim.holder.is_some() => self.expiry(seen, claim),
            (None, _) => return self.retry(),
        };
        // A limit that has passed means that the last attempt failed.
        let left = limit.saturating_duration_since(now);
        if left.is_zero() { self.retry() } else { left.min(self.retry()) }
    }

    /// What to write when we stop, and over which version; `None` when there is nothing to hand back.
    pub(super) fn release(&self, clock: jiff::Timestamp) -> Option<(LeaseSpec, String)> {
        let claim = self.seen.as_ref()?.claim.as_ref().filter(|claim| self.is_ours(claim))?;
        self.renewed?;
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            ..self.spec(clock, claim.acquired.unwrap_or(clock), claim.transitions)
        };
        Some((spec, claim.version.clone()))
    }

    fn is_ours(&self, claim: &Claim) -> bool {
        claim.holder.as_ref() == Some(&self.identity)
    }

    fn expiry(&self, seen: &Seen, claim: &Claim) -> Instant {
        seen.since + claim.valid_for.unwrap_or(self.ttl)
    }

    fn spec(&self, renewed: jiff::Timestamp, acquired: jiff::Timestamp, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.ttl.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(MicroTime(acquired)),
            renew_time: Some(MicroTime(renewed)),
            lease_transitions: Some(transitions),
            preferred_holder: None,
            strategy: None,
        }
    }
}

#[cfg(test)]
mod tests;
