//! TLS to endpoints, under HTTP/1.1 and HTTP/2.

use crate::{
    harness::{Client, Origin, Running, ok, table},
    http2::{Http2Origin, Setup},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rust_nginx_proxy::{
    table::{Policy, Protocol, ProtocolChoice, Settings},
    tls::{Authorities, Certificate, TlsVersions, UpstreamTls, UpstreamTlsSettings, Verification},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio_rustls::rustls::{
    self, CipherSuite, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};

/// A certificate that signs, and what leads to the root from it.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
    chain: Vec<CertificateDer<'static>>,
}

/// A certificate of an endpoint or client.
struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    pem: String,
    key: KeyPair,
}

/// What an endpoint saw of a handshake.
#[derive(Debug)]
struct Seen {
    name: Option<String>,
    kind: HandshakeKind,
    version: ProtocolVersion,
    suite: CipherSuite,
    client: bool,
}

// === impl Authority ===

impl Authority {
    fn root() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = Self::params("root");
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), params, key, chain: Vec::new() }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = Self::params(name);
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        let chain = std::iter::once(certificate.der().clone()).chain(self.chain.iter().cloned()).collect();
        Self { pem: certificate.pem(), params, key, chain }
    }

    fn leaf(&self, name: &str) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        let chain = std::iter::once(certificate.der().clone()).chain(self.chain.iter().cloned()).collect();
        Leaf { chain, pem: certificate.pem(), key }
    }

    fn verification(&self, depth: u32) -> Option<Verification> {
        Some(Verification { authorities: Arc::new(Authorities::from_pem(self.pem.as_bytes()).unwrap()), depth })
    }
}

// === impl Leaf ===

impl Leaf {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    fn certificate(&self) -> Arc<Certificate> {
        Arc::new(Certificate::from_pem(self.pem.as_bytes(), self.key.serialize_pem().as_bytes()).unwrap())
    }

