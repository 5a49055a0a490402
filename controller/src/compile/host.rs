//! Virtual hosts: who claims which host pattern, and what is made of the claims.
//!
//! What a host is made of has three parts that change for different reasons: its routes with the Ingresses that claim
//! it, its certificate with Secrets, and what there is to say about its backends with Services and EndpointSlices. Only
//! the part that something happened to is made anew, and only for the hosts that it concerns. How a host turns out does
//! not depend on what it was before.

mod routes;

use self::routes::Use;
use super::{
    Options, about_ingress,
    backend::{Backends, DefaultBackend},
    class,
    config_map::Globals,
    findings::{Findings, Owned},
    ingress::Translated,
    ownership,
    roster::{IngressId, Roster},
    tls::{self, Certificates, Wanted},
};
use crate::{
    diagnostic::Diagnostic,
    snapshot::{ObjectName, Snapshot},
};
use rust_nginx_proxy::table::{BackendIndex, HostMatch, TableBuilder};
use std::collections::HashMap;

/// Position of a host in [`Hosts`]; another host may have it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct HostId(u32);

/// One Ingress's claim on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Whose.
    pub(super) by: IngressId,
    /// Position in its usable rules; `None` for the `spec.defaultBackend` of an Ingress without rules, which claims `/`
    /// of the catch-all host.
    pub(super) rule: Option<u32>,
}

/// All hosts that somebody claims, and the catch-all.
#[derive(Debug)]
pub(super) struct Hosts {
    entries: Vec<Option<Host>>,
    by_pattern: HashMap<HostMatch, HostId>,
    vacant: Vec<HostId>,
    /// Those with work to do.
    pending: Vec<HostId>,
}

#[derive(Debug)]
struct Host {
    pattern: HostMatch,
    /// Oldest first.
    claims: Vec<Claim>,
    /// Those of them that may have it.
    admitted: Box<[Claim]>,
    work: Work,
    /// Backends that its routes refer to.
    uses: Box<[Use]>,
    /// Secrets that its certificate was looked for in.
    secrets: Box<[ObjectName]>,
    /// What its routes depend on, in which Secrets.
    route_secrets: Box<[(ObjectName, Wanted)]>,
    /// About its routes, its certificate, its backends.
    findings: [Owned; 3],
}

/// What has to be made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Routes, and everything else with them.
    pub(super) routes: bool,
    pub(super) certificate: bool,
    pub(super) complaints: bool,
}

/// What hosts are made from.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) options: &'a Options,
    pub(super) globals: &'a Globals,
    pub(super) default_backend: &'a DefaultBackend,
    pub(super) roster: &'a Roster,
}

/// What making a host changes.
pub(super) struct Outputs<'a> {
    pub(super) backends: &'a mut Backends,
    pub(super) certificates: &'a mut Certificates,
    pub(super) findings: &'a mut Findings,
    pub(super) table: &'a mut TableBuilder,
}

// === impl Hosts ===

impl Hosts {
    /// No claims; the catch-all host exists by itself.
    pub(super) fn new() -> Self {
        let mut hosts =
            Self { entries: Vec::new(), by_pattern: HashMap::new(), vacant: Vec::new(), pending: Vec::new() };
        let any = hosts.find_or_add(&HostMatch::Any);
        hosts.mark(any, Work::ROUTES);
        hosts
    }

    /// Adds the claims of an Ingress.
    pub(super) fn claim(&mut self, by: IngressId, roster: &Roster) {
        for (pattern, rule) in roster.get(by).claims() {
            let id = self.find_or_add(pattern);
            let claim = Claim { by, rule };
            let host = self.get_mut(id);
            let position = host.claims.partition_point(|other| other.is_before(&claim, roster));
            host.claims.insert(position, claim);
            self.mark(id, Work::ROUTES);
        }
    }

    /// Takes back the claims of an Ingress that is still in the roster.
    pub(super) fn withdraw(&mut self, by: IngressId, roster: &Roster) {
        for (pattern, _) in roster.get(by).claims() {
            let Some(&id) = self.by_pattern.get(pattern) else { continue };
            self.get_mut(id).claims.retain(|claim| claim.by != by);
            self.mark(id, Work::ROUTES);
        }
    }

    /// Something happened to a host.
    pub(super) fn mark(&mut self, id: HostId, work: Work) {
        let Some(host) = self.entries.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        if host.work == Work::default() {
            self.pending.push(id);
        }
        host.work.add(work);
    }

    /// Something happened that concerns every host.
    pub(super) fn mark_all(&mut self, work: Work) {
        let ids: Vec<_> = self.by_pattern.values().copied().collect();
        for id in ids {
            self.mark(id, work);
        }
    }

