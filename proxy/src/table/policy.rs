//! Unordered settings of a route.

use super::{Backend, Protocol};
use crate::tls::UpstreamTls;
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// Timeouts, retry and limits of a route. Defaults are those of ingress-nginx without annotations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Time to establish a connection to an endpoint.
    pub connect_timeout: Duration,
    /// Longest pause between two writes to the endpoint.
    pub send_timeout: Duration,
    /// Longest pause between two reads from the endpoint.
    pub read_timeout: Duration,
    /// When and how often another endpoint is tried.
    pub retry: Retry,
    /// Largest accepted request body in bytes; `None` is unlimited.
    pub max_body: Option<u64>,
    /// Whether requests of the route appear in the access log.
    pub access_log: bool,
    /// What is spoken to the endpoints; `None` is what their backend says.
    pub protocol: Option<ProtocolChoice>,
    /// TLS to the endpoints, where the protocol has any; `None` sends no name and checks no certificate.
    pub tls: Option<Arc<UpstreamTls>>,
}

/// What a route says about the protocol of its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolChoice {
    /// HTTP/1.1, over TLS for clients that came over TLS.
    AutoHttp,
    /// This one.
    #[serde(untagged)]
    Fixed(Protocol),
}

/// When another endpoint is tried (nginx `proxy_next_upstream` and its companions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// The outcomes that allow another try.
    pub on: RetryOn,
    /// Tries in total; 0 is unlimited (each endpoint is still tried at most once per round).
    pub tries: u32,
    /// No new try is started after this time; `None` is no limit.
    pub timeout: Option<Duration>,
}

/// Outcomes after which nginx would pass the request to the next server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RetryOn {
    /// Connecting, sending or reading the head failed.
    pub error: bool,
    /// Connecting, sending or reading the head took too long.
    pub timeout: bool,
    /// Also methods that are not idempotent, once they may have reached the endpoint.
    pub non_idempotent: bool,
}

// === impl Policy ===

impl Policy {
    /// What is spoken to the endpoints of a backend for a client that came over TLS or not.
    #[must_use]
    pub fn protocol_to(&self, backend: &Backend, client_has_tls: bool) -> Protocol {
        match self.protocol {
            None => backend.protocol(),
            Some(ProtocolChoice::Fixed(protocol)) => protocol,
            Some(ProtocolChoice::AutoHttp) if client_has_tls => Protocol::Https1,
            Some(ProtocolChoice::AutoHttp) => Protocol::Http1,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            send_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(60),
            retry: Retry::default(),
            max_body: Some(1024 * 1024),
            access_log: true,
            protocol: None,
            tls: None,
        }
    }
}

// === impl Retry ===

impl Default for Retry {
    fn default() -> Self {
        Self { on: RetryOn { error: true, timeout: true, non_idempotent: false }, tries: 3, timeout: None }
    }
}
