//! Clients that speak TLS with chosen versions, suites and certificates, and tables with several hosts for them.

use crate::harness::{Client, Running};
use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rust_nginx_proxy::{
    table::{
        Backend, BackendKey, Endpoint, HostMatch, PathMatch, Policy, Protocol, Route, RouteLabels, Settings, Table,
        TableBuilder, Target, VirtualHostBuilder,
    },
    tls::{Certificate, TlsPolicy, TlsSettings},
};
use std::{
    net::{SocketAddr, TcpStream},
    sync::Arc,
};
use tokio_rustls::rustls::{
    self, CipherSuite, ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, StreamOwned,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};

/// The versions of a client.
pub(crate) type Versions = &'static [&'static rustls::SupportedProtocolVersion];

pub(crate) static TLS12: Versions = &[&rustls::version::TLS12];
pub(crate) static TLS13: Versions = &[&rustls::version::TLS13];

/// A table in the making.
pub(crate) struct SiteBuilder {
    builder: TableBuilder,
    backend: rust_nginx_proxy::table::BackendIndex,
}

/// What a client can do. Connections of one client share its sessions.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

/// What a client is made from.
pub(crate) struct Can {
    pub(crate) versions: Versions,
    pub(crate) suites: Option<Vec<CipherSuite>>,
    pub(crate) groups: Option<Vec<NamedGroup>>,
    pub(crate) identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// Whether RSA alone is understood in certificates.
    pub(crate) rsa_only: bool,
}

/// A handshake that succeeded, with its connection.
pub(crate) struct Shaken {
    pub(crate) client: Client<StreamOwned<ClientConnection, TcpStream>>,
}

/// An authority for clients.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
}

// === impl SiteBuilder ===

impl SiteBuilder {
    pub(crate) fn new(endpoint: SocketAddr, settings: Settings) -> Self {
        let settings = Settings { access_log: false, ..settings };
        let mut builder = TableBuilder::new(Arc::new(settings), Arc::new(Certificate::self_signed().unwrap()));
        let endpoints = vec![Endpoint { address: endpoint }];
        let backend = Backend::new(BackendKey::new("default-app-80"), Protocol::Http1, endpoints);
        let backend = builder.add_backend(Arc::new(backend));
        Self { builder, backend }
    }

    /// A host whose every path goes to the endpoint.
    pub(crate) fn host(mut self, host: &str, tls: Option<TlsSettings>) -> Self {
        let mut routes = self.routes(host);
        routes.set_tls(tls.map(|settings| Arc::new(TlsPolicy::new(settings).unwrap())));
        self.builder.set_host(routes.build());
        self
    }

    fn routes(&self, host: &str) -> VirtualHostBuilder {
        let mut routes = VirtualHostBuilder::new(HostMatch::parse(host).unwrap());
        let target = Target::Backend { backend: self.backend, no_endpoints: StatusCode::SERVICE_UNAVAILABLE };
        let route = Route {
            path: PathMatch::Prefix("/".into()),
            labels: Arc::new(RouteLabels { ingress: "app".into(), ..RouteLabels::default() }),
            target,
            filters: Box::default(),
            policy: Arc::new(Policy::default()),
        };
        routes.add_route(Arc::new(route)).unwrap();
        routes
    }

    /// A host whose TLS goes on to an endpoint as it is.
    pub(crate) fn passthrough(mut self, host: &str, to: SocketAddr) -> Self {
        let backend = Backend::new(BackendKey::new("default-tls-443"), Protocol::Http1, vec![Endpoint { address: to }]);
        let passthrough = self.builder.add_backend(Arc::new(backend));
        let mut routes = self.routes(host);
        routes.set_passthrough(Some(passthrough));
        self.builder.set_host(routes.build());
        self
    }

    pub(crate) fn certificates(mut self, host: &str, certificates: Vec<Arc<Certificate>>) -> Self {
        self.builder.set_certificates(&HostMatch::parse(host).unwrap(), certificates.into());
        self
    }

    pub(crate) fn build(self) -> Table {
        self.builder.build()
    }
}

// === impl Tls ===

impl Tls {
    pub(crate) fn new(can: Can) -> Self {
        let mut provider = CryptoProvider::clone(&aws_lc_rs::default_provider());
        if let Some(suites) = can.suites {
            provider.cipher_suites.retain(|suite| suites.contains(&suite.suite()));
        }
        if let Some(groups) = can.groups {
            provider.kx_groups.retain(|group| groups.contains(&group.name()));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(can.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything { rsa_only: can.rsa_only }));
        let config = match can.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        };
        Self(Arc::new(config))
    }

    /// A client that has said nothing yet.
    pub(crate) fn connection(&self, name: &'static str) -> ClientConnection {
        ClientConnection::new(Arc::clone(&self.0), ServerName::try_from(name).unwrap()).unwrap()
    }

    /// The handshake alone.
    pub(crate) fn try_connect(&self, to: SocketAddr, name: &'static str) -> Result<Shaken, std::io::Error> {
        let name = match name {
            "" => ServerName::from(std::net::IpAddr::from([127, 0, 0, 1])),
            name => ServerName::try_from(name).unwrap(),
        };
        let mut connection = ClientConnection::new(Arc::clone(&self.0), name).unwrap();
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(crate::harness::PATIENCE))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Shaken { client: Client::over(StreamOwned::new(connection, stream)) })
    }

    pub(crate) fn connect(&self, proxy: &Running, name: &'static str) -> Shaken {
        self.try_connect(proxy.https(), name).unwrap()
    }
}

impl Default for Can {
    fn default() -> Self {
        Self { versions: rustls::ALL_VERSIONS, suites: None, groups: None, identity: None, rsa_only: false }
    }
}

// === impl Shaken ===

impl Shaken {
    /// Asks a host for a path. Whatever follows the handshake, tickets too, has been read then.
    pub(crate) fn ask(&mut self, host: &str, path: &str) -> crate::harness::Message {
        self.client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).read()
    }

    fn connection(&self) -> &ClientConnection {
        &self.client.stream.conn
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.connection().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        self.connection().protocol_version().unwrap()
    }

    pub(crate) fn suite(&self) -> CipherSuite {
        self.connection().negotiated_cipher_suite().unwrap().suite()
    }

    pub(crate) fn group(&self) -> NamedGroup {
        self.connection().negotiated_key_exchange_group().unwrap().name()
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.connection().peer_certificates().unwrap()[0].clone()
    }
}

// === impl Authority ===

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    /// A client's certificate and key.
    pub(crate) fn client(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

/// Accepts any certificate of the kinds that it understands: the tests look at what was sent.
#[derive(Debug, Default)]
pub(crate) struct Anything {
    rsa_only: bool,
}

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        if self.rsa_only {
            vec![rustls::SignatureScheme::RSA_PSS_SHA256]
        } else {
            vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256, rustls::SignatureScheme::RSA_PSS_SHA256]
        }
    }
}
