//! UDP services: a client's address is a session with a socket of its own towards one endpoint, until the answers are
//! there, nothing moves for too long, or the endpoint is gone and others are there.

use super::{
    Turn,
    log::{Session, Status},
    service,
};
use crate::{
    table::{Endpoint, StreamService, Transport},
    timeout::Deadline,
    worker::Worker,
};
use hashbrown::HashMap;
use socket2::SockRef;
use std::{
    cell::{Cell, RefCell},
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};
use tokio::{net::UdpSocket, sync::Notify};

/// The largest datagram there is.
const DATAGRAM: usize = 65_535;

/// Sessions per port and worker. Each has a socket, and whoever forges source addresses decides how many there are; above
/// it new clients wait until others are done.
const MOST_SESSIONS: usize = 8192;

/// How long answers of an endpoint that is gone are waited for.
const LATE: Duration = Duration::from_secs(5);

/// Pause after receiving failed for want of a resource.
const PAUSE: Duration = Duration::from_millis(500);

/// A worker's share of a port.
struct Port {
    socket: Rc<UdpSocket>,
    address: SocketAddr,
    worker: Rc<Worker>,
    turn: Turn,
    sessions: RefCell<HashMap<SocketAddr, Rc<Flow>>>,
    /// For answers: a session has nothing of its own to receive into.
    buffer: RefCell<Box<[u8]>>,
    closed: Cell<bool>,
    close: Notify,
}

/// Ends the sessions of a port that is closed: they hold its socket, and nobody could open the port again.
struct Closing<'a>(Option<&'a Port>);

/// What goes on between one client and one endpoint.
struct Flow {
    session: Session,
    client: SocketAddr,
    to: Endpoint,
    endpoint: UdpSocket,
    deadline: Deadline,
    idle: Duration,
    /// Answers that are still expected.
    owed: Cell<u64>,
}

/// Receives until the worker drains, and then what the kernel has queued.
pub(super) async fn serve(socket: Rc<UdpSocket>, address: SocketAddr, worker: Rc<Worker>) {
    let buffer = RefCell::new(vec![0; DATAGRAM].into());
    let port = Rc::new(Port {
        socket,
        address,
        worker,
        turn: Turn::default(),
        sessions: RefCell::default(),
        buffer,
        closed: Cell::new(false),
        close: Notify::new(),
    });
    let mut closing = Closing(Some(&port));
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let ready = tokio::select! {
            ready = port.socket.readable() => ready,
            () = port.worker.draining() => break,
        };
        if let Err(error) = ready.and_then(|()| port.take_all(&mut datagram)) {
            tracing::warn!(%error, %address, "cannot receive datagrams, trying again");
            tokio::time::sleep(PAUSE).await;
        }
    }
    // The word of the drain may overtake that of what has arrived.
    let _ = port.take_all(&mut datagram);
    // A drain is no end for sessions.
    closing.0 = None;
}

// === impl Closing ===

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if let Some(port) = self.0 {
            port.closed.set(true);
            port.close.notify_waiters();
        }
    }
}

// === impl Port ===

