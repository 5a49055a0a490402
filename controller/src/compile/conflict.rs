//! Who owns a path of a host: the oldest claim; the others hear who it is.

use super::{about_ingress, ingress::Translated};
use crate::{
    diagnostic::{Diagnostic, Reason},
    snapshot::Backend,
};
use rust_nginx_proxy::table::{HostMatch, PathMatch};
use std::collections::{BTreeMap, btree_map::Entry};

/// One Ingress's claim on a host.
#[derive(Clone, Copy)]
pub(super) struct Claim<'a> {
    /// Whose.
    pub(super) by: &'a Translated,
    /// Position in its usable rules; `None` for the `spec.defaultBackend` of an Ingress without rules, which claims `/`
    /// of the catch-all host.
    pub(super) rule: Option<usize>,
}

/// The entry of an Ingress that owns a path.
pub(super) struct Owner<'a> {
    /// Whose.
    pub(super) by: &'a Translated,
    /// Where requests go.
    pub(super) backend: &'a Backend,
    /// The path as written.
    pub(super) declared: &'a str,
    /// Where.
    pub(super) place: Place,
}

/// A place in an Ingress that names a backend.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// `spec.defaultBackend`.
    DefaultBackend,
    /// `spec.rules[rule].http.paths[path]`.
    Path {
        /// Position in `spec.rules`.
        rule: usize,
        /// Position in `http.paths`.
        path: usize,
    },
}

/// The owner of each path. Claims come oldest first.
pub(super) fn settle<'a>(
    host: &HostMatch,
    claims: &[Claim<'a>],
    findings: &mut Vec<Diagnostic>,
) -> BTreeMap<PathMatch, Owner<'a>> {
    let mut owners = BTreeMap::new();
    let mut claim = |path: &PathMatch, owner: Owner<'a>| match owners.entry(path.clone()) {
        Entry::Vacant(entry) => _ = entry.insert(owner),
        Entry::Occupied(entry) => findings.push(lost(host, path, &owner, entry.get())),
    };
    for Claim { by, rule } in claims.iter().copied() {
        let Some(rule) = rule.map(|rule| &by.rules[rule]) else {
            if let Some(backend) = &by.ingress.default_backend {
                let owner = Owner { by, backend, declared: "/", place: Place::DefaultBackend };
                claim(&PathMatch::Prefix("/".into()), owner);
            }
            continue;
        };
        for path in &rule.paths {
            let written = by.ingress.rules[rule.index].paths.as_ref().map(|paths| &paths[path.index]);
            let entry = written.expect("usable paths are positions in the paths of the rule");
            let declared = if entry.path.is_empty() { "/" } else { &*entry.path };
            let place = Place::Path { rule: rule.index, path: path.index };
            claim(&path.path, Owner { by, backend: &entry.backend, declared, place });
        }
    }
    owners
}

fn lost(host: &HostMatch, path: &PathMatch, loser: &Owner<'_>, winner: &Owner<'_>) -> Diagnostic {
    let kind = match path {
        PathMatch::Exact(_) => "Exact",
        PathMatch::Prefix(_) => "Prefix",
    };
    let host = match host {
        HostMatch::Any => "any host".to_owned(),
        HostMatch::Exact(_) | HostMatch::Wildcard(_) => format!("host {host}"),
    };
    let path = path.as_str();
    let winner_name = &winner.by.ingress.name;
    let message = if std::ptr::eq(loser.by, winner.by) {
        format!("{kind} path {path:?} of {host} is declared before in {}; the first one serves", winner.place.field())
    } else {
        format!("{kind} path {path:?} of {host} belongs to the older Ingress {winner_name}, which serves it")
    };
    Diagnostic::warning(about_ingress(&loser.by.ingress.name), Reason::Conflict, loser.place.field(), message)
}

// === impl Place ===

impl Place {
    /// In the notation of `kubectl explain`, with indexes.
    pub(super) fn field(self) -> String {
        match self {
            Self::DefaultBackend => "spec.defaultBackend".to_owned(),
            Self::Path { rule, path } => format!("spec.rules[{rule}].http.paths[{path}]"),
        }
    }

    /// The field of the backend.
    pub(super) fn backend_field(self) -> String {
        match self {
            Self::DefaultBackend => self.field(),
            Self::Path { .. } => format!("{}.backend", self.field()),
        }
    }
}
