//! The claims on one host pattern → its virtual host, its certificate and what is wrong with either.
//!
//! A virtual host depends on the Ingresses that claim it, on the backends that these name and on the Secrets of the
//! Ingress that settles its TLS; on no other host.

use super::{
    Options, about_ingress,
    backend::{Backends, DefaultBackend},
    config_map::Globals,
    conflict::{self, Claim, Owner, Place},
    ingress::Translated,
    route::{Context, Redirect},
    tls::{self, Certificates},
};
use crate::{
    diagnostic::{Diagnostic, Reason},
    snapshot::{Backend, ServiceBackend},
};
use http::StatusCode;
use rust_nginx_proxy::{
    filter::{Filter, Refuse},
    table::{HostMatch, PathMatch, Route, RouteLabels, TableBuilder, Target, VirtualHostBuilder},
    tls::Certificate,
};
use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

/// Who claims which host. Claims of a host stay in the order in which they were made.
pub(super) struct Hosts<'a>(BTreeMap<HostMatch, Vec<Claim<'a>>>);

/// Everything that building virtual hosts reads and writes.
pub(super) struct Assembly<'a> {
    pub(super) globals: &'a Globals,
    pub(super) options: &'a Options,
    pub(super) default_backend: DefaultBackend,
    pub(super) default_certificate: Arc<Certificate>,
    pub(super) backends: Backends<'a>,
    pub(super) certificates: Certificates<'a>,
    pub(super) findings: Vec<Diagnostic>,
    pub(super) table: TableBuilder,
}

// === impl Hosts ===

impl<'a> Hosts<'a> {
    /// No claims; the catch-all host exists by itself.
    pub(super) fn new() -> Self {
        Self(BTreeMap::from([(HostMatch::Any, Vec::new())]))
    }

    /// Adds the claims of an Ingress that is younger than all before.
    pub(super) fn claim(&mut self, by: &'a Translated) {
        if by.ingress.rules.is_empty() && by.ingress.default_backend.is_some() && !by.is_canary {
            self.0.entry(HostMatch::Any).or_default().push(Claim { by, rule: None });
        }
        for (index, rule) in by.rules.iter().enumerate() {
            self.0.entry(rule.host.clone()).or_default().push(Claim { by, rule: Some(index) });
        }
    }
}

