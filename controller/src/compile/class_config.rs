//! IngressClass `spec.parameters` → what applies to the Ingresses of the class.
//!
//! A class that names an IngressClassConfig which cannot be read closes its Ingresses: nobody knows what they are guarded
//! by. Parameters of another kind belong to somebody else's controller and change nothing, as in ingress-nginx.

use super::{
    Options, class,
    config_map::{self, Globals},
};
use crate::{
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::{IngressClass, Snapshot},
};
use rust_nginx_crds::GROUP;
use std::{collections::BTreeMap, sync::Arc};

/// The kind that parameters can name.
const KIND: &str = "IngressClassConfig";

/// Defaults by class, for the classes that have their own.
pub(super) type ByClass = BTreeMap<Arc<str>, Globals>;

/// The defaults of all classes of ours that name an IngressClassConfig.
pub(super) fn read(
    snapshot: &Snapshot,
    options: &Options,
    globals: &Globals,
    findings: &mut Vec<Diagnostic>,
) -> ByClass {
    let ours = snapshot.ingress_classes.values().filter(|class| class::is_ours(class, options));
    ours.filter_map(|class| Some((class.name.clone(), of_class(class, snapshot, options, globals, findings)?)))
        .collect()
}

fn of_class(
    class: &IngressClass,
    snapshot: &Snapshot,
    options: &Options,
    globals: &Globals,
    findings: &mut Vec<Diagnostic>,
) -> Option<Globals> {
    let (group, kind, name) = class.parameters.as_ref()?;
    let mut warn = |reason, field: &str, message: String| {
        let object = ObjectRef::named(ObjectKind::IngressClass, class.name.clone());
        findings.push(Diagnostic::warning(object, reason, field, message));
    };
    if group != GROUP || kind != KIND {
        let message = format!("{kind} of group {group:?} is not read, only {KIND} of {GROUP} is; the ConfigMap holds");
        warn(Reason::InvalidKind, "spec.parameters", message);
        return None;
    }
    let Some(config) = snapshot.class_configs.get(&**name) else {
        let message = format!("{KIND} {name} does not exist or cannot be read: every Ingress of the class answers 503");
        warn(Reason::RefNotFound, "spec.parameters.name", message);
        return Some(globals.closed());
    };
    Some(config_map::read_for_class(config, snapshot, options, findings))
}
