//! A bound socket → connections, until the worker drains.

use crate::worker::Worker;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};
use tokio::io::Interest;

/// Pause after an accept failed for want of a resource (file descriptors, memory), as nginx does.
const PAUSE: Duration = Duration::from_millis(500);

/// A socket that listens. tokio's own type for it tells the reactor of every connection that it accepts, and not all of
/// them are waited for; the one for connections only waits, and lets others make the system call.
#[derive(Debug)]
pub(crate) struct Acceptor(tokio::net::TcpStream);

// === impl Acceptor ===

impl Acceptor {
    /// A socket that does not block.
    pub(crate) fn new(socket: TcpListener) -> io::Result<Self> {
        tokio::net::TcpStream::from_std(OwnedFd::from(socket).into()).map(Self)
    }

    /// Accepts until the worker drains. What the kernel has queued by then is still accepted: closing a `SO_REUSEPORT`
    /// socket resets its queue. `serve` must not wait: it hands the connection to a task.
    pub(crate) async fn run(
        &self,
        address: SocketAddr,
        worker: &Worker,
        serve: impl Fn(TcpStream, SocketAddr) -> io::Result<()>,
    ) {
        let accepted = async |accepted: io::Result<(TcpStream, SocketAddr)>| {
            match accepted.and_then(|(stream, peer)| serve(stream, peer)) {
                Ok(()) => {}
                // The client gave up while it was queued.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) => {
                    tracing::warn!(%error, %address, "cannot accept connections, trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        loop {
            tokio::select! {
                biased;
                next = self.0.async_io(Interest::READABLE, || accept(&self.0)) => accepted(next).await,
                () = worker.draining() => break,
            }
        }
        // The word of the drain may overtake the reactor's word of what the kernel has queued: ask the kernel.
        loop {
            match accept(&self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                next => accepted(next).await,
            }
        }
    }
}

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The next connection, which does not block.
fn accept(socket: &impl AsFd) -> io::Result<(TcpStream, SocketAddr)> {
    let (accepted, peer) = acceptfrom_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let peer = peer.and_then(|peer| peer.try_into().ok());
    Ok((accepted.into(), peer.ok_or_else(|| io::Error::other("the client has no IP address"))?))
}
