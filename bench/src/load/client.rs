//! A small blocking HTTP client: one connection, one request at a time.
//!
//! TLS is 1.3 with X25519 and AES-128-GCM and never resumes, so that the key exchange and the
//! cipher are the same for every target; the certificate must be the site's own.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::site::Site;
use crate::work::{Lifetime, Protocol};
use http2::Http2;

mod http2;

/// After this long without a byte a request has failed.
const PATIENCE: Duration = Duration::from_secs(10);
const BUFFER: usize = 64 << 10;
/// A masked text frame with one letter (RFC 6455 §5.2), which the origin sends back as it is: nobody in between looks.
const MESSAGE: [u8; 7] = [0x81, 0x81, 1, 2, 3, 4, b'x' ^ 1];
const USER_AGENT: &str = "rust-nginx-bench";

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Makes connections of one kind to one address.
pub(crate) struct Connector {
    address: SocketAddr,
    protocol: Protocol,
    tls: Arc<ClientConfig>,
}

/// A connection that is ready for a request.
pub(crate) enum Connection {
    Plain(Http1<TcpStream>),
    Tls(Box<Http1<Tls>>),
    Http2(Box<Http2<Tls>>),
}

/// What is kept of an answer; its body went to the caller's sink.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Whether `Strict-Transport-Security` was set; unknown on HTTP/2, where only the status is read.
    pub(crate) hsts: Option<bool>,
}

/// HTTP/1.1 on any byte stream.
pub(crate) struct Http1<S> {
    stream: S,
    buffer: Vec<u8>,
    filled: usize,
}

/// Accepts exactly one certificate.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

// === impl Connector ===

impl Connector {
    pub(crate) fn new(address: SocketAddr, protocol: Protocol, site: &Site) -> Result<Self> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        });
        let verifier = Pinned { certificate: site.certificate.clone(), provider: Arc::clone(&provider) };
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .context("TLS 1.3 with one suite")?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        tls.resumption = Resumption::disabled();
        tls.alpn_protocols = match protocol {
            Protocol::Http2Tls => vec![b"h2".to_vec()],
            Protocol::Http1 | Protocol::Http1Tls => vec![b"http/1.1".to_vec()],
        };
        Ok(Self { address, protocol, tls: Arc::new(tls) })
    }

    /// Connects, with `host` as the server name where there is TLS.
    pub(crate) fn connect(&self, host: &str) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)
            .with_context(|| format!("connect to {}", self.address))?;
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .context("set socket options")?;
        Ok(match self.protocol {
            Protocol::Http1 => Connection::Plain(Http1::new(stream)),
            Protocol::Http1Tls => Connection::Tls(Box::new(Http1::new(self.tls(stream, host)?))),
            Protocol::Http2Tls => {
                let stream = self.tls(stream, host)?;
                if stream.conn.alpn_protocol() != Some(b"h2") {
                    bail!("{} did not select h2", self.address);
                }
                Connection::Http2(Box::new(Http2::new(stream)))
            }
        })
    }

    fn tls(&self, stream: TcpStream, host: &str) -> Result<Tls> {
        let session = ClientConnection::new(Arc::clone(&self.tls), server_name(host)?).context("begin TLS")?;
        let mut stream = StreamOwned::new(session, stream);
        while stream.conn.is_handshaking() {
            let handshake = stream.conn.complete_io(&mut stream.sock);
            handshake.with_context(|| format!("TLS handshake with {}", self.address))?;
        }
        Ok(stream)
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).with_context(|| format!("`{host}` as a server name"))
}

// === impl Connection ===

