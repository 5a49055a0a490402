//! Which Ingresses are ours, and in which order they speak.

use super::{Options, about_ingress};
use crate::{
    diagnostic::{Diagnostic, ObjectKind, Reason},
    snapshot::{Ingress, Snapshot},
};
use std::{cmp::Ordering, sync::Arc};

/// The Ingresses that are ours, oldest first. The others are somebody else's business and not mentioned at all.
pub(super) fn select<'a>(
    snapshot: &'a Snapshot,
    options: &Options,
    findings: &mut Vec<Diagnostic>,
) -> Vec<&'a Arc<Ingress>> {
    let classes_are_readable = !snapshot.findings.iter().any(|finding| {
        finding.reason == Reason::ResourceUnavailable
            && finding.object.kind == ObjectKind::Resource
            && &*finding.object.name == "ingressclasses"
    });
    let mut ours: Vec<_> = snapshot
        .ingresses
        .values()
        .filter(|ingress| is_ours(ingress, snapshot, options, classes_are_readable))
        .collect();
    if options.disable_catch_all {
        ours.retain(|ingress| {
            let allowed = ingress.default_backend.is_none();
            if !allowed {
                findings.push(Diagnostic::warning(
                    about_ingress(&ingress.name),
                    Reason::UnsupportedValue,
                    "spec.defaultBackend",
                    "catch-all Ingresses are switched off by --disable-catch-all: the whole Ingress is ignored",
                ));
            }
            allowed
        });
    }
    ours.sort_by(|a, b| by_age(a, b));
    ours
}

fn is_ours(ingress: &Ingress, snapshot: &Snapshot, options: &Options, classes_are_readable: bool) -> bool {
    if let Some(name) = &ingress.class_name {
        if options.ingress_class_by_name && **name == *options.ingress_class {
            return true;
        }
        if classes_are_readable {
            let class = snapshot.ingress_classes.get(name);
            return class.is_some_and(|class| class.controller == options.controller_class);
        }
    }
    match ingress.annotations.get(Ingress::CLASS_ANNOTATION) {
        Some(annotation) => *annotation == options.ingress_class,
        None => ingress.class_name.is_none() && options.watch_ingress_without_class,
    }
}

/// Oldest first. Creation times have a resolution of one second, so that a whole chart applied at once meets the second
/// rule: by `namespace/name`, descending. Objects from files without a time count as oldest.
pub(super) fn by_age(a: &Ingress, b: &Ingress) -> Ordering {
    a.created
        .cmp(&b.created)
        .then_with(|| b.name.namespace.cmp(&a.name.namespace))
        .then_with(|| b.name.name.cmp(&a.name.name))
}
