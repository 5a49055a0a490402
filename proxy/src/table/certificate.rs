//! Certificates by server name.

use super::{HostMatch, HostName, persistent::Map};
use crate::tls::Certificate;
use std::sync::Arc;

/// Which certificate answers which server name: exact, else one-label wildcard, else the default. A clone costs the
/// same however many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateIndex {
    exact: Map<HostName, Named>,
    wildcard: Map<HostName, Named>,
    default: Arc<Certificate>,
}

/// The certificate of a name; `None` is the default one, which a name can ask for lest that of a wildcard answer.
type Named = Option<Arc<Certificate>>;

// === impl CertificateIndex ===

impl CertificateIndex {
    pub(super) fn new(default: Arc<Certificate>) -> Self {
        Self { exact: Map::default(), wildcard: Map::default(), default }
    }

    /// Changes the certificate for names that no other one answers.
    pub(super) fn set_default(&mut self, certificate: Arc<Certificate>) {
        self.default = certificate;
    }

    /// Changes the certificate of a pattern. The catch-all always has the default one.
    pub(super) fn insert(&mut self, host: &HostMatch, certificate: Named) {
        let same = |known: Option<&Named>| known.is_some_and(|known| *known == certificate);
        match host {
            HostMatch::Exact(name) if !same(self.exact.get(name)) => _ = self.exact.insert(name.clone(), certificate),
            HostMatch::Wildcard(name) if !same(self.wildcard.get(name)) => {
                _ = self.wildcard.insert(name.clone(), certificate);
            }
            HostMatch::Exact(_) | HostMatch::Wildcard(_) | HostMatch::Any => {}
        }
    }

    /// A pattern has no certificate of its own any more.
    pub(super) fn remove(&mut self, host: &HostMatch) {
        match host {
            HostMatch::Exact(name) if self.exact.contains_key(name) => _ = self.exact.remove(name),
            HostMatch::Wildcard(name) if self.wildcard.contains_key(name) => _ = self.wildcard.remove(name),
            HostMatch::Exact(_) | HostMatch::Wildcard(_) | HostMatch::Any => {}
        }
    }

    /// Whether both are the same in memory.
    pub(super) fn ptr_eq(&self, other: &Self) -> bool {
        self.exact.ptr_eq(&other.exact)
            && self.wildcard.ptr_eq(&other.wildcard)
            && Arc::ptr_eq(&self.default, &other.default)
    }

    /// The certificate for a server name as rustls hands it over (lower case, no trailing dot). Does not allocate.
    #[must_use]
    pub fn find(&self, server_name: Option<&str>) -> &Arc<Certificate> {
        let Some(name) = server_name else { return &self.default };
        let named = self.exact.get(name).or_else(|| name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest)));
        named.and_then(Option::as_ref).unwrap_or(&self.default)
    }

    /// The certificate for names that no other one answers.
    #[must_use]
    pub fn default_certificate(&self) -> &Arc<Certificate> {
        &self.default
    }

    /// All entries but the default, sorted by pattern.
    #[must_use]
    pub fn sorted(&self) -> Vec<(HostMatch, &Arc<Certificate>)> {
        let exact = self.exact.iter().map(|(name, named)| (HostMatch::Exact(name.clone()), named));
        let wildcard = self.wildcard.iter().map(|(name, named)| (HostMatch::Wildcard(name.clone()), named));
        let mut entries: Vec<_> =
            exact.chain(wildcard).map(|(host, named)| (host, named.as_ref().unwrap_or(&self.default))).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries
    }
}
