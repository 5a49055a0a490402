//! The only constructor of a [`Table`].

use super::{
    Backend, BackendIndex, CertificateIndex, HostIndex, HostMatch, PathIndex, PathMatch, Route, RouteLabels, Settings,
    Table, Target, VirtualHost,
};
use crate::tls::Certificate;
use http::StatusCode;
use std::{collections::BTreeMap, sync::Arc};

/// Collects virtual hosts, backends and certificates, and makes a [`Table`] of them.
#[derive(Debug)]
pub struct TableBuilder {
    hosts: HostIndex,
    backends: Vec<Arc<Backend>>,
    certificates: CertificateIndex,
    settings: Arc<Settings>,
}

/// Collects the routes of one host pattern.
#[derive(Debug)]
pub struct VirtualHostBuilder {
    host: HostMatch,
    routes: BTreeMap<PathMatch, Arc<Route>>,
}

// === impl TableBuilder ===

impl TableBuilder {
    /// A table that answers everything with 404 under the given default certificate.
    #[must_use]
    pub fn new(settings: Arc<Settings>, default_certificate: Arc<Certificate>) -> Self {
        Self {
            hosts: HostIndex::new(Arc::new(VirtualHostBuilder::new(HostMatch::Any).build())),
            backends: Vec::new(),
            certificates: CertificateIndex::new(default_certificate),
            settings,
        }
    }

    /// Adds a backend and returns the index under which routes refer to it. The caller adds each key once.
    pub fn add_backend(&mut self, backend: Arc<Backend>) -> BackendIndex {
        let index = BackendIndex::new(self.backends.len());
        self.backends.push(backend);
        index
    }

    /// Adds a virtual host, replacing one with the same pattern.
    pub fn add_host(&mut self, host: Arc<VirtualHost>) {
        debug_assert!(host.routes.iter().all(|route| match route.target {
            Target::Backend { backend, .. } => backend.get() < self.backends.len(),
            Target::Status(_) => true,
        }));
        self.hosts.insert(host);
    }

    /// Adds the certificate for a server name pattern; [`HostMatch::Any`] replaces the default.
    pub fn add_certificate(&mut self, host: HostMatch, certificate: Arc<Certificate>) {
        self.certificates.insert(host, certificate);
    }

    /// The finished table.
    #[must_use]
    pub fn build(self) -> Table {
        Table {
            hosts: Arc::new(self.hosts),
            backends: self.backends.into(),
            certificates: Arc::new(self.certificates),
            settings: self.settings,
        }
    }
}

// === impl VirtualHostBuilder ===

impl VirtualHostBuilder {
    /// A virtual host without routes.
    #[must_use]
    pub fn new(host: HostMatch) -> Self {
        Self { host, routes: BTreeMap::new() }
    }

    /// Adds a route unless its path predicate is taken; returns the route that was there first in that case.
    ///
    /// # Errors
    /// The route that already has this predicate.
    pub fn add_route(&mut self, route: Arc<Route>) -> Result<(), Arc<Route>> {
        match self.routes.entry(route.path.clone()) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(route);
                Ok(())
            }
            std::collections::btree_map::Entry::Occupied(entry) => Err(entry.get().clone()),
        }
    }

    /// True when a route with this predicate was added.
    #[must_use]
    pub fn contains(&self, path: &PathMatch) -> bool {
        self.routes.contains_key(path)
    }

    /// The finished virtual host. Without a `/` prefix route, one that answers 404 is added, so that every path has a
    /// route.
    #[must_use]
    pub fn build(mut self) -> VirtualHost {
        self.routes.entry(PathMatch::Prefix("/".into())).or_insert_with(|| {
            Arc::new(Route {
                path: PathMatch::Prefix("/".into()),
                labels: Arc::new(RouteLabels {
                    host: self.host.to_string().into(),
                    path: "/".into(),
                    ..Default::default()
                }),
                target: Target::Status(StatusCode::NOT_FOUND),
                filters: Box::default(),
                policy: Arc::default(),
            })
        });
        let entries = self.routes.keys().enumerate().map(|(index, path)| (path.clone(), index)).collect();
        VirtualHost { host: self.host, paths: PathIndex::new(entries), routes: self.routes.into_values().collect() }
    }
}