impl Port {
    /// Takes what is there, but lets others have their turn after a while.
    fn take_all(self: &Rc<Self>, datagram: &mut [u8]) -> io::Result<()> {
        for _ in 0..64 {
            match self.socket.try_recv_from(datagram) {
                Ok((length, client)) => self.take(client, &datagram[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(self: &Rc<Self>, client: SocketAddr, datagram: &[u8]) {
        let known = self.sessions.borrow().get(&client).cloned();
        let flow = match known {
            Some(flow) if self.is_still_served(&flow) => flow,
            gone => {
                if let Some(flow) = gone {
                    self.retire(&flow);
                }
                let Some(flow) = self.begin(client) else { return };
                flow
            }
        };
        flow.forward(datagram, self.worker.last_view().table().settings().streams.responses);
        if flow.owed.get() == 0 {
            self.sessions.borrow_mut().remove(&flow.client);
        }
    }

    /// Whether the table still has the endpoint of a session, or no other one. What else is said to an endpoint that is
    /// gone would be lost, and a client that always sends from the same port may never pause.
    fn is_still_served(&self, flow: &Flow) -> bool {
        let view = self.worker.view();
        let service = view.table().streams().get(Transport::Udp, self.address.port());
        service.is_none_or(|service| service.endpoints.is_empty() || service.endpoints.binary_search(&flow.to).is_ok())
    }

    /// Ends a session soon: answers that are on their way still pass.
    fn retire(&self, flow: &Flow) {
        flow.deadline.set(flow.idle.min(LATE));
        self.sessions.borrow_mut().remove(&flow.client);
    }

    fn begin(self: &Rc<Self>, client: SocketAddr) -> Option<Rc<Flow>> {
        if self.sessions.borrow().len() >= MOST_SESSIONS {
            tracing::debug!(address = %self.address, "too many sessions: a datagram is dropped");
            return None;
        }
        let service = service(&self.worker, Transport::Udp, self.address.port())?;
        let session = Session::open(&self.worker, Transport::Udp, client, self.address.port());
        session.belongs_to(&service.backend);
        session.address.set(Some(self.address.ip()).filter(|address| !address.is_unspecified()));
        let (to, endpoint) = match self.connect(&service, &session) {
            Ok(connected) => connected,
            Err(error) => {
                tracing::debug!(%error, backend = %service.backend, "no socket for a session");
                session.failed(Status::BadGateway);
                return None;
            }
        };
        let flow = Rc::new(Flow {
            session,
            client,
            to,
            endpoint,
            deadline: self.worker.timers().deadline(),
            idle: self.worker.last_view().table().settings().streams.idle,
            owed: Cell::new(0),
        });
        self.sessions.borrow_mut().insert(client, Rc::clone(&flow));
        tokio::task::spawn_local(Rc::clone(self).answer(Rc::clone(&flow)));
        Some(flow)
    }

    /// Waits until the port is closed.
    async fn closed(&self) {
        let notified = self.close.notified();
        if !self.closed.get() {
            notified.await;
        }
    }

    fn connect(&self, service: &StreamService, session: &Session) -> io::Result<(Endpoint, UdpSocket)> {
        let endpoint = self.turn.next(&service.endpoints, &[]).ok_or(ErrorKind::NotFound)?;
        session.tried(endpoint, Some(Duration::ZERO));
        let address = endpoint.address;
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        Ok((endpoint, UdpSocket::from_std(socket)?))
    }

    /// Carries answers until the session is over.
    async fn answer(self: Rc<Self>, flow: Rc<Flow>) {
        flow.deadline.set(flow.idle);
        while flow.owed.get() > 0 {
            let readable = std::pin::pin!(flow.endpoint.readable());
            let ready = tokio::select! {
                biased;
                ready = readable => ready,
                () = self.closed() => break,
                () = std::future::poll_fn(|cx| flow.deadline.poll_expired(cx)) => break,
            };
            let answered = ready.and_then(|()| self.pass_answers(&flow));
            if let Err(error) = answered {
                // ICMP says that nobody is there.
                tracing::debug!(%error, client = %flow.client, "session ended with an error");
                if flow.session.carried.sent.get() == 0 {
                    flow.session.failed(Status::BadGateway);
                }
                break;
            }
        }
        let mut sessions = self.sessions.borrow_mut();
        // The client may have begun anew meanwhile.
        if sessions.get(&flow.client).is_some_and(|known| Rc::ptr_eq(known, &flow)) {
            sessions.remove(&flow.client);
        }
    }

    fn pass_answers(&self, flow: &Flow) -> io::Result<()> {
        let mut buffer = self.buffer.borrow_mut();
        for _ in 0..64 {
            match flow.endpoint.try_recv(&mut buffer) {
                Ok(length) => {
                    flow.deadline.set(flow.idle);
                    flow.owed.set(flow.owed.get().saturating_sub(1));
                    match SockRef::from(&*self.socket).send_to(&buffer[..length], &flow.client.into()) {
                        Ok(_) => {
                            let sent = &flow.session.carried.sent;
                            sent.set(sent.get() + length as u64);
                        }
                        // As on any way: a datagram may get lost.
                        Err(error) => tracing::debug!(%error, client = %flow.client, "an answer is dropped"),
                    }
                    if flow.owed.get() == 0 {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

// === impl Flow ===

impl Flow {
    fn forward(&self, datagram: &[u8], responses: u32) {
        self.deadline.set(self.idle);
        self.owed.set(self.owed.get().saturating_add(responses.into()));
        let received = &self.session.carried.received;
        received.set(received.get() + datagram.len() as u64);
        // The kernel is asked, not the reactor: it has not heard of the socket of a new session yet.
        if let Err(error) = SockRef::from(&self.endpoint).send(datagram) {
            tracing::debug!(%error, client = %self.client, "a datagram is dropped");
        }
    }
}