impl Connection {
    /// Sends one GET and reads the whole answer, handing its body to `sink` as it comes.
    pub(crate) fn exchange(
        &mut self,
        host: &str,
        target: &str,
        lifetime: Lifetime,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Reply> {
        match self {
            Self::Plain(connection) => connection.exchange(host, target, lifetime, sink),
            Self::Tls(connection) => connection.exchange(host, target, lifetime, sink),
            Self::Http2(connection) => connection.exchange(host, target, sink),
        }
    }

    /// Makes the connection a WebSocket, and has a message sent back over it. Returns the status.
    pub(crate) fn upgrade(&mut self, host: &str, target: &str) -> Result<u16> {
        match self {
            Self::Plain(connection) => connection.upgrade(host, target),
            Self::Tls(connection) => connection.upgrade(host, target),
            Self::Http2(_) => bail!("WebSockets over HTTP/2 are not measured"),
        }
    }
}

// === impl Http1 ===

impl<S: Read + Write> Http1<S> {
    fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; BUFFER], filled: 0 }
    }

    fn exchange(&mut self, host: &str, target: &str, lifetime: Lifetime, sink: &mut dyn FnMut(&[u8])) -> Result<Reply> {
        let connection = match lifetime {
            Lifetime::KeepAlive => "",
            Lifetime::OneRequest => "Connection: close\r\n",
        };
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n\
             Accept: */*\r\n{connection}\r\n"
        );
        self.send(request.as_bytes())?;
        let (reply, head, body) = self.head()?;
        let mut missing = body.context("answer without a Content-Length")?;
        let here = missing.min(self.filled - head);
        sink(&self.buffer[head..head + here]);
        missing -= here;
        if self.filled > head + here {
            bail!("{} bytes after the answer", self.filled - head - here);
        }
        self.filled = 0;
        while missing > 0 {
            let count = read(&mut self.stream, &mut self.buffer)?;
            if count > missing {
                bail!("{} bytes after the answer", count - missing);
            }
            sink(&self.buffer[..count]);
            missing -= count;
        }
        if lifetime == Lifetime::OneRequest {
            self.drain()?;
        }
        Ok(reply)
    }

    fn upgrade(&mut self, host: &str, target: &str) -> Result<u16> {
        // The key of RFC 6455 §1.3.
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.send(request.as_bytes())?;
        let (Reply { status, .. }, head, _) = self.head()?;
        if status != 101 {
            return Ok(status);
        }
        if self.filled > head {
            bail!("{} bytes before there was a message", self.filled - head);
        }
        self.send(&MESSAGE)?;
        let mut back = [0; MESSAGE.len()];
        self.stream.read_exact(&mut back).context("read the message back")?;
        if back != MESSAGE {
            bail!("the message came back as {back:?}");
        }
        self.filled = 0;
        Ok(status)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).context("send")
    }

    /// Reads until the head is complete. Returns it with its length and, where it says that, the length of the body.
    fn head(&mut self) -> Result<(Reply, usize, Option<usize>)> {
        loop {
            if self.filled == self.buffer.len() {
                bail!("answer head of more than {} bytes", self.buffer.len());
            }
            self.filled += read(&mut self.stream, &mut self.buffer[self.filled..])?;
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&self.buffer[..self.filled]).context("answer head")?;
            let httparse::Status::Complete(length) = parsed else {
                continue;
            };
            let find = |name: &str| {
                let mut headers = response.headers.iter();
                headers.find(|header| header.name.eq_ignore_ascii_case(name))
            };
            let body = find("content-length")
                .and_then(|header| std::str::from_utf8(header.value).ok())
                .and_then(|value| value.trim().parse().ok());
            let reply = Reply {
                status: response.code.context("answer without a status")?,
                hsts: Some(find("strict-transport-security").is_some()),
            };
            return Ok((reply, length, body));
        }
    }

    /// Waits for the target to close, as it was asked to: the one that closes first keeps the
    /// TIME_WAIT state, and it must be the same side for all targets.
    fn drain(&mut self) -> Result<()> {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => Ok(()),
            Ok(count) => bail!("{count} bytes after the answer"),
            // A target may close the socket without saying goodbye on the TLS layer.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(error).context("wait for the end of the connection"),
        }
    }
}

fn read(stream: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    match stream.read(buffer).context("read the answer")? {
        0 => bail!("connection closed before the end of the answer"),
        count => Ok(count),
    }
}

// === impl Pinned ===

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("not the certificate of the site".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 was not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
