//! Certificates of authorities: whom a chain must come from, towards endpoints and from clients.

use rustls::{
    DistinguishedName,
    pki_types::{CertificateDer, TrustAnchor, pem::PemObject},
};
use std::fmt;
use webpki::{Error, VerifiedPath};

/// Certificates of authorities.
#[derive(PartialEq, Eq)]
pub struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

/// Why certificates of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// No `CERTIFICATE` block.
    #[error("holds no PEM block CERTIFICATE")]
    Empty,
    /// A PEM block that cannot be decoded.
    #[error("is not valid PEM: {0}")]
    Pem(rustls::pki_types::pem::Error),
    /// A certificate that is not X.509.
    #[error("certificate {number} cannot be an authority: {reason}")]
    Unusable {
        /// Position, counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

// === impl Authorities ===

impl Authorities {
    /// Parses one or more certificates.
    ///
    /// # Errors
    /// See [`AuthoritiesError`]; messages fit behind the name of the field that holds the text.
    pub fn from_pem(text: &[u8]) -> Result<Self, AuthoritiesError> {
        let certificates =
            CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(AuthoritiesError::Pem)?;
        if certificates.is_empty() {
            return Err(AuthoritiesError::Empty);
        }
        let anchors = certificates.iter().enumerate().map(|(index, certificate)| {
            let anchor = webpki::anchor_from_trusted_cert(certificate);
            let anchor = anchor.map(|anchor| anchor.to_owned());
            anchor.map_err(|error| AuthoritiesError::Unusable { number: index + 1, reason: error.to_string() })
        });
        let anchors = anchors.collect::<Result<_, _>>()?;
        Ok(Self { anchors, certificates })
    }

    /// Nobody: whoever needs one of these is refused.
    pub(super) fn none() -> Self {
        Self { certificates: Vec::new(), anchors: Vec::new() }
    }

    /// Their names, by which a client finds the certificate to send (RFC 8446 §4.2.4).
    pub(super) fn names(&self) -> Vec<DistinguishedName> {
        self.anchors.iter().map(|anchor| DistinguishedName::in_sequence(&anchor.subject)).collect()
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities").field("certificates", &self.certificates.len()).finish()
    }
}

/// Accepts chains with at most so many intermediate certificates. As OpenSSL counts: neither the certificate that is judged
/// nor that of the authority.
pub(super) fn at_most(depth: u32) -> impl Fn(&VerifiedPath<'_>) -> Result<(), Error> {
    let depth = usize::try_from(depth).unwrap_or(usize::MAX);
    move |path| {
        if path.intermediate_certificates().count() > depth {
            return Err(Error::MaximumPathDepthExceeded);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_certificates() {
        assert!(matches!(Authorities::from_pem(b""), Err(AuthoritiesError::Empty)));
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(Authorities::from_pem(garbage), Err(AuthoritiesError::Unusable { number: 1, .. })));
    }
}