    /// Makes anew whatever something happened to.
    pub(super) fn make(&mut self, inputs: Inputs<'_>, outputs: &mut Outputs<'_>) {
        if inputs.options.flags.strict_host_ownership {
            self.spread();
        }
        for id in std::mem::take(&mut self.pending) {
            let Some(mut host) = self.entries[id.0 as usize].take() else { continue };
            let work = std::mem::take(&mut host.work);
            if work.routes {
                let owner = self.owner_of_wildcard(&host.pattern, inputs);
                host.make_routes(id, owner, inputs, outputs);
            }
            if work.routes || work.certificate {
                host.make_certificate(id, inputs, outputs);
            }
            host.make_complaints(inputs, outputs);
            if host.claims.is_empty() && host.pattern != HostMatch::Any {
                self.by_pattern.remove(&host.pattern);
                self.vacant.push(id);
                host.end(outputs);
            } else {
                self.entries[id.0 as usize] = Some(host);
            }
        }
    }

    /// Who owns an exact host may depend on who claims the wildcard above it.
    fn spread(&mut self) {
        let wildcards: Vec<_> = self
            .pending
            .iter()
            .filter_map(|id| match &self.get(*id).pattern {
                HostMatch::Wildcard(name) => Some(name.clone()),
                HostMatch::Exact(_) | HostMatch::Any => None,
            })
            .collect();
        if wildcards.is_empty() {
            return;
        }
        let below = |pattern: &HostMatch| pattern.wildcard_above().is_some_and(|above| wildcards.contains(&above));
        let concerned: Vec<_> =
            self.by_pattern.iter().filter(|(pattern, _)| below(pattern)).map(|(_, id)| *id).collect();
        for id in concerned {
            self.mark(id, Work::ROUTES);
        }
    }

    /// The oldest claim on the wildcard that covers an exact host, where that makes a difference.
    fn owner_of_wildcard(&self, pattern: &HostMatch, inputs: Inputs<'_>) -> Option<Claim> {
        if !inputs.options.flags.strict_host_ownership {
            return None;
        }
        let above = HostMatch::Wildcard(pattern.wildcard_above()?);
        self.get(*self.by_pattern.get(&above)?).claims.first().copied()
    }

    fn find_or_add(&mut self, pattern: &HostMatch) -> HostId {
        if let Some(id) = self.by_pattern.get(pattern) {
            return *id;
        }
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.entries.push(None);
            HostId(u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 hosts fit in memory"))
        });
        self.entries[id.0 as usize] = Some(Host::new(pattern.clone()));
        self.by_pattern.insert(pattern.clone(), id);
        id
    }

    fn get(&self, id: HostId) -> &Host {
        self.entries[id.0 as usize].as_ref().expect("a position stands for a host until nobody claims it")
    }

    fn get_mut(&mut self, id: HostId) -> &mut Host {
        self.entries[id.0 as usize].as_mut().expect("a position stands for a host until nobody claims it")
    }
}

// === impl Host ===

impl Host {
    fn new(pattern: HostMatch) -> Self {
        Self {
            pattern,
            claims: Vec::new(),
            admitted: Box::default(),
            work: Work::default(),
            uses: Box::default(),
            secrets: Box::default(),
            route_secrets: Box::default(),
            findings: Default::default(),
        }
    }

    fn make_routes(
        &mut self,
        id: HostId,
        owner_of_wildcard: Option<Claim>,
        inputs: Inputs<'_>,
        outputs: &mut Outputs<'_>,
    ) {
        let mut found = Vec::new();
        self.admitted = if inputs.options.flags.strict_host_ownership {
            ownership::enforce(&self.pattern, &self.claims, owner_of_wildcard, inputs.roster, &mut found).into()
        } else {
            self.claims.as_slice().into()
        };
        let mut secrets = Vec::new();
        let uses = if self.admitted.is_empty() && self.pattern != HostMatch::Any {
            // As if nobody had named it: a wildcard may answer.
            outputs.table.remove_host(&self.pattern);
            Vec::new()
        } else {
            let (virtual_host, uses) =
                routes::make(&self.pattern, &self.admitted, inputs, outputs, &mut secrets, &mut found);
            outputs.table.set_host(virtual_host);
            uses
        };
        self.replace_route_secrets(id, secrets.into(), outputs);
        let [findings, ..] = &mut self.findings;
        outputs.findings.replace(findings, found);
        self.replace_uses(id, uses.into(), outputs);
    }

