//! Certificates with their private keys, parsed and checked once, never printable.

use super::pem::BadPem;
use crate::table::HostName;
use rustls::{SignatureAlgorithm, pki_types::CertificateDer, sign::CertifiedKey};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde::Serialize;
use std::{fmt, sync::Arc};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_OCSP,
    prelude::FromDer,
    x509::X509Name,
};

/// A certificate chain and its private key, known to belong together.
///
/// Equality compares the chain: the leaf binds the key. `Debug` shows names and expiry only.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    dns_names: Box<[Box<str>]>,
    ocsp_url: Option<Box<str>>,
    subject: Box<str>,
    issuer: Box<str>,
    issuer_names: IssuerNames,
    serial: Box<str>,
    not_before: i64,
    not_after: i64,
}

/// Two attributes of the issuer's name, which dashboards group by.
#[derive(Clone)]
struct IssuerNames {
    organization: Box<str>,
    common_name: Box<str>,
}

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// RSA.
    Rsa,
    /// ECDSA on one of the NIST curves.
    Ecdsa,
    /// Anything else (Ed25519, ML-DSA).
    Other,
}

/// What may be shown of a certificate.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateInfo<'a> {
    /// Subject, RFC 4514 style.
    pub subject: &'a str,
    /// Issuer, RFC 4514 style.
    pub issuer: &'a str,
    /// The organizations of the issuer, joined by commas.
    #[serde(skip)]
    pub issuer_organization: &'a str,
    /// The common name of the issuer.
    #[serde(skip)]
    pub issuer_common_name: &'a str,
    /// Serial number in hexadecimal.
    pub serial: &'a str,
    /// Names that the certificate is for: subject alternative names, or the common name where there are none.
    pub dns_names: &'a [Box<str>],
    /// Start of validity, seconds since the epoch.
    pub not_before: i64,
    /// End of validity, seconds since the epoch.
    pub not_after: i64,
}

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// No `CERTIFICATE` block.
    #[error("the certificate holds no PEM block CERTIFICATE")]
    NoCertificate,
    /// A PEM block that cannot be decoded.
    #[error("the certificate is not valid PEM: {0}")]
    CertificatePem(BadPem),
    /// A certificate of the chain is not X.509.
    #[error("the chain is not valid X.509: {0}")]
    X509(String),
    /// No private key block, or one that cannot be decoded.
    #[error("the key holds no PEM block PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY: {0}")]
    KeyPem(BadPem),
    /// A key of a kind that we cannot sign with, or that belongs to another certificate.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// Generating a self-signed certificate failed.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// What is wrong with a private key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Key and certificate do not belong together.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// Anything else.
    #[error("the private key cannot be used: {0}")]
    Unusable(rustls::Error),
}

// === impl Certificate ===

impl Certificate {
    /// Parses a chain (leaf first) and its key, and checks that they belong together. Validity in time is not checked:
    /// expired certificates are served, as ingress-nginx does, and reported by the caller.
    ///
    /// # Errors
    /// See [`MaterialError`]; messages fit into a sentence about the Secret.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, MaterialError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| MaterialError::CertificatePem(error.into()))?;
        if chain.is_empty() {
            return Err(MaterialError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| MaterialError::KeyPem(error.into()))?;
        Self::from_der(chain, key)
    }

