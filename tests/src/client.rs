//! The clients: HTTP/1.1 on raw bytes, TLS, HTTP/2, WebSocket.
//!
//! A client sends exactly what the test says and hands back exactly what came:
//! header names as written, in order, duplicates included, bodies as framed. It
//! never retries and never follows.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::pod::Echo;
use crate::wait;

pub mod grpc;
pub mod http2;
pub mod tls;
pub mod websocket;

/// An answer that takes longer is a failure of the test that waits for it.
const LIMIT: Duration = Duration::from_secs(30);

/// Anything that carries bytes both ways.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// What a client asks.
#[derive(Clone, Debug)]
pub struct Request {
    /// As it stands in the request line.
    pub method: String,
    /// As it stands in the request line.
    pub target: String,
    /// In the order in which they are sent; the first is Host.
    pub headers: Vec<(String, String)>,
    /// Sent with a Content-Length if it is not empty.
    pub body: Vec<u8>,
}

/// What a client gets.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names as they came, in order.
    pub headers: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// Interim answers (1xx) that came before.
    pub interim: Vec<u16>,
}

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// One connection that speaks HTTP/1.1.
pub struct Connection {
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
    /// The body of the answer whose head was read last, as far as it is still to come.
    framing: Framing,
}

// === impl Request ===

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn new(method: &str, host: &str, target: &str) -> Self {
        let headers = vec![("Host".to_owned(), host.to_owned())];
        Self { method: method.to_owned(), target: target.to_owned(), headers, body: vec![] }
    }

    /// `GET`
    #[must_use]
    pub fn get(host: &str, target: &str) -> Self {
        Self::new("GET", host, target)
    }

    /// `POST`
    #[must_use]
    pub fn post(host: &str, target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("POST", host, target) }
    }

    /// One header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As it is sent over HTTP/1.1.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() {
            bytes += &format!("Content-Length: {}\r\n", self.body.len());
        }
        let mut bytes = (bytes + "\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

// === impl Answer ===

impl Answer {
    /// The value of a header that came at most once.
    ///
    /// # Panics
    /// When it came more often: no test should overlook that.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "header {name} came twice: {:?}", self.headers);
        value
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What the pod saw, if a pod answered.
    ///
    /// # Errors
    /// When the body is not what our pods send.
    pub fn echo(&self) -> Result<Echo> {
        ensure!(self.status == 200, "no pod answered: {}", self.summary());
        serde_json::from_slice(&self.body).with_context(|| format!("not an answer of a pod: {}", self.summary()))
    }

    /// This answer, if it has that status.
    ///
    /// # Errors
    /// When it has another.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "expected status {status}, got {}", self.summary());
        Ok(self)
    }

    /// For messages.
    #[must_use]
    pub fn summary(&self) -> String {
        let text: String = self.text().chars().take(200).collect();
        format!("{} {:?} {text:?}", self.status, self.headers)
    }
}

// === impl Connection ===

impl Connection {
    /// Connects without TLS.
    ///
    /// # Errors
    /// When nobody accepts.
    pub async fn open(to: SocketAddr) -> Result<Self> {
        Ok(Self::over(
            wait::at_most(LIMIT, "connecting", TcpStream::connect(to))
                .await?
                .with_context(|| format!("connecting to {to}"))?,
        ))
    }

    /// Connects from an address that the test chose.
    ///
    /// # Errors
    /// When nobody accepts.
    pub async fn open_from(from: SocketAddr, to: SocketAddr) -> Result<Self> {
        let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(from)?;
        Ok(Self::over(socket.connect(to).await.with_context(|| format!("connecting from {from} to {to}"))?))
    }

