//! Destinations: a named backend and its endpoints.

use serde::Serialize;
use std::{net::SocketAddr, num::NonZeroU16, sync::Arc};

/// Identity of a backend across tables; opaque to the proxy, printed in logs and metrics
/// (`namespace-service-port` in Kubernetes). Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BackendKey(Arc<str>);

/// Position of a backend in a table and in those that are made from it. It means another backend, or none, after this one
/// was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendIndex(u32);

/// A named destination: one or more endpoints that are all ready to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    key: BackendKey,
    protocol: Protocol,
    endpoints: Box<[Endpoint]>,
    /// Of each endpoint; empty when all are 1.
    weights: Box<[NonZeroU16]>,
}

/// Backends by position. Positions do not move while backends come and go, so that a virtual host stays valid. A clone
/// costs a pointer per [`CHUNK`] backends and shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Backends {
    chunks: Vec<Arc<Vec<Option<Arc<Backend>>>>>,
}

/// Positions that are copied together when one of them changes.
const CHUNK: usize = 64;

/// One address of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Endpoint {
    /// Where to connect to.
    pub address: SocketAddr,
}

/// What is spoken to an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Cleartext HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/1.1 over TLS.
    Https1,
    /// Cleartext HTTP/2 by prior knowledge (RFC 9113 §3.3).
    H2c,
    /// HTTP/2 over TLS, agreed on by ALPN.
    H2,
    /// gRPC over cleartext HTTP/2: `TE: trailers` is always sent.
    Grpc,
    /// gRPC over HTTP/2 over TLS.
    Grpcs,
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

// === impl Backends ===

impl Backends {
    pub(super) fn get(&self, index: BackendIndex) -> Option<&Arc<Backend>> {
        let index = index.get();
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)?.as_ref()
    }

    /// Changes what stands at a position, which may be the one after the last.
    pub(super) fn set(&mut self, index: BackendIndex, backend: Option<Arc<Backend>>) {
        let index = index.get();
        if index / CHUNK == self.chunks.len() {
            self.chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut self.chunks[index / CHUNK]);
        if index % CHUNK == chunk.len() {
            chunk.push(backend);
        } else {
            chunk[index % CHUNK] = backend;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().flatten())
    }

    /// Whether both are the same in memory.
    pub(super) fn ptr_eq(&self, other: &Self) -> bool {
        self.chunks.len() == other.chunks.len()
            && self.chunks.iter().zip(&other.chunks).all(|(chunk, other)| Arc::ptr_eq(chunk, other))
    }
}

// === impl Protocol ===

impl Protocol {
    /// Over TLS.
    #[must_use]
    pub fn is_tls(self) -> bool {
        match self {
            Self::Https1 | Self::H2 | Self::Grpcs => true,
            Self::Http1 | Self::H2c | Self::Grpc => false,
        }
    }

    /// HTTP/2: connections are shared by requests, and trailers pass.
    #[must_use]
    pub fn is_http2(self) -> bool {
        match self {
            Self::H2c | Self::H2 | Self::Grpc | Self::Grpcs => true,
            Self::Http1 | Self::Https1 => false,
        }
    }

    /// gRPC.
    #[must_use]
    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }
}

// === impl Backend ===

impl Backend {
    /// A backend with its ready endpoints. They are sorted and made unique, so that equal sets are equal backends.
    #[must_use]
    pub fn new(key: BackendKey, protocol: Protocol, mut endpoints: Vec<Endpoint>) -> Self {
        endpoints.sort_unstable();
        endpoints.dedup();
        Self { key, protocol, endpoints: endpoints.into_boxed_slice(), weights: Box::default() }
    }

    /// The same with the share of the requests that each endpoint gets in comparison with the others. Of two weights for
    /// one endpoint the larger counts.
    #[must_use]
    pub fn weighted(key: BackendKey, protocol: Protocol, mut endpoints: Vec<(Endpoint, NonZeroU16)>) -> Self {
        endpoints.sort_unstable_by_key(|(endpoint, weight)| (*endpoint, std::cmp::Reverse(*weight)));
        endpoints.dedup_by_key(|(endpoint, _)| *endpoint);
        let (endpoints, weights): (Vec<_>, Vec<_>) = endpoints.into_iter().unzip();
        let equal = weights.iter().all(|weight| *weight == NonZeroU16::MIN);
        let weights = if equal { Box::default() } else { weights.into_boxed_slice() };
        Self { key, protocol, endpoints: endpoints.into_boxed_slice(), weights }
    }

    /// Identity across tables.
    #[must_use]
    pub fn key(&self) -> &BackendKey {
        &self.key
    }

    /// What is spoken to the endpoints where the route does not say otherwise.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The endpoints, sorted and unique.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Weights in the order of the endpoints; empty when all are 1.
    #[must_use]
    pub fn weights(&self) -> &[NonZeroU16] {
        &self.weights
    }
}
