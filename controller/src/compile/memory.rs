//! Everything that the latest compile made, and how it follows a change: the steps of compiling, in order.
//!
//! ```text
//!  ConfigMap, flags, classes ─> which Ingresses to look at ─> claims ─> hosts to make ┐
//!  Services, EndpointSlices ──> backends in place ─────────> what to say about them ──┼─> hosts::make
//!  Secrets ──────────────────────────────────────────────> certificates of hosts ─────┘
//! ```

use super::{
    Compiled, Options, ProcessSettings, References,
    backend::{Backends, DefaultBackend, Reference},
    change::Changes,
    class::{self, Classes, Selection},
    class_config::{self, ByClass},
    config_map::{self, Globals},
    counted::Counted,
    findings::{Findings, Owned},
    host::{Hosts, Inputs, Outputs, Work},
    ingress,
    roster::Roster,
    streams::Made,
    tls::{self, Certificates},
};
use crate::{
    diagnostic::Diagnostic,
    snapshot::{ConfigMap, Ingress, ObjectName, Snapshot},
};
use imbl::OrdSet;
use rust_nginx_proxy::table::{TableBuilder, Target};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// What was made from the latest snapshot.
#[derive(Debug)]
pub(super) struct Memory {
    snapshot: Snapshot,
    /// The ConfigMap that `globals` was read from.
    config_map: Option<Arc<ConfigMap>>,
    /// It is not there and may be a document that cannot be read.
    config_map_is_unreadable: bool,
    globals: Globals,
    /// For the Ingresses of classes that have their own.
    by_class: ByClass,
    default_backend: DefaultBackend,
    roster: Roster,
    /// Ingresses of our class that are not served.
    refused: HashMap<ObjectName, Owned>,
    hosts: Hosts,
    backends: Backends,
    certificates: Certificates,
    findings: Findings,
    streams: Made,
    about_streams: Owned,
    /// About the ConfigMap, from the source, about classes, the default certificate and the default backend.
    general: [Owned; 5],
    secrets: Counted<ObjectName>,
    config_maps: Counted<ObjectName>,
    table: TableBuilder,
}

// === impl Memory ===

impl Memory {
    /// As after compiling an empty snapshot, but with everything still to be looked at.
    pub(super) fn new(options: &Options) -> Self {
        let snapshot = Snapshot::default();
        let (mut findings, mut general) = (Findings::default(), <[Owned; 5]>::default());
        let mut found = Vec::new();
        let globals = config_map::read(&snapshot, options, &mut found);
        let [about_config_map, ..] = &mut general;
        findings.replace(about_config_map, found);
        let mut references = (Counted::default(), Counted::default());
        options.flags.default_ssl_certificate.iter().for_each(|name| references.0.add(name.clone()));
        for config_map in [&options.flags.config_map, &options.flags.tcp_services, &options.flags.udp_services] {
            config_map.iter().for_each(|name| references.1.add(name.clone()));
        }
        let (streams, mut about_streams) = (Made::default(), Owned::default());
        findings.replace(&mut about_streams, streams.missing(options));
        let (mut backends, mut table) =
            (Backends::default(), TableBuilder::new(globals.settings.clone(), options.fallback_certificate.clone()));
        let default_backend = match &options.flags.default_backend_service {
            Some(name) => {
                let reference = Reference::Default(name.clone());
                DefaultBackend::of(name, backends.acquire(reference, &snapshot, options, &mut table), &snapshot)
            }
            None => DefaultBackend::nothing(),
        };
        let mut memory = Self {
            snapshot,
            config_map: None,
            config_map_is_unreadable: false,
            globals,
            by_class: ByClass::new(),
            default_backend,
            roster: Roster::default(),
            refused: HashMap::new(),
            hosts: Hosts::new(),
            backends,
            certificates: Certificates::default(),
            findings,
            streams,
            about_streams,
            general,
            secrets: references.0,
            config_maps: references.1,
            table,
        };
        memory.follow_default_certificate(options);
        memory.complain_about_default_backend();
        memory
    }

    /// Follows a change of the snapshot.
    pub(super) fn update(&mut self, snapshot: &Snapshot, options: &Options) {
        let changes = Changes::between(&self.snapshot, snapshot);
        self.snapshot = snapshot.clone();
        if changes.findings {
            let [_, from_source, ..] = &mut self.general;
            self.findings.replace(from_source, snapshot.findings.to_vec());
        }
        let all_routes = self.follow_config_map(&changes.secrets, options);
        let classes = if all_routes || changes.classes { self.follow_class_configs(options) } else { BTreeSet::new() };
        self.follow_ingresses(&changes, all_routes, &classes, options);
        self.follow_backends(&changes, options);
        self.follow_streams(&changes, options);
        self.follow_secrets(&changes.secrets, options);
        self.make_hosts(options);
    }

