//! TLS towards endpoints: what is said, asked and checked in a handshake.
//!
//! By default nothing is: no server name is sent and no certificate checked, as nginx does. A value is built once, when a
//! table is compiled, and holds the sessions that resume; two values with the same settings are equal, and only equal
//! ones may share a connection.

mod verifier;

use self::verifier::{ChainVerifier, Unverified};
use super::{Authorities, Certificate, CertificateInfo, TlsVersions, fips::check_client, policy::provider};
use rustls::{
    CipherSuite, ClientConfig,
    crypto::CryptoProvider,
    pki_types::{DnsName, ServerName},
    sign::SingleCertAndKey,
};
use serde::{Serialize, Serializer};
use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, LazyLock},
};

/// Settings of TLS to endpoints, ready for handshakes.
pub struct UpstreamTls {
    settings: UpstreamTlsSettings,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// What can be set. The default is nginx's: nothing is sent, nothing checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTlsSettings {
    /// The name that certificates must carry, and that is sent with `send_name` (nginx `proxy_ssl_name`).
    pub name: Option<ServerName<'static>>,
    /// Whether `name` is sent (nginx `proxy_ssl_server_name`, RFC 6066 §3); an address never is.
    pub send_name: bool,
    /// How certificates are checked; `None` accepts all of them (nginx `proxy_ssl_verify off`).
    pub verification: Option<Verification>,
    /// The certificate for endpoints that ask for one (nginx `proxy_ssl_certificate`).
    pub certificate: Option<Arc<Certificate>>,
    /// Accepted versions (nginx `proxy_ssl_protocols`).
    pub versions: TlsVersions,
    /// Accepted cipher suites, of those that we have; `None` is all (nginx `proxy_ssl_ciphers`).
    pub cipher_suites: Option<Vec<CipherSuite>>,
}

/// How certificates of endpoints are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Who must have signed them.
    pub authorities: Arc<Authorities>,
    /// Most intermediate certificates between them and an authority (nginx `proxy_ssl_verify_depth`).
    pub depth: u32,
}

/// Why settings of TLS to endpoints contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamTlsError {
    /// Certificates are to be checked against no name: any certificate of the authorities would do.
    #[error("certificates cannot be verified without a name that they must carry")]
    NoName,
    /// No version is left.
    #[error("no TLS version is accepted; TLS 1.2 and 1.3 can be")]
    NoVersion,
    /// No cipher suite is left, or none for one of the versions.
    #[error("the versions and cipher suites do not fit together: {0}")]
    Suites(rustls::Error),
}

/// Text that is neither a host name nor an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host name or an IP address")]
pub struct InvalidName;

/// What is shown of the settings.
#[derive(Serialize)]
struct View<'a> {
    name: Option<String>,
    send_name: bool,
    verify: Option<VerificationView>,
    certificate: Option<CertificateInfo<'a>>,
    versions: TlsVersions,
    cipher_suites: Option<Vec<String>>,
}

#[derive(Serialize)]
struct VerificationView {
    authorities: usize,
    depth: u32,
}

static UNVERIFIED: LazyLock<Arc<UpstreamTls>> = LazyLock::new(|| {
    let tls = UpstreamTls::new(UpstreamTlsSettings::default());
    Arc::new(tls.expect("all versions and cipher suites of the provider fit together"))
});

static REFUSING: LazyLock<Arc<UpstreamTls>> = LazyLock::new(|| {
    let verification = Some(Verification { authorities: Arc::new(Authorities::none()), depth: 0 });
    let name = UpstreamTlsSettings::parse_name("nobody.invalid").ok();
    let tls = UpstreamTls::new(UpstreamTlsSettings { name, verification, ..UpstreamTlsSettings::default() });
    Arc::new(tls.expect("a name, all versions and all cipher suites fit together"))
});

// === impl UpstreamTls ===

impl UpstreamTls {
    /// Prepares handshakes under the settings.
    ///
    /// # Errors
    /// When the settings contradict each other; see [`UpstreamTlsError`].
    pub fn new(settings: UpstreamTlsSettings) -> Result<Self, UpstreamTlsError> {
        let http1 = settings.config(None)?;
        let http2 = settings.config(Some(b"h2"))?;
        Ok(Self { settings, http1: Arc::new(http1), http2: Arc::new(http2) })
    }

