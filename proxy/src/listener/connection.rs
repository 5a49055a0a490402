//! One client connection: what requests may know of it, and what it keeps count of.

mod downstream;
mod protocol;
mod rest;

pub(super) use self::{
    downstream::Downstream,
    protocol::{End, Waiting},
};
use super::{clients::ClientSlot, counters::IoCounters, proxy_protocol::Proxied, watch::Verdict};
use crate::{
    body::Upload,
    metrics::Refusal,
    splice::Lane,
    table::Settings,
    timeout::{Deadline, Tick},
    tls::Session,
    worker::Worker,
};
use http::{HeaderValue, Version};
use std::{
    cell::{Cell, OnceCell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

/// How long a connection may take to say goodbye, or to bring its first request, once it is to be closed.
const GOODBYE: Duration = Duration::from_secs(5);

/// Scheme of the client's connection to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Cleartext.
    Http,
    /// TLS.
    Https,
}

/// What requests may know of their connection.
#[derive(Debug)]
pub(crate) struct Connection {
    worker: Rc<Worker>,
    id: u64,
    peer: IpAddr,
    /// What the PROXY header says, whether it is believed or not.
    proxied: OnceCell<Proxied>,
    scheme: Scheme,
    /// What the TLS handshake came to; empty for cleartext, and until it is over.
    session: OnceCell<Box<Session>>,
    io: Arc<IoCounters>,
    /// For the phases of the connection itself; a request has its own.
    deadline: Deadline,
    /// Deadline of the request on an HTTP/1 connection, made once.
    request_deadline: RefCell<Option<Rc<Deadline>>>,
    /// Deadline of the HTTP/2 stream that is being polled right now.
    current_stream: RefCell<Option<Rc<Deadline>>>,
    _slot: Option<ClientSlot>,
    /// Peer address and port as header values, made once.
    peer_header: HeaderValue,
    port_header: HeaderValue,
    requests: Cell<u32>,
    /// `keep-alive-requests` as of the last time that somebody looked.
    most_requests: Cell<u32>,
    /// As of then too: how long the client may take nothing.
    send_timeout: Cell<Duration>,
    /// The client may still be sending what nobody reads any more.
    lingers: Cell<bool>,
    /// The body of an HTTP/1 request that was answered before it was here.
    rest: RefCell<Option<Rc<Upload>>>,
    active: Cell<u32>,
    read_before: Cell<u64>,
    /// Since when the rest of a head has been missing.
    head_since: Cell<Option<Tick>>,
    /// Since when the client has known that it must not ask for more.
    goodbye: Cell<Option<Tick>>,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whom the PROXY header names. Belief is up to whoever asks.
    pub(crate) fn proxied(&self) -> Option<&Proxied> {
        self.proxied.get()
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// What the TLS handshake came to.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.get().map(|session| &**session)
    }

    pub(crate) fn peer_header(&self) -> &HeaderValue {
        &self.peer_header
    }

    pub(crate) fn port_header(&self) -> &HeaderValue {
        &self.port_header
    }

    /// A way past our memory for a response of this version; `None` where there is none: with TLS, with frames.
    pub(crate) fn lane(&self, version: Version) -> Option<Arc<Lane>> {
        let is_plain = self.scheme == Scheme::Http && version < Version::HTTP_2;
        if is_plain { self.io.lane_or(|| self.worker.pipes().lane()) } else { None }
    }

    /// A request has come.
    pub(crate) fn request_started(&self) {
        self.requests.set(self.requests.get() + 1);
        self.active.set(self.active.get() + 1);
        self.read_before.set(self.io.read());
    }

    /// The last byte of a response has been handed over, or given up.
    pub(crate) fn request_ended(&self) {
        self.active.set(self.active.get() - 1);
        self.io.request_ended();
        self.read_before.set(self.io.read());
    }

    /// The deadline for a request; HTTP/1 has one request at a time, so they share one.
    pub(crate) fn request_deadline(&self, version: Version) -> Rc<Deadline> {
        if version == Version::HTTP_2 {
            let current = self.current_stream.borrow().clone();
            return current.unwrap_or_else(|| Rc::new(self.worker.timers().deadline()));
        }
        Rc::clone(self.request_deadline.borrow_mut().get_or_insert_with(|| Rc::new(self.worker.timers().deadline())))
    }

    /// Makes a stream of HTTP/2 the current one, or none; returns the one before.
    pub(super) fn swap_stream(&self, stream: Option<Rc<Deadline>>) -> Option<Rc<Deadline>> {
        self.current_stream.replace(stream)
    }

    /// Something was handed over for the client. On HTTP/2, where a stream can stall while the connection does not, it
    /// has from now on so long to take it.
    pub(crate) fn handed_over(&self) {
        if let Some(stream) = &*self.current_stream.borrow() {
            stream.set(self.send_timeout.get());
        }
    }

    /// For the phases of the connection itself.
    pub(super) fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// Why the watch stopped the connection, if it did.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.io.verdict()
    }

    /// A client was refused, or cut off, for what it did.
    pub(super) fn refused(&self, refusal: Refusal) {
        self.worker.metrics().refused(refusal).add(1);
    }

    /// True when the client must not send another request on this connection.
    pub(crate) fn is_last_request(&self) -> bool {
        self.requests.get() >= self.most_requests.get() || self.worker.is_draining()
    }

    /// How long the rest of a head has been missing.
    pub(super) fn time_of_head(&self) -> Duration {
        self.head_since.get().map_or(Duration::ZERO, |since| self.worker.timers().now().since(since))
    }

    /// The connection ends with this answer, and what the client still sends must not reset it.
    pub(crate) fn linger(&self) {
        self.lingers.set(true);
    }

    /// The connection leaves HTTP.
    pub(crate) fn become_tunnel(&self) {
        self.io.become_tunnel();
    }

    /// Takes over settings that may have changed since the connection was accepted.
    pub(crate) fn refresh(&self, settings: &Settings) {
        self.most_requests.set(settings.keep_alive_requests);
        self.send_timeout.set(settings.limits.send_timeout);
    }

    /// Looks again at what the connection waits for: called by the worker when it starts to drain.
    pub(crate) fn wake(&self) {
        self.deadline.wake();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker.connection_closed(self.id);
    }
}
