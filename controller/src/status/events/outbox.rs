//! What is to be said, what has been said, and how fast. No I/O; moments are passed in.

use crate::{
    diagnostic::{Diagnostic, Diagnostics, ObjectKind, Severity},
    reconcile::Pass,
    snapshot::{Ingress, ObjectName},
};
use imbl::{OrdMap, OrdSet, ordmap, ordset::DiffItem};
use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How long a replica that does not lead keeps what it would have said. Longer than it takes to notice that the leader
/// is gone, so that nothing of that time is lost.
const KEPT: Duration = Duration::from_secs(60);

/// How long an Event that was sent is counted up instead of sent anew: as long as the server keeps it.
const REPEATED: Duration = Duration::from_secs(3600);

/// Events that are remembered for that.
const REMEMBERED: usize = 4096;

/// Something to say. It is put into words when its turn comes, with what is known then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A finding.
    Warning(Arc<Diagnostic>),
    /// An Ingress of ours is new or has changed.
    Sync(ObjectName),
}

/// An Event to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) target: Target,
    pub(super) kind: NoticeKind,
    pub(super) reason: String,
    pub(super) message: String,
    /// Goes back if it cannot be sent.
    pub(super) item: Item,
}

/// The object of an Event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) kind: ObjectKind,
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    /// Empty when it is not known.
    pub(super) uid: Arc<str>,
    /// Empty when it is not known.
    pub(super) resource_version: Arc<str>,
}

/// Type of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum NoticeKind {
    Normal,
    Warning,
}

/// What is to be said.
#[derive(Debug)]
pub(super) struct Outbox {
    sync_events: bool,
    /// Findings of the latest pass.
    diagnostics: Diagnostics,
    ingresses: Ours,
    /// Waiting since.
    warnings: VecDeque<(Arc<Diagnostic>, Instant)>,
    syncs: VecDeque<(ObjectName, Instant)>,
    /// The names in `syncs`: one that waits stands for all changes until it is sent.
    queued: HashSet<ObjectName>,
}

/// Our Ingresses in the latest pass.
#[derive(Debug, Default)]
struct Ours {
    names: OrdSet<ObjectName>,
    /// Ours and others.
    all: OrdMap<ObjectName, Arc<Ingress>>,
}

/// Limits the rate: a burst at first, then a steady flow.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// Events that were sent, so that one that happens again is counted up.
#[derive(Debug, Default)]
pub(super) struct Sent {
    events: HashMap<Key, Record>,
}

type Key = (Target, NoticeKind, String, String);

#[derive(Debug)]
struct Record {
    name: String,
    count: i32,
    at: Instant,
}

// === impl Outbox ===

impl Outbox {
    pub(super) fn new(sync_events: bool) -> Self {
        Self {
            sync_events,
            diagnostics: Diagnostics::new(),
            ingresses: Ours::default(),
            warnings: VecDeque::new(),
            syncs: VecDeque::new(),
            queued: HashSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.warnings.len() + self.syncs.len()
    }

    /// Compares a pass with the one before.
    pub(super) fn follow(&mut self, pass: &Pass, now: Instant) {
        let ours = Ours { names: pass.compiled.ingresses.clone(), all: pass.snapshot.ingresses.clone() };
        let before = std::mem::replace(&mut self.ingresses, ours);
        if self.sync_events {
            for name in before.different(&self.ingresses) {
                let Some(ingress) = self.ingresses.get(&name) else { continue };
                let same = |before: &Arc<Ingress>| before.uid == ingress.uid && before.declares_same(ingress);
                if !before.get(&name).is_some_and(same) && self.queued.insert(name.clone()) {
                    self.syncs.push_back((name, now));
                }
            }
        }
        self.follow_diagnostics(&pass.compiled.diagnostics, now);
    }

    fn follow_diagnostics(&mut self, diagnostics: &Diagnostics, now: Instant) {
        if self.diagnostics.ptr_eq(diagnostics) {
            return;
        }
        // What was resolved before anybody heard of it needs no Event.
        self.warnings.retain(|(waiting, _)| diagnostics.contains(waiting));
        for item in self.diagnostics.diff(diagnostics) {
            if let DiffItem::Add(new) = item
                && deserves_event(new)
            {
                self.warnings.push_back((Arc::clone(new), now));
            }
        }
        self.diagnostics = diagnostics.clone();
    }

    /// Takes the next ones, Warnings first.
    pub(super) fn take(&mut self, count: usize) -> Vec<Notice> {
        let warnings = count.min(self.warnings.len());
        let syncs = (count - warnings).min(self.syncs.len());
        let mut notices: Vec<Notice> = Vec::with_capacity(warnings + syncs);
        for (diagnostic, _) in self.warnings.drain(..warnings) {
            notices.push(warning(diagnostic, &self.ingresses));
        }
        for (name, _) in self.syncs.drain(..syncs) {
            self.queued.remove(&name);
            // One that is gone by now has nothing to be told.
            notices.extend(self.ingresses.get(&name).map(|ingress| sync(name, ingress)));
        }
        notices
    }

    /// Puts one back that could not be sent.
    pub(super) fn put_back(&mut self, notice: Notice, now: Instant) {
        match notice.item {
            Item::Warning(diagnostic) => self.warnings.push_front((diagnostic, now)),
            Item::Sync(name) => {
                if self.queued.insert(name.clone()) {
                    self.syncs.push_front((name, now));
                }
            }
        }
    }

    /// Drops what the leader has said by now.
    pub(super) fn expire(&mut self, now: Instant) {
        self.warnings.retain(|(_, since)| now < *since + KEPT);
        let queued = &mut self.queued;
        self.syncs.retain(|(name, since)| {
            let kept = now < *since + KEPT;
            if !kept {
                queued.remove(name);
            }
            kept
        });
    }
}

// === impl Ours ===

impl Ours {
    /// An Ingress, if it is ours.
    fn get(&self, name: &ObjectName) -> Option<&Arc<Ingress>> {
        self.all.get(name).filter(|_| self.names.contains(name))
    }

