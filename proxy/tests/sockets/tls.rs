//! TLS towards clients.

use crate::{
    harness::{Client, Origin, Running},
    tls_client::Anything,
};
use std::{net::TcpStream, sync::Arc};
use tokio_rustls::rustls::{self, ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

pub(crate) fn connect(proxy: &Running, name: &'static str) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    over(TcpStream::connect(proxy.https()).unwrap(), name)
}

/// The same, with both protocols offered.
pub(crate) fn connect_offering(
    proxy: &Running,
    name: ServerName<'static>,
) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    offering(TcpStream::connect(proxy.https()).unwrap(), name, &[b"h2", b"http/1.1"])
}

pub(crate) fn over(stream: TcpStream, name: &'static str) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    offering(stream, ServerName::try_from(name).unwrap(), &[])
}

fn offering(
    stream: TcpStream,
    name: ServerName<'static>,
    protocols: &[&[u8]],
) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything::default()))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    Client::over(StreamOwned::new(connection, stream))
}

#[test]
fn requests_over_tls_say_so_and_carry_hsts() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    let mut client = connect(&proxy, "a.example");
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!(response.status(), 200);
        assert_eq!(response.header("strict-transport-security"), Some("max-age=31536000; includeSubDomains"));
        let seen = response.echoed();
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("x-forwarded-port"), Some("443"));
    }
}

#[test]
fn plain_http_on_the_tls_port_is_told_so() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    let mut client = Client::new(TcpStream::connect(proxy.https()).unwrap());
    let response = client.get("/");
    assert_eq!(response.start, "HTTP/1.1 400 Bad Request");
    assert!(response.text().contains("plain HTTP request was sent to HTTPS port"), "{}", response.text());
}
