//! The client side of a connection as hyper sees it: plain or TLS, with what was already read, counted and watched.

use super::{
    socket::Socket,
    watch::{HeadWatch, Verdict, Watch},
};
use crate::frames::{Allowance, FrameWatch};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::server::TlsStream;

/// What a client sends first on an HTTP/2 connection (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 §6.8): any stream may have been processed.
const GOAWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\x0b";

/// Enough for the head of most requests; hyper reads the rest.
const FIRST_READ: usize = 1024;

/// How much is read at once of what nobody wants.
const SKIPPED: usize = 16 << 10;

/// Counters of a connection, above TLS unless they say otherwise. Written by its own worker only; atomics because hyper
/// wants the IO to be `Send` for upgrades.
#[derive(Debug, Default)]
pub(super) struct IoCounters {
    read: AtomicU64,
    written: AtomicU64,
    /// Bytes that the client took, below TLS.
    taken: AtomicU64,
    write_blocked: AtomicBool,
    /// The connection has left HTTP: its two directions close one by one.
    tunnel: AtomicBool,
    /// Why the watch stopped the flow, see [`Verdict::code`]; 0 while it flows.
    verdict: AtomicU8,
    /// A frame or a header block of HTTP/2 has begun and is not complete.
    inside: AtomicBool,
    given_up: AtomicBool,
    /// All of a request is here, of a client whose socket the reactor does not know: nothing is read until somebody says
    /// so, and nobody is woken for it.
    quiet: AtomicBool,
    allowance: Allowance,
}

/// A connection to a client.
#[derive(Debug)]
pub(crate) struct ServerIo {
    stream: Stream,
    /// Read before the protocol was known.
    prefix: Bytes,
    watch: Watch,
    /// The last write took all it was given: between two frames, as h2 gives whole ones.
    between_frames: bool,
    counters: Arc<IoCounters>,
}

#[derive(Debug)]
enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
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

    /// Bytes that the client took so far, TLS included.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Whether nothing is read: it would only serve to see the client go, and the reactor would have to be told
    /// of the socket first.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.load(Relaxed)
    }

    /// From now on nothing is read, or it is again.
    pub(super) fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Relaxed);
    }

    /// The client takes nothing: what is left for it goes with the connection.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Relaxed);
    }

    /// Whether somebody has.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Relaxed)
    }

    /// True while the client does not take what we have for it.
    pub(super) fn write_blocked(&self) -> bool {
        self.write_blocked.load(Relaxed)
    }

    /// From now on closing one direction leaves the other open.
    pub(super) fn become_tunnel(&self) {
        self.set_quiet(false);
        self.tunnel.store(true, Relaxed);
    }

    /// Why nothing is read any more, if so.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        match self.verdict.load(Relaxed) {
            0 => None,
            code => Verdict::of_code(code),
        }
    }

    /// A frame or a header block of HTTP/2 has begun and is not complete.
    pub(super) fn is_inside(&self) -> bool {
        self.inside.load(Relaxed)
    }

    pub(super) fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    fn add(counter: &AtomicU64, by: usize) {
        counter.store(counter.load(Relaxed) + by as u64, Relaxed);
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = result {
            Self::add(&self.written, *bytes);
        }
    }

    /// What became of a write to the socket.
    pub(super) fn took(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(bytes)) => {
                Self::add(&self.taken, *bytes);
                self.write_blocked.store(false, Relaxed);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.write_blocked.store(true, Relaxed),
        }
    }
}

// === impl ServerIo ===

impl ServerIo {
    pub(super) fn plain(socket: Socket, counters: Arc<IoCounters>) -> Self {
        Self::over(Stream::Plain(socket), counters)
    }

    pub(super) fn tls(stream: Box<TlsStream<Socket>>, counters: Arc<IoCounters>) -> Self {
        Self::over(Stream::Tls(stream), counters)
    }

    fn over(stream: Stream, counters: Arc<IoCounters>) -> Self {
        Self { stream, prefix: Bytes::new(), watch: Watch::Nothing, between_frames: true, counters }
    }

    /// Watches heads of HTTP/1 from here on.
    pub(super) fn watch_heads(&mut self, watch: HeadWatch) {
        self.watch = Watch::Heads(watch);
    }

    /// Watches frames of HTTP/2 from here on.
    pub(super) fn watch_frames(&mut self) {
        self.watch = Watch::Frames(Box::new(FrameWatch::of_client()));
    }

