//! The socket of a client, below TLS: the reactor hears of it when there is something to wait for, and what the client
//! takes is counted here, where it does take it.

use super::counters::IoCounters;
use crate::splice::Lane;
use socket2::SockRef;
use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// A connection to a client. What is written to TLS above it may wait in a buffer; only the socket knows what has left.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// How much is read at once while the reactor does not know it.
    room: usize,
    counters: Arc<IoCounters>,
}

#[derive(Debug)]
enum Stream {
    /// As it was accepted. The reactor hears of it when there is something to wait for, which a connection with a single
    /// request need not come to: that is two system calls and an event less.
    Unwatched(std::net::TcpStream),
    Watched(TcpStream),
    /// The reactor could not take it.
    Lost,
}

/// Enough for most heads. Room has to be zeroed first, and all of hyper's buffer is 8 KB. Whoever fills it gets more.
const ROOM: usize = 1024;

// === impl Socket ===

impl Socket {
    pub(super) fn unwatched(stream: std::net::TcpStream, counters: Arc<IoCounters>) -> Self {
        Self { stream: Stream::Unwatched(stream), room: ROOM, counters }
    }

    pub(super) fn watched(stream: TcpStream, counters: Arc<IoCounters>) -> Self {
        Self { stream: Stream::Watched(stream), room: ROOM, counters }
    }

    /// Whether the reactor knows it.
    pub(super) fn is_watched(&self) -> bool {
        matches!(self.stream, Stream::Watched(_))
    }

    /// Ready when reading may find something, or the end.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An error is found by reading, too.
        self.watch().map_or(Poll::Ready(()), |stream| stream.poll_read_ready(cx).map(|_| ()))
    }

    /// The connection as one that can be waited for.
    fn watch(&mut self) -> io::Result<&mut TcpStream> {
        if !self.is_watched()
            && let Stream::Unwatched(stream) = std::mem::replace(&mut self.stream, Stream::Lost)
        {
            let watched = TcpStream::from_std(stream).inspect_err(|error| {
                tracing::warn!(%error, "cannot wait for a client: its connection is closed");
            })?;
            self.stream = Stream::Watched(watched);
        }
        match &mut self.stream {
            Stream::Watched(stream) => Ok(stream),
            Stream::Unwatched(_) | Stream::Lost => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Sends up to `most` bytes that wait in a pipe.
    pub(super) fn poll_splice(&mut self, cx: &mut Context<'_>, lane: &Lane, most: usize) -> Poll<io::Result<usize>> {
        self.poll_take(
            cx,
            |stream| lane.send(&**stream, most),
            |stream, cx| loop {
                ready!(stream.poll_write_ready(cx))?;
                match stream.try_io(Interest::WRITABLE, || lane.send(&*stream, most)) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result),
                }
            },
        )
    }

    /// Writes what the kernel takes at once; waits where it takes nothing.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        now: impl FnOnce(&mut &std::net::TcpStream) -> io::Result<usize>,
        later: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let at_once = match &self.stream {
            Stream::Unwatched(stream) => is_over(now(&mut &*stream)),
            Stream::Watched(_) | Stream::Lost => None,
        };
        let result = match at_once {
            Some(result) => Poll::Ready(result),
            None => match self.watch() {
                Ok(stream) => later(Pin::new(stream), cx),
                Err(error) => Poll::Ready(Err(error)),
            },
        };
        self.counters.took(&result);
        result
    }
}

/// What a system call came to, unless it has to be made again.
fn is_over<T>(result: io::Result<T>) -> Option<io::Result<T>> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
        result => Some(result),
    }
}

impl Drop for Socket {
    /// The kernel would offer what is left of it to a client that takes nothing, for minutes: megabytes of memory.
    fn drop(&mut self) {
        if !self.counters.is_given_up() {
            return;
        }
        let socket = match &self.stream {
            Stream::Unwatched(stream) => SockRef::from(stream),
            Stream::Watched(stream) => SockRef::from(stream),
            Stream::Lost => return,
        };
        if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "a connection is not reset, but closed");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Stream::Unwatched(stream) = &this.stream {
            if this.counters.is_quiet() {
                return Poll::Pending;
            }
            let initialized = buf.initialized().len() - buf.filled().len();
            let room = this.room.max(initialized).min(buf.remaining());
            if let Some(read) = is_over((&mut &*stream).read(buf.initialize_unfilled_to(room))) {
                let read = read?;
                if read == room {
                    this.room = room * 2;
                }
                buf.advance(read);
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(this.watch()?).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_take(cx, |stream| stream.write(buf), |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_take(
            cx,
            |stream| stream.write_vectored(bufs),
            |stream, cx| stream.poll_write_vectored(cx, bufs),
        )
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// There is no buffer.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().watch()?).poll_shutdown(cx)
    }
}
