//! The data plane of rust-nginx: listeners, TLS, routing by an immutable table, balancing, connections to endpoints.
//!
//! The crate knows no Kubernetes: it is driven by a [`table::Table`] that somebody compiles and installs.
//!
//! ```text
//!  Handle ──(ArcSwap)──> Table           installed by the controller
//!    │
//!  Worker (one per core) ─ Listener ─ TLS ─ request.rs ─ filter ─ balance ─ upstream ─> endpoint
//! ```

pub mod filter;
pub mod table;
pub mod tls;
