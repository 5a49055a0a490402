//! The parts of `rust-nginx demo`: sample pods, certificates, manifests, a client that checks all of it, and what is said.
//!
//! ```text
//!  [ check ] ─ [ client ] ──> rust-nginx serve ──> [ pod ] × 5
//!                                  │
//!                        [ manifests ] <─ [ certificate ]
//! ```
//!
//! What stands in the middle is the same as in `rust-nginx serve --manifests`: the demo adds the world around it.

pub(crate) mod certificate;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod guide;
pub(crate) mod manifests;
pub(crate) mod pod;
mod websocket;
