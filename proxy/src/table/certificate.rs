//! Certificates by server name.

use super::{HostMatch, HostName, by_name::ByName};
use crate::tls::Certificate;
use std::sync::Arc;

/// Which certificate answers which server name: exact, else one-label wildcard, else the default. A clone costs the
/// same however many there are.
#[derive(Clone, Debug)]
pub struct CertificateIndex {
    exact: ByName<Entry>,
    wildcard: ByName<Entry>,
    default: Arc<Certificate>,
}

/// The certificates of a name, the preferred one first; none is the default one, which a name can ask for lest that of a
/// wildcard answer.
#[derive(Clone, Debug)]
struct Entry(HostName, Box<[Arc<Certificate>]>);

// === impl CertificateIndex ===

impl CertificateIndex {
    pub(super) fn new(default: Arc<Certificate>) -> Self {
        Self { exact: ByName::default(), wildcard: ByName::default(), default }
    }

    /// Changes the certificate for names that no other one answers.
    pub(super) fn set_default(&mut self, certificate: Arc<Certificate>) {
        self.default = certificate;
    }

    /// Changes the certificates of a pattern. The catch-all always has the default one.
    pub(super) fn insert(&mut self, host: &HostMatch, certificates: Box<[Arc<Certificate>]>) {
        let Some((index, name)) = self.index(host) else { return };
        if index.get(name.as_str()).is_none_or(|Entry(_, known)| *known != certificates) {
            index.insert(name, Entry(name.clone(), certificates));
        }
    }

    /// A pattern has no certificate of its own any more.
    pub(super) fn remove(&mut self, host: &HostMatch) {
        if let Some((index, name)) = self.index(host) {
            index.remove(name.as_str());
        }
    }

    fn index<'a>(&mut self, host: &'a HostMatch) -> Option<(&mut ByName<Entry>, &'a HostName)> {
        match host {
            HostMatch::Exact(name) => Some((&mut self.exact, name)),
            HostMatch::Wildcard(name) => Some((&mut self.wildcard, name)),
            HostMatch::Any => None,
        }
    }

    /// Whether both are the same in memory.
    pub(super) fn ptr_eq(&self, other: &Self) -> bool {
        self.exact.ptr_eq(&other.exact)
            && self.wildcard.ptr_eq(&other.wildcard)
            && Arc::ptr_eq(&self.default, &other.default)
    }

    /// The certificates for a server name as rustls hands it over (lower case, no trailing dot), at least one, the
    /// preferred one first. Does not allocate.
    #[must_use]
    pub fn find(&self, server_name: Option<&str>) -> &[Arc<Certificate>] {
        let default = std::slice::from_ref(&self.default);
        let Some(name) = server_name else { return default };
        let named = self.exact.get(name).or_else(|| name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest)));
        named.map(|Entry(_, certificates)| &**certificates).filter(|found| !found.is_empty()).unwrap_or(default)
    }

    /// The certificate for names that no other one answers.
    #[must_use]
    pub fn default_certificate(&self) -> &Arc<Certificate> {
        &self.default
    }

    /// All entries but the default, sorted by pattern, one for each certificate.
    #[must_use]
    pub fn sorted(&self) -> Vec<(HostMatch, &Arc<Certificate>)> {
        let exact = self.exact.values().map(|entry| (HostMatch::Exact(entry.0.clone()), entry));
        let wildcard = self.wildcard.values().map(|entry| (HostMatch::Wildcard(entry.0.clone()), entry));
        let mut entries: Vec<_> = exact
            .chain(wildcard)
            .flat_map(|(host, Entry(_, certificates))| {
                let default = certificates.is_empty().then_some(&self.default);
                certificates.iter().chain(default).map(move |certificate| (host.clone(), certificate))
            })
            .collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries
    }
}
