//! Certificates for tests: an authority and what it signs.
//!
//! Knows nothing of Kubernetes; `objects` makes Secrets of key pairs.

use std::{net::IpAddr, time::SystemTime};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, SanType, SigningKey as _,
};

/// A certificate with its key, both in PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate, followed by those that lead to the authority if there are any.
    pub certificate: String,
    /// The key in PKCS #8.
    pub key: String,
}

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate in PEM, for those who trust it.
    pub certificate: String,
}

// === impl Authority ===

impl Authority {
    /// A new authority of this common name.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// A server certificate for these names; the first is the common name too.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn server(&self, names: &[&str]) -> Result<Pair> {
        self.sign(names.first().copied().unwrap_or_default(), None, names)
    }

    /// The same as [`Self::server`], good until a moment.
    ///
    /// # Errors
    /// As above.
    pub fn server_until(&self, names: &[&str], end: SystemTime) -> Result<Pair> {
        let mut params = CertificateParams::default();
        params.not_after = end.into();
        self.sign_key(params, KeyPair::generate()?, names.first().copied().unwrap_or_default(), None, names)
    }

    /// A client certificate, as the API server reads it: user and group.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn client(&self, user: &str, group: &str) -> Result<Pair> {
        self.sign(user, Some(group), &[])
    }

    /// The same as [`Self::server`] with the address of a responder for OCSP, and with the certificate of the authority.
    ///
    /// # Errors
    /// As above.
    pub fn server_with_responder(&self, names: &[&str], url: &str) -> Result<Pair> {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).context("a long address");
        // RFC 5280 §4.2.2.1: a sequence of one access description, of OCSP, at a URI.
        let location = [&[0x86, length(url.as_bytes())?], url.as_bytes()].concat();
        let method = [6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1];
        let description = [&method[..], &location].concat();
        let description = [&[0x30, length(&description)?], &description[..]].concat();
        let access = [&[0x30, length(&description)?], &description[..]].concat();
        let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.custom_extensions = vec![extension];
        let pair = self.sign_key(params, key, names.first().copied().unwrap_or_default(), None, names)?;
        Ok(Pair { certificate: format!("{}{}", pair.certificate, self.certificate), ..pair })
    }

    /// A signature of this authority, ECDSA with SHA-256.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign_bytes(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(self.issuer.key().sign(bytes)?)
    }

    /// The same as [`Self::server`] with an RSA key.
    ///
    /// # Errors
    /// As above.
    pub fn rsa_server(&self, names: &[&str]) -> Result<Pair> {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
        let name = names.first().copied().unwrap_or_default();
        self.sign_key(CertificateParams::default(), key, name, None, names)
    }

    fn sign(&self, name: &str, organization: Option<&str>, alternatives: &[&str]) -> Result<Pair> {
        self.sign_key(CertificateParams::default(), KeyPair::generate()?, name, organization, alternatives)
    }

    fn sign_key(
        &self,
        mut params: CertificateParams,
        key: KeyPair,
        name: &str,
        organization: Option<&str>,
        alternatives: &[&str],
    ) -> Result<Pair> {
        params.distinguished_name = subject(name, organization);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for alternative in alternatives {
            params.subject_alt_names.push(match alternative.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*alternative).try_into()?),
            });
        }
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }
}

fn subject(name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(organization) = organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, name);
    subject
}