    /// Connects with a receive buffer so small that an answer cannot hide in it.
    ///
    /// # Errors
    /// When nobody accepts.
    pub async fn open_narrow(to: SocketAddr) -> Result<Self> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_recv_buffer_size(16 * 1024)?;
        Ok(Self::over(socket.connect(to).await?))
    }

    /// Speaks over a connection that exists.
    #[must_use]
    pub fn over(wire: impl Wire + 'static) -> Self {
        Self { wire: Box::new(wire), buffer: vec![], framing: Framing::Length(0) }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection ends before the answer does.
    pub async fn send(&mut self, request: &Request) -> Result<Answer> {
        self.write(&request.bytes()).await?;
        self.answer(&request.method).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the other side has closed.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.wire.write_all(bytes).await?;
        self.wire.flush().await?;
        Ok(())
    }

    /// Ends our half of the connection.
    ///
    /// # Errors
    /// When the other side has closed.
    pub async fn finish(&mut self) -> Result<()> {
        Ok(self.wire.shutdown().await?)
    }

    /// Reads the whole answer to a request of this method.
    ///
    /// # Errors
    /// When the connection ends before the answer does.
    pub async fn answer(&mut self, method: &str) -> Result<Answer> {
        let mut answer = self.head(method).await?;
        answer.body = self.rest().await?;
        Ok(answer)
    }

    /// Reads what is still to come of a body.
    ///
    /// # Errors
    /// When the connection ends before it does.
    pub async fn rest(&mut self) -> Result<Vec<u8>> {
        let mut body = vec![];
        while let Some(part) = self.part().await? {
            body.extend(part);
        }
        Ok(body)
    }

    /// Reads an answer up to its body.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn head(&mut self, method: &str) -> Result<Answer> {
        let mut interim = vec![];
        loop {
            let mut answer = wait::at_most(LIMIT, "waiting for an answer", self.any_head()).await??;
            if answer.status < 200 && answer.status != 101 {
                interim.push(answer.status);
                continue;
            }
            self.framing = framing(method, &answer)?;
            answer.interim = interim;
            return Ok(answer);
        }
    }

    /// Reads one interim answer and returns its status.
    ///
    /// # Errors
    /// When the connection ends before, or the answer is a final one.
    pub async fn interim(&mut self) -> Result<u16> {
        let answer = wait::at_most(LIMIT, "waiting for an interim answer", self.any_head()).await??;
        ensure!(answer.status < 200, "a final answer came: {}", answer.summary());
        Ok(answer.status)
    }

    /// The next part of the body, as it comes; nothing when it is complete.
    ///
    /// # Errors
    /// When the connection ends before the body does.
    pub async fn part(&mut self) -> Result<Option<Vec<u8>>> {
        wait::at_most(LIMIT, "waiting for more of a body", self.next_part()).await?
    }

    /// Whether the other side has closed in order, after all it sent was read.
    ///
    /// # Errors
    /// When it sends more, resets the connection or keeps it open.
    pub async fn closed(&mut self) -> Result<()> {
        ensure!(self.buffer.is_empty(), "more came: {:?}", String::from_utf8_lossy(&self.buffer));
        let count = wait::at_most(LIMIT, "waiting for the end of a connection", self.fill()).await??;
        ensure!(count == 0, "more came: {:?}", String::from_utf8_lossy(&self.buffer));
        Ok(())
    }

    /// The connection itself, for what comes after HTTP, and what was read too far.
    #[must_use]
    pub fn into_wire(self) -> (Box<dyn Wire>, Vec<u8>) {
        (self.wire, self.buffer)
    }

    async fn any_head(&mut self) -> Result<Answer> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 128];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) = head.parse(&self.buffer)? {
                let headers = head.headers.iter();
                let headers =
                    headers.map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()));
                let answer = Answer {
                    status: head.code.context("no status")?,
                    headers: headers.collect(),
                    body: vec![],
                    interim: vec![],
                };
                self.buffer.drain(..length);
                return Ok(answer);
            }
            if self.fill().await? == 0 {
                bail!("the connection ended without an answer; of it came {:?}", String::from_utf8_lossy(&self.buffer));
            }
        }
    }

    async fn next_part(&mut self) -> Result<Option<Vec<u8>>> {
        match self.framing {
            Framing::Length(0) => Ok(None),
            Framing::Length(left) => {
                if self.buffer.is_empty() && self.fill().await? == 0 {
                    bail!("the connection ended with {left} bytes of the body missing");
                }
                let part: Vec<u8> = self.buffer.drain(..left.min(self.buffer.len())).collect();
                self.framing = Framing::Length(left - part.len());
                Ok(Some(part))
            }
            Framing::UntilClose => {
                let end = self.buffer.is_empty() && self.fill().await? == 0;
                Ok(if end { None } else { Some(std::mem::take(&mut self.buffer)) })
            }
            Framing::Chunked => loop {
                if let httparse::Status::Complete((start, size)) =
                    httparse::parse_chunk_size(&self.buffer).map_err(|_| anyhow::anyhow!("invalid size of a chunk"))?
                {
                    let end = start + usize::try_from(size)? + 2;
                    if self.buffer.len() >= end {
                        ensure!(self.buffer[end - 2..end] == *b"\r\n", "a chunk does not end where it should");
                        let part = self.buffer[start..end - 2].to_vec();
                        self.buffer.drain(..end);
                        if size == 0 {
                            self.framing = Framing::Length(0);
                            return Ok(None);
                        }
                        return Ok(Some(part));
                    }
                }
                if self.fill().await? == 0 {
                    bail!("the connection ended in the middle of a chunked body");
                }
            },
        }
    }

    async fn fill(&mut self) -> Result<usize> {
        Ok(self.wire.read_buf(&mut self.buffer).await?)
    }
}

/// RFC 9112 §6.3. Our proxy must not send anything that makes this ambiguous.
fn framing(method: &str, answer: &Answer) -> Result<Framing> {
    if method == "HEAD" || matches!(answer.status, 101 | 204 | 304) {
        return Ok(Framing::Length(0));
    }
    Ok(match (answer.header("transfer-encoding"), answer.header("content-length")) {
        (Some("chunked"), None) => Framing::Chunked,
        (None, Some(length)) => Framing::Length(length.parse()?),
        (None, None) => Framing::UntilClose,
        (encoding, length) => bail!("ambiguous framing: Transfer-Encoding {encoding:?}, Content-Length {length:?}"),
    })
}

/// One request on a connection of its own.
///
/// # Errors
/// When there is no complete answer.
pub async fn send(to: SocketAddr, request: &Request) -> Result<Answer> {
    Connection::open(to).await?.send(request).await
}

/// One request over TLS on a connection of its own, HTTP/1.1, certificate not checked.
///
/// # Errors
/// When there is no complete answer.
pub async fn send_tls(to: SocketAddr, name: &str, request: &Request) -> Result<Answer> {
    let session = tls::connect(to, Some(name), &["http/1.1"]).await?;
    Connection::over(session.wire).send(request).await
}
