//! A wire that can be cut: relays connections to a server, and stops when told to.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

/// A relay on a loopback port, which it keeps when it is cut.
pub struct Relay {
    /// Where clients connect.
    pub address: SocketAddr,
    server: SocketAddr,
    task: Mutex<Option<JoinHandle<()>>>,
}

// === impl Relay ===

impl Relay {
    /// Relays to `server` at once.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let relay = Self::cut_off(server).await?;
        relay.join().await?;
        Ok(relay)
    }

    /// Has an address where nobody answers yet.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn cut_off(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { address: listener.local_addr()?, server, task: Mutex::default() })
    }

    /// Lets connections through.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub async fn join(&self) -> Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let server = self.server;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, server));
            }
        });
        *self.task.lock().await = Some(task);
        Ok(())
    }

    /// Resets all connections and refuses new ones.
    pub async fn cut(&self) {
        if let Some(task) = self.task.lock().await.take() {
            task.abort();
            // The sockets are closed when it has ended, and not before.
            let _ = task.await;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().take() {
            task.abort();
        }
    }
}

/// Ends without a word when either side does.
async fn relay(mut client: TcpStream, server: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    if client.set_zero_linger().is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
