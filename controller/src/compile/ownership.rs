//! `--strict-host-ownership`: the namespace that claimed a host first owns it, and nobody else gets a path of it.
//!
//! The owner is the namespace of the oldest claim. For an exact host that a wildcard covers, the claims on the wildcard
//! count as well, or a younger exact host would take the traffic out from under it. The oldest Ingress of the owner on
//! that host lets others in by the annotation `rust-nginx.io/allow-namespaces`.

use super::{about_ingress, class, host::Claim, ingress::Translated, roster::Roster};
use crate::{
    diagnostic::{Diagnostic, Reason},
    snapshot::{Ingress, is_dns_label},
};
use rust_nginx_proxy::table::HostMatch;

/// Names of namespaces, separated by commas, or `*`.
pub(super) const ALLOW_NAMESPACES: &str = "rust-nginx.io/allow-namespaces";

/// The claims that may stay, oldest first, as they came.
pub(super) fn enforce(
    pattern: &HostMatch,
    claims: &[Claim],
    wildcard: Option<Claim>,
    roster: &Roster,
    findings: &mut Vec<Diagnostic>,
) -> Vec<Claim> {
    let oldest = claims.first().into_iter().chain(&wildcard).map(|claim| roster.get(claim.by));
    let Some(owner) = oldest.min_by(|a, b| class::by_age(&a.ingress, &b.ingress)) else { return Vec::new() };
    let (allowed, refused): (Vec<_>, Vec<_>) =
        claims.iter().copied().partition(|claim| allows(&owner.ingress, &roster.get(claim.by).ingress));
    findings.extend(refused.into_iter().map(|claim| refusal(pattern, owner, roster.get(claim.by), claim)));
    allowed
}

fn allows(owner: &Ingress, other: &Ingress) -> bool {
    let text = owner.annotations.get(ALLOW_NAMESPACES).map_or("", String::as_str);
    owner.name.namespace == other.name.namespace
        || listed(text).any(|allowed| allowed == "*" || *allowed == *other.name.namespace)
}

/// The items of the annotation.
pub(super) fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// Whether an item can be meant: `*`, or a name as a Namespace has it.
pub(super) fn is_namespace(name: &str) -> bool {
    name == "*" || is_dns_label(name)
}

fn refusal(pattern: &HostMatch, owner: &Translated, refused: &Translated, claim: Claim) -> Diagnostic {
    let host = match pattern {
        HostMatch::Any => "the catch-all host".to_owned(),
        HostMatch::Exact(_) | HostMatch::Wildcard(_) => format!("host {pattern}"),
    };
    let owner = &owner.ingress.name;
    let message = format!(
        "{host} belongs to namespace {}, whose Ingress {owner} claimed it first; this rule is not served, unless that \
         Ingress lists {} in {ALLOW_NAMESPACES}",
        owner.namespace, refused.ingress.name.namespace
    );
    Diagnostic::warning(
        about_ingress(&refused.ingress.name),
        Reason::RefNotPermitted,
        refused.field_of(claim.rule),
        message,
    )
}
