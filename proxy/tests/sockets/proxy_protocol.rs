//! The PROXY protocol in front of HTTP and TLS.

use crate::{
    harness::{Client, Origin, PATIENCE, Running, table},
    http2, tls,
};
use bytes::Bytes;
use rust_nginx_proxy::{
    Listen,
    table::{Policy, Settings, Trust, TrustedPeers},
};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

const HEADER_1: &[u8] = b"PROXY TCP4 198.51.100.9 203.0.113.1 4711 443\r\n";
const HEADER_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc6\x33\x64\x09\xcb\0\x71\x01\x12\x67\x1f\x90\x04\0\0";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn settings(trust: Trust) -> Settings {
    Settings { trust: Trust { proxy_protocol: true, ..trust }, ..Settings::default() }
}

fn trusting(networks: &[&str]) -> Trust {
    Trust { peers: TrustedPeers::new(networks.iter().map(|network| network.parse().unwrap())), ..Trust::default() }
}

fn running(trust: Trust) -> Running {
    Running::with(&[Origin::echo().address], Policy::default(), settings(trust))
}

fn dial(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(header).unwrap();
    stream
}

#[test]
fn both_versions_say_who_the_client_is_over_http_and_tls() {
    let proxy = running(trusting(&["127.0.0.0/8"]));
    for (header, port, scheme) in [(HEADER_1, "443", "https"), (HEADER_2, "8080", "http")] {
        let mut plain = Client::new(dial(proxy.http(), header));
        let mut secure = tls::over(dial(proxy.https(), header), "a.example");
        for _ in 0..2 {
            let seen = plain.send(GET).read().echoed();
            assert_eq!(seen.header("x-real-ip"), Some("198.51.100.9"));
            assert_eq!(seen.header("x-forwarded-for"), Some("198.51.100.9"));
            assert_eq!(seen.header("x-forwarded-port"), Some(port));
            assert_eq!(seen.header("x-forwarded-proto"), Some(scheme));
            let seen = secure.send(GET).read().echoed();
            assert_eq!(seen.header("x-real-ip"), Some("198.51.100.9"));
            assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        }
    }
}

#[test]
fn a_header_in_single_bytes_and_http_in_the_same_packet() {
    let proxy = running(trusting(&["127.0.0.0/8"]));
    for header in [HEADER_1, HEADER_2] {
        let mut client = Client::new(dial(proxy.http(), b""));
        for byte in header {
            client.send([*byte]);
            thread::yield_now();
        }
        assert_eq!(client.send(GET).read().echoed().header("x-real-ip"), Some("198.51.100.9"));
        let mut client = Client::new(dial(proxy.http(), &[header, GET].concat()));
        assert_eq!(client.read().echoed().header("x-real-ip"), Some("198.51.100.9"));
        let answer = proxy.runtime.block_on(async {
            let stream = dial(proxy.http(), header);
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            http2::exchange(&sender, http2::head("GET", "/"), Bytes::new()).await.unwrap().0
        });
        assert!(String::from_utf8_lossy(answer.body()).contains("x-real-ip: 198.51.100.9\n"));
    }
}

#[test]
fn who_is_not_trusted_or_speaks_for_itself_is_who_it_seems() {
    let local: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for (trust, header) in [
        (trusting(&["10.0.0.0/8"]), HEADER_1),
        (trusting(&["10.0.0.0/8"]), HEADER_2),
        (trusting(&["127.0.0.0/8"]), b"PROXY UNKNOWN\r\n"),
        (trusting(&["127.0.0.0/8"]), local),
    ] {
        let proxy = running(trust);
        let seen = Client::new(dial(proxy.http(), header)).send(GET).read().echoed();
        assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.header("x-forwarded-port"), Some(&*proxy.http().port().to_string()));
    }
}

#[test]
fn fields_count_only_when_the_source_is_trusted_too() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n";
    for (networks, client, scheme) in [
        (&["127.0.0.0/8", "198.51.100.0/24"][..], "192.0.2.7", "https"),
        (&["127.0.0.0/8"], "198.51.100.9", "http"),
        (&["198.51.100.0/24"], "127.0.0.1", "http"),
    ] {
        let proxy = running(Trust { forwarded_headers: true, ..trusting(networks) });
        let seen = Client::new(dial(proxy.http(), HEADER_2)).send(request).read().echoed();
        assert_eq!(seen.header("x-real-ip"), Some(client), "{networks:?}");
        assert_eq!(seen.header("x-forwarded-proto"), Some(scheme), "{networks:?}");
    }
}

#[test]
fn without_a_valid_header_the_connection_is_closed() {
    let proxy = running(trusting(&["127.0.0.0/8"]));
    let broken: &[u8] = b"PROXY TCP4 198.51.100.9\r\n";
    for bytes in [GET, broken, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 a handshake"] {
        for address in [proxy.http(), proxy.https()] {
            let mut stream = dial(address, bytes);
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            assert_eq!(rest, b"", "an answer to {bytes:?}");
        }
    }
}

#[test]
fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let trust = Trust { proxy_protocol_timeout: Duration::from_millis(200), ..trusting(&["127.0.0.0/8"]) };
    let proxy = running(trust);
    let start = Instant::now();
    for header in [&b""[..], &HEADER_1[..20], &HEADER_2[..20]] {
        assert!(matches!(dial(proxy.http(), header).read(&mut [0]), Ok(0) | Err(_)), "it is still open");
    }
    assert!(start.elapsed() >= Duration::from_millis(600));
}

#[test]
fn a_listener_may_expect_it_by_itself() {
    let origin = Origin::echo();
    let (plain, proxied) = (SocketAddr::from(([127, 0, 0, 1], 0)), SocketAddr::from(([127, 0, 0, 2], 0)));
    let listen = Listen { http: vec![plain, proxied], proxy_protocol: vec![proxied], ..Listen::default() };
    let proxy = Running::listening(table(&[origin.address], Policy::default(), Settings::default()), &listen);
    let [plain, proxied] = proxy.proxy.as_ref().unwrap().http_addresses()[..] else { panic!("two addresses") };
    assert_eq!(Client::new(dial(plain, GET)).read().echoed().header("x-real-ip"), Some("127.0.0.1"));
    let seen = Client::new(dial(proxied, HEADER_1)).send(GET).read().echoed();
    assert_eq!(seen.header("x-real-ip"), Some("198.51.100.9"));
    assert!(matches!(dial(proxied, GET).read(&mut [0]), Ok(0) | Err(_)), "it is still open");
}
