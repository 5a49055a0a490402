//! The claims on one host → its virtual host, and the backends that it refers to.

use super::{Claim, Inputs, Outputs, settles_tls};
use crate::{
    compile::{
        about_ingress, annotation_field,
        backend::Reference,
        conflict::{self, Owner, Place},
        host_tls,
        ingress::Translated,
        proxy_ssl::{self, Closed, EndpointTls},
        roster::IngressId,
        route::{self, Context, Redirect},
        tls::Wanted,
    },
    diagnostic::{Diagnostic, Reason},
    snapshot::{Backend, ObjectName, ServiceBackend, ServicePortRef},
};
use http::StatusCode;
use rust_nginx_proxy::{
    filter::{Filter, Refuse},
    table::{BackendIndex, HostMatch, PathMatch, Policy, Route, RouteLabels, Target, VirtualHost, VirtualHostBuilder},
    tls::UpstreamTls,
};
use std::{collections::BTreeMap, sync::Arc};

/// A place in an Ingress that names a backend, and what it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) backend: BackendIndex,
    pub(super) by: IngressId,
    pub(super) place: Place,
}

/// The routes of one host in the making.
struct Making<'a, 'b> {
    inputs: Inputs<'a>,
    outputs: &'a mut Outputs<'b>,
    found: &'a mut Vec<Diagnostic>,
    host_label: Arc<str>,
    context: Context,
    uses: Vec<Use>,
    /// Ports as text: many routes have the same.
    ports: BTreeMap<ServicePortRef, Arc<str>>,
    secrets: &'a mut Vec<(ObjectName, Wanted)>,
    /// Of the Ingresses that have been asked.
    endpoint_tls: Vec<(IngressId, EndpointTls)>,
    /// The Ingress whose TLS to endpoints is for those that say nothing.
    endpoint_tls_of_host: Option<IngressId>,
}

/// Makes the virtual host. Claims come oldest first.
pub(super) fn make(
    pattern: &HostMatch,
    claims: &[Claim],
    inputs: Inputs<'_>,
    outputs: &mut Outputs<'_>,
    secrets: &mut Vec<(ObjectName, Wanted)>,
    found: &mut Vec<Diagnostic>,
) -> (VirtualHost, Vec<Use>) {
    let owners = conflict::settle(pattern, claims, inputs.roster, found);
    let mut load = |name: &ObjectName| {
        secrets.push((name.clone(), Wanted::Authorities));
        outputs.certificates.load_authorities(name, inputs.snapshot)
    };
    let tls = host_tls::settle(claims, inputs.globals, inputs.options, inputs.roster, &mut load, found);
    let context = context(pattern, claims, &tls, inputs);
    let mut routes = VirtualHostBuilder::new(pattern.clone());
    let tls_asks = tls.policy.as_ref().is_some_and(|policy| policy.client_auth().is_some());
    routes.set_tls(tls.policy);
    let host_label = pattern.to_string().into();
    let endpoint_tls_of_host = claims.iter().map(|claim| claim.by).find(|by| {
        let settings = &inputs.roster.get(*by).settings;
        !settings.proxy_ssl_location_only && settings.proxy_ssl.as_ref().is_some_and(|says| says.has_secret())
    });
    let mut making = Making {
        inputs,
        outputs,
        found,
        host_label,
        context,
        uses: Vec::new(),
        ports: BTreeMap::new(),
        secrets,
        endpoint_tls: Vec::new(),
        endpoint_tls_of_host,
    };
    // Of the two forms of `/` one decides: the prefix, where somebody owns it.
    let deciding = owners.get(&root()).or_else(|| owners.get(&PathMatch::Exact("/".into())));
    let passthrough = deciding.and_then(|owner| making.passthrough(pattern, owner, tls_asks));
    routes.set_passthrough(passthrough);
    if passthrough.is_none() {
        making.complain_about_passthrough(claims, deciding.map(|owner| owner.by));
    }
    for (path, owner) in owners {
        let route = making.route(path, &owner);
        routes.add_route(Arc::new(route)).expect("the owners of a host have distinct paths");
    }
    if !routes.contains(&root()) {
        let route = making.implicit_route(pattern, claims);
        routes.add_route(Arc::new(route)).expect("nobody owns the root path");
    }
    (routes.build(), making.uses)
}

/// Each Ingress once: its claims stand beside each other.
fn ingresses(claims: &[Claim]) -> impl Iterator<Item = IngressId> {
    claims.chunk_by(|one, next| one.by == next.by).map(|of_one| of_one[0].by)
}

fn context(pattern: &HostMatch, claims: &[Claim], tls: &host_tls::Outcome, inputs: Inputs<'_>) -> Context {
    let Inputs { globals, roster, options, .. } = inputs;
    let closed = globals.closed || claims.iter().any(|claim| roster.get(claim.by).closes_hosts);
    Context {
        refuse: if closed { Some(StatusCode::SERVICE_UNAVAILABLE) } else { tls.refuse },
        certificate_needed: tls.certificate_needed,
        redirect: match settles_tls(pattern, claims, roster) {
            Some(_) => Redirect::HostHasTls,
            None => Redirect::IfForced,
        },
        https_port: options.flags.https_port,
    }
}