    /// Part of a head of HTTP/1 was read, and the rest was not.
    pub(super) fn is_inside_head(&self) -> bool {
        matches!(&self.watch, Watch::Heads(watch) if watch.is_inside_head())
    }

    /// Part of a body of HTTP/1 was not read, or it cannot be told.
    pub(super) fn is_inside_body(&self) -> bool {
        matches!(&self.watch, Watch::Heads(watch) if watch.is_inside_body())
    }

    /// Goes back to before `read`, which a protocol has read and not used, and forgets the verdict.
    pub(super) fn rewind(&mut self, read: Bytes) {
        if self.prefix.is_empty() {
            // Nothing of a buffer would still hold all of it.
            self.prefix = if read.is_empty() { Bytes::new() } else { read };
        } else if !read.is_empty() {
            self.prefix = [read, std::mem::take(&mut self.prefix)].concat().into();
        }
        self.watch = Watch::Nothing;
        self.counters.verdict.store(0, Relaxed);
    }

    /// What was read and not used by anybody.
    pub(super) fn unread(&self) -> &[u8] {
        &self.prefix
    }

    /// Writes what is to be written, and then the end.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        self.flush().await?;
        match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown().await?,
            Stream::Tls(stream) => stream.shutdown().await?,
        }
        Ok(())
    }

    /// Reads for nobody; false at the end.
    pub(super) async fn skip(&mut self, buffer: &mut BytesMut) -> io::Result<bool> {
        buffer.clear();
        buffer.reserve(SKIPPED);
        Ok(self.stream_read(buffer).await? > 0)
    }

    /// Shows the watch what was read; what it objects to is held back.
    #[inline]
    fn look(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, before: usize) -> Poll<io::Result<()>> {
        let read = &buf.filled()[before..];
        match &mut self.watch {
            Watch::Nothing => {}
            Watch::Heads(_) if self.counters.tunnel.load(Relaxed) => self.watch = Watch::Nothing,
            Watch::Heads(watch) => {
                if let Err((at, verdict)) = watch.see(read) {
                    return self.hold_back(buf, before + at, before, verdict);
                }
                if matches!(&self.stream, Stream::Plain(socket) if !socket.is_watched()) {
                    self.counters.set_quiet(!watch.is_inside_head() && !watch.is_inside_body());
                }
            }
            Watch::Frames(watch) => {
                let counters = &self.counters;
                let seen = watch.see(read, &counters.allowance, counters.written());
                counters.inside.store(watch.is_inside(), Relaxed);
                if seen.is_err() {
                    return Poll::Ready(Err(self.calm_down(cx)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    #[cold]
    fn hold_back(
        &mut self,
        buf: &mut ReadBuf<'_>,
        from: usize,
        before: usize,
        verdict: Verdict,
    ) -> Poll<io::Result<()>> {
        self.prefix = [&buf.filled()[from..], &self.prefix].concat().into();
        buf.set_filled(from);
        self.counters.verdict.store(verdict.code(), Relaxed);
        // Nothing read would mean the end of the stream.
        if from == before { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Ends an HTTP/2 connection as h2 would if it could be told to (RFC 9113 §5.4.1).
    #[cold]
    fn calm_down(&mut self, cx: &mut Context<'_>) -> io::Error {
        self.counters.verdict.store(Verdict::Flood.code(), Relaxed);
        if self.between_frames && !self.counters.write_blocked() {
            // The client may not take it: it gets the end of the connection anyway.
            let _ = match &mut self.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_write(cx, GOAWAY),
                Stream::Tls(stream) => Pin::new(stream).poll_write(cx, GOAWAY),
            };
        }
        io::Error::other("more frames that do nothing than a client may send")
    }

    /// Ready when reading may find something, or the end.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stream = match &mut self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_mut().0,
        };
        if self.prefix.is_empty() { stream.poll_readable(cx) } else { Poll::Ready(()) }
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
        if this.counters.verdict.load(Relaxed) != 0 && !this.counters.tunnel.load(Relaxed) {
            return Poll::Pending;
        }
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
        let looked = this.look(cx, buf, before);
        IoCounters::add(&this.counters.read, buf.filled().len() - before);
        looked
    }
}

impl AsyncWrite for ServerIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        this.between_frames = matches!(result, Poll::Ready(Ok(written)) if written == buf.len());
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
        if matches!(this.watch, Watch::Frames(_)) {
            let all: usize = bufs.iter().map(|buf| buf.len()).sum();
            this.between_frames = matches!(result, Poll::Ready(Ok(written)) if written == all);
        }
        this.counters.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
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
