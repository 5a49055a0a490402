//! Connections that leave HTTP: WebSocket and every other `Upgrade` (RFC 9110 §7.8).

use crate::{
    exchange::Exchange,
    timeout::Deadline,
    upstream::{self, UpstreamIo},
    worker::Worker,
};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// A stream that moves a deadline with every byte.
struct Watched<'a, T> {
    inner: T,
    deadline: &'a Deadline,
    idle: Duration,
}

/// Both sides of a connection that leaves HTTP.
pub(crate) struct Tunnel {
    /// The client's side, once its 101 is written.
    pub(crate) client: OnUpgrade,
    /// The endpoint's side.
    pub(crate) endpoint: Box<upstream::Connection>,
    /// Longest time without a byte in either direction.
    pub(crate) idle: Duration,
}

/// Carries bytes both ways until both sides have closed or nothing moves for too long.
///
/// The tunnel is a task of its own on the worker, because the client's connection has left hyper. A drain waits for it.
pub(crate) fn spawn(worker: &Rc<Worker>, tunnel: Tunnel, mut exchange: Box<Exchange>) {
    let guard = worker.open_tunnel();
    let deadline = worker.timers().deadline();
    tokio::task::spawn_local(async move {
        let _guard = guard;
        let Some((endpoint, early)) = tunnel.endpoint.into_upgraded() else { return };
        match tunnel.client.await {
            Ok(client) => match carry(TokioIo::new(client), endpoint, early, &deadline, tunnel.idle).await {
                Ok((received, sent)) => {
                    exchange.received(received);
                    exchange.sent(usize::try_from(sent).unwrap_or(usize::MAX));
                }
                Err(error) => tracing::debug!(%error, "tunnel ended with an error"),
            },
            Err(error) => tracing::debug!(%error, "client went away before its upgrade"),
        }
    });
}

async fn carry<C: AsyncRead + AsyncWrite + Unpin>(
    client: C,
    endpoint: UpstreamIo,
    early: Bytes,
    deadline: &Deadline,
    idle: Duration,
) -> io::Result<(u64, u64)> {
    deadline.set(idle);
    let mut client = Watched { inner: client, deadline, idle };
    let mut endpoint = Watched { inner: endpoint, deadline, idle };
    let copy = async {
        client.write_all(&early).await?;
        let (received, sent) = tokio::io::copy_bidirectional(&mut client, &mut endpoint).await?;
        Ok((received, sent + early.len() as u64))
    };
    let mut copy = std::pin::pin!(copy);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = copy.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        deadline.poll_expired(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

// === impl Watched ===

impl<T: AsyncRead + Unpin> AsyncRead for Watched<'_, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_read(cx, buf);
        if result.is_ready() {
            this.deadline.set(this.idle);
        }
        result
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
