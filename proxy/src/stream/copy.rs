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
    idle: Option<Duration>,
    read: &'a Cell<u64>,
}

/// Carries bytes both ways until both sides have closed or nothing moves for longer than `idle`, if there is such a limit.
/// A side that closes its half of the connection closes that half on the other side only.
pub(crate) async fn copy<C, E>(
    client: C,
    endpoint: E,
    deadline: &Deadline,
    idle: Option<Duration>,
    carried: &Carried,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    deadline.clear();
    let mut client = Watched { inner: client, deadline, idle, read: &carried.received };
    let mut endpoint = Watched { inner: endpoint, deadline, idle, read: &carried.sent };
    client.moved();
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

impl<T> Watched<'_, T> {
    fn moved(&self) {
        if let Some(idle) = self.idle {
            self.deadline.set(idle);
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<'_, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        this.moved();
        this.read.set(this.read.get() + (buf.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<'_, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(cx, buf);
        if result.is_ready() {
            this.moved();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeout::Timers;
    use std::rc::Rc;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        task::LocalSet,
        time::{Instant, timeout},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn silence_ends_what_has_a_limit_and_nothing_else() {
        let timers = Timers::new();
        let local = LocalSet::new();
        local.spawn_local(Rc::clone(&timers).drive());
        local
            .run_until(async {
                let deadline = timers.deadline();
                // The other ends stay open and say nothing.
                let ((client, _downstream), (endpoint, _upstream)) = (duplex(64), duplex(64));
                let start = Instant::now();
                let idle = Some(Duration::from_secs(10));
                let end = copy(client, endpoint, &deadline, idle, &Carried::default()).await;
                assert_eq!(end.unwrap_err().kind(), io::ErrorKind::TimedOut);
                assert!((10..12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());

                // Whatever the deadline was for before.
                deadline.set(Duration::from_secs(1));
                let ((client, mut downstream), (endpoint, mut upstream)) = (duplex(64), duplex(64));
                let carried = Carried::default();
                let mut copying = std::pin::pin!(copy(client, endpoint, &deadline, None, &carried));
                assert!(timeout(HOUR, copying.as_mut()).await.is_err(), "it ended by itself");
                downstream.write_all(b"late").await.unwrap();
                downstream.shutdown().await.unwrap();
                upstream.shutdown().await.unwrap();
                copying.await.unwrap();
                let mut got = Vec::new();
                upstream.read_to_end(&mut got).await.unwrap();
                assert_eq!((&*got, carried.received.get()), (&b"late"[..], 4));
            })
            .await;
    }
}
