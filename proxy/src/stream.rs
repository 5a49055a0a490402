//! Layer 4: ports of TCP and UDP services, which open and close as the table changes.
//!
//! ```text
//!  Table ─ Streams ──(watch)──> Opener (on the first worker) ──Order──> every worker ─┬─ tcp ─> endpoint
//!                                 binds for all of them                               └─ udp ─> endpoint
//! ```
//!
//! A port is bound once per worker, like the ports of HTTP, and all of it by one task: whether somebody else has it can
//! only be asked before the first worker does. What a port means is looked up in the table for every session, so that
//! only ports that come or go cost a system call.

mod connect;
mod copy;
mod log;
pub(crate) mod passthrough;
mod tcp;
mod udp;

pub(crate) use self::copy::{Carried, Scratch, copy};
use crate::{
    Handle,
    listener::{Acceptor, bind, bind_udp},
    table::{Endpoint, StreamService, Streams, Transport},
    worker::Worker,
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};

/// How long until a port that could not be bound is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(1);
/// The same after the first failure. Ports that close and open again at once are still held for a moment by workers that
/// have other things to do, and nobody has to hear of that.
const BIND_AGAIN_SOON: Duration = Duration::from_millis(100);

/// A port on one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamPort {
    /// Connections or datagrams.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// A port that the table asks for and that could not be bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unbound {
    /// The port.
    pub port: StreamPort,
    /// Why.
    pub error: String,
}

/// What a worker is told to do.
pub(crate) enum Order {
    Open(StreamPort, Socket),
    Close(StreamPort),
}

/// A worker's share of a port.
pub(crate) enum Socket {
    Tcp(std::net::TcpListener),
    Udp(std::net::UdpSocket),
}

/// Binds ports for all workers.
pub(crate) struct Opener {
    handle: Arc<Handle>,
    /// Where services listen.
    addresses: Vec<IpAddr>,
    workers: Vec<mpsc::UnboundedSender<Order>>,
    open: BTreeSet<StreamPort>,
    failed: BTreeMap<StreamPort, Failure>,
}

/// A port that could not be bound so far.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    error: String,
    times: usize,
}

/// In turn, from a random start; each worker by itself.
#[derive(Debug)]
struct Turn(Cell<usize>);

// === impl Opener ===

impl Opener {
    pub(crate) fn new(
        handle: &Arc<Handle>,
        addresses: Vec<IpAddr>,
        workers: Vec<mpsc::UnboundedSender<Order>>,
    ) -> Self {
        Self { handle: Arc::clone(handle), addresses, workers, open: BTreeSet::new(), failed: BTreeMap::new() }
    }

    /// Follows the table until the worker drains.
    pub(crate) async fn run(mut self, worker: Rc<Worker>) {
        let mut streams = self.handle.streams();
        loop {
            let wanted = Arc::clone(&streams.borrow_and_update());
            self.follow(&wanted);
            tokio::select! {
                changed = streams.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(self.pause()), if !self.failed.is_empty() => {}
                () = worker.draining() => return,
            }
        }
    }

    fn follow(&mut self, streams: &Streams) {
        // Without endpoints nobody is there, and the client should learn it from its connection.
        let served = streams.iter().filter(|service| !service.endpoints.is_empty());
        let wanted: BTreeSet<StreamPort> = served
            .flat_map(|service| {
                let (transport, port) = (service.transport, service.port);
                self.addresses.iter().map(move |ip| StreamPort { transport, address: SocketAddr::new(*ip, port) })
            })
            .collect();
        for port in self.open.difference(&wanted) {
            tracing::info!(protocol = port.transport.as_str(), address = %port.address, "port closed");
            for worker in &self.workers {
                let _ = worker.send(Order::Close(*port));
            }
        }
        let missing: Vec<_> = wanted.difference(&self.open).copied().collect();
        let mut failed_before = std::mem::take(&mut self.failed);
        let reported_before = reported(&failed_before);
        self.open.retain(|port| wanted.contains(port));
        for port in missing {
            match self.bind(port) {
                Ok(()) => {
                    tracing::info!(protocol = port.transport.as_str(), address = %port.address, "port opened");
                    self.open.insert(port);
                }
                Err(error) => {
                    let (error, times) =
                        (error.to_string(), failed_before.remove(&port).map_or(0, |before| before.times));
                    self.failed.insert(port, Failure { error, times: times + 1 });
                }
            }
        }
        let reported = reported(&self.failed);
        for Unbound { port, error } in reported.iter().filter(|unbound| !reported_before.contains(unbound)) {
            let protocol = port.transport.as_str();
            tracing::warn!(error, protocol, address = %port.address, "cannot open a port, trying again");
        }
        if reported != reported_before {
            self.handle.set_unbound(reported.into());
        }
    }

