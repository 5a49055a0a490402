//! The control plane of rust-nginx: where objects come from, how they become a routing table, and what is written back.
//!
//! ```text
//!  source::cluster ─┐
//!                   ├─> source::Store ─> Snapshot ─> compile ─> Compiled { table, diagnostics, references }
//!  source::files  ──┘                                 (pure)      │            │
//!                                                    proxy::Handle::install   status, Events (leader only)
//! ```

pub mod args;
pub mod compile;
pub mod diagnostic;
pub mod snapshot;