    /// The new ones are counted before the old ones are released, so that what stays is not removed in between.
    fn replace_uses(&mut self, id: HostId, uses: Box<[Use]>, outputs: &mut Outputs<'_>) {
        let old = std::mem::replace(&mut self.uses, uses);
        for index in backends(&self.uses) {
            outputs.backends.add_user(index, id);
        }
        for index in backends(&old).filter(|index| backends(&self.uses).all(|other| other != *index)) {
            outputs.backends.remove_user(index, id, outputs.table);
        }
    }

    fn replace_route_secrets(&mut self, id: HostId, secrets: Box<[(ObjectName, Wanted)]>, outputs: &mut Outputs<'_>) {
        let old = std::mem::replace(&mut self.route_secrets, secrets);
        for (name, wanted) in &self.route_secrets {
            outputs.certificates.add_user(name, *wanted, id);
        }
        for (name, wanted) in old.iter().filter(|old| !self.route_secrets.contains(old)) {
            outputs.certificates.remove_user(name, *wanted, id);
        }
    }

    fn make_certificate(&mut self, id: HostId, inputs: Inputs<'_>, outputs: &mut Outputs<'_>) {
        let (mut found, mut looked_at) = (Vec::new(), Vec::new());
        match self.settles_tls(inputs.roster) {
            Some(by) => {
                let mut load = |name: &ObjectName| {
                    looked_at.push(name.clone());
                    outputs.certificates.load(name, inputs.snapshot)
                };
                let others = self.admitted.iter().map(|claim| &*inputs.roster.get(claim.by).ingress);
                let chosen = tls::choose(&self.pattern, &by.ingress, others, &mut load, &mut found);
                // Also the default one is named, lest a wildcard's certificate answer for a host that was not given it.
                outputs.table.set_certificates(&self.pattern, chosen);
            }
            None => outputs.table.remove_certificate(&self.pattern),
        }
        let [_, findings, _] = &mut self.findings;
        outputs.findings.replace(findings, found);
        let old = std::mem::replace(&mut self.secrets, looked_at.into());
        for name in &self.secrets {
            outputs.certificates.add_user(name, Wanted::Certificate, id);
        }
        for name in old.iter().filter(|name| !self.secrets.contains(name)) {
            outputs.certificates.remove_user(name, Wanted::Certificate, id);
        }
    }

    fn make_complaints(&mut self, inputs: Inputs<'_>, outputs: &mut Outputs<'_>) {
        let complaints = self.uses.iter().filter_map(|used| {
            let complaint = outputs.backends.complaint(used.backend)?;
            let object = about_ingress(&inputs.roster.get(used.by).ingress.name);
            Some(Diagnostic::warning(object, complaint.reason, used.place.backend_field(), &*complaint.message))
        });
        let complaints = complaints.collect();
        let [_, _, findings] = &mut self.findings;
        outputs.findings.replace(findings, complaints);
    }

    /// The Ingress that says which certificate the host has: the oldest one with a tls section.
    fn settles_tls<'a>(&self, roster: &'a Roster) -> Option<&'a Translated> {
        settles_tls(&self.pattern, &self.admitted, roster)
    }

    fn end(mut self, outputs: &mut Outputs<'_>) {
        debug_assert!(
            self.uses.is_empty() && self.secrets.is_empty() && self.route_secrets.is_empty(),
            "nobody claims it"
        );
        for findings in std::mem::take(&mut self.findings) {
            outputs.findings.retract(findings);
        }
    }
}

/// ingress-nginx ignores the tls section of rules without host.
fn settles_tls<'a>(pattern: &HostMatch, claims: &[Claim], roster: &'a Roster) -> Option<&'a Translated> {
    match pattern {
        HostMatch::Any => None,
        HostMatch::Exact(_) | HostMatch::Wildcard(_) => {
            claims.iter().map(|claim| roster.get(claim.by)).find(|by| !by.ingress.tls.is_empty())
        }
    }
}

fn backends(uses: &[Use]) -> impl Iterator<Item = BackendIndex> {
    uses.iter().map(|used| used.backend)
}

// === impl Claim ===

impl Claim {
    /// Whether it is older, or comes first in the same Ingress.
    fn is_before(&self, other: &Self, roster: &Roster) -> bool {
        let ingress = |claim: &Self| &roster.get(claim.by).ingress;
        class::by_age(ingress(self), ingress(other)).then_with(|| self.rule.cmp(&other.rule)).is_lt()
    }
}

// === impl Work ===

impl Work {
    pub(super) const ROUTES: Self = Self { routes: true, certificate: true, complaints: true };
    pub(super) const CERTIFICATE: Self = Self { routes: false, certificate: true, complaints: false };
    pub(super) const COMPLAINTS: Self = Self { routes: false, certificate: false, complaints: true };

    fn add(&mut self, other: Self) {
        self.routes |= other.routes;
        self.certificate |= other.certificate;
        self.complaints |= other.complaints;
    }
}