    /// What holds where a route says nothing.
    pub(crate) fn unverified() -> &'static Arc<Self> {
        &UNVERIFIED
    }

    /// Accepts no endpoint at all: for what was to be verified and cannot be.
    #[must_use]
    pub fn refusing() -> &'static Arc<Self> {
        &REFUSING
    }

    /// What it was made from.
    #[must_use]
    pub fn settings(&self) -> &UpstreamTlsSettings {
        &self.settings
    }

    /// The configuration for a handshake.
    pub(crate) fn config(&self, http2: bool) -> &Arc<ClientConfig> {
        if http2 { &self.http2 } else { &self.http1 }
    }

    /// The name for a handshake with an endpoint. It is sent when it is not an address, and sessions are kept under it.
    pub(crate) fn server_name(&self, endpoint: IpAddr) -> ServerName<'static> {
        match &self.settings.name {
            Some(name) if self.settings.send_name => name.clone(),
            _ => ServerName::from(endpoint),
        }
    }
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for UpstreamTls {}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Serialize for UpstreamTls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let settings = &self.settings;
        View {
            name: settings.name.as_ref().map(|name| name.to_str().into_owned()),
            send_name: settings.send_name,
            verify: settings.verification.as_ref().map(|verification| VerificationView {
                authorities: verification.authorities.certificates().len(),
                depth: verification.depth,
            }),
            certificate: settings.certificate.as_ref().map(|certificate| certificate.info()),
            versions: settings.versions,
            cipher_suites: settings
                .cipher_suites
                .as_ref()
                .map(|suites| suites.iter().map(|suite| format!("{suite:?}")).collect()),
        }
        .serialize(serializer)
    }
}

// === impl UpstreamTlsSettings ===

impl UpstreamTlsSettings {
    fn config(&self, alpn: Option<&[u8]>) -> Result<ClientConfig, UpstreamTlsError> {
        let provider = self.provider();
        let versions = self.versions.supported();
        if versions.is_empty() {
            return Err(UpstreamTlsError::NoVersion);
        }
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(UpstreamTlsError::Suites)?
            .dangerous();
        let builder = match &self.verification {
            None => builder.with_custom_certificate_verifier(Arc::new(Unverified::new(&provider))),
            Some(verification) => {
                let name = self.name.clone().ok_or(UpstreamTlsError::NoName)?;
                let verifier = ChainVerifier::new(name, verification.clone(), &provider);
                builder.with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let key = Arc::clone(certificate.certified_key());
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        config.enable_sni = self.send_name && matches!(self.name, Some(ServerName::DnsName(_)));
        config.alpn_protocols = alpn.into_iter().map(<[u8]>::to_vec).collect();
        check_client(&config).map_err(UpstreamTlsError::Suites)?;
        Ok(config)
    }

    fn provider(&self) -> Arc<CryptoProvider> {
        let all = provider();
        let Some(accepted) = &self.cipher_suites else { return all };
        let mut some = CryptoProvider::clone(&all);
        some.cipher_suites.retain(|suite| accepted.contains(&suite.suite()));
        Arc::new(some)
    }

    /// The name as `proxy_ssl_name` takes it: a host name or an address.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse_name(text: &str) -> Result<ServerName<'static>, InvalidName> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(ServerName::from(address));
        }
        DnsName::try_from(name).map(ServerName::DnsName).map_err(|_| InvalidName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Option<ServerName<'static>> {
        Some(UpstreamTlsSettings::parse_name("Pod.example.").expect("a name"))
    }

    fn authority() -> Arc<Authorities> {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new([]).and_then(|params| params.self_signed(&key)).expect("a CA");
        Arc::new(Authorities::from_pem(certificate.pem().as_bytes()).expect("an authority"))
    }

    #[test]
    fn nothing_is_verified_against_no_name() {
        let verification = Some(Verification { authorities: authority(), depth: 1 });
        let settings = UpstreamTlsSettings { verification, ..UpstreamTlsSettings::default() };
        assert!(matches!(UpstreamTls::new(settings.clone()), Err(UpstreamTlsError::NoName)));
        assert!(UpstreamTls::new(UpstreamTlsSettings { name: name(), ..settings }).is_ok());
    }

    #[test]
    fn versions_and_suites_must_fit_together() {
        let none = TlsVersions { tls12: false, tls13: false };
        let settings = UpstreamTlsSettings { versions: none, ..UpstreamTlsSettings::default() };
        assert!(matches!(UpstreamTls::new(settings), Err(UpstreamTlsError::NoVersion)));
        let settings = UpstreamTlsSettings {
            versions: TlsVersions { tls12: true, tls13: false },
            cipher_suites: Some(vec![CipherSuite::TLS13_AES_128_GCM_SHA256]),
            ..UpstreamTlsSettings::default()
        };
        assert!(matches!(UpstreamTls::new(settings), Err(UpstreamTlsError::Suites(_))));
    }

    #[test]
    fn a_name_is_sent_only_when_told_to() {
        let endpoint = IpAddr::from([10, 0, 0, 1]);
        let quiet = UpstreamTlsSettings { name: name(), ..UpstreamTlsSettings::default() };
        let sending = UpstreamTlsSettings { send_name: true, ..quiet.clone() };
        let quiet = UpstreamTls::new(quiet).expect("settings");
        let sending = UpstreamTls::new(sending).expect("settings");
        assert_eq!(quiet.server_name(endpoint), ServerName::from(endpoint));
        assert!(!quiet.config(true).enable_sni);
        assert_eq!(sending.server_name(endpoint).to_str(), "pod.example");
        assert!(sending.config(true).enable_sni);
        assert_ne!(quiet, sending);
        assert!(UpstreamTlsSettings::parse_name("no name").is_err());
    }
}
