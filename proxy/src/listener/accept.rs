//! A bound socket → connections, until the worker drains.

use crate::worker::Worker;
use socket2::{SockAddr, SockRef, Socket};
use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

/// Pause after an accept failed for want of a resource (file descriptors, memory), as nginx does.
const PAUSE: Duration = Duration::from_millis(500);

/// Accepts until the worker drains. What the kernel has queued by then is still accepted: closing a `SO_REUSEPORT` socket
/// resets its queue. `serve` must not wait: it hands the connection to a task.
pub(crate) async fn accept(
    socket: &TcpListener,
    address: SocketAddr,
    worker: &Worker,
    serve: impl Fn(TcpStream, SocketAddr),
) {
    let accepted = async |accepted: io::Result<(TcpStream, SocketAddr)>| match accepted {
        Ok((stream, peer)) => serve(stream, peer),
        // The client gave up while it was queued.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
        Err(error) => {
            tracing::warn!(%error, %address, "cannot accept connections, trying again");
            tokio::time::sleep(PAUSE).await;
        }
    };
    loop {
        tokio::select! {
            biased;
            next = socket.accept() => accepted(next).await,
            () = worker.draining() => break,
        }
    }
    // The word of the drain may overtake the reactor's word of what the kernel has queued: ask the kernel.
    loop {
        match SockRef::from(socket).accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            next => accepted(next.and_then(adopt)).await,
        }
    }
}

/// Hands a socket that was accepted past the reactor to it.
fn adopt((socket, peer): (Socket, SockAddr)) -> io::Result<(TcpStream, SocketAddr)> {
    socket.set_nonblocking(true)?;
    let peer = peer.as_socket().ok_or_else(|| io::Error::other("the client has no IP address"))?;
    Ok((TcpStream::from_std(socket.into())?, peer))
}
