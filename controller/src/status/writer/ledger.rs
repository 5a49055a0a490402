//! Which status differs from what it should be, what to write next, and what has been written. No I/O and no clock of its
//! own: moments are passed in.
//!
//! A status is ours to remove when the server notes that its addresses were last set by this installation
//! (`metadata.managedFields`): that holds across restarts and changes of the leader, and ends by itself when somebody else
//! overwrites them. Every write names the resource version that it was decided on, so that an Ingress which has changed
//! meanwhile, to another class for example, is judged anew instead of written to.
//!
//! A look at a pass costs as much as is different from the pass before; only new addresses mean a look at everything.

use crate::{
    snapshot::{Ingress, ObjectName},
    status::address::Address,
};
use imbl::{OrdMap, OrdSet, ordmap, ordset};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Until the watch tells what a write has collided with.
const COLLISION: Duration = Duration::from_secs(1);

/// What a pass says about status.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// Ours and others.
    pub(super) ingresses: OrdMap<ObjectName, Arc<Ingress>>,
    pub(super) ours: OrdSet<ObjectName>,
    /// What ours should show, sorted; `None` while it is not known, so that they are left as they are.
    pub(super) desired: Option<Arc<[Address]>>,
    /// Whether it is certain which Ingresses are ours; only then is anything taken from the others.
    pub(super) certain: bool,
}

/// One write.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// As it was when the write was decided on.
    pub(super) ingress: Arc<Ingress>,
    pub(super) addresses: Arc<[Address]>,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Written,
    /// There is no such Ingress any more.
    Gone,
    /// The Ingress is not what it was.
    Collided,
    /// The server does not take it.
    Refused,
    /// To be tried again.
    Failed,
}

#[derive(Debug)]
pub(super) struct Ledger {
    /// Name under which the server notes what we write.
    writer: Arc<str>,
    /// Time between two corrections of the same status.
    interval: Duration,
    /// Ingresses go when their namespace is not selected any more, not only when they are deleted.
    selective: bool,
    view: Option<View>,
    /// Ingresses that have left the view and may exist.
    lost: HashMap<ObjectName, Arc<Ingress>>,
    /// What is to be done, by name, and the same in the order in which it is done.
    open: HashMap<ObjectName, Stage>,
    queues: [BTreeSet<ObjectName>; 3],
    waiting: BTreeSet<(Instant, ObjectName)>,
    written: HashMap<ObjectName, Written>,
    /// When to forget what was written.
    expiry: VecDeque<(Instant, ObjectName)>,
    /// All that we have written is to be removed.
    ending: bool,
}

/// How far a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Queued(Urgency),
    Waiting(Instant),
    Sent,
}

/// In this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    /// It shows nothing yet: somebody waits for it.
    New,
    /// It shows something else.
    Different,
    /// It is not ours any more.
    Left,
}

/// A write that the watch may not have told of yet.
#[derive(Debug)]
struct Written {
    uid: Arc<str>,
    /// What it was decided on.
    version: Arc<str>,
    addresses: Arc<[Address]>,
    at: Instant,
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn new(writer: Arc<str>, interval: Duration, selective: bool) -> Self {
        Self {
            writer,
            interval,
            selective,
            view: None,
            lost: HashMap::new(),
            open: HashMap::new(),
            queues: Default::default(),
            waiting: BTreeSet::new(),
            written: HashMap::new(),
            expiry: VecDeque::new(),
            ending: false,
        }
    }

    /// Another leader may have written other things.
    pub(super) fn forget(&mut self) {
        *self = Self::new(Arc::clone(&self.writer), self.interval, self.selective);
    }

    /// From now on, everything that we have written is to be removed.
    pub(super) fn end(&mut self, now: Instant) {
        self.ending = true;
        self.judge_all(now);
    }

    /// Whether all is done that can be done now. At the end that includes writes whose traces the watch has yet to show.
    pub(super) fn is_done(&self) -> bool {
        let quiet = self.open.values().all(|stage| matches!(stage, Stage::Waiting(_)));
        quiet && !(self.ending && self.written.iter().any(|(name, written)| self.is_unseen(name, written)))
    }

    /// Looks at a pass.
    pub(super) fn follow(&mut self, view: View, now: Instant) {
        let Some(before) = self.view.replace(view.clone()) else { return self.judge_all(now) };
        if self.selective {
            self.follow_lost(&before, &view);
        }
        if before.desired != view.desired || before.certain != view.certain {
            return self.judge_all(now);
        }
        for name in before.different(&view) {
            self.judge(&name, now);
        }
    }

