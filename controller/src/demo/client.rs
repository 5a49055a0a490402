//! The HTTP client that the demo checks itself with.
//!
//! One connection per request unless said otherwise: what is checked is routing, not the client. Must not know:
//! manifests, pods.

use super::websocket::{self, Frame, Side};
use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Any byte stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Whom the client believes.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    roots: Arc<RootCertStore>,
}

/// How to get there.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// Cleartext.
    Http(SocketAddr),
    /// TLS, and whom to believe.
    Https(SocketAddr, Trust),
}

/// The version of HTTP to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2: by ALPN over TLS, by prior knowledge without.
    Http2,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocket {
    io: TokioIo<Upgraded>,
}

// === impl Trust ===

impl Trust {
    /// Believes the authority with this certificate, PEM, and nobody else.
    pub(crate) fn only(certificate: &str) -> anyhow::Result<Self> {
        Ok(Self { roots: Arc::new(Self::roots(certificate)?) })
    }

    pub(crate) fn roots(certificate: &str) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).context("the authority's certificate")?)?;
        Ok(roots)
    }
}

// === impl Route ===

impl Route {
    async fn connect(&self, host: &str, protocol: Protocol) -> anyhow::Result<Box<dyn Stream>> {
        let (address, trust) = match self {
            Self::Http(address) => (address, None),
            Self::Https(address, trust) => (address, Some(trust)),
        };
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        let Some(trust) = trust else { return Ok(Box::new(stream)) };
        let alpn: &[u8] = match protocol {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trust.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.context("TLS handshake")?;
        ensure!(
            stream.get_ref().1.alpn_protocol() == Some(alpn),
            "ALPN chose {:?} rather than {}",
            stream.get_ref().1.alpn_protocol().map(String::from_utf8_lossy),
            String::from_utf8_lossy(alpn)
        );
        Ok(Box::new(stream))
    }

    /// GET.
    pub(crate) async fn get(&self, host: &str, target: &str) -> anyhow::Result<Answer> {
        self.request(Protocol::Http1, Method::GET, host, target, Bytes::new()).await
    }

    /// Any request on a connection of its own.
    pub(crate) async fn request(
        &self,
        protocol: Protocol,
        method: Method,
        host: &str,
        target: &str,
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        let io = TokioIo::new(self.connect(host, protocol).await?);
        let body = Full::new(body);
        match protocol {
            Protocol::Http1 => {
                let (mut sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                let request = Request::builder().method(method).uri(target).header(header::HOST, host).body(body)?;
                Answer::read(sender.send_request(request).await?).await
            }
            Protocol::Http2 => {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                let scheme = match self {
                    Self::Http(_) => "http",
                    Self::Https(..) => "https",
                };
                let request = Request::builder().method(method).uri(format!("{scheme}://{host}{target}")).body(body)?;
                Answer::read(sender.send_request(request).await?).await
            }
        }
    }

    /// Opens a WebSocket.
    pub(crate) async fn websocket(&self, host: &str, target: &str) -> anyhow::Result<WebSocket> {
        // The example key of RFC 6455 §1.3; it only has to come back transformed.
        const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
        let io = TokioIo::new(self.connect(host, Protocol::Http1).await?);
        let (mut sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection.with_upgrades());
        let request = Request::get(target)
            .header(header::HOST, host)
            .header(header::UPGRADE, "websocket")
            .header(header::CONNECTION, "Upgrade")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, KEY)
            .body(Full::<Bytes>::default())?;
        let response = sender.send_request(request).await?;
        ensure!(response.status() == StatusCode::SWITCHING_PROTOCOLS, "answered {}", response.status());
        let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        ensure!(accept == Some(&websocket::accept_key(KEY.as_bytes())), "wrong Sec-WebSocket-Accept: {accept:?}");
        Ok(WebSocket { io: TokioIo::new(hyper::upgrade::on(response).await?) })
    }
}

// === impl Answer ===

impl Answer {
    async fn read(response: http::Response<Incoming>) -> anyhow::Result<Self> {
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("reading the body")?.to_bytes();
        Ok(Self { status: head.status, version: head.version, headers: head.headers, body })
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).map(HeaderValue::to_str)?.ok()
    }
}

// === impl WebSocket ===

impl WebSocket {
    /// Sends a text and waits for it to come back.
    pub(crate) async fn round_trip(&mut self, text: &str) -> anyhow::Result<()> {
        let sent = Frame::text(text);
        sent.write(&mut self.io, Side::Client).await?;
        let received = Frame::read(&mut self.io, Side::Server).await?;
        if received != sent {
            bail!(
                "sent {text:?}, got back opcode {} and {:?}",
                received.opcode(),
                String::from_utf8_lossy(&received.payload)
            );
        }
        Ok(())
    }

    /// Closes it as the protocol says.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        const NORMAL: u16 = 1000;
        Frame::close(NORMAL).write(&mut self.io, Side::Client).await?;
        let answer = Frame::read(&mut self.io, Side::Server).await?;
        ensure!(answer.opcode() == websocket::CLOSE, "closing was answered with opcode {}", answer.opcode());
        Ok(())
    }
}