    fn from_der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, MaterialError> {
        let leaf = chain.first().ok_or(MaterialError::NoCertificate)?.clone();
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&leaf)
            .map_err(|error| MaterialError::X509(error.to_string()))?;
        // Clients give up on a chain that holds anything else.
        for (number, above) in (2..).zip(chain.iter().skip(1)) {
            x509_parser::certificate::X509Certificate::from_der(above)
                .map_err(|error| MaterialError::X509(format!("certificate {number}: {error}")))?;
        }
        let provider = super::crypto_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => KeyError::Mismatch,
            other => KeyError::Unusable(other),
        })?;
        Ok(Self {
            key: Arc::new(key),
            dns_names: names_of(&parsed),
            ocsp_url: responder_of(&parsed),
            subject: parsed.subject().to_string().into(),
            issuer: parsed.issuer().to_string().into(),
            issuer_names: IssuerNames::of(parsed.issuer()),
            serial: parsed.raw_serial_as_string().into(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }

    /// A new self-signed certificate like the one that ingress-nginx makes at every start: common name "Kubernetes
    /// Ingress Controller Fake Certificate", organisation "Acme Co", `ingress.local`, one year.
    ///
    /// # Errors
    /// When the random generator or the key generation fails.
    pub fn self_signed() -> Result<Self, MaterialError> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = rcgen::CertificateParams::new(vec!["ingress.local".to_owned()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Acme Co");
        params.distinguished_name.push(rcgen::DnType::CommonName, "Kubernetes Ingress Controller Fake Certificate");
        let now = std::time::SystemTime::now();
        params.not_before = now.into();
        params.not_after = (now + std::time::Duration::from_secs(365 * 86_400)).into();
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|reason| KeyError::Unusable(rustls::Error::General(reason.to_owned())))?;
        Self::from_der(vec![certificate.der().clone()], key)
    }

    /// Chain and signing key in the form that rustls takes.
    #[must_use]
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// Where its authority answers questions about it.
    pub(super) fn ocsp_url(&self) -> Option<&str> {
        self.ocsp_url.as_deref()
    }

    /// What the key signs with.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        match self.key.key.algorithm() {
            SignatureAlgorithm::RSA => KeyType::Rsa,
            SignatureAlgorithm::ECDSA => KeyType::Ecdsa,
            _ => KeyType::Other,
        }
    }

    /// True when one of the names covers the host, wildcards counting for one label (RFC 6125 §6.4.3).
    #[must_use]
    pub fn covers(&self, host: &HostName) -> bool {
        let host = host.as_str();
        self.dns_names.iter().any(|name| {
            name.strip_prefix("*.")
                .map_or_else(|| **name == *host, |suffix| host.split_once('.').is_some_and(|(_, rest)| rest == suffix))
        })
    }

    /// What may be shown.
    #[must_use]
    pub fn info(&self) -> CertificateInfo<'_> {
        CertificateInfo {
            subject: &self.subject,
            issuer: &self.issuer,
            issuer_organization: &self.issuer_names.organization,
            issuer_common_name: &self.issuer_names.common_name,
            serial: &self.serial,
            dns_names: &self.dns_names,
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }
}

// === impl IssuerNames ===

impl IssuerNames {
    fn of(name: &X509Name<'_>) -> Self {
        let organizations: Vec<_> = name.iter_organization().filter_map(|value| value.as_str().ok()).collect();
        let common_name = name.iter_common_name().find_map(|value| value.as_str().ok());
        Self { organization: organizations.join(", ").into(), common_name: common_name.unwrap_or_default().into() }
    }
}

/// The responder named in the authority information access (RFC 5280 §4.2.2.1), the first with HTTP.
fn responder_of(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Option<Box<str>> {
    let access = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    })?;
    let responders = access.iter().filter(|entry| entry.access_method == OID_PKIX_ACCESS_DESCRIPTOR_OCSP);
    let mut urls = responders.filter_map(|entry| match entry.access_location {
        GeneralName::URI(url) => Some(url),
        _ => None,
    });
    urls.find(|url| url.starts_with("http://")).map(Into::into)
}

/// Subject alternative DNS names in lower case; the common name where there is no such extension.
fn names_of(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Box<[Box<str>]> {
    let lower = |name: &str| name.to_ascii_lowercase().into_boxed_str();
    if let Ok(Some(extension)) = certificate.subject_alternative_name() {
        let names = extension.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(lower(name)),
            _ => None,
        });
        return names.collect();
    }
    certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(lower).collect()
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.key, &other.key) || self.key.cert == other.key.cert
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Certificate, MaterialError};

    #[test]
    fn a_chain_holds_certificates_and_nothing_else() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let leaf = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").pem();
        let read = |chain: &str| Certificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes());
        assert!(read(&format!("{leaf}{leaf}")).is_ok());
        let broken = read(&format!("{leaf}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
        let text = match broken {
            Err(error @ MaterialError::X509(_)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(text.contains("certificate 2"), "{text}");
    }
}
