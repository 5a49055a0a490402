//! TLS versions, towards clients and towards endpoints.

use rustls::SupportedProtocolVersion;
use serde::Serialize;

/// TLS versions. RFC 8996: nothing below 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TlsVersions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

// === impl TlsVersions ===

impl TlsVersions {
    pub(super) fn supported(self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(self.tls13, &rustls::version::TLS13), (self.tls12, &rustls::version::TLS12)];
        all.into_iter().filter_map(|(accepted, version)| accepted.then_some(version)).collect()
    }
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self { tls12: true, tls13: true }
    }
}
