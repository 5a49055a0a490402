//! Settings of the whole process that may change while it runs.

use super::{Compression, Headers, Limits, Logs, StreamSettings, Trust};
use crate::tls::TlsPolicy;
use http::HeaderValue;
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// What applies to every listener and route. Defaults are those of ingress-nginx with an empty ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Idle time of a client connection between requests; zero disables keep-alive.
    pub keep_alive: Duration,
    /// Requests per client connection before it is closed gracefully, HTTP/1.1 and HTTP/2 alike.
    pub keep_alive_requests: u32,
    /// Time for a client to send a complete request head.
    pub client_header_timeout: Duration,
    /// Longest pause between two reads of a request body.
    pub client_body_timeout: Duration,
    /// Request heads and connections.
    pub limits: Limits,
    /// Concurrent streams per HTTP/2 connection.
    pub http2_max_concurrent_streams: u32,
    /// Whether HTTP/2 is offered by ALPN and accepted by prior knowledge.
    pub http2: bool,
    /// What is accepted of TLS from clients, where a host says nothing else.
    pub tls: Arc<TlsPolicy>,
    /// Whether what authorities say about our certificates is stapled to them.
    pub ocsp: bool,
    /// Whether connections may go on as TLS to the endpoints of hosts that want it.
    pub passthrough: bool,
    /// Whether handshakes end that name no host of ours, or none at all.
    pub reject_unknown_names: bool,
    /// The `Strict-Transport-Security` header of responses over TLS; `None` is off.
    pub hsts: Option<Hsts>,
    /// Whether a request without `X-Request-ID` is given one.
    pub generate_request_id: bool,
    /// Access log on or off for everything.
    pub access_log: bool,
    /// What the access logs hold.
    pub logs: Logs,
    /// Connection pools to the endpoints.
    pub upstream_keep_alive: UpstreamKeepAlive,
    /// Who is believed about a client.
    pub trust: Trust,
    /// Which fields pass, and which are set.
    pub headers: Headers,
    /// Which responses are compressed.
    pub compression: Compression,
    /// What applies to all services that are not HTTP.
    pub streams: StreamSettings,
}

/// Value of the `Strict-Transport-Security` header (RFC 6797 §6.1), rendered once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts(HeaderValue);

/// Limits of the pools of idle connections to endpoints, per worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamKeepAlive {
    /// Idle connections kept per backend; 0 closes every connection after its request.
    pub connections: u32,
    /// How long an idle connection is kept.
    pub timeout: Duration,
    /// Longest age of a connection that is used again.
    pub max_age: Duration,
    /// Requests per connection.
    pub requests: u32,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(75),
            keep_alive_requests: 1000,
            client_header_timeout: Duration::from_secs(60),
            client_body_timeout: Duration::from_secs(60),
            limits: Limits::default(),
            http2_max_concurrent_streams: 128,
            http2: true,
            tls: Arc::default(),
            ocsp: false,
            passthrough: false,
            reject_unknown_names: false,
            hsts: Some(Hsts::new(31_536_000, true, false)),
            generate_request_id: true,
            access_log: true,
            logs: Logs::default(),
            upstream_keep_alive: UpstreamKeepAlive::default(),
            trust: Trust::default(),
            headers: Headers::default(),
            compression: Compression::default(),
            streams: StreamSettings::default(),
        }
    }
}

// === impl UpstreamKeepAlive ===

impl Default for UpstreamKeepAlive {
    fn default() -> Self {
        Self {
            connections: 320,
            timeout: Duration::from_secs(60),
            max_age: Duration::from_secs(3600),
            requests: 10_000,
        }
    }
}

// === impl Hsts ===

impl Hsts {
    /// The header for a policy of so many seconds.
    #[must_use]
    pub fn new(max_age_seconds: u64, include_subdomains: bool, preload: bool) -> Self {
        let mut text = format!("max-age={max_age_seconds}");
        if include_subdomains {
            text.push_str("; includeSubDomains");
        }
        if preload {
            text.push_str("; preload");
        }
        Self(HeaderValue::try_from(text).expect("digits and fixed words are a valid header value"))
    }

    /// The rendered value.
    #[must_use]
    pub fn header(&self) -> &HeaderValue {
        &self.0
    }
}

impl Serialize for Hsts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.to_str().unwrap_or_default())
    }
}
