//! Fake pods: servers in this process, each on an address of its own, that answer
//! with what they received and misbehave when told to.
//!
//! A pod parses HTTP/1.1 by itself so that it can report the exact bytes of names,
//! values and targets. What it does is decided by the target (`/pod/...`, see
//! `answer.rs`) and by its [`Behaviour`]; it knows nothing of the subject.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::{address, wait};

mod answer;
mod exchange;
mod http2;
mod silence;
mod terminator;

pub use answer::pattern;
pub use exchange::digest;
pub use http2::Http2Pod;
pub use silence::Silence;
pub use terminator::Terminator;

/// The port on which every pod listens unless the test says otherwise.
pub const PORT: u16 = 8080;

/// What a pod does with a connection or a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers.
    Serve,
    /// Resets each connection as soon as it is accepted.
    Reset,
    /// Reads each request, then resets the connection.
    ResetAfterRequest,
    /// Reads each request, then closes the connection.
    Close,
    /// Reads each request, then does nothing until the behaviour changes.
    Hold,
    /// Reads the head of each request, but nothing of its body until the behaviour changes.
    HoldBody,
    /// Answers after a while.
    Slow(Duration),
    /// Answers with these bytes.
    Raw(Vec<u8>),
    /// Answers with these bytes before it has read the body, and closes the connection.
    Early(Vec<u8>),
}

/// What a pod saw of a request: the body of its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Echo {
    /// Its name.
    pub pod: String,
    /// As it stood in the request line.
    pub method: String,
    /// As it stood in the request line.
    pub target: String,
    /// Names as written, in order, duplicates included.
    pub headers: Vec<(String, String)>,
    /// How long the body was.
    pub length: usize,
    /// The [`digest`] of the body.
    pub digest: u64,
    /// The body, if it was short.
    pub body: String,
    /// Which connection of this pod, counted from 0.
    pub connection: usize,
    /// The peer's address.
    pub peer: SocketAddr,
}

/// A pod that runs until it is dropped or told to disappear.
pub struct Pod {
    /// How its answers name it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// What a pod and its connections share.
struct Shared {
    name: String,
    behaviour: watch::Sender<Behaviour>,
    /// How many gates are open, see `/pod/parts`.
    gates: watch::Sender<usize>,
    seen: watch::Sender<Vec<Echo>>,
    /// Bytes of request bodies that came, and of answers' bodies that were sent.
    received: watch::Sender<usize>,
    sent: watch::Sender<usize>,
    connections: watch::Sender<usize>,
    /// Connections on which came something else than HTTP.
    broken: watch::Sender<Vec<String>>,
}

// === impl Echo ===

impl Echo {
    /// All values of a header, in order.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }
}

// === impl Pod ===

impl Pod {
    /// A pod on an address of its own.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_at(name, address::pod()).await
    }

    /// The same on a given address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_at(name: &str, address: IpAddr) -> Result<Self> {
        Self::start_on(name, (address, PORT).into()).await
    }

    /// The same on a given address and port.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_on(name: &str, address: SocketAddr) -> Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            behaviour: watch::Sender::new(Behaviour::Serve),
            gates: watch::Sender::default(),
            seen: watch::Sender::default(),
            received: watch::Sender::default(),
            sent: watch::Sender::default(),
            connections: watch::Sender::default(),
            broken: watch::Sender::default(),
        });
        let pod = Self { name: name.to_owned(), address, shared, server: Mutex::default() };
        pod.appear().await?;
        Ok(pod)
    }

    /// Tells it what to do from now on; those who were held go on.
    pub fn set(&self, behaviour: Behaviour) {
        self.shared.behaviour.send_replace(behaviour);
    }

    /// Lets one more part of `/pod/parts` go.
    pub fn open_gate(&self) {
        self.shared.gates.send_modify(|gates| *gates += 1);
    }

    /// Ends as a killed pod does: every connection is reset, nobody listens any more.
    pub async fn disappear(&self) {
        if let Some(server) = self.server.lock().await.take() {
            server.abort();
            // Its sockets are closed when it has ended, and not before.
            let _ = server.await;
        }
    }

    /// Listens again on the same address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn appear(&self) -> Result<()> {
        // A process that another test starts at this moment holds a copy of our old listener between its fork and its
        // exec, and the address is taken until then.
        let listener = wait::until(&format!("{} free again", self.address), async || {
            listen(self.address).with_context(|| format!("binding {}", self.address))
        })
        .await?;
        *self.server.lock().await = Some(tokio::spawn(serve(listener, Arc::clone(&self.shared))));
        Ok(())
    }

    /// What it has seen so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Echo> {
        self.shared.seen.borrow().clone()
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// What came to it that was not HTTP.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.shared.broken.borrow().clone()
    }

    /// Bytes of request bodies that have reached it.
    #[must_use]
    pub fn received(&self) -> usize {
        *self.shared.received.borrow()
    }

    /// Bytes of bodies that it could hand to its kernel.
    #[must_use]
    pub fn sent(&self) -> usize {
        *self.shared.sent.borrow()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(server) = self.server.get_mut().take() {
            server.abort();
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() {
        // The route makes IPv6 addresses local, but only IPv4 ones bindable too.
        rustix::net::sockopt::set_ipv6_freebind(&socket, true)?;
    }
    // It may come back on the address that it has just left.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(4096)?)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with the task that owns this set.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let number = shared.connections.send_replace(0);
        shared.connections.send_replace(number + 1);
        connections.spawn(converse(stream, peer, number, Arc::clone(&shared)));
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, number: usize, shared: Arc<Shared>) {
    // Whatever ends this task resets the connection, unless it is closed in order.
    if stream.set_nodelay(true).and_then(|()| stream.set_zero_linger()).is_err() {
        return;
    }
    if *shared.behaviour.borrow() == Behaviour::Reset {
        return;
    }
    let mut exchange = exchange::Exchange::new(stream, peer, number, Arc::clone(&shared));
    if let Err(error) = exchange.run().await {
        shared.broken.send_modify(|broken| broken.push(format!("{error:#}")));
    }
}
