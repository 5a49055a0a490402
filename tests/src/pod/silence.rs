//! What is left of a pod whose node lost its network: nobody accepts, nobody refuses.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::PORT;
use crate::address;

/// Longer than an accepted connection takes on a busy machine.
const ACCEPTED: Duration = Duration::from_millis(300);

/// An address whose listener has a full queue, so that the kernel drops what comes.
pub struct Silence {
    /// Where it is.
    pub address: SocketAddr,
    _listener: TcpListener,
    _queue: JoinSet<std::io::Result<TcpStream>>,
    _accepted: Vec<TcpStream>,
}

// === impl Silence ===

impl Silence {
    /// Makes one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start() -> Result<Self> {
        let address = (address::pod(), PORT).into();
        let socket = TcpSocket::new_v4()?;
        socket.bind(address)?;
        let listener = socket.listen(1)?;
        let mut queue = JoinSet::new();
        let mut accepted = vec![];
        // The first connection that stays unanswered proves the queue full.
        loop {
            queue.spawn(TcpStream::connect(address));
            match tokio::time::timeout(ACCEPTED, queue.join_next()).await {
                Ok(Some(stream)) => accepted.push(stream??),
                Ok(None) | Err(_) => {
                    return Ok(Self { address, _listener: listener, _queue: queue, _accepted: accepted });
                }
            }
        }
    }
}
