//! Certificates by server name.

use super::{HostMatch, HostName};
use crate::tls::Certificate;
use hashbrown::HashMap;
use std::sync::Arc;

/// Which certificate answers which server name: exact, else one-label wildcard, else the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateIndex {
    exact: HashMap<HostName, Arc<Certificate>>,
    wildcard: HashMap<HostName, Arc<Certificate>>,
    default: Arc<Certificate>,
}

// === impl CertificateIndex ===

impl CertificateIndex {
    pub(super) fn new(default: Arc<Certificate>) -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), default }
    }

    pub(super) fn insert(&mut self, host: HostMatch, certificate: Arc<Certificate>) {
        match host {
            HostMatch::Exact(name) => self.exact.insert(name, certificate),
            HostMatch::Wildcard(name) => self.wildcard.insert(name, certificate),
            HostMatch::Any => Some(std::mem::replace(&mut self.default, certificate)),
        };
    }

    /// The certificate for a server name as rustls hands it over (lower case, no trailing dot). Does not allocate.
    #[must_use]
    pub fn find(&self, server_name: Option<&str>) -> &Arc<Certificate> {
        let Some(name) = server_name else { return &self.default };
        if let Some(found) = self.exact.get(name) {
            return found;
        }
        name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest)).unwrap_or(&self.default)
    }

    /// The certificate for names that no other one answers.
    #[must_use]
    pub fn default_certificate(&self) -> &Arc<Certificate> {
        &self.default
    }

    /// All entries but the default, sorted by pattern.
    #[must_use]
    pub fn sorted(&self) -> Vec<(HostMatch, &Arc<Certificate>)> {
        let exact = self.exact.iter().map(|(name, cert)| (HostMatch::Exact(name.clone()), cert));
        let wildcard = self.wildcard.iter().map(|(name, cert)| (HostMatch::Wildcard(name.clone()), cert));
        let mut entries: Vec<_> = exact.chain(wildcard).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries
    }
}
