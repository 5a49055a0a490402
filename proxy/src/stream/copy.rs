//! Bytes both ways between two connections: tunnels, TCP services, TLS that is passed through.

use crate::timeout::Deadline;
use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What has been carried, also when the end is an error.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// Bytes of the client.
    pub(crate) received: Cell<u64>,
    /// Bytes for the client.
    pub(crate) sent: Cell<u64>,
}

/// One side: moves the deadline with every byte, and counts what it gives.
struct Watched<'a, T> {
    inner: T,
    deadline: &'a Deadline,
    idle: Duration,
    read: &'a Cell<u64>,
}

/// Carries bytes both ways until both sides have closed or nothing moves for too long. A side that closes its half of the
/// connection closes that half on the other side only.
pub(crate) async fn copy<C, E>(
    client: C,
    endpoint: E,
    deadline: &Deadline,
    idle: Duration,
    carried: &Carried,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    deadline.set(idle);
    let mut client = Watched { inner: client, deadline, idle, read: &carried.received };
    let mut endpoint = Watched { inner: endpoint, deadline, idle, read: &carried.sent };
    let mut copy = std::pin::pin!(tokio::io::copy_bidirectional(&mut client, &mut endpoint));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = copy.as_mut().poll(cx) {
            return Poll::Ready(result.map(|_| ()));
        }
        deadline.poll_expired(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

// === impl Watched ===

impl<T: AsyncRead + Unpin> AsyncRead for Watched<'_, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        this.deadline.set(this.idle);
        this.read.set(this.read.get() + (buf.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<'_, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(cx, buf);
        if result.is_ready() {
            this.deadline.set(this.idle);
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