// === impl Making ===

impl Making<'_, '_> {
    fn route(&mut self, path: PathMatch, owner: &Owner<'_>) -> Route {
        let by = self.inputs.roster.get(owner.by);
        let Translated { ingress, settings, .. } = by;
        let (policy, closed) = self.policy(owner.by);
        // A default backend without rules never redirects, as in ingress-nginx.
        let context = match owner.place {
            Place::DefaultBackend => Context { redirect: Redirect::Never, ..self.context },
            Place::Path { .. } => self.context,
        };
        let context = Context { refuse: context.refuse.or(closed), ..context };
        let (service, service_port) = self.labels_of(owner.backend);
        Route {
            target: self.target(owner.by, owner.backend, owner.place),
            filters: settings.filters(&path, context),
            policy,
            labels: Arc::new(RouteLabels {
                namespace: ingress.name.namespace.clone(),
                ingress: ingress.name.name.clone(),
                service,
                service_port,
                host: self.host_label.clone(),
                path: if owner.declared == path.as_str() { path.text().clone() } else { owner.declared.into() },
            }),
            path,
        }
    }

    /// Where TLS connections of the host go as they are. Only who owns `/` can say so: nobody else's routes lead there.
    fn passthrough(&mut self, pattern: &HostMatch, owner: &Owner<'_>, host_asks: bool) -> Option<BackendIndex> {
        let by = self.inputs.roster.get(owner.by);
        if !by.settings.ssl_passthrough {
            return None;
        }
        let closed = self.context.refuse.or(by.settings.refuse).is_some();
        let problem = match (pattern, owner.backend) {
            _ if !self.inputs.options.flags.ssl_passthrough => "--enable-ssl-passthrough is off",
            (HostMatch::Wildcard(_) | HostMatch::Any, _) => "only a host without wildcard can be told by its name",
            (HostMatch::Exact(_), Backend::Resource(_) | Backend::Nothing) => "the path / has no Service",
            (HostMatch::Exact(_), Backend::Service(_)) if closed => "the host or the path / is closed",
            (HostMatch::Exact(_), Backend::Service(_)) if host_asks => "the host asks for client certificates",
            (HostMatch::Exact(_), Backend::Service(service)) => {
                let reference = Reference::of_rule(&by.ingress.name.namespace, service, true);
                let Outputs { backends, table, .. } = self.outputs;
                let backend = backends.acquire(reference, self.inputs.snapshot, self.inputs.options, table);
                self.uses.push(Use { backend, by: owner.by, place: owner.place });
                return Some(backend);
            }
        };
        let field = annotation_field(self.inputs.options, "ssl-passthrough");
        let message = format!("{problem}: TLS for the host ends here");
        let object = about_ingress(&by.ingress.name);
        self.found.push(Diagnostic::warning(object, Reason::UnsupportedValue, field, message));
        None
    }

    /// Whoever asks for passthrough and does not own `/` is told.
    fn complain_about_passthrough(&mut self, claims: &[Claim], decides: Option<IngressId>) {
        for by in ingresses(claims).filter(|by| Some(*by) != decides) {
            let translated = self.inputs.roster.get(by);
            if !translated.settings.ssl_passthrough {
                continue;
            }
            let host = if self.host_label.is_empty() { "the catch-all host" } else { &self.host_label };
            let message = format!("the Ingress does not own the path / of {host}: TLS for it ends here");
            let (object, field) =
                (about_ingress(&translated.ingress.name), annotation_field(self.inputs.options, "ssl-passthrough"));
            self.found.push(Diagnostic::warning(object, Reason::UnsupportedValue, field, message));
        }
    }

    /// Whoever has another `spec.defaultBackend` than the Ingress that answers what no rule matches is told.
    fn complain_about_default_backends(&mut self, claims: &[Claim], speaker: IngressId) {
        let speaks = &self.inputs.roster.get(speaker).ingress;
        let host = if self.host_label.is_empty() { "the catch-all host" } else { &self.host_label };
        for by in ingresses(claims).filter(|by| *by != speaker) {
            let ingress = &self.inputs.roster.get(by).ingress;
            let same =
                ingress.name.namespace == speaks.name.namespace && ingress.default_backend == speaks.default_backend;
            if ingress.default_backend.is_none() || same {
                continue;
            }
            let message = format!(
                "what no path of {host} matches is up to the older Ingress {}, and does not come here",
                speaks.name
            );
            let (object, field) = (about_ingress(&ingress.name), Place::DefaultBackend.field());
            self.found.push(Diagnostic::warning(object, Reason::Conflict, field, message));
        }
    }

