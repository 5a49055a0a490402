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

/// How a lookup ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These addresses, for so long.
    Found(Vec<IpAddr>, Duration),
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
    /// The last answer was that there is no such name.
    missing: bool,
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
                missing: false,
            });
        }
    }

    /// When there is something to do: a lookup, if there may be one, or the end of patience with one.
    pub(super) fn next(&self, may_look_up: bool) -> Option<Instant> {
        let due = self.entries.values().filter_map(|entry| entry.due.filter(|_| may_look_up));
        let unknown = self.entries.iter().filter(|(name, _)| !self.resolved.contains_key(*name));
        let now = Instant::now();
        let impatient = unknown.map(|(_, entry)| entry.since + PATIENCE).filter(|end| *end > now);
        due.chain(impatient).min()
    }

    /// Some of those whose time has come; they count as being looked up.
    pub(super) fn take_due(&mut self, most: usize, now: Instant) -> Vec<Arc<str>> {
        let due = self.entries.iter_mut().filter(|(_, entry)| entry.due.is_some_and(|due| due <= now)).take(most);
        due.map(|(name, entry)| {
            entry.due = None;
            name.clone()
        })
        .collect()
    }

    /// A lookup has ended.
    pub(super) fn heard(&mut self, name: &Arc<str>, outcome: Outcome, now: Instant) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let known = self.resolved.get(name).is_some_and(|resolved| !resolved.addresses.is_empty());
        let failed = |entry: &mut Entry| {
            entry.due = Some(now + entry.pause);
            entry.pause = (entry.pause * 2).min(LONGEST_PAUSE);
        };
        let resolved = match outcome {
            Outcome::Found(addresses, ttl) => {
                entry.due = Some(now + ttl.clamp(SHORTEST, LONGEST));
                entry.pause = FIRST_PAUSE;
                entry.missing = false;
                Resolved::found(addresses)
            }
            Outcome::Missing(problem) => {
                failed(entry);
                // Said once, it may be a server that has just started and does not know its zone yet.
                let believed = std::mem::replace(&mut entry.missing, true) || !known;
                if !believed {
                    return;
                }
                Resolved::failed(problem)
            }
            Outcome::Failed(problem) => {
                failed(entry);
                if known {
                    return;
                }
                Resolved::failed(problem)
            }
        };
        if self.resolved.get(name).is_none_or(|known| **known != resolved) {
            self.resolved.insert(name.clone(), Arc::new(resolved));
        }
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
