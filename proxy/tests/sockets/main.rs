//! The proxy on real sockets, in process: raw bytes in, raw bytes out, with endpoints that misbehave on purpose.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "blocking clients and endpoints, in threads")]

mod balance;
mod buffering;
mod harness;
mod http2;
mod plain;
mod retry;
mod tls;
mod upstream_http2;
mod upstream_tls;