    /// The names of those that may not be what they are in `other`. Costs as much as there is different.
    fn different(&self, other: &Self) -> BTreeSet<ObjectName> {
        let names = self.names.diff(&other.names).map(|item| match item {
            DiffItem::Add(name) | DiffItem::Remove(name) => name,
        });
        let objects = self.all.diff(&other.all).map(|item| match item {
            ordmap::DiffItem::Add(name, _)
            | ordmap::DiffItem::Remove(name, _)
            | ordmap::DiffItem::Update { new: (name, _), .. } => name,
        });
        names.chain(objects).cloned().collect()
    }
}

/// Whether somebody must act and there is an object to attach an Event to.
fn deserves_event(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity == Severity::Warning
        && !matches!(diagnostic.object.kind, ObjectKind::File | ObjectKind::Resource | ObjectKind::Flag)
}

fn warning(diagnostic: Arc<Diagnostic>, ingresses: &Ours) -> Notice {
    let Diagnostic { object, severity: _, reason, field, message } = &*diagnostic;
    let name = ObjectName::new(Arc::clone(&object.namespace), Arc::clone(&object.name));
    let known = ingresses.get(&name).filter(|_| object.kind == ObjectKind::Ingress);
    let target = known.map_or_else(
        || Target {
            kind: object.kind,
            namespace: name.namespace,
            name: name.name,
            uid: Arc::default(),
            resource_version: Arc::default(),
        },
        |ingress| Target::ingress(ingress),
    );
    Notice {
        target,
        kind: NoticeKind::Warning,
        reason: format!("{reason:?}"),
        message: if field.is_empty() { message.clone() } else { format!("{field}: {message}") },
        item: Item::Warning(diagnostic),
    }
}

/// In the words of ingress-nginx, which people search for.
fn sync(name: ObjectName, ingress: &Ingress) -> Notice {
    Notice {
        target: Target::ingress(ingress),
        kind: NoticeKind::Normal,
        reason: "Sync".to_owned(),
        message: "Scheduled for sync".to_owned(),
        item: Item::Sync(name),
    }
}

// === impl Target ===

impl Target {
    fn ingress(ingress: &Ingress) -> Self {
        Self {
            kind: ObjectKind::Ingress,
            namespace: Arc::clone(&ingress.name.namespace),
            name: Arc::clone(&ingress.name.name),
            uid: Arc::clone(&ingress.uid),
            resource_version: Arc::clone(&ingress.resource_version),
        }
    }
}

// === impl NoticeKind ===

impl NoticeKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

// === impl Bucket ===

impl Bucket {
    /// Time between two helpings.
    pub(super) const INTERVAL: Duration = Duration::from_millis(100);

    /// A chart that is installed gives its Events at once; those of a whole cluster take their time.
    const BURST: f64 = 100.0;
    const PER_SECOND: f64 = 50.0;

    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: Self::BURST, filled: now }
    }

    /// How many of `wanted` may go now.
    pub(super) fn take(&mut self, wanted: usize, now: Instant) -> usize {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * Self::PER_SECOND;
        self.filled = now;
        self.tokens = (self.tokens + gained).min(Self::BURST);
        let granted = wanted.min(self.tokens as usize);
        self.tokens -= granted as f64;
        granted
    }
}

// === impl Sent ===

impl Sent {
    /// Name and count of the Event that said the same.
    pub(super) fn find(&self, notice: &Notice, now: Instant) -> Option<(String, i32)> {
        let record = self.events.get(&key(notice)).filter(|record| now < record.at + REPEATED)?;
        Some((record.name.clone(), record.count))
    }

    pub(super) fn remember(&mut self, notice: &Notice, name: String, count: i32, now: Instant) {
        if self.events.len() >= REMEMBERED {
            self.events.retain(|_, record| now < record.at + REPEATED);
        }
        if self.events.len() >= REMEMBERED {
            // Forgetting costs a second Event where a count would have done.
            self.events.clear();
        }
        self.events.insert(key(notice), Record { name, count, at: now });
    }
}

/// What makes two Events the same: everything but the version of the object.
fn key(notice: &Notice) -> Key {
    let target = Target { resource_version: Arc::default(), ..notice.target.clone() };
    (target, notice.kind, notice.reason.clone(), notice.message.clone())
}

#[cfg(test)]
mod tests;
