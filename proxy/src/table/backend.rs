//! Destinations: a named backend and its endpoints.

use serde::Serialize;
use std::{net::SocketAddr, sync::Arc};

/// Identity of a backend across tables; opaque to the proxy, printed in logs and metrics
/// (`namespace-service-port` in Kubernetes). Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BackendKey(Arc<str>);

/// Position of a backend in one table. Means nothing in another table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendIndex(u32);

/// A named destination: one or more endpoints that are all ready to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    key: BackendKey,
    protocol: Protocol,
    endpoints: Box<[Endpoint]>,
}

/// One address of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Endpoint {
    /// Where to connect to.
    pub address: SocketAddr,
}

/// What is spoken to the endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Cleartext HTTP/1.1.
    #[default]
    Http1,
}

// === impl BackendKey ===

impl BackendKey {
    /// A key with the given text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text of the key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for BackendKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl BackendIndex ===

impl BackendIndex {
    pub(super) fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("fewer than 2^32 backends fit in memory"))
    }

    /// The index as a number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

// === impl Backend ===

impl Backend {
    /// A backend with its ready endpoints. They are sorted and made unique, so that equal sets are equal backends.
    #[must_use]
    pub fn new(key: BackendKey, protocol: Protocol, mut endpoints: Vec<Endpoint>) -> Self {
        endpoints.sort_unstable();
        endpoints.dedup();
        Self { key, protocol, endpoints: endpoints.into_boxed_slice() }
    }

    /// Identity across tables.
    #[must_use]
    pub fn key(&self) -> &BackendKey {
        &self.key
    }

    /// What is spoken to the endpoints.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The endpoints, sorted and unique.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }
}