impl<'a> IntoIterator for Hosts<'a> {
    type Item = (HostMatch, Vec<Claim<'a>>);
    type IntoIter = btree_map::IntoIter<HostMatch, Vec<Claim<'a>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

// === impl Assembly ===

impl<'a> Assembly<'a> {
    /// Adds the virtual host of a pattern.
    pub(super) fn add(&mut self, host: &HostMatch, claims: &[Claim<'a>]) {
        let context = self.context(host, claims);
        let owners = conflict::settle(host, claims, &mut self.findings);
        let mut routes = VirtualHostBuilder::new(host.clone());
        let host_label: Box<str> = host.to_string().into();
        for (path, owner) in owners {
            let route = self.route(&host_label, path, &owner, context);
            routes.add_route(Arc::new(route)).expect("the owners of a host have distinct paths");
        }
        if !routes.contains(&root()) {
            let route = self.implicit_route(host, host_label, claims, context);
            routes.add_route(Arc::new(route)).expect("nobody owns the root path");
        }
        self.table.add_host(Arc::new(routes.build()));
    }

    fn context(&mut self, host: &HostMatch, claims: &[Claim<'_>]) -> Context {
        // ingress-nginx ignores the tls section of rules without host.
        let settles_tls = match host {
            HostMatch::Any => None,
            HostMatch::Exact(_) | HostMatch::Wildcard(_) => {
                claims.iter().find(|claim| !claim.by.ingress.tls.is_empty())
            }
        };
        if let Some(claim) = settles_tls {
            let chosen = tls::choose(host, &claim.by.ingress, &mut self.certificates, &mut self.findings);
            // Also the default one is named, lest a wildcard's certificate answer for a host that was not given it.
            let certificate = chosen.unwrap_or_else(|| self.default_certificate.clone());
            self.table.add_certificate(host.clone(), certificate);
        }
        let closed = self.globals.closed || claims.iter().any(|claim| claim.by.closes_hosts);
        Context {
            refuse: closed.then_some(StatusCode::SERVICE_UNAVAILABLE),
            redirect: if settles_tls.is_some() { Redirect::HostHasTls } else { Redirect::IfForced },
            https_port: self.options.https_port,
        }
    }

    fn route(&mut self, host: &str, path: PathMatch, owner: &Owner<'a>, context: Context) -> Route {
        let Translated { ingress, settings, policy, .. } = owner.by;
        // A default backend without rules never redirects, as in ingress-nginx.
        let context = match owner.place {
            Place::DefaultBackend => Context { redirect: Redirect::Never, ..context },
            Place::Path { .. } => context,
        };
        let (service, service_port) = labels_of(owner.backend);
        Route {
            target: self.target(owner.by, owner.backend, owner.place),
            filters: settings.filters(&path, context),
            policy: policy.clone(),
            labels: Arc::new(RouteLabels {
                namespace: (*ingress.name.namespace).into(),
                ingress: (*ingress.name.name).into(),
                service,
                service_port,
                host: host.into(),
                path: owner.declared.into(),
            }),
            path,
        }
    }

    /// What answers the paths that no rule matches: the `spec.defaultBackend` of the oldest Ingress on the host that has
    /// one, else the global default backend. It carries the settings of the oldest Ingress of the host, so that a path
    /// that does not exist asks for the same password; not on the catch-all host.
    fn implicit_route(
        &mut self,
        host: &HostMatch,
        host_label: Box<str>,
        claims: &[Claim<'a>],
        context: Context,
    ) -> Route {
        let fallback = claims
            .iter()
            .find_map(|claim| claim.by.ingress.default_backend.as_ref().map(|backend| (claim.by, backend)));
        let oldest = claims.first().map(|claim| claim.by);
        let (settings_of, context) = match host {
            HostMatch::Any => (fallback.map(|(by, _)| by), Context { redirect: Redirect::Never, ..context }),
            HostMatch::Exact(_) | HostMatch::Wildcard(_) => (oldest, context),
        };
        let path = root();
        let mut filters = match settings_of {
            Some(by) => by.settings.filters(&path, context),
            None => context.refuse.map(|status| Filter::Refuse(Refuse { status })).into_iter().collect(),
        };
        let mut labels = RouteLabels { host: host_label, path: "/".into(), ..RouteLabels::default() };
        if let Some(by) = fallback.map(|(by, _)| by).or(settings_of) {
            labels.namespace = (*by.ingress.name.namespace).into();
            labels.ingress = (*by.ingress.name.name).into();
        }
        let target = if let Some((by, backend)) = fallback {
            // The guard of an Ingress goes where its backend goes.
            if let Some(status) = by.settings.refuse {
                filters = Box::new([Filter::Refuse(Refuse { status })]);
            }
            (labels.service, labels.service_port) = labels_of(backend);
            self.target(by, backend, Place::DefaultBackend)
        } else {
            labels.service.clone_from(&self.default_backend.service);
            labels.service_port.clone_from(&self.default_backend.service_port);
            self.default_backend.target
        };
        let policy = settings_of.map_or(&self.globals.policy, |by| &by.policy).clone();
        Route { path, labels: Arc::new(labels), target, filters, policy }
    }

    fn target(&mut self, by: &Translated, backend: &Backend, place: Place) -> Target {
        let name = &by.ingress.name;
        let service = match backend {
            Backend::Service(service) => service,
            Backend::Resource(resource) => {
                let message = format!("a resource backend ({resource}) is not served: 404. Only Services are");
                self.warn(by, Reason::InvalidKind, place, message);
                return Target::Status(StatusCode::NOT_FOUND);
            }
            Backend::Nothing => {
                self.warn(by, Reason::InvalidKind, place, "the backend names neither a Service nor a resource: 404");
                return Target::Status(StatusCode::NOT_FOUND);
            }
        };
        let resolution = self.backends.resolve(&mut self.table, &name.namespace, service);
        if let Some((reason, message)) = resolution.complaint {
            self.warn(by, reason, place, &*message);
        }
        resolution.target
    }

    fn warn(&mut self, by: &Translated, reason: Reason, place: Place, message: impl Into<String>) {
        let object = about_ingress(&by.ingress.name);
        self.findings.push(Diagnostic::warning(object, reason, place.backend_field(), message));
    }
}

fn root() -> PathMatch {
    PathMatch::Prefix("/".into())
}

fn labels_of(backend: &Backend) -> (Box<str>, Box<str>) {
    match backend {
        Backend::Service(ServiceBackend { name, port }) => ((**name).into(), port.to_string().into()),
        Backend::Resource(_) | Backend::Nothing => Default::default(),
    }
}
