//! Unordered settings of a route.

use super::{Affinity, Backend, Ejection, LoadBalancing, Protocol};
use crate::tls::UpstreamTls;
use http::StatusCode;
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
    /// Whether a request body is read as a whole before an endpoint is asked; never with HTTP/2, gRPC and upgrades.
    #[serde(skip_serializing_if = "is_true")]
    pub request_buffering: bool,
    /// How much of a body that is read as a whole is kept in memory, in bytes; the rest goes to a temporary file.
    #[serde(skip_serializing_if = "is_default_body_buffer")]
    pub body_buffer: u64,
    /// Largest accepted head of a response, in bytes.
    #[serde(skip_serializing_if = "is_default_response_head")]
    pub response_head: usize,
    /// Whether requests of the route appear in the access log.
    pub access_log: bool,
    /// What is spoken to the endpoints; `None` is what their backend says.
    pub protocol: Option<ProtocolChoice>,
    /// TLS to the endpoints, where the protocol has any; `None` sends no name and checks no certificate.
    pub tls: Option<Arc<UpstreamTls>>,
    /// How an endpoint is picked.
    #[serde(skip_serializing_if = "LoadBalancing::is_round_robin")]
    pub load_balancing: LoadBalancing,
    /// Keeps clients on their endpoints; it comes before `load_balancing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Arc<Affinity>>,
    /// Leaves endpoints that fail alone for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Ejection>,
    /// How long it takes until a new endpoint has its full share of the requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Duration>,
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
    /// The head of the response is none.
    #[serde(skip_serializing_if = "is_false")]
    pub invalid_header: bool,
    /// The response has one of these statuses; after the last try it goes to the client.
    #[serde(skip_serializing_if = "RetryStatuses::is_empty")]
    pub statuses: RetryStatuses,
    /// Also methods that are not idempotent, once they may have reached the endpoint.
    pub non_idempotent: bool,
}

/// A set of statuses after which nginx can pass a request on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryStatuses(u8);

/// Largest head of a response by default, as in nginx (`proxy_buffer_size`).
const RESPONSE_HEAD: usize = 4 << 10;

/// Kept in memory of a body by default, as in nginx.
const BODY_BUFFER: u64 = 8 * 1024;

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
            request_buffering: true,
            body_buffer: BODY_BUFFER,
            response_head: RESPONSE_HEAD,
            access_log: true,
            protocol: None,
            tls: None,
            load_balancing: LoadBalancing::RoundRobin,
            affinity: None,
            ejection: None,
            slow_start: None,
        }
    }
}

// === impl Retry ===

impl Default for Retry {
    fn default() -> Self {
        let on = RetryOn { error: true, timeout: true, ..RetryOn::NOTHING };
        Self { on, tries: 3, timeout: None }
    }
}

// === impl RetryOn ===

impl RetryOn {
    /// Never.
    pub const NOTHING: Self =
        Self { error: false, timeout: false, invalid_header: false, statuses: RetryStatuses(0), non_idempotent: false };
}

// === impl RetryStatuses ===

impl RetryStatuses {
    /// Every status that can be in a set.
    pub const ALL: [u16; 7] = [403, 404, 429, 500, 502, 503, 504];

    /// Adds a status; false when it is none of [`Self::ALL`].
    pub fn insert(&mut self, status: u16) -> bool {
        let position = Self::ALL.iter().position(|known| *known == status);
        self.0 |= position.map_or(0, |position| 1 << position);
        position.is_some()
    }

    /// Whether the status is in the set.
    #[must_use]
    pub fn contains(self, status: StatusCode) -> bool {
        self.0 != 0 && self.iter().any(|known| known == status.as_u16())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    fn iter(self) -> impl Iterator<Item = u16> {
        (0..).zip(Self::ALL).filter(move |(position, _)| self.0 & (1 << position) != 0).map(|(_, status)| status)
    }
}

impl Serialize for RetryStatuses {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_default_body_buffer(value: &u64) -> bool {
    *value == BODY_BUFFER
}

fn is_default_response_head(value: &usize) -> bool {
    *value == RESPONSE_HEAD
}