    /// What answers the paths that no rule matches: the `spec.defaultBackend` of the oldest Ingress on the host, whose
    /// host it is, else the global default backend. It carries the settings of that Ingress, so that a path that does not
    /// exist asks for the same password. On the catch-all host, which is nobody's, the oldest one that has such a backend
    /// gives it, and its settings.
    fn implicit_route(&mut self, pattern: &HostMatch, claims: &[Claim]) -> Route {
        let Inputs { roster, globals, default_backend, .. } = self.inputs;
        let speaks = |id: IngressId| (id, roster.get(id));
        let (speaker, context) = match pattern {
            HostMatch::Any => (
                claims.iter().map(|claim| speaks(claim.by)).find(|(_, by)| by.ingress.default_backend.is_some()),
                Context { redirect: Redirect::Never, ..self.context },
            ),
            HostMatch::Exact(_) | HostMatch::Wildcard(_) => {
                (claims.first().map(|claim| speaks(claim.by)), self.context)
            }
        };
        let path = root();
        let mut labels =
            RouteLabels { host: self.host_label.clone(), path: path.text().clone(), ..RouteLabels::default() };
        let filters = match speaker {
            Some((_, by)) => {
                labels.namespace = by.ingress.name.namespace.clone();
                labels.ingress = by.ingress.name.name.clone();
                by.settings.filters(&path, context)
            }
            None => context.refuse.map(|status| Filter::Refuse(Refuse { status })).into_iter().collect(),
        };
        if let Some((id, _)) = speaker {
            self.complain_about_default_backends(claims, id);
        }
        let own = speaker.and_then(|(id, by)| Some((id, by.ingress.default_backend.as_ref()?)));
        let Some((id, backend)) = own else {
            labels.service = default_backend.service.clone();
            labels.service_port = default_backend.service_port.clone();
            // What concerns endpoints goes where the backend goes, which is nobody's.
            let policy = route::towards(speaker.map_or(&globals.policy, |(_, by)| &by.policy), &globals.policy);
            return Route { path, labels: Arc::new(labels), target: default_backend.target, filters, policy };
        };
        let (policy, closed) = self.policy(id);
        let filters = closed.map_or(filters, |status| Box::new([Filter::Refuse(Refuse { status })]));
        (labels.service, labels.service_port) = self.labels_of(backend);
        let target = self.target(id, backend, Place::DefaultBackend);
        Route { path, labels: Arc::new(labels), target, filters, policy }
    }

    /// The policy of the routes of an Ingress; a status closes them.
    fn policy(&mut self, id: IngressId) -> (Arc<Policy>, Option<StatusCode>) {
        let by = self.inputs.roster.get(id);
        let tls = match self.endpoint_tls(id) {
            // Whoever speaks for the host and cannot be heard: no TLS to pods then, and cleartext as ever.
            Ok(None) => match self.endpoint_tls_of_host.map(|speaker| self.endpoint_tls(speaker)) {
                None => Ok(None),
                Some(Ok(tls)) => Ok(tls),
                Some(Err(Closed)) => Ok(Some(UpstreamTls::refusing().clone())),
            },
            own => own,
        };
        match tls {
            Ok(None) => (by.policy.clone(), None),
            Ok(tls) => (Arc::new(Policy { tls, ..(*by.policy).clone() }), None),
            Err(Closed) => (by.policy.clone(), Some(StatusCode::SERVICE_UNAVAILABLE)),
        }
    }

    fn endpoint_tls(&mut self, id: IngressId) -> EndpointTls {
        if let Some((_, known)) = self.endpoint_tls.iter().find(|(known, _)| *known == id) {
            return known.clone();
        }
        let Inputs { roster, options, snapshot, .. } = self.inputs;
        let whole_host = self.endpoint_tls_of_host.is_some();
        let (secrets, certificates) = (&mut *self.secrets, &mut *self.outputs.certificates);
        let mut load = |name: &ObjectName| {
            secrets.push((name.clone(), Wanted::EndpointMaterial));
            certificates.load_for_endpoints(name, snapshot)
        };
        let tls = proxy_ssl::of_ingress(roster.get(id), whole_host, options, &mut load, self.found);
        self.endpoint_tls.push((id, tls.clone()));
        tls
    }

    fn target(&mut self, id: IngressId, backend: &Backend, place: Place) -> Target {
        let by = self.inputs.roster.get(id);
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
        let reference = Reference::of_rule(&by.ingress.name.namespace, service, by.settings.service_upstream);
        let no_endpoints = reference.without_endpoints();
        let Outputs { backends, table, .. } = self.outputs;
        let backend = backends.acquire(reference, self.inputs.snapshot, self.inputs.options, table);
        self.uses.push(Use { backend, by: id, place });
        Target::Backend { backend, no_endpoints }
    }

    fn labels_of(&mut self, backend: &Backend) -> (Arc<str>, Arc<str>) {
        match backend {
            Backend::Service(ServiceBackend { name, port }) => {
                let text = self.ports.entry(port.clone()).or_insert_with(|| port.to_string().into());
                (name.clone(), text.clone())
            }
            Backend::Resource(_) | Backend::Nothing => (Arc::default(), Arc::default()),
        }
    }

    fn warn(&mut self, by: &Translated, reason: Reason, place: Place, message: impl Into<String>) {
        let object = about_ingress(&by.ingress.name);
        self.found.push(Diagnostic::warning(object, reason, place.backend_field(), message));
    }
}

fn root() -> PathMatch {
    PathMatch::Prefix("/".into())
}
