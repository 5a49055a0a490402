//! What a host name resolves to.

use std::{net::IpAddr, sync::Arc};

/// The outcome of looking a host name up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Its addresses, sorted and distinct.
    pub addresses: Box<[IpAddr]>,
    /// Why there is none, or why they are no fresh ones, in the words of DNS.
    pub problem: Option<Arc<str>>,
}

// === impl Resolved ===

impl Resolved {
    /// These addresses.
    #[must_use]
    pub fn found(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut addresses: Vec<_> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        Self { addresses: addresses.into(), problem: None }
    }

    /// None, for this reason.
    #[must_use]
    pub fn failed(problem: impl Into<Arc<str>>) -> Self {
        Self { addresses: Box::default(), problem: Some(problem.into()) }
    }
}
