//! The commands of the binary. Thin: each wires parts together.

pub mod crds;
pub mod demo;
pub mod serve;