    fn server(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(self.chain.clone(), self.key()).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    fn server_for_clients_of(&self, authority: &Authority) -> Arc<ServerConfig> {
        use rustls::pki_types::pem::PemObject as _;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_client_cert_verifier(verifier);
        Arc::new(config.with_single_cert(self.chain.clone(), self.key()).unwrap())
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// An endpoint of HTTP/1.1 over TLS that answers with `ok`, and tells what it saw.
fn origin(config: Arc<ServerConfig>) -> (Origin, mpsc::Receiver<Seen>) {
    let (told, seen) = mpsc::channel();
    let origin = Origin::raw(move |stream| {
        let Some(mut client) = accept(&config, stream) else { return };
        if let Some(request) = client.try_read() {
            let session = &client.stream.conn;
            let _ = told.send(Seen {
                name: session.server_name().map(str::to_owned),
                kind: session.handshake_kind().unwrap(),
                version: session.protocol_version().unwrap(),
                suite: session.negotiated_cipher_suite().unwrap().suite(),
                client: session.peer_certificates().is_some(),
            });
            serve(&mut client, request.start == "GET /close HTTP/1.1");
        }
    });
    (origin, seen)
}

fn accept(config: &Arc<ServerConfig>, stream: TcpStream) -> Option<Client<StreamOwned<ServerConnection, TcpStream>>> {
    stream.set_nodelay(true).unwrap();
    let mut client = Client::over(StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream));
    client.stream.conn.complete_io(&mut client.stream.sock).ok()?;
    Some(client)
}

fn serve(client: &mut Client<StreamOwned<ServerConnection, TcpStream>>, mut close: bool) {
    loop {
        let head = if close { "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok" } else { "" };
        let answer = if close { head.as_bytes().to_vec() } else { ok(b"ok") };
        client.send(answer);
        if close {
            return;
        }
        let Some(request) = client.try_read() else { return };
        close = request.start == "GET /close HTTP/1.1";
    }
}

fn policy(protocol: Protocol, tls: Option<UpstreamTlsSettings>) -> Policy {
    let tls = tls.map(|settings| Arc::new(UpstreamTls::new(settings).unwrap()));
    Policy { protocol: Some(ProtocolChoice::Fixed(protocol)), tls, ..Policy::default() }
}

fn named(name: &str) -> UpstreamTlsSettings {
    UpstreamTlsSettings { name: Some(UpstreamTlsSettings::parse_name(name).unwrap()), ..UpstreamTlsSettings::default() }
}

fn proxy(endpoint: SocketAddr, protocol: Protocol, tls: Option<UpstreamTlsSettings>) -> Running {
    Running::with(&[endpoint], policy(protocol, tls), Settings::default())
}

#[test]
fn by_default_no_name_is_sent_and_nothing_verified_and_sessions_resume() {
    let (origin, seen) = origin(Authority::root().leaf("whoever.example").server(&[]));
    let proxy = proxy(origin.address, Protocol::Https1, None);
    let mut client = proxy.connect();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(origin.accepted(), 1, "connections are kept");
    let first = seen.recv().unwrap();
    assert_eq!((first.name, first.kind), (None, HandshakeKind::Full));
    assert_eq!(first.version, ProtocolVersion::TLSv1_3);
    assert_eq!(client.get("/close").text(), "ok");
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(seen.recv().unwrap().kind, HandshakeKind::Resumed);
}

#[test]
fn certificates_are_verified_when_asked_and_failures_are_502() {
    let root = Authority::root();
    let (good, _seen) = origin(root.leaf("pod.example").server(&[]));
    let verifying = |name: &str, authority: &Authority| UpstreamTlsSettings {
        verification: authority.verification(1),
        ..named(name)
    };
    let cases = [
        (verifying("pod.example", &root), 200),
        (verifying("other.example", &root), 502),
        (verifying("pod.example", &Authority::root()), 502),
    ];
    for (settings, status) in cases {
        for protocol in [Protocol::Https1, Protocol::Grpcs] {
            let http2;
            let endpoint = if protocol == Protocol::Https1 {
                good.address
            } else {
                let setup = Setup { tls: Some(root.leaf("pod.example").server(&["h2"])), ..Setup::default() };
                http2 = Http2Origin::echo(setup);
                http2.address
            };
            let before = good.accepted();
            let proxy = proxy(endpoint, protocol, Some(settings.clone()));
            let mut client = proxy.connect();
            assert_eq!(client.get("/").status(), status, "{protocol:?} {settings:?}");
            if status == 502 && protocol == Protocol::Https1 {
                assert_eq!(good.accepted() - before, 3, "it is an error like others: tried three times");
            }
        }
    }
}

#[test]
fn chains_may_be_as_long_as_the_depth() {
    let root = Authority::root();
    let one = root.intermediate("one");
    let two = one.intermediate("two");
    for (authority, depth, status) in [(&one, 1, 200), (&one, 0, 502), (&two, 1, 502), (&two, 2, 200)] {
        let (origin, _seen) = origin(authority.leaf("pod.example").server(&[]));
        let settings = UpstreamTlsSettings { verification: root.verification(depth), ..named("pod.example") };
        let proxy = proxy(origin.address, Protocol::Https1, Some(settings));
        assert_eq!(proxy.connect().get("/").status(), status, "depth {depth}, {} between", authority.chain.len());
    }
}

#[test]
fn name_versions_suites_and_client_certificate_are_those_of_the_settings() {
    let root = Authority::root();
    let (origin, seen) = origin(root.leaf("pod.example").server_for_clients_of(&root));
    let settings = UpstreamTlsSettings {
        send_name: true,
        certificate: Some(root.leaf("proxy.example").certificate()),
        versions: TlsVersions { tls12: true, tls13: false },
        cipher_suites: Some(vec![CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]),
        ..named("pod.example")
    };
    let with = proxy(origin.address, Protocol::Https1, Some(settings.clone()));
    assert_eq!(with.connect().get("/").text(), "ok");
    let seen = seen.recv().unwrap();
    assert_eq!(seen.name.as_deref(), Some("pod.example"));
    assert_eq!(seen.version, ProtocolVersion::TLSv1_2);
    assert_eq!(seen.suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    assert!(seen.client);
    let without = proxy(origin.address, Protocol::Https1, Some(UpstreamTlsSettings { certificate: None, ..settings }));
    assert_eq!(without.connect().get("/").status(), 502);
}

#[test]
fn other_settings_never_get_an_old_connection() {
    let root = Authority::root();
    let (http1, _seen) = origin(root.leaf("pod.example").server(&[]));
    let setup = Setup { tls: Some(root.leaf("pod.example").server(&["h2"])), ..Setup::default() };
    let http2 = Http2Origin::echo(setup);
    for (protocol, address) in [(Protocol::Https1, http1.address), (Protocol::H2, http2.address)] {
        let accepted = || if protocol == Protocol::Https1 { http1.accepted() } else { http2.accepted() };
        let proxy = proxy(address, protocol, None);
        let mut client = proxy.connect();
        let install = |tls| proxy.handle.install(table(&[address], policy(protocol, tls), Settings::default()));
        assert_eq!(client.get("/").status(), 200);
        assert_eq!(accepted(), 1);
        // One more connection for each that differs, none for the same again.
        let verifying = UpstreamTlsSettings { verification: root.verification(1), ..named("pod.example") };
        let sending = UpstreamTlsSettings { send_name: true, ..verifying.clone() };
        let mut expected = 1;
        for settings in [verifying, sending] {
            expected += 1;
            for _ in 0..2 {
                install(Some(settings.clone()));
                assert_eq!(client.get("/").status(), 200);
                assert_eq!(accepted(), expected);
            }
        }
        install(Some(named("pod.example")));
        assert_eq!(client.get("/").status(), 200);
        assert_eq!(accepted(), expected + 1);
        // A name that is wrong does not pass on the connection of one that is right.
        install(Some(UpstreamTlsSettings { verification: root.verification(1), ..named("other.example") }));
        assert_eq!(client.get("/").status(), 502);
    }
}

#[test]
fn http2_over_tls_is_agreed_on_or_fails() {
    let leaf = Authority::root().leaf("pod.example");
    let agreeing = Http2Origin::echo(Setup { tls: Some(leaf.server(&["h2"])), ..Setup::default() });
    let proxy_to = |address| proxy(address, Protocol::Grpcs, None);
    let running = proxy_to(agreeing.address);
    let mut client = running.connect();
    for _ in 0..3 {
        let echo = client.get("/x").text();
        assert!(echo.starts_with("GET https://a.example/x\n"), "{echo}");
        assert!(echo.contains("\nte: trailers\n"), "{echo}");
    }
    let body = vec![b'x'; 1_000_000];
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())).send(&body);
    assert_eq!(client.read().echoed().body, body);
    assert_eq!(agreeing.accepted(), 1);
    // HTTP/2 without saying so by ALPN, HTTP/1.1 only, and no TLS at all.
    let mute = Http2Origin::echo(Setup { tls: Some(leaf.server(&[])), ..Setup::default() });
    let (old, _seen) = origin(leaf.server(&["http/1.1"]));
    let plain = Origin::raw(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    for address in [mute.address, old.address, plain.address] {
        assert_eq!(proxy_to(address).connect().get("/").status(), 502);
    }
}

/// Without the alert that says so, as many endpoints do: the end of the connection ends what nothing else ends.
#[test]
fn a_connection_that_is_closed_without_a_word_has_ended() {
    let config = Authority::root().leaf("pod.example").server(&[]);
    for (wire, body, whole) in [
        ("HTTP/1.1 200 OK\r\n\r\nhello", "hello", true),
        ("HTTP/1.0 200 OK\r\n\r\n", "", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhello", "hello", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello", false),
    ] {
        let config = Arc::clone(&config);
        let origin = Origin::raw(move |stream| {
            let Some(mut client) = accept(&config, stream) else { return };
            client.read();
            client.send(wire);
        });
        let proxy = proxy(origin.address, Protocol::Https1, None);
        for _ in 0..10 {
            let mut client = proxy.connect();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            if whole {
                assert_eq!(client.read().text(), body, "{wire:?}");
                continue;
            }
            let mut answer = String::new();
            client.stream.read_to_string(&mut answer).unwrap();
            let broken = answer.contains(" 200 OK\r\n") && !answer.ends_with("0\r\n\r\n");
            assert!(broken && answer.contains(body), "{wire:?}: {answer:?}");
        }
    }
}

#[test]
fn websockets_pass_over_tls_to_the_endpoint() {
    let config = Authority::root().leaf("pod.example").server(&[]);
    let origin = Origin::raw(move |stream| {
        let Some(mut client) = accept(&config, stream) else { return };
        let request = client.read();
        assert_eq!(request.header("upgrade"), Some("websocket"));
        client.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly");
        let mut bytes = [0; 5];
        client.stream.read_exact(&mut bytes).unwrap();
        client.stream.write_all(&bytes).unwrap();
        client.stream.flush().unwrap();
    });
    let proxy = proxy(origin.address, Protocol::Https1, None);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.read().status(), 101);
    client.send("hello");
    assert_eq!(client.bytes(10).unwrap(), b"earlyhello");
}

#[test]
fn a_handshake_that_takes_too_long_is_504() {
    let silent = Origin::raw(|mut stream| while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {});
    let impatient = Policy { connect_timeout: Duration::from_millis(200), ..policy(Protocol::Https1, None) };
    let proxy = Running::with(&[silent.address], impatient, Settings::default());
    assert_eq!(proxy.connect().get("/").status(), 504);
}

#[test]
fn the_scheme_of_the_client_may_choose() {
    let (secure, _seen) = origin(Authority::root().leaf("pod.example").server(&[]));
    let like_client = Policy { protocol: Some(ProtocolChoice::AutoHttp), ..Policy::default() };
    let plain = Running::with(&[Origin::echo().address], like_client.clone(), Settings::default());
    assert_eq!(plain.connect().get("/").status(), 200);
    let proxy = Running::with(&[secure.address], like_client, Settings::default());
    assert_eq!(proxy.connect().get("/").status(), 502, "plain HTTP to a port that speaks TLS");
    assert_eq!(crate::tls::connect(&proxy, "a.example").get("/").text(), "ok");
}
