//! What is known about each name, and when it is looked up next. No I/O; moments are passed in.

use super::PATIENCE;
use crate::snapshot::Resolved;
use imbl::{OrdMap, OrdSet};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};
use tokio::time::Instant;

/// An answer is used for at least so long, whatever it says; some servers say zero.
const SHORTEST: Duration = Duration::from_secs(1);

/// And for at most so long, since a change would go unnoticed for as long.
const LONGEST: Duration = Duration::from_secs(300);

/// Pauses after failures double between these.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// After so long, somebody should learn that the addresses of a name are old ones.
const STALE: Duration = Duration::from_secs(60);

/// How a lookup ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These addresses, for so long.
    Found(Vec<IpAddr>, Duration),
    /// These addresses of one family; why nothing is known about the other.
    Partly(Vec<IpAddr>, Arc<str>),
    /// There is no such name, or it has no address.
    Missing(Arc<str>),
    /// Nobody knows.
    Failed(Arc<str>),
}

/// The names that are referred to.
#[derive(Debug, Default)]
pub(super) struct Names {
    entries: BTreeMap<Arc<str>, Entry>,
    resolved: OrdMap<Arc<str>, Arc<Resolved>>,
}

#[derive(Debug)]
struct Entry {
    /// When it was first referred to.
    since: Instant,
    /// When it is looked up next; `None` while it is.
    due: Option<Instant>,
    pause: Duration,
    /// DNS has said something about it, if only that there is no such name.
    answered: bool,
    /// The last answer was that there is no such name.
    missing: bool,
    /// Since when nobody has known.
    failing: Option<Instant>,
}

// === impl Entry ===

impl Entry {
    /// Its last lookup did not give all that was asked for.
    fn is_failing(&self) -> bool {
        self.pause > FIRST_PAUSE
    }
}

// === impl Names ===

impl Names {
    /// These are referred to now.
    pub(super) fn refer(&mut self, names: &OrdSet<Arc<str>>, now: Instant) {
        self.entries.retain(|name, _| names.contains(name));
        let gone: Vec<_> = self.resolved.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            self.resolved.remove(&name);
        }
        for name in names {
            self.entries.entry(name.clone()).or_insert_with(|| Entry {
                since: now,
                due: Some(now),
                pause: FIRST_PAUSE,
                answered: false,
                missing: false,
                failing: None,
            });
        }
    }

    /// When there is something to do: a lookup, if `room` for one more is left, or the end of patience with one.
    pub(super) fn next(&self, room: usize, most: usize) -> Option<Instant> {
        let may_ask = |entry: &Entry| room > 0 && (!entry.is_failing() || self.room_for_failing(most) > 0);
        let due = self.entries.values().filter_map(|entry| entry.due.filter(|_| may_ask(entry)));
        let unknown = self.entries.iter().filter(|(name, _)| !self.resolved.contains_key(*name));
        let now = Instant::now();
        let impatient = unknown.map(|(_, entry)| entry.since + PATIENCE).filter(|end| *end > now);
        due.chain(impatient).min()
    }

    /// Names that failed before take no more than half of the room, so that those which nobody answers for cannot keep
    /// out the others.
    fn room_for_failing(&self, most: usize) -> usize {
        let asked = self.entries.values().filter(|entry| entry.due.is_none() && entry.is_failing()).count();
        (most / 2).saturating_sub(asked)
    }

    /// Those whose time has come, as many as there is `room` for; they count as being looked up.
    pub(super) fn take_due(&mut self, room: usize, most: usize, now: Instant) -> Vec<Arc<str>> {
        let mut for_failing = self.room_for_failing(most);
        let mut due: Vec<_> =
            self.entries.iter_mut().filter(|(_, entry)| entry.due.is_some_and(|due| due <= now)).collect();
        due.sort_by_key(|(_, entry)| (entry.is_failing(), entry.due));
        let mut taken = Vec::new();
        for (name, entry) in due {
            if taken.len() == room {
                break;
            }
            if entry.is_failing() {
                let Some(left) = for_failing.checked_sub(1) else { break };
                for_failing = left;
            }
            entry.due = None;
            taken.push(name.clone());
        }
        taken
    }

    /// A lookup has ended.
    pub(super) fn heard(&mut self, name: &Arc<str>, outcome: Outcome, now: Instant) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let known = self.resolved.get(name).filter(|resolved| !resolved.addresses.is_empty());
        let failed = |entry: &mut Entry| {
            entry.due = Some(now + entry.pause);
            entry.pause = (entry.pause * 2).min(LONGEST_PAUSE);
        };
        entry.answered |= !matches!(outcome, Outcome::Failed(_));
        let resolved = match outcome {
            Outcome::Found(addresses, ttl) => {
                entry.due = Some(now + ttl.clamp(SHORTEST, LONGEST));
                entry.pause = FIRST_PAUSE;
                (entry.missing, entry.failing) = (false, None);
                Resolved::found(addresses)
            }
            Outcome::Partly(addresses, _) => {
                failed(entry);
                (entry.missing, entry.failing) = (false, None);
                // Nothing is known to be wrong with the addresses of the other family.
                let is_other = |address: &&IpAddr| addresses.iter().all(|found| found.is_ipv4() != address.is_ipv4());
                let others = known.iter().flat_map(|known| known.addresses.iter().filter(is_other)).copied();
                Resolved::found(others.chain(addresses.iter().copied()).collect::<Vec<_>>())
            }
            Outcome::Missing(problem) => {
                failed(entry);
                entry.failing = None;
                // Said once, it may be a server that has just started and does not know its zone yet.
                let believed = std::mem::replace(&mut entry.missing, true) || known.is_none();
                if !believed {
                    return;
                }
                Resolved::failed(problem)
            }
            Outcome::Failed(problem) => {
                failed(entry);
                let since = *entry.failing.get_or_insert(now);
                match known {
                    None => Resolved::failed(problem),
                    // Said once; the words may change from time to time.
                    Some(known) if known.problem.is_none() && now - since >= STALE => {
                        Resolved { problem: Some(problem), ..Resolved::clone(known) }
                    }
                    Some(_) => return,
                }
            }
        };
        if self.resolved.get(name).is_none_or(|known| **known != resolved) {
            self.resolved.insert(name.clone(), Arc::new(resolved));
        }
    }

    /// Whether somebody refers to a name.
    pub(super) fn is_referred_to(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether DNS has said something about a name that somebody refers to.
    pub(super) fn is_answered(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.answered)
    }

    /// What is known.
    pub(super) fn resolved(&self) -> &OrdMap<Arc<str>, Arc<Resolved>> {
        &self.resolved
    }

    /// The names that a table may still wait for.
    pub(super) fn pending(&self, now: Instant) -> OrdSet<Arc<str>> {
        let unknown = self.entries.iter().filter(|(name, _)| !self.resolved.contains_key(*name));
        unknown.filter(|(_, entry)| now < entry.since + PATIENCE).map(|(name, _)| name.clone()).collect()
    }
}
