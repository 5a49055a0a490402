//! Who owns a path of a host: the oldest claim; the others hear who it is.

use super::{
    about_ingress,
    host::Claim,
    roster::{IngressId, Roster},
};
use crate::{
    diagnostic::{Diagnostic, Reason},
    snapshot::Backend,
};
use rust_nginx_proxy::table::{HostMatch, PathMatch};
use std::collections::{BTreeMap, btree_map::Entry};

/// The entry of an Ingress that owns a path.
pub(super) struct Owner<'a> {
    /// Whose.
    pub(super) by: IngressId,
    /// Where requests go.
    pub(super) backend: &'a Backend,
    /// The path as written.
    pub(super) declared: &'a str,
    /// Where.
    pub(super) place: Place,
}

/// A place in an Ingress that names a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `spec.defaultBackend`.
    DefaultBackend,
    /// `spec.rules[rule].http.paths[path]`.
    Path {
        /// Position in `spec.rules`.
        rule: u32,
        /// Position in `http.paths`.
        path: u32,
    },
}

/// The owner of each path. Claims come oldest first.
pub(super) fn settle<'a>(
    host: &HostMatch,
    claims: &[Claim],
    roster: &'a Roster,
    findings: &mut Vec<Diagnostic>,
) -> BTreeMap<PathMatch, Owner<'a>> {
    let mut owners = BTreeMap::new();
    let mut claim = |path: &PathMatch, owner: Owner<'a>| match owners.entry(path.clone()) {
        Entry::Vacant(entry) => _ = entry.insert(owner),
        Entry::Occupied(entry) => findings.push(lost(host, path, &owner, entry.get(), roster)),
    };
    for Claim { by: id, rule } in claims.iter().copied() {
        let by = roster.get(id);
        let Some(rule) = rule.map(|rule| &by.rules[rule as usize]) else {
            if let Some(backend) = &by.ingress.default_backend {
                let owner = Owner { by: id, backend, declared: "/", place: Place::DefaultBackend };
                claim(&PathMatch::Prefix("/".into()), owner);
            }
            continue;
        };
        for path in &rule.paths {
            let written = by.ingress.rules[rule.index as usize].paths.as_ref().map(|paths| &paths[path.index as usize]);
            let entry = written.expect("usable paths are positions in the paths of the rule");
            let declared = if entry.path.is_empty() { "/" } else { &*entry.path };
            let place = Place::Path { rule: rule.index, path: path.index };
            claim(&path.path, Owner { by: id, backend: &entry.backend, declared, place });
        }
    }
    owners
}

fn lost(host: &HostMatch, path: &PathMatch, loser: &Owner<'_>, winner: &Owner<'_>, roster: &Roster) -> Diagnostic {
    let kind = match path {
        PathMatch::Exact(_) => "Exact",
        PathMatch::Prefix(_) => "Prefix",
    };
    let host = match host {
        HostMatch::Any => "any host".to_owned(),
        HostMatch::Exact(_) | HostMatch::Wildcard(_) => format!("host {host}"),
    };
    let path = path.as_str();
    let name = |owner: &Owner<'_>| &roster.get(owner.by).ingress.name;
    let winner_name = name(winner);
    let message = if loser.by == winner.by {
        format!("{kind} path {path:?} of {host} is declared before in {}; the first one serves", winner.place.field())
    } else {
        format!("{kind} path {path:?} of {host} belongs to the older Ingress {winner_name}, which serves it")
    };
    Diagnostic::warning(about_ingress(name(loser)), Reason::Conflict, loser.place.field(), message)
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
