//! Which Ingresses are ours, and which of two is older.

use super::{Options, about_ingress};
use crate::{
    diagnostic::{Diagnostic, ObjectKind, Reason},
    snapshot::{Ingress, IngressClass, Snapshot},
};
use std::cmp::Ordering;

/// Which Ingresses are ours, at one moment.
#[derive(Clone, Copy)]
pub(super) struct Classes<'a> {
    snapshot: &'a Snapshot,
    options: &'a Options,
    readable: bool,
}

/// What an Ingress is to us.
pub(super) enum Selection {
    /// Ours.
    Ours,
    /// Ours by class, and not served for the reason given.
    Refused(Diagnostic),
    /// Somebody else's business and not mentioned at all.
    Foreign,
}

// === impl Classes ===

impl<'a> Classes<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, options: &'a Options) -> Self {
        let unreadable = snapshot.findings.iter().any(|finding| {
            finding.reason == Reason::ResourceUnavailable
                && finding.object.kind == ObjectKind::Resource
                && &*finding.object.name == "ingressclasses"
        });
        Self { snapshot, options, readable: !unreadable }
    }

    /// What the Ingress is to us.
    pub(super) fn select(&self, ingress: &Ingress) -> Selection {
        if !self.is_ours(ingress) {
            return Selection::Foreign;
        }
        if self.options.flags.disable_catch_all && ingress.default_backend.is_some() {
            return Selection::Refused(Diagnostic::warning(
                about_ingress(&ingress.name),
                Reason::UnsupportedValue,
                "spec.defaultBackend",
                "catch-all Ingresses are switched off by --disable-catch-all: the whole Ingress is ignored",
            ));
        }
        Selection::Ours
    }

    fn is_ours(&self, ingress: &Ingress) -> bool {
        if let Some(name) = &ingress.class_name {
            if self.readable {
                // Also by name it has to exist, as in ingress-nginx: what its parameters guard must not become open when
                // somebody deletes it.
                return self.snapshot.ingress_classes.get(name).is_some_and(|class| is_ours(class, self.options));
            }
            if self.options.flags.ingress_class_by_name && **name == *self.options.flags.ingress_class {
                return true;
            }
        }
        match ingress.annotations.get(Ingress::CLASS_ANNOTATION) {
            Some(annotation) => *annotation == self.options.flags.ingress_class,
            None => ingress.class_name.is_none() && self.options.flags.watch_ingress_without_class,
        }
    }
}

/// Whether Ingresses that name this class are ours.
pub(super) fn is_ours(class: &IngressClass, options: &Options) -> bool {
    class.controller == options.flags.controller_class
        || options.flags.ingress_class_by_name && *class.name == *options.flags.ingress_class
}

/// The class that an Ingress names: in its spec, else by the annotation that came before.
pub(super) fn named_by(ingress: &Ingress) -> Option<&str> {
    let annotation = || ingress.annotations.get(Ingress::CLASS_ANNOTATION).map(String::as_str);
    ingress.class_name.as_deref().or_else(annotation)
}

/// Oldest first. Creation times have a resolution of one second, so that a whole chart applied at once meets the second
/// rule: by `namespace/name`, descending. Objects from files without a time count as oldest.
pub(super) fn by_age(a: &Ingress, b: &Ingress) -> Ordering {
    a.created
        .cmp(&b.created)
        .then_with(|| b.name.namespace.cmp(&a.name.namespace))
        .then_with(|| b.name.name.cmp(&a.name.name))
}
