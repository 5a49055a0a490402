//! The control plane of rust-nginx: where objects come from, how they become a routing table, and what is written back.
//!
//! ```text
//!  source::cluster ─┐
//!                   ├─> source::Store ─> Snapshot ─> compile ─> Compiled { table, diagnostics, references }
//!  source::files  ──┘                                 (pure)      │            │
//!                                                    proxy::Handle::install   status, Events (leader only)
//! ```

pub mod admin;
pub mod args;
pub mod cli;
pub mod compile;
mod demo;
pub mod diagnostic;
pub mod lease;
pub mod metrics;
pub mod reconcile;
pub mod snapshot;
pub mod source;
pub mod status;
pub mod telemetry;
