//! Services that are not HTTP: a port of ours, and where its bytes go.

use super::{BackendKey, Endpoint};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port that is open while it has endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamService {
    /// What is spoken on the port.
    pub transport: Transport,
    /// The port, on all addresses.
    pub port: u16,
    /// The name in logs.
    pub backend: BackendKey,
    /// Where sessions go; sorted and unique.
    pub endpoints: Box<[Endpoint]>,
    /// Connections begin with a PROXY header.
    pub accepts_proxy: bool,
    /// Connections to endpoints begin with a PROXY header of ours.
    pub sends_proxy: bool,
}

/// All of them, by transport and port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Streams(Box<[Arc<StreamService>]>);

/// What applies to all of them (`proxy-stream-*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StreamSettings {
    /// A session ends when nothing moves for so long.
    pub idle: Duration,
    /// Whether another endpoint is tried when one cannot be connected to.
    pub next_upstream: bool,
    /// Tries in total; 0 is one for each endpoint.
    pub tries: u32,
    /// No new try is started after this time; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Datagrams that answer one of the client; a session is over when they are there.
    pub responses: u32,
    /// Whether sessions are logged.
    pub access_log: bool,
}

// === impl Transport ===

impl Transport {
    /// As nginx's `$protocol`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

// === impl Streams ===

impl Streams {
    /// Of several services with one transport and port the first counts.
    #[must_use]
    pub fn new(services: impl IntoIterator<Item = StreamService>) -> Self {
        let mut services: Vec<_> = services.into_iter().map(Arc::new).collect();
        services.sort_by_key(|service| (service.transport, service.port));
        services.dedup_by_key(|service| (service.transport, service.port));
        Self(services.into())
    }

    /// The service of a port.
    #[must_use]
    pub fn get(&self, transport: Transport, port: u16) -> Option<&Arc<StreamService>> {
        let position = self.0.binary_search_by_key(&(transport, port), |service| (service.transport, service.port));
        position.ok().map(|position| &self.0[position])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<StreamService>> {
        self.0.iter()
    }
}

// === impl StreamSettings ===

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(600),
            next_upstream: true,
            tries: 3,
            timeout: Some(Duration::from_secs(600)),
            responses: 1,
            access_log: true,
        }
    }
}