    /// The next write that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Job> {
        while let Some((at, _)) = self.waiting.first()
            && *at <= now
        {
            let Some((_, name)) = self.waiting.pop_first() else { break };
            self.open.remove(&name);
            self.judge(&name, now);
        }
        loop {
            let name = self.queues.iter_mut().find_map(BTreeSet::pop_first)?;
            self.open.remove(&name);
            if let Some((job, _)) = self.wanted(&name) {
                self.open.insert(name, Stage::Sent);
                return Some(job);
            }
        }
    }

    /// When the next write is due, if none is due now.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, _)| *at)
    }

    pub(super) fn has_queued(&self) -> bool {
        self.queues.iter().any(|queue| !queue.is_empty())
    }

    /// Takes in what became of a write.
    pub(super) fn done(&mut self, job: &Job, outcome: &Outcome, now: Instant) {
        let Job { ingress, addresses } = job;
        let name = &ingress.name;
        if self.open.get(name) != Some(&Stage::Sent) {
            // Forgotten meanwhile.
            return;
        }
        self.open.remove(name);
        match outcome {
            Outcome::Written => {
                self.lost.remove(name);
                let written = Written {
                    uid: Arc::clone(&ingress.uid),
                    version: Arc::clone(&ingress.resource_version),
                    addresses: Arc::clone(addresses),
                    at: now,
                };
                self.written.insert(name.clone(), written);
                self.expiry.push_back((now + self.interval, name.clone()));
                self.expire(now);
                self.judge(name, now);
            }
            Outcome::Gone => drop(self.lost.remove(name)),
            Outcome::Collided if self.lost.remove(name).is_some() => {}
            Outcome::Collided => {
                let known = self.view.as_ref().and_then(|view| view.ingresses.get(name));
                if known.is_some_and(|known| known.resource_version != ingress.resource_version) {
                    self.judge(name, now);
                } else {
                    self.wait(name, now + COLLISION);
                }
            }
            Outcome::Refused => {
                self.lost.remove(name);
                self.wait(name, now + self.interval);
            }
            Outcome::Failed => self.judge(name, now),
        }
    }

    fn judge_all(&mut self, now: Instant) {
        let Some(view) = &self.view else { return };
        let names: Vec<ObjectName> = view.ingresses.keys().chain(self.lost.keys()).cloned().collect();
        for name in names {
            self.judge(&name, now);
        }
    }

    /// Decides what is to be done about an Ingress, now or later.
    fn judge(&mut self, name: &ObjectName, now: Instant) {
        match self.open.get(name) {
            // It is judged again when the answer is there.
            Some(Stage::Sent) => return,
            Some(Stage::Queued(urgency)) => {
                self.queues[*urgency as usize].remove(name);
            }
            Some(Stage::Waiting(at)) => {
                self.waiting.remove(&(*at, name.clone()));
            }
            None => {}
        }
        self.open.remove(name);
        let Some((job, urgency)) = self.wanted(name) else { return };
        // Not twice while the watch lags behind, nor again and again when somebody else disagrees.
        let again = self.written.get(name).filter(|written| {
            written.uid == job.ingress.uid && *written.addresses == *job.addresses && now < written.at + self.interval
        });
        if let Some(written) = again {
            let at = written.at + self.interval;
            return self.wait(name, at);
        }
        self.queues[urgency as usize].insert(name.clone());
        self.open.insert(name.clone(), Stage::Queued(urgency));
    }

    fn wait(&mut self, name: &ObjectName, until: Instant) {
        self.waiting.insert((until, name.clone()));
        self.open.insert(name.clone(), Stage::Waiting(until));
    }

    /// What an Ingress should be changed to, if it is not like that.
    fn wanted(&self, name: &ObjectName) -> Option<(Job, Urgency)> {
        let view = self.view.as_ref()?;
        let ours = !self.ending && view.ours.contains(name);
        let ingress = view.ingresses.get(name).or_else(|| self.lost.get(name))?;
        let addresses = if ours { view.desired.clone()? } else { Arc::default() };
        if is_same(&ingress.status, &addresses) {
            return None;
        }
        let written_by_us = ingress.status_writer.as_ref() == Some(&self.writer);
        if addresses.is_empty() && !written_by_us || !ours && !self.ending && !view.certain {
            return None;
        }
        let urgency = if !ours {
            Urgency::Left
        } else if ingress.status.is_empty() {
            Urgency::New
        } else {
            Urgency::Different
        };
        Some((Job { ingress: Arc::clone(ingress), addresses }, urgency))
    }

    fn follow_lost(&mut self, before: &View, view: &View) {
        for item in before.ingresses.diff(&view.ingresses) {
            match item {
                ordmap::DiffItem::Remove(name, ingress) => drop(self.lost.insert(name.clone(), Arc::clone(ingress))),
                ordmap::DiffItem::Add(name, _) => drop(self.lost.remove(name)),
                ordmap::DiffItem::Update { .. } => {}
            }
        }
        let writer = &self.writer;
        self.lost.retain(|_, ingress| ingress.status_writer.as_ref() == Some(writer));
    }

    /// Whether the watch has not told of a write that left addresses behind.
    fn is_unseen(&self, name: &ObjectName, written: &Written) -> bool {
        let known = self.view.as_ref().and_then(|view| view.ingresses.get(name));
        !written.addresses.is_empty() && known.is_some_and(|known| known.resource_version == written.version)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, _)) = self.expiry.front()
            && *at <= now
        {
            let Some((_, name)) = self.expiry.pop_front() else { break };
            if self.written.get(&name).is_some_and(|written| written.at + self.interval <= now) {
                self.written.remove(&name);
            }
        }
    }
}

// === impl View ===

impl View {
    /// The names of Ingresses that are not what they are in `other`, or not to the same owner.
    fn different(&self, other: &Self) -> Vec<ObjectName> {
        let objects = self.ingresses.diff(&other.ingresses).map(|item| match item {
            ordmap::DiffItem::Add(name, _)
            | ordmap::DiffItem::Remove(name, _)
            | ordmap::DiffItem::Update { new: (name, _), .. } => name.clone(),
        });
        let names = self.ours.diff(&other.ours).map(|item| match item {
            ordset::DiffItem::Add(name) | ordset::DiffItem::Remove(name) => name.clone(),
        });
        objects.chain(names).collect()
    }
}

/// Whether the status names exactly these addresses, in any order.
fn is_same(status: &[Address], sorted: &[Address]) -> bool {
    if status == sorted {
        return true;
    }
    let mut status = status.to_vec();
    status.sort();
    status == sorted
}

#[cfg(test)]
mod tests;
