//! TLS as a client that reports what it was shown instead of judging it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, HandshakeKind, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::parse_x509_certificate;

use super::{Answer, Connection, Request};
use crate::certificate::Pair;

/// A connection with its handshake done.
pub struct Session {
    /// Carries the bytes.
    pub wire: TlsStream<TcpStream>,
    /// The common name of the certificate.
    pub common_name: String,
    /// The organization of the certificate.
    pub organization: String,
    /// The protocol that the server chose by ALPN.
    pub alpn: Option<String>,
    /// The certificate itself.
    pub certificate: Vec<u8>,
    /// Whether an earlier session went on.
    pub resumed: bool,
}

/// A client whose connections share their sessions, with a certificate of its own or without one.
pub struct Client {
    config: ClientConfig,
    verifier: Arc<Anything>,
}

// === impl Client ===

impl Client {
    /// A client that shows this certificate when it is asked for one.
    ///
    /// # Errors
    /// When the certificate is none.
    pub fn new(identity: Option<&Pair>) -> Result<Self> {
        let verifier = Arc::new(Anything::new());
        let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier.clone());
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<_, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?)?
            }
        };
        Ok(Self { config, verifier })
    }

    /// A client that understands only these signatures.
    #[must_use]
    pub fn verifying(schemes: &[SignatureScheme]) -> Self {
        Self::with(Anything { schemes: schemes.to_vec(), ..Anything::new() }, rustls::ALL_VERSIONS)
    }

    /// A client of one version.
    #[must_use]
    pub fn of_version(version: &'static SupportedProtocolVersion) -> Self {
        Self::with(Anything::new(), &[version])
    }

    fn with(verifier: Anything, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let verifier = Arc::new(verifier);
        let builder = ClientConfig::builder_with_protocol_versions(versions).dangerous();
        let config = builder.with_custom_certificate_verifier(verifier.clone()).with_no_client_auth();
        Self { config, verifier }
    }

    /// The OCSP answer that came with the last certificate; empty when none did.
    #[must_use]
    pub fn staple(&self) -> Vec<u8> {
        self.verifier.staple.lock().clone()
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// When there is no handshake.
    pub async fn connect(&self, to: SocketAddr, name: &str) -> Result<Session> {
        let stream = TcpStream::connect(to).await.with_context(|| format!("connecting to {to}"))?;
        handshake(stream, Some(name), &[], self.config.clone()).await
    }

    /// Sends one request over a connection of its own, under the server name of its host.
    ///
    /// # Errors
    /// When there is no handshake or no answer.
    pub async fn send(&self, to: SocketAddr, request: &Request) -> Result<Answer> {
        let host = request.headers.first().map(|(_, host)| host.as_str()).context("a request without Host")?;
        let session = self.connect(to, host).await?;
        Connection::over(session.wire).send(request).await
    }
}

/// Shakes hands with any certificate.
///
/// # Errors
/// When there is no handshake.
pub async fn connect(to: SocketAddr, name: Option<&str>, alpn: &[&str]) -> Result<Session> {
    over(TcpStream::connect(to).await.with_context(|| format!("connecting to {to}"))?, name, alpn).await
}

/// The same on a connection that exists.
///
/// # Errors
/// When there is no handshake.
pub async fn over(stream: TcpStream, name: Option<&str>, alpn: &[&str]) -> Result<Session> {
    let mut config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything::new()))
        .with_no_client_auth();
    config.enable_sni = name.is_some();
    handshake(stream, name, alpn, config).await
}

/// Shakes hands as a browser would: the certificate must be valid for the name and
/// lead to this authority (PEM).
///
/// # Errors
/// When there is no handshake, for want of a valid certificate or else.
pub async fn connect_trusting(to: SocketAddr, name: &str, authority: &str) -> Result<Session> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    let verifier = WebPkiServerVerifier::builder(Arc::new(roots)).build()?;
    let config = ClientConfig::builder().with_webpki_verifier(verifier).with_no_client_auth();
    let stream = TcpStream::connect(to).await.with_context(|| format!("connecting to {to}"))?;
    handshake(stream, Some(name), &["h2", "http/1.1"], config).await
}

async fn handshake(stream: TcpStream, name: Option<&str>, alpn: &[&str], mut config: ClientConfig) -> Result<Session> {
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = match name {
        Some(name) => ServerName::try_from(name.to_owned())?,
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED).into(),
    };
    let wire = TlsConnector::from(Arc::new(config)).connect(name, stream).await.context("TLS handshake")?;
    let (_, session) = wire.get_ref();
    let alpn = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    let certificate = session.peer_certificates().and_then(<[_]>::first).context("no certificate was shown")?.to_vec();
    let (_, parsed) = parse_x509_certificate(&certificate)?;
    let first = |mut values: Vec<&str>| values.drain(..).next().unwrap_or_default().to_owned();
    let common_name = first(parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect());
    let organization = first(parsed.subject().iter_organization().filter_map(|name| name.as_str().ok()).collect());
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    Ok(Session { common_name, organization, alpn, certificate, resumed, wire })
}

/// Accepts every certificate, but no forged handshake.
#[derive(Debug)]
struct Anything {
    schemes: Vec<SignatureScheme>,
    staple: Mutex<Vec<u8>>,
}

impl Anything {
    fn new() -> Self {
        Self { schemes: algorithms().supported_schemes(), staple: Mutex::default() }
    }
}

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        ocsp_response.clone_into(&mut self.staple.lock());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

fn algorithms() -> rustls::crypto::WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}
