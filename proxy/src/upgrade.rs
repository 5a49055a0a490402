//! Connections that leave HTTP: WebSocket and every other `Upgrade` (RFC 9110 §7.8).

use crate::{
    exchange::Exchange,
    stream::{Carried, copy},
    upstream::{self, UpstreamIo},
    worker::Worker,
};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::{io, rc::Rc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

/// Both sides of a connection that leaves HTTP.
pub(crate) struct Tunnel {
    /// The client's side, once its 101 is written.
    pub(crate) client: OnUpgrade,
    /// The endpoint's side.
    pub(crate) endpoint: Box<upstream::http1::Connection>,
    /// Longest time without a byte in either direction.
    pub(crate) idle: Duration,
}

/// Carries bytes both ways until both sides have closed or nothing moves for too long.
///
/// The tunnel is a task of its own on the worker, because the client's connection has left hyper. A drain waits for it.
pub(crate) fn spawn(worker: &Rc<Worker>, tunnel: Tunnel, mut exchange: Box<Exchange>) {
    let guard = worker.open_tunnel();
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let _guard = guard;
        let (endpoint, early) = tunnel.endpoint.into_upgraded();
        match tunnel.client.await {
            Ok(client) => {
                let carried = Carried::default();
                let end = carry(&worker, TokioIo::new(client), endpoint, early, tunnel.idle, &carried).await;
                exchange.carried(carried.received.get(), carried.sent.get());
                if let Err(error) = end {
                    tracing::debug!(%error, "tunnel ended with an error");
                }
            }
            Err(error) => tracing::debug!(%error, "client went away before its upgrade"),
        }
    });
}

async fn carry<C: AsyncRead + AsyncWrite + Unpin>(
    worker: &Worker,
    mut client: C,
    endpoint: UpstreamIo,
    early: Bytes,
    idle: Duration,
    carried: &Carried,
) -> io::Result<()> {
    let deadline = worker.timers().deadline();
    deadline.limit(idle, client.write_all(&early)).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
    carried.sent.set(early.len() as u64);
    copy(client, endpoint, worker.scratch(), &deadline, Some(idle), carried).await
}
