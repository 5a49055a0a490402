//! What is to be said, what has been said, and how fast. No I/O; moments are passed in.

use crate::{
    diagnostic::{Diagnostic, ObjectKind, Severity},
    reconcile::Pass,
    snapshot::{Ingress, ObjectName, Snapshot},
};
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
    Warning(Diagnostic),
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
    diagnostics: BTreeSet<Diagnostic>,
    /// Our Ingresses in the latest pass.
    ingresses: HashMap<ObjectName, Arc<Ingress>>,
    /// What they were selected from, to see at a glance that nothing about them is different.
    seen: Snapshot,
    /// Waiting since.
    warnings: VecDeque<(Diagnostic, Instant)>,
    syncs: VecDeque<(ObjectName, Instant)>,
    /// The names in `syncs`: one that waits stands for all changes until it is sent.
    queued: HashSet<ObjectName>,
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
            diagnostics: BTreeSet::new(),
            ingresses: HashMap::new(),
            seen: Snapshot::default(),
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
        let Snapshot { ingresses, ingress_classes, .. } = &pass.snapshot;
        let same_ingresses = self.seen.ingresses.ptr_eq(ingresses)
            && self.seen.ingress_classes.ptr_eq(ingress_classes)
            && self.ingresses.len() == pass.compiled.ingresses.len();
        if !same_ingresses {
            self.follow_ingresses(pass, now);
            self.seen.ingresses = ingresses.clone();
            self.seen.ingress_classes = ingress_classes.clone();
        }
        if !self.diagnostics.iter().eq(&pass.compiled.diagnostics) {
            self.follow_diagnostics(&pass.compiled.diagnostics, now);
        }
    }

    fn follow_ingresses(&mut self, pass: &Pass, now: Instant) {
        let ours = &pass.compiled.ingresses;
        self.ingresses.retain(|name, _| ours.contains(name));
        for ingress in ours.iter().filter_map(|name| pass.snapshot.ingresses.get(name)) {
            let before = self.ingresses.insert(ingress.name.clone(), Arc::clone(ingress));
            let same = before.is_some_and(|before| Arc::ptr_eq(&before, ingress) || is_same(&before, ingress));
            if self.sync_events && !same && self.queued.insert(ingress.name.clone()) {
                self.syncs.push_back((ingress.name.clone(), now));
            }
        }
    }

    fn follow_diagnostics(&mut self, diagnostics: &[Diagnostic], now: Instant) {
        let current: BTreeSet<Diagnostic> = diagnostics.iter().cloned().collect();
        // What was resolved before anybody heard of it needs no Event.
        self.warnings.retain(|(waiting, _)| current.contains(waiting));
        let new = current.difference(&self.diagnostics).filter(|diagnostic| deserves_event(diagnostic));
        self.warnings.extend(new.map(|diagnostic| (diagnostic.clone(), now)));
        self.diagnostics = current;
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

/// Whether somebody must act and there is an object to attach an Event to.
fn deserves_event(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity == Severity::Warning
        && !matches!(diagnostic.object.kind, ObjectKind::File | ObjectKind::Resource | ObjectKind::Flag)
}

fn warning(diagnostic: Diagnostic, ingresses: &HashMap<ObjectName, Arc<Ingress>>) -> Notice {
    let Diagnostic { object, severity: _, reason, field, message } = &diagnostic;
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

/// Whether two states of an Ingress ask for the same; status and bookkeeping aside.
fn is_same(a: &Ingress, b: &Ingress) -> bool {
    let Ingress {
        name,
        uid,
        resource_version: _,
        created: _,
        annotations,
        class_name,
        default_backend,
        rules,
        tls,
        status: _,
    } = a;
    *name == b.name
        && *uid == b.uid
        && *annotations == b.annotations
        && *class_name == b.class_name
        && *default_backend == b.default_backend
        && *rules == b.rules
        && *tls == b.tls
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
