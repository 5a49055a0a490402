//! The client side of a connection as hyper sees it: plain or TLS, with what was already read, and with counters.

use bytes::{Buf, Bytes, BytesMut};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// What a client sends first on an HTTP/2 connection (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Enough for the head of most requests; hyper reads the rest.
const FIRST_READ: usize = 1024;

/// Plaintext counters of a connection. Written by its own worker only; atomics because hyper wants the IO to be `Send`
/// for upgrades.
#[derive(Debug, Default)]
pub(super) struct IoCounters {
    read: AtomicU64,
    written: AtomicU64,
    write_blocked: AtomicBool,
    /// The connection has left HTTP: its two directions close one by one.
    tunnel: AtomicBool,
}

/// A connection to a client.
#[derive(Debug)]
pub(crate) struct ServerIo {
    stream: Stream,
    /// Read before the protocol was known.
    prefix: Bytes,
    counters: Arc<IoCounters>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

// === impl IoCounters ===

impl IoCounters {
    /// Bytes read so far.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// True while the client does not take what we have for it.
    pub(super) fn write_blocked(&self) -> bool {
        self.write_blocked.load(Relaxed)
    }

    /// From now on closing one direction leaves the other open.
    pub(super) fn become_tunnel(&self) {
        self.tunnel.store(true, Relaxed);
    }

    fn add(counter: &AtomicU64, by: usize) {
        counter.store(counter.load(Relaxed) + by as u64, Relaxed);
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(bytes)) => {
                Self::add(&self.written, *bytes);
                self.write_blocked.store(false, Relaxed);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.write_blocked.store(true, Relaxed),
        }
    }
}

// === impl ServerIo ===

impl ServerIo {
    pub(super) fn plain(stream: TcpStream, counters: Arc<IoCounters>) -> Self {
        Self { stream: Stream::Plain(stream), prefix: Bytes::new(), counters }
    }

    pub(super) fn tls(stream: Box<TlsStream<TcpStream>>, counters: Arc<IoCounters>) -> Self {
        Self { stream: Stream::Tls(stream), prefix: Bytes::new(), counters }
    }

    /// Reads until it is known whether the client speaks HTTP/2 by prior knowledge. What was read is read again by the
    /// protocol.
    pub(super) async fn peek_http2_preface(&mut self) -> io::Result<bool> {
        let mut buffer = BytesMut::with_capacity(FIRST_READ);
        loop {
            if self.stream_read(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let known = buffer.len().min(HTTP2_PREFACE.len());
            let matches = buffer[..known] == HTTP2_PREFACE[..known];
            if !matches || known == HTTP2_PREFACE.len() {
                self.prefix = buffer.freeze();
                return Ok(matches);
            }
        }
    }

    async fn stream_read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(buffer).await,
            Stream::Tls(stream) => stream.read_buf(buffer).await,
        }
    }
}

impl AsyncRead for ServerIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.prefix.is_empty() {
            ready!(match &mut this.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
                Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            })?;
        } else {
            let length = this.prefix.len().min(buf.remaining());
            buf.put_slice(&this.prefix[..length]);
            this.prefix.advance(length);
            if this.prefix.is_empty() {
                this.prefix = Bytes::new();
            }
        }
        IoCounters::add(&this.counters.read, buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        this.counters.wrote(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        this.counters.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        if result.is_pending() {
            this.counters.write_blocked.store(true, Relaxed);
        }
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.stream {
            // hyper drops the connection next, and closing sends the same FIN: one system call less.
            Stream::Plain(_) if !this.counters.tunnel.load(Relaxed) => Poll::Ready(Ok(())),
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Tells somebody who speaks plain HTTP on the TLS port, as nginx does (its internal status 497).
pub(super) async fn answer_plain_http(mut stream: TcpStream) -> io::Result<()> {
    const BODY: &str = "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\
        <body><center><h1>400 Bad Request</h1></center>\
        <center>The plain HTTP request was sent to HTTPS port</center></body></html>\r\n";
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection and with it the answer.
    let mut rest = BytesMut::with_capacity(4096);
    while rest.len() < 64 * 1024 && stream.read_buf(&mut rest).await? > 0 {}
    Ok(())
}