    /// What the latest snapshot compiles to.
    pub(super) fn compiled(&self) -> Compiled {
        Compiled {
            table: self.table.build(),
            diagnostics: self.findings.all().clone(),
            expiries: self.certificates.expiries().clone(),
            ingresses: self.roster.names().clone(),
            references: References {
                secrets: self.secrets.members().clone(),
                config_maps: self.config_maps.members().clone(),
                host_names: self.host_names(),
            },
            process: ProcessSettings::clone(&self.globals.process),
        }
    }

    /// Returns whether the defaults of routes are different now.
    fn follow_config_map(&mut self, changed_secrets: &[ObjectName], options: &Options) -> bool {
        let config_map = options.flags.config_map.as_ref().and_then(|name| self.snapshot.config_maps.get(name));
        let unreadable = config_map::is_unreadable(&self.snapshot, options);
        let other_secret = self.globals.secret.as_ref().is_some_and(|name| changed_secrets.contains(name));
        let same = self.config_map.as_ref() == config_map && self.config_map_is_unreadable == unreadable;
        if same && !other_secret && !self.globals.is_outdated(&self.snapshot) {
            return false;
        }
        self.config_map_is_unreadable = unreadable;
        self.config_map = config_map.cloned();
        let mut found = Vec::new();
        let globals = config_map::read(&self.snapshot, options, &mut found);
        let [about_config_map, ..] = &mut self.general;
        self.findings.replace(about_config_map, found);
        if globals == self.globals {
            return false;
        }
        globals.referred.keys().for_each(|name| self.config_maps.add(name.clone()));
        self.globals.referred.keys().for_each(|name| self.config_maps.remove(name));
        self.table.set_settings(globals.settings.clone());
        globals.secret.iter().for_each(|name| self.secrets.add(name.clone()));
        self.globals.secret.iter().for_each(|name| self.secrets.remove(name));
        self.globals = globals;
        true
    }

    /// Returns the classes with other defaults than before.
    fn follow_class_configs(&mut self, options: &Options) -> BTreeSet<Arc<str>> {
        let mut found = Vec::new();
        let by_class = class_config::read(&self.snapshot, options, &self.globals, &mut found);
        let [_, _, about_classes, ..] = &mut self.general;
        self.findings.replace(about_classes, found);
        let before = std::mem::replace(&mut self.by_class, by_class);
        let names: BTreeSet<_> = before.keys().chain(self.by_class.keys()).cloned().collect();
        names.into_iter().filter(|name| before.get(name) != self.by_class.get(name)).collect()
    }

    fn follow_ingresses(
        &mut self,
        changes: &Changes,
        all_routes: bool,
        reconfigured: &BTreeSet<Arc<str>>,
        options: &Options,
    ) {
        let snapshot = self.snapshot.clone();
        let classes = Classes::new(&snapshot, options);
        if all_routes {
            self.hosts.mark_all(Work::ROUTES);
        }
        let mut names: BTreeSet<ObjectName> = changes.ingresses.iter().cloned().collect();
        if all_routes || changes.classes {
            names.extend(snapshot.ingresses.keys().cloned());
        }
        for name in names {
            let ingress = snapshot.ingresses.get(&name);
            let class = ingress.and_then(|ingress| class::named_by(ingress));
            let other_defaults = all_routes || class.is_some_and(|class| reconfigured.contains(class));
            self.follow_ingress(&name, ingress, classes, other_defaults, options);
        }
    }

    fn follow_ingress(
        &mut self,
        name: &ObjectName,
        ingress: Option<&Arc<Ingress>>,
        classes: Classes<'_>,
        other_defaults: bool,
        options: &Options,
    ) {
        let (ours, refused) = match ingress.map(|ingress| (ingress, classes.select(ingress))) {
            Some((ingress, Selection::Ours)) => (Some(ingress), None),
            Some((_, Selection::Refused(why))) => (None, Some(why)),
            Some((_, Selection::Foreign)) | None => (None, None),
        };
        self.refuse(name, refused);
        let known = self.roster.find(name);
        if let (Some(id), Some(ingress)) = (known, ours) {
            let translated = self.roster.get_mut(id);
            if !other_defaults && translated.ingress.declares_same(ingress) {
                // Only its status or its bookkeeping changed. The old object can go.
                translated.ingress = ingress.clone();
                return;
            }
        }
        if let Some(id) = known {
            self.hosts.withdraw(id, &self.roster);
            let old = self.roster.remove(id);
            for secret in old.secrets() {
                self.secrets.remove(&secret);
            }
            self.findings.retract(old.findings);
        }
        if let Some(ingress) = ours {
            let own = class::named_by(ingress).and_then(|class| self.by_class.get(class));
            let (mut translated, found) = ingress::translate(ingress, own.unwrap_or(&self.globals), options);
            self.findings.replace(&mut translated.findings, found);
            for secret in translated.secrets() {
                self.secrets.add(secret);
            }
            let id = self.roster.add(translated);
            self.hosts.claim(id, &self.roster);
        }
    }

