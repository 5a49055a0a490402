//! The proxy on real sockets, in process: raw bytes in, raw bytes out, with endpoints that misbehave on purpose.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "blocking clients and endpoints, in threads")]

mod balance;
mod buffering;
mod changes;
mod client_certificates;
mod compression;
mod connections;
mod early_answers;
mod floods;
mod harness;
mod hop;
mod http2;
mod limits;
mod passthrough;
mod plain;
mod proxy_protocol;
mod retry;
mod streams;
mod tls;
mod tls_client;
mod tls_policies;
mod trust;
mod upgrades;
mod upstream_http1;
mod upstream_http2;
mod upstream_tls;