    fn pause(&self) -> Duration {
        if self.failed.values().any(|failure| failure.times == 1) { BIND_AGAIN_SOON } else { BIND_AGAIN }
    }

    /// All or nothing: either every worker gets its share or the port stays closed.
    fn bind(&self, port: StreamPort) -> io::Result<()> {
        let sockets: Vec<Socket> = match port.transport {
            Transport::Tcp => bind(port.address, self.workers.len())?.into_iter().map(Socket::Tcp).collect(),
            Transport::Udp => bind_udp(port.address, self.workers.len())?.into_iter().map(Socket::Udp).collect(),
        };
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let _ = worker.send(Order::Open(port, socket));
        }
        Ok(())
    }
}

/// What somebody has to hear of: ports that have failed twice.
fn reported(failed: &BTreeMap<StreamPort, Failure>) -> Vec<Unbound> {
    let again = failed.iter().filter(|(_, failure)| failure.times > 1);
    again.map(|(port, failure)| Unbound { port: *port, error: failure.error.clone() }).collect()
}

/// Serves the ports of one worker until it drains; returns when what had been accepted by then is under way.
pub(crate) async fn serve(worker: Rc<Worker>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut ports: BTreeMap<StreamPort, JoinHandle<()>> = BTreeMap::new();
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = worker.draining() => None,
        };
        match order {
            Some(Order::Open(port, socket)) => match open(port, socket, &worker) {
                Ok(task) => drop(ports.insert(port, task)),
                Err(error) => tracing::error!(%error, address = %port.address, "cannot serve a port"),
            },
            // Its sessions are tasks of their own and go on.
            Some(Order::Close(port)) => {
                if let Some(task) = ports.remove(&port) {
                    task.abort();
                }
            }
            None => break,
        }
    }
    for (port, task) in ports {
        if let Err(error) = task.await {
            tracing::error!(%error, address = %port.address, "a port ended early");
        }
    }
}

fn open(port: StreamPort, socket: Socket, worker: &Rc<Worker>) -> io::Result<JoinHandle<()>> {
    let worker = Rc::clone(worker);
    Ok(match socket {
        Socket::Tcp(socket) => {
            let socket = Acceptor::new(socket)?;
            tokio::task::spawn_local(tcp::serve(socket, port.address, worker))
        }
        Socket::Udp(socket) => {
            let socket = tokio::net::UdpSocket::from_std(socket)?;
            tokio::task::spawn_local(udp::serve(Rc::new(socket), port.address, worker))
        }
    })
}

/// What a port means right now.
fn service(worker: &Worker, transport: Transport, port: u16) -> Option<Arc<StreamService>> {
    worker.view().table().streams().get(transport, port).cloned()
}

// === impl Turn ===

impl Default for Turn {
    fn default() -> Self {
        Self(Cell::new(usize::from(rand::random::<u16>())))
    }
}

impl Turn {
    /// The next endpoint, if possible none of `tried`.
    fn next(&self, endpoints: &[Endpoint], tried: &[Endpoint]) -> Option<Endpoint> {
        let mut first = None;
        for _ in 0..endpoints.len() {
            let position = self.0.replace(self.0.get().wrapping_add(1));
            let endpoint = endpoints[position % endpoints.len()];
            if !tried.contains(&endpoint) {
                return Some(endpoint);
            }
            first = first.or(Some(endpoint));
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_and_around_what_was_tried() {
        let endpoints: Vec<Endpoint> =
            (1..=3).map(|last| Endpoint { address: ([10, 0, 0, last], 80).into() }).collect();
        let turn = Turn(Cell::new(7));
        let first: BTreeSet<_> = (0..3).map(|_| turn.next(&endpoints, &[]).expect("there are some")).collect();
        assert_eq!(first.len(), 3);
        for _ in 0..10 {
            assert_eq!(turn.next(&endpoints, &endpoints[..2]), Some(endpoints[2]));
        }
        assert!(turn.next(&endpoints, &endpoints).is_some(), "when all were tried, again");
        assert_eq!(turn.next(&[], &[]), None);
    }
}
