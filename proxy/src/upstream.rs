//! Connections to endpoints, pooled per worker: [`http1`] and [`http2`].

pub(crate) mod connect;
pub(crate) mod http1;
pub(crate) mod http2;
mod io;
pub(crate) mod pool;

pub(crate) use self::io::UpstreamIo;
use crate::{body::RequestBody, error::ProxyError, table::Endpoint, tls::UpstreamTls};
use hashbrown::Equivalent;
use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

/// What a connection may be used for: its endpoint, under the TLS settings that it was opened with. HTTP/1.1 and HTTP/2
/// have maps of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    endpoint: Endpoint,
    tls: Option<Arc<UpstreamTls>>,
}

/// Where a request wants to go: a [`Key`] that is only looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) endpoint: Endpoint,
    /// `None` is cleartext.
    pub(crate) tls: Option<&'a Arc<UpstreamTls>>,
}

/// The time that a request under way has.
pub(crate) trait Clock {
    /// Part of an answer has come, and the rest has not (nginx's read timeout is between two of them).
    fn heard(&self);

    /// What it means that the deadline has passed.
    fn expired(&self) -> ProxyError;
}

/// A request that got no response.
pub(crate) struct Unanswered {
    pub(crate) error: ProxyError,
    /// The body as it was, when the endpoint cannot have acted on the request.
    pub(crate) body: Option<RequestBody>,
    /// It only says that this connection was closed by the time, and nothing about the endpoint.
    pub(crate) stale: bool,
}

// === impl Key ===

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Few endpoints are reached under two settings.
        self.endpoint.hash(state);
    }
}

// === impl Target ===

impl Target<'_> {
    fn to_key(self) -> Key {
        Key { endpoint: self.endpoint, tls: self.tls.cloned() }
    }
}

impl Hash for Target<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.endpoint.hash(state);
    }
}

impl Equivalent<Key> for Target<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.endpoint == key.endpoint
            && match (self.tls, &key.tls) {
                (None, None) => true,
                (Some(this), Some(other)) => Arc::ptr_eq(this, other) || this == other,
                _ => false,
            }
    }
}
