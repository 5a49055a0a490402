//! The only constructor of a [`Table`].

use super::{
    Backend, BackendIndex, CertificateIndex, HostIndex, HostMatch, PathMatch, Route, RouteLabels, Settings, Streams,
    Table, Target, VirtualHost, backend::Backends, path_index::PathIndex,
};
use crate::tls::{Certificate, TlsPolicy};
use http::StatusCode;
use std::{collections::BTreeMap, sync::Arc};

/// Collects virtual hosts, backends and certificates, and makes a [`Table`] of them as often as it is asked to. Tables
/// that it makes share everything that did not change in between.
#[derive(Debug)]
pub struct TableBuilder {
    table: Table,
    /// Positions of backends that were removed.
    vacant: Vec<BackendIndex>,
    /// The position after the last.
    end: usize,
}

/// Collects the routes of one host pattern.
#[derive(Debug)]
pub struct VirtualHostBuilder {
    host: HostMatch,
    tls: Option<Arc<TlsPolicy>>,
    passthrough: Option<BackendIndex>,
    routes: BTreeMap<PathMatch, Arc<Route>>,
}

// === impl TableBuilder ===

impl TableBuilder {
    /// A table that answers everything with 404 under the given default certificate.
    #[must_use]
    pub fn new(settings: Arc<Settings>, default_certificate: Arc<Certificate>) -> Self {
        let table = Table {
            hosts: HostIndex::new(Arc::new(VirtualHostBuilder::new(HostMatch::Any).build())),
            backends: Backends::default(),
            certificates: CertificateIndex::new(default_certificate),
            streams: Arc::default(),
            settings,
        };
        Self { table, vacant: Vec::new(), end: 0 }
    }

    /// Changes the settings of the whole process.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        if *self.table.settings != *settings {
            self.table.settings = settings;
        }
    }

    /// Changes the services that are not HTTP.
    pub fn set_streams(&mut self, streams: Streams) {
        if *self.table.streams != streams {
            self.table.streams = Arc::new(streams);
        }
    }

    /// Changes the certificate for names that no other one answers.
    pub fn set_default_certificate(&mut self, certificate: Arc<Certificate>) {
        if **self.table.certificates.default_certificate() != *certificate {
            self.table.certificates.set_default(certificate);
        }
    }

    /// Adds a backend and returns the index under which routes refer to it. The caller adds each key once.
    pub fn add_backend(&mut self, backend: Arc<Backend>) -> BackendIndex {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.end += 1;
            BackendIndex::new(self.end - 1)
        });
        self.table.backends.set(index, Some(backend));
        index
    }

    /// Replaces a backend by one that routes reach under the same index, unless they are equal.
    pub fn replace_backend(&mut self, index: BackendIndex, backend: Backend) {
        if self.table.backends.get(index).is_none_or(|known| **known != backend) {
            self.table.backends.set(index, Some(Arc::new(backend)));
        }
    }

    /// Removes a backend that no route refers to any more; its index will stand for another one.
    pub fn remove_backend(&mut self, index: BackendIndex) {
        self.table.backends.set(index, None);
        self.vacant.push(index);
    }

    /// The backend at an index.
    #[must_use]
    pub fn backend(&self, index: BackendIndex) -> Option<&Arc<Backend>> {
        self.table.backends.get(index)
    }

    /// Adds a virtual host, in place of one with the same pattern unless they are equal.
    pub fn set_host(&mut self, host: VirtualHost) {
        debug_assert!(host.routes.iter().all(|route| match route.target {
            Target::Backend { backend, .. } => self.table.backends.get(backend).is_some(),
            Target::Status(_) => true,
        }));
        debug_assert!(host.passthrough.is_none_or(|backend| self.table.backends.get(backend).is_some()));
        if self.table.hosts.get(host.host()).is_none_or(|known| **known != host) {
            self.table.hosts.insert(Arc::new(host));
        }
    }

    /// Removes the virtual host of a pattern. The catch-all can only be replaced.
    pub fn remove_host(&mut self, host: &HostMatch) {
        self.table.hosts.remove(host);
    }

    /// Changes the certificates of a server name pattern, the preferred one first: each client gets the first that it can
    /// verify. None is the default one, also where a wildcard has another.
    pub fn set_certificates(&mut self, host: &HostMatch, certificates: Box<[Arc<Certificate>]>) {
        self.table.certificates.insert(host, certificates);
    }

    /// A server name pattern has no certificate of its own any more.
    pub fn remove_certificate(&mut self, host: &HostMatch) {
        self.table.certificates.remove(host);
    }

    /// The table as it is now.
    #[must_use]
    pub fn build(&self) -> Table {
        self.table.clone()
    }
}

// === impl VirtualHostBuilder ===

impl VirtualHostBuilder {
    /// A virtual host without routes.
    #[must_use]
    pub fn new(host: HostMatch) -> Self {
        Self { host, tls: None, passthrough: None, routes: BTreeMap::new() }
    }

    /// Changes what is accepted of TLS from clients; `None` is what the settings say.
    pub fn set_tls(&mut self, policy: Option<Arc<TlsPolicy>>) {
        self.tls = policy;
    }

    /// Changes where TLS connections go that are not to be ended here; counts with `Settings::passthrough`.
    pub fn set_passthrough(&mut self, backend: Option<BackendIndex>) {
        self.passthrough = backend;
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
        let root = || PathMatch::Prefix("/".into());
        self.routes.entry(root()).or_insert_with(|| {
            let labels = RouteLabels { host: self.host.to_string().into(), path: "/".into(), ..RouteLabels::default() };
            Arc::new(Route {
                path: root(),
                labels: Arc::new(labels),
                target: Target::Status(StatusCode::NOT_FOUND),
                filters: Box::default(),
                policy: Arc::default(),
            })
        });
        let routes: Box<[_]> = self.routes.into_values().collect();
        VirtualHost {
            host: self.host,
            tls: self.tls,
            passthrough: self.passthrough,
            paths: PathIndex::new(&routes),
            routes,
        }
    }
}