    fn refuse(&mut self, name: &ObjectName, why: Option<Diagnostic>) {
        match why {
            Some(why) => {
                let owned = self.refused.entry(name.clone()).or_default();
                self.findings.replace(owned, vec![why]);
            }
            None => {
                if let Some(owned) = self.refused.remove(name) {
                    self.findings.retract(owned);
                }
            }
        }
    }

    fn follow_backends(&mut self, changes: &Changes, options: &Options) {
        let of_services = changes.services.iter().flat_map(|service| self.backends.of_service(service));
        let of_names = changes.host_names.iter().flat_map(|name| self.backends.of_host_name(name));
        let concerned: BTreeSet<_> = of_services.chain(of_names).copied().collect();
        for backend in &concerned {
            for host in self.backends.refresh(*backend, &self.snapshot, options, &mut self.table) {
                self.hosts.mark(host, Work::COMPLAINTS);
            }
        }
        let Some(name) = &options.flags.default_backend_service else { return };
        if !matches!(self.default_backend.target, Target::Backend { backend, .. } if concerned.contains(&backend)) {
            return;
        }
        if let Target::Backend { backend, .. } = self.default_backend.target {
            let default_backend = DefaultBackend::of(name, backend, &self.snapshot);
            if default_backend != self.default_backend {
                self.default_backend = default_backend;
                self.hosts.mark_all(Work::ROUTES);
            }
        }
        self.complain_about_default_backend();
    }

    fn follow_streams(&mut self, changes: &Changes, options: &Options) {
        if let Some((streams, found)) = self.streams.follow(changes, &self.snapshot, options) {
            self.findings.replace(&mut self.about_streams, found);
            self.table.set_streams(streams);
        }
    }

    /// The names that addresses of endpoints come from.
    fn host_names(&self) -> OrdSet<Arc<str>> {
        let (of_backends, of_streams) = (self.backends.host_names(), self.streams.host_names());
        if of_streams.is_empty() { of_backends.clone() } else { of_backends.clone().union(of_streams.clone()) }
    }

    fn complain_about_default_backend(&mut self) {
        let found = match self.default_backend.target {
            Target::Backend { backend, .. } => self.backends.complaint(backend),
            Target::Status(_) => None,
        };
        let found = found.map(|complaint| complaint.about_flag("default-backend-service"));
        let [.., about_default_backend] = &mut self.general;
        self.findings.replace(about_default_backend, found.into_iter().collect());
    }

    fn follow_secrets(&mut self, changed: &[ObjectName], options: &Options) {
        for name in changed {
            for host in self.certificates.users(name) {
                self.hosts.mark(host, Work::CERTIFICATE);
            }
            for host in self.certificates.route_users(name) {
                self.hosts.mark(host, Work::ROUTES);
            }
        }
        if options.flags.default_ssl_certificate.as_ref().is_some_and(|name| changed.contains(name)) {
            self.follow_default_certificate(options);
        }
    }

    fn follow_default_certificate(&mut self, options: &Options) {
        let mut found = Vec::new();
        let certificate = tls::default_certificate(options, &mut self.certificates, &self.snapshot, &mut found);
        let [.., about_certificate, _] = &mut self.general;
        self.findings.replace(about_certificate, found);
        self.table.set_default_certificate(certificate);
    }

    fn make_hosts(&mut self, options: &Options) {
        let inputs = Inputs {
            snapshot: &self.snapshot,
            options,
            globals: &self.globals,
            default_backend: &self.default_backend,
            roster: &self.roster,
        };
        let mut outputs = Outputs {
            backends: &mut self.backends,
            certificates: &mut self.certificates,
            findings: &mut self.findings,
            table: &mut self.table,
        };
        self.hosts.make(inputs, &mut outputs);
    }
}
