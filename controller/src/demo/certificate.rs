//! The demo's certificates, made at every start.
//!
//! The authority's key never leaves memory, and its certificate says that it may sign names below `localhost` only: who
//! trusts it in a browser and forgets about it has lost nothing.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use std::{
    fmt,
    time::{Duration, SystemTime},
};

const DAY: Duration = Duration::from_secs(86_400);

/// How long the certificates are valid. Nobody runs a demo for longer.
const VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// Signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its key, both PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

// === impl Authority ===

impl Authority {
    pub(crate) fn new() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        describe(&mut params, "rust-nginx demo authority, for localhost only");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("localhost".to_owned())],
            excluded_subtrees: Vec::new(),
        });
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// Its own certificate, PEM, for those who trust it.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A server certificate for one host.
    pub(crate) fn sign(&self, host: &str) -> Result<Pair, rcgen::Error> {
        let mut params = CertificateParams::new([host.to_owned()])?;
        describe(&mut params, host);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }
}

fn describe(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "rust-nginx demo");
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    // Clocks of virtual machines lag now and then.
    params.not_before = (now - DAY).into();
    params.not_after = (now + VALIDITY).into();
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

// === impl Pair ===

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Authority;
    use crate::demo::client::Trust;
    use rustls::{
        client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    };
    use std::sync::Arc;

    fn verify(authority: &Authority, signed_for: &str, asked_for: &str) -> bool {
        let roots = Trust::roots(authority.certificate()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let pair = authority.sign(signed_for).unwrap();
        let leaf = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let name = ServerName::try_from(asked_for.to_owned()).unwrap();
        verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn signs_for_localhost_and_nothing_else() {
        let authority = Authority::new().unwrap();
        assert!(verify(&authority, "shop.localhost", "shop.localhost"));
        assert!(!verify(&authority, "shop.localhost", "other.localhost"));
        assert!(!verify(&authority, "www.example.com", "www.example.com"), "outside the authority's name constraints");
    }

    #[test]
    fn keys_are_not_printed() {
        let authority = Authority::new().unwrap();
        let pair = authority.sign("shop.localhost").unwrap();
        assert!(!format!("{authority:?} {pair:?}").contains("PRIVATE"));
    }
}
