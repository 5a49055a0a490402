//! The data plane of rust-nginx: listeners, TLS, routing by an immutable table, balancing, connections to endpoints.
//!
//! The crate knows no Kubernetes: it is driven by a [`table::Table`] that somebody compiles and installs.
//!
//! ```text
//!  Handle ──(ArcSwap)──> Table                     installed by the control plane
//!    │
//!  Proxy ─ Worker (one per core) ─ listener ─ tls ─ request ─ filter ─ balance ─ upstream ─> endpoint
//!                  │           │                           └─ exchange ─> metrics, access log
//!                  └─ stream (TCP and UDP services) ─────────────────────────────────> endpoint
//! ```

mod access_log;
mod balance;
mod body;
mod compress;
mod drain;
mod error;
mod exchange;
mod failures;
pub mod filter;
mod forwarded;
mod frames;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod head;
mod hex;
mod hop;
mod listener;
pub mod metrics;
mod near;
mod rarely;
mod request;
mod respond;
mod retry;
mod splice;
mod stream;
pub mod table;
mod timeout;
pub mod tls;
mod upgrade;
mod upstream;
pub mod variable;
mod worker;

pub use self::{
    drain::{Drained, Listen, Proxy, StartError},
    handle::Handle,
    listener::unspecified,
    near::is_near,
    splice::Splice,
    stream::{StreamPort, Unbound},
};
