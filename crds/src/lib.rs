//! The custom resources of rust-nginx.
//!
//! Owns the Rust types of the API group, from which their YAML is generated. Knows nothing of what the controller does
//! with them. No release serves a kind of its own yet, so that a cluster needs no CustomResourceDefinition; the group is
//! reserved here and nowhere else.

/// The API group of every kind.
pub const GROUP: &str = "rust-nginx.io";

/// The version in which they are served and stored.
pub const VERSION: &str = "v1alpha1";
