//! The data plane of rust-nginx: listeners, TLS, routing by an immutable table, balancing, connections to endpoints.
//!
//! The crate knows no Kubernetes: it is driven by a [`table::Table`] that somebody compiles and installs.
//!
//! ```text
//!  Handle ──(ArcSwap)──> Table                     installed by the control plane
//!    │
//!  Proxy ─ Worker (one per core) ─ listener ─ tls ─ request ─ filter ─ balance ─ upstream ─> endpoint
//!                                                      └─ exchange ─> metrics, access log
//! ```

mod access_log;
mod balance;
mod body;
mod drain;
mod error;
mod exchange;
pub mod filter;
mod forwarded;
mod handle;
mod hop;
mod listener;
pub mod metrics;
mod request;
mod respond;
mod retry;
mod stream;
pub mod table;
mod timeout;
pub mod tls;
mod upgrade;
mod upstream;
mod worker;

pub use self::{
    drain::{Drained, Listen, Proxy, StartError},
    handle::Handle,
    listener::unspecified,
};
