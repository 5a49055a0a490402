//! The proxy on real sockets, in process: raw bytes in, raw bytes out, with endpoints that misbehave on purpose.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod harness;
mod plain;
mod tls;
