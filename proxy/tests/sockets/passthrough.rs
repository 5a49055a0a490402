//! TLS that is handed on as it is, told apart by the server name.

use crate::{
    harness::{Client, Origin, PATIENCE, Running, nobody},
    tls_client::{Can, SiteBuilder, TLS12, TLS13, Tls},
};
use rcgen::{CertificateParams, KeyPair};
use rust_nginx_proxy::table::Settings;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};
use tokio_rustls::rustls::{
    self, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer},
};

/// An endpoint that ends TLS with a certificate of its own, and answers with the name that it was asked for.
fn tls_origin() -> (Origin, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["pass.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let der = certificate.der().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![der.clone()], key).unwrap());
    let origin = Origin::raw(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut client = Client::over(StreamOwned::new(connection, stream));
        while client.try_read().is_some() {
            let name = client.stream.conn.server_name().unwrap_or_default().to_owned();
            if client.stream.write_all(&crate::harness::ok(name.as_bytes())).is_err() {
                return;
            }
        }
    });
    (origin, der)
}

/// `pass.example` goes on to the endpoint, `a.example` does not.
fn proxy(plain: &Origin, to: SocketAddr, allowed: bool) -> Running {
    let settings =
        Settings { passthrough: allowed, client_header_timeout: Duration::from_secs(5), ..Settings::default() };
    let site = SiteBuilder::new(plain.address, settings).host("a.example", None).passthrough("pass.example", to);
    let proxy = Running::to(&[plain.address]);
    proxy.handle.install(site.build());
    proxy
}

#[test]
fn the_server_name_decides_who_ends_tls() {
    let (plain, (origin, certificate)) = (Origin::echo(), tls_origin());
    let proxy = proxy(&plain, origin.address, true);
    for versions in [TLS12, TLS13] {
        let client = Tls::new(Can { versions, ..Can::default() });
        let mut passed = client.connect(&proxy, "pass.example");
        assert_eq!(passed.certificate(), certificate);
        for _ in 0..3 {
            assert_eq!(passed.ask("pass.example", "/").text(), "pass.example");
        }
        for name in ["a.example", "b.example", ""] {
            let mut ours = client.connect(&proxy, name);
            assert_ne!(ours.certificate(), certificate);
            assert_eq!(ours.ask("a.example", "/").status(), 200);
        }
        // The endpoint's sessions are the endpoint's.
        assert!(client.connect(&proxy, "pass.example").is_resumed());
    }
    // In cleartext the host is served as any other.
    let answer = proxy.connect().send("GET / HTTP/1.1\r\nHost: pass.example\r\n\r\n").read();
    assert_eq!((answer.status(), answer.echoed().header("host")), (200, Some("pass.example")));
}

#[test]
fn without_permission_tls_ends_here() {
    let (plain, (origin, certificate)) = (Origin::echo(), tls_origin());
    let proxy = proxy(&plain, origin.address, false);
    assert_ne!(Tls::new(Can::default()).connect(&proxy, "pass.example").certificate(), certificate);
    assert_eq!(origin.accepted(), 0);
}

/// The first message of a client, as it goes over the wire.
fn hello(name: &'static str) -> (rustls::ClientConnection, Vec<u8>) {
    let mut connection = Tls::new(Can::default()).connection(name);
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    (connection, bytes)
}

/// One handshake message in many records (RFC 8446 §5.1), and each record in many packets.
#[test]
fn a_client_hello_may_come_in_pieces() {
    let (plain, (origin, certificate)) = (Origin::echo(), tls_origin());
    let proxy = proxy(&plain, origin.address, true);
    for (name, passed) in [("pass.example", true), ("a.example", false)] {
        for (record, packet) in [(usize::MAX, 1), (usize::MAX, 700), (100, 64), (1, 4096)] {
            let (mut connection, bytes) = hello(name);
            let message = &bytes[5..];
            let mut wire = Vec::new();
            for fragment in message.chunks(record.min(message.len())) {
                wire.extend_from_slice(&bytes[..3]);
                wire.extend_from_slice(&u16::try_from(fragment.len()).unwrap().to_be_bytes());
                wire.extend_from_slice(fragment);
            }
            let mut stream = TcpStream::connect(proxy.https()).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            for piece in wire.chunks(packet) {
                stream.write_all(piece).unwrap();
            }
            while connection.is_handshaking() {
                connection.complete_io(&mut stream).unwrap();
            }
            assert_eq!(connection.peer_certificates().unwrap()[0] == certificate, passed, "{name} {record} {packet}");
        }
    }
}

#[test]
fn what_is_no_hello_reaches_nobody() {
    let (plain, (origin, _)) = (Origin::echo(), tls_origin());
    let proxy = proxy(&plain, origin.address, true);
    let (_, hello) = hello("pass.example");
    let mut broken = hello.clone();
    // Another kind of message.
    broken[5] = 2;
    let truncated = &hello[..hello.len() - 1];
    let endless = [&[22, 3, 1, 0x40, 0][..], &[1, 0xff, 0xff, 0xff], &[0; 70_000]].concat();
    for bytes in [b"\x16nonsense".as_slice(), &broken, truncated, &endless, &[22], &[22, 3, 1, 0, 0]] {
        let mut stream = TcpStream::connect(proxy.https()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The proxy may have hung up before it has read all of this.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest[0] == 21, "an alert or nothing: {rest:?}");
    }
    assert_eq!(origin.accepted(), 0);
    assert_eq!(Tls::new(Can::default()).connect(&proxy, "pass.example").ask("pass.example", "/").status(), 200);
}

#[test]
fn an_endpoint_that_is_not_there_ends_the_connection() {
    let plain = Origin::echo();
    let proxy = proxy(&plain, nobody(), true);
    assert!(Tls::new(Can::default()).try_connect(proxy.https(), "pass.example").is_err());
    assert_eq!(Tls::new(Can::default()).connect(&proxy, "a.example").ask("a.example", "/").status(), 200);
}

#[test]
fn a_drain_waits_for_what_is_carried() {
    let (plain, (origin, _)) = (Origin::echo(), tls_origin());
    let mut proxy = proxy(&plain, origin.address, true);
    let mut passed = Tls::new(Can::default()).connect(&proxy, "pass.example");
    assert_eq!(passed.ask("pass.example", "/").status(), 200);
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| proxy.drain(PATIENCE));
        assert_eq!(passed.ask("pass.example", "/").status(), 200);
        drop(passed);
        assert_eq!(drained.join().unwrap(), 0);
    });
}
