//! Certificates of authorities: whom a chain must come from, towards endpoints and from clients.

use super::pem::BadPem;
use rustls::{
    DistinguishedName,
    pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject},
};
use std::{fmt, ops::Range, time::Duration};
use webpki::{Error, VerifiedPath};
use x509_parser::{
    certificate::Validity,
    prelude::{FromDer, X509Certificate},
};

/// Certificates of authorities.
#[derive(PartialEq, Eq)]
pub struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
    /// When each may be trusted, in seconds since the epoch.
    validity: Vec<Range<i64>>,
}

/// Why certificates of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// No `CERTIFICATE` block.
    #[error("holds no PEM block CERTIFICATE")]
    Empty,
    /// A PEM block that cannot be decoded.
    #[error("is not valid PEM: {0}")]
    Pem(BadPem),
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
        let certificates = CertificateDer::pem_slice_iter(text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| AuthoritiesError::Pem(error.into()))?;
        if certificates.is_empty() {
            return Err(AuthoritiesError::Empty);
        }
        let (mut anchors, mut validity) = (Vec::new(), Vec::new());
        for (number, certificate) in (1..).zip(&certificates) {
            let unusable = |reason| AuthoritiesError::Unusable { number, reason };
            let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|error| unusable(error.to_string()))?;
            let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| unusable(error.to_string()))?;
            let Validity { not_before, not_after } = parsed.validity();
            anchors.push(anchor.to_owned());
            validity.push(not_before.timestamp()..not_after.timestamp());
        }
        Ok(Self { certificates, anchors, validity })
    }

    /// Nobody: whoever needs one of these is refused.
    pub(super) fn none() -> Self {
        Self { certificates: Vec::new(), anchors: Vec::new(), validity: Vec::new() }
    }

    /// Their names, by which a client finds the certificate to send (RFC 8446 §4.2.4).
    pub(super) fn names(&self) -> Vec<DistinguishedName> {
        self.anchors.iter().map(|anchor| DistinguishedName::in_sequence(&anchor.subject)).collect()
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Accepts chains with at most so many intermediate certificates, from an authority that is valid at that moment. As
    /// OpenSSL counts: neither the certificate that is judged nor that of the authority. RFC 5280 leaves the dates of a
    /// trust anchor open; nginx looks at them.
    pub(super) fn accept(&self, depth: u32, time: UnixTime) -> impl Fn(&VerifiedPath<'_>) -> Result<(), Error> {
        let depth = usize::try_from(depth).unwrap_or(usize::MAX);
        move |path| {
            if path.intermediate_certificates().count() > depth {
                return Err(Error::MaximumPathDepthExceeded);
            }
            let known = self.anchors.iter().position(|anchor| anchor == path.anchor());
            let validity = known.map(|known| self.validity[known].clone()).ok_or(Error::UnknownIssuer)?;
            if seconds(time) < validity.start {
                return Err(Error::CertNotValidYet { time, not_before: moment(validity.start) });
            }
            if seconds(time) > validity.end {
                return Err(Error::CertExpired { time, not_after: moment(validity.end) });
            }
            Ok(())
        }
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

/// Since the epoch, as certificates count.
pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn moment(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
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
