//! Connections that are carried without being understood.

pub(crate) mod passthrough;
