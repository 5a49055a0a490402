//! Where objects come from: a cluster or a directory. Both fill the same [`Snapshot`](crate::snapshot::Snapshot).

pub mod cluster;
pub mod dns;
pub mod files;
mod outlet;
pub mod ports;
