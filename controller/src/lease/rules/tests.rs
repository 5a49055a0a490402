use super::{Action, Claim, Rules};
use crate::lease::claim;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::time::Duration;
use tokio::time::Instant;

const TTL: Duration = Duration::from_secs(30);

/// The API server's side: one Lease with optimistic concurrency.
#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u32,
}

impl Server {
    fn claim(&self) -> Option<Claim> {
        self.lease.as_ref().map(claim)
    }

    fn apply(&mut self, spec: LeaseSpec, over: Option<&str>) -> Option<Claim> {
        let current = self.lease.as_ref().and_then(|lease| lease.metadata.resource_version.as_deref());
        if current != over {
            return None;
        }
        self.version += 1;
        let metadata = ObjectMeta { resource_version: Some(self.version.to_string()), ..ObjectMeta::default() };
        self.lease = Some(Lease { metadata, spec: Some(spec) });
        self.claim()
    }

    /// One attempt of a candidate, as `Elector::attempt` does it.
    fn round(&mut self, rules: &mut Rules, now: Instant) -> bool {
        if !rules.knows_own_lease() {
            rules.read(self.claim(), now);
        }
        let written = match rules.act(now, clock()) {
            Action::Wait => return rules.is_leader(now),
            Action::Create(spec) => self.apply(spec, None),
            Action::Replace(spec, version) => self.apply(spec, Some(&version)),
        };
        match written {
            Some(claim) => rules.written(claim, now),
            None => rules.conflict(),
        }
        rules.is_leader(now)
    }
}

/// Wall clocks of the candidates need not agree; the rules never compare them.
fn clock() -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH
}

fn candidate(name: &str) -> Rules {
    Rules::new(name, TTL)
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn the_first_one_leads_and_the_others_wait() {
    let (mut server, start) = (Server::default(), Instant::now());
    let (mut a, mut b) = (candidate("a"), candidate("b"));
    assert!(server.round(&mut a, start));
    assert!(!server.round(&mut b, start));
    // As long as it is refreshed, even much longer than the Lease is valid.
    for seconds in (7..200).step_by(7) {
        assert!(server.round(&mut a, after(start, seconds)));
        assert!(!server.round(&mut b, after(start, seconds + 1)));
    }
}

#[test]
fn a_silent_leader_stops_before_another_one_starts() {
    let (mut server, start) = (Server::default(), Instant::now());
    let (mut a, mut b) = (candidate("a"), candidate("b"));
    assert!(server.round(&mut a, start));
    assert!(!server.round(&mut b, after(start, 5)));
    assert!(a.is_leader(after(start, 14)));
    assert!(!a.is_leader(after(start, 15)));
    // b saw the last change at 5 s, and waits a whole validity from there.
    assert!(!server.round(&mut b, after(start, 34)));
    assert_eq!(b.pause(after(start, 34)), Duration::from_secs(1));
    assert!(server.round(&mut b, after(start, 35)));
    assert_eq!(server.claim().map(|claim| (claim.holder, claim.transitions)), Some((Some("b".to_owned()), 1)));
    // The old one comes back: its write is refused, and then it sees who leads.
    assert!(!server.round(&mut a, after(start, 36)));
    assert!(!server.round(&mut a, after(start, 37)));
    assert!(server.round(&mut b, after(start, 38)));
}

#[test]
fn a_restart_under_the_same_name_takes_over_at_once() {
    let (mut server, start) = (Server::default(), Instant::now());
    assert!(server.round(&mut candidate("a"), start));
    let mut restarted = candidate("a");
    assert!(!restarted.is_leader(start));
    assert!(server.round(&mut restarted, after(start, 1)));
    assert_eq!(server.claim().map(|claim| claim.transitions), Some(0));
}

#[test]
fn a_released_lease_is_free() {
    let (mut server, start) = (Server::default(), Instant::now());
    let (mut a, mut b) = (candidate("a"), candidate("b"));
    assert!(server.round(&mut a, start));
    assert!(!server.round(&mut b, start));
    assert_eq!(b.release(clock()), None);
    let (spec, version) = a.release(clock()).expect("a holds it");
    assert!(server.apply(spec, Some(&version)).is_some());
    assert!(server.round(&mut b, after(start, 1)));
}

#[test]
fn of_two_that_race_one_wins() {
    let (mut server, start) = (Server::default(), Instant::now());
    let (mut a, mut b) = (candidate("a"), candidate("b"));
    a.read(server.claim(), start);
    b.read(server.claim(), start);
    let (Action::Create(of_a), Action::Create(of_b)) = (a.act(start, clock()), b.act(start, clock())) else {
        panic!("there is no Lease yet");
    };
    let claim = server.apply(of_a, None).expect("the first create succeeds");
    a.written(claim, start);
    assert_eq!(server.apply(of_b, None), None);
    b.conflict();
    assert!(a.is_leader(start) && !b.is_leader(start));
    assert!(!server.round(&mut b, start));
}

#[test]
fn a_leader_refreshes_without_hurry_and_gives_up_in_time() {
    let (mut server, start) = (Server::default(), Instant::now());
    let mut a = candidate("a");
    assert_eq!(a.pause(start), TTL / 4);
    assert!(server.round(&mut a, start));
    assert_eq!(a.pause(start), TTL / 4);
    // The attempt at 7.5 s failed after a while: look again when leadership would end.
    assert_eq!(a.pause(after(start, 12)), Duration::from_secs(3));
    assert_eq!(a.pause(after(start, 15)), TTL / 4);
    // Somebody deleted the Lease: the refresh fails, and a new one is made.
    server.lease = None;
    server.round(&mut a, after(start, 16));
    assert!(server.round(&mut a, after(start, 17)));
}
