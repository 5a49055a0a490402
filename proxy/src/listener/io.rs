//! The client side of a connection as hyper sees it: plain or TLS, with what was already read, counted and watched.

use super::{
    counters::IoCounters,
    socket::Socket,
    watch::{HeadWatch, Verdict, Watch},
};
use crate::{
    frames::{FrameWatch, ResetWatch},
    splice,
};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
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

/// How much of what a client sends behind a request under way is kept until its time comes. It is read to see the client
/// go: of one that sends more nobody sees it.
const MOST_AHEAD: usize = 8 << 10;

/// A connection to a client.
#[derive(Debug)]
pub(crate) struct ServerIo {
    stream: Stream,
    /// Read before the protocol was known.
    prefix: Bytes,
    watch: Watch,
    /// The last write took all it was given: between two frames, as h2 gives whole ones.
    between_frames: bool,
    /// Frames of HTTP/2 on their way to the client.
    resets: ResetWatch,
    counters: Arc<IoCounters>,
}

#[derive(Debug)]
enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

// === impl Stream ===

impl Stream {
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
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
        Self {
            stream,
            prefix: Bytes::new(),
            watch: Watch::Nothing,
            between_frames: true,
            resets: ResetWatch::default(),
            counters,
        }
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

    /// The request line of the last head that was read as a whole, where no other has begun, and the bytes of that head.
    pub(super) fn last_head(&self) -> Option<(&[u8], usize)> {
        match &self.watch {
            Watch::Heads(watch) => watch.last_head(),
            Watch::Nothing | Watch::Frames(_) => None,
        }
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
        self.counters.begin_anew();
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

    /// Shows the watch what was read; what it objects to is held back, and what belongs to the next request.
    #[inline]
    fn look(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, before: usize) -> Poll<io::Result<()>> {
        let read = &buf.filled()[before..];
        match &mut self.watch {
            Watch::Nothing => {}
            Watch::Heads(_) if self.counters.is_tunnel() => self.watch = Watch::Nothing,
            Watch::Heads(watch) => match watch.see(read) {
                Ok(passed) => {
                    if watch.is_complete() {
                        let unwatched = matches!(&self.stream, Stream::Plain(socket) if !socket.is_watched());
                        self.counters.request_complete(unwatched);
                    }
                    if passed < read.len() {
                        self.counters.keep();
                        self.hold_back(buf, before + passed);
                    }
                }
                Err((at, verdict)) => {
                    self.hold_back(buf, before + at);
                    self.counters.stop(verdict);
                    if at == 0 {
                        // Nothing read would mean the end of the stream.
                        return Poll::Pending;
                    }
                }
            },
            Watch::Frames(watch) => {
                let counters = &self.counters;
                let seen = watch.see(read, counters.allowance(), counters.written());
                counters.set_inside(watch.is_inside());
                if seen.is_err() {
                    return Poll::Ready(Err(self.calm_down(cx)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    #[cold]
    fn hold_back(&mut self, buf: &mut ReadBuf<'_>, from: usize) {
        self.prefix = [&buf.filled()[from..], &self.prefix].concat().into();
        buf.set_filled(from);
    }

    /// While a request is under way: ready when the client has gone, which reads as nothing.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.prefix.len() < MOST_AHEAD {
            let mut room = [MaybeUninit::uninit(); FIRST_READ];
            let mut read = ReadBuf::uninit(&mut room);
            ready!(self.stream.poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.prefix = [&self.prefix, read.filled()].concat().into();
            self.counters.keep();
        }
        Poll::Pending
    }

    /// Ends an HTTP/2 connection as h2 would if it could be told to (RFC 9113 §5.4.1).
    #[cold]
    fn calm_down(&mut self, cx: &mut Context<'_>) -> io::Error {
        self.counters.stop(Verdict::Flood);
        if self.between_frames && !self.counters.write_blocked() {
            // The client may not take it: it gets the end of the connection anyway.
            let _ = match &mut self.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_write(cx, GOAWAY),
                Stream::Tls(stream) => Pin::new(stream).poll_write(cx, GOAWAY),
            };
        }
        io::Error::other("more frames that do nothing than a client may send")
    }

    /// Writes the first of a response whose body, or a part of it, is not in our memory.
    fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>], at: usize) -> Poll<io::Result<usize>> {
        let Stream::Plain(socket) = &mut self.stream else {
            return Poll::Ready(Err(io::Error::other("a spliced response on a connection with TLS")));
        };
        if at > 0 {
            return Pin::new(socket).poll_write_vectored(cx, &bufs[..at]);
        }
        let Some(lane) = self.counters.lane() else {
            return Poll::Ready(Err(io::Error::other("a spliced response without its pipe")));
        };
        let sent = ready!(socket.poll_splice(cx, &lane, bufs[0].len()));
        if lane.is_empty() {
            // Whoever fills it is polled by the same task.
            cx.waker().wake_by_ref();
            drop(lane);
            self.counters.release_lane();
        }
        Poll::Ready(sent)
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
        if this.counters.is_stopped() && !this.counters.is_tunnel() {
            return Poll::Pending;
        }
        if this.counters.is_ahead() {
            return this.poll_gone(cx);
        }
        if this.prefix.is_empty() {
            ready!(this.stream.poll_read(cx, buf))?;
        } else {
            let length = this.prefix.len().min(buf.remaining());
            buf.put_slice(&this.prefix[..length]);
            this.prefix.advance(length);
            if this.prefix.is_empty() {
                this.prefix = Bytes::new();
            }
        }
        let looked = this.look(cx, buf, before);
        this.counters.add_read(buf.filled().len() - before);
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
        if let (Watch::Frames(_), Poll::Ready(Ok(written))) = (&this.watch, &result) {
            this.between_frames = *written == buf.len();
            this.resets.see(&buf[..*written], this.counters.resets());
        }
        this.counters.wrote(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let stand_in = bufs.iter().position(|buf| splice::is_stand_in(buf));
        let result = match (&mut this.stream, stand_in) {
            (_, Some(at)) => this.poll_send(cx, bufs, at),
            (Stream::Plain(stream), None) => Pin::new(stream).poll_write_vectored(cx, bufs),
            (Stream::Tls(stream), None) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        if let (Watch::Frames(_), Poll::Ready(Ok(written))) = (&this.watch, &result) {
            let mut left = *written;
            this.between_frames = true;
            for buf in bufs {
                let part = left.min(buf.len());
                this.resets.see(&buf[..part], this.counters.resets());
                this.between_frames &= part == buf.len();
                left -= part;
            }
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
            Stream::Plain(_) if !this.counters.is_tunnel() => Poll::Ready(Ok(())),
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
