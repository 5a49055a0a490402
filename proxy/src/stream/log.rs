//! The account of one session: open while it lasts, and one line in the log at its end, whatever ends it.

use super::Carried;
use crate::{
    table::{BackendKey, Endpoint, Transport},
    variable::{Ended, Moment, Try},
    worker::{OpenGuard, Worker},
};
use std::{
    cell::{Cell, OnceCell, RefCell},
    fmt,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};
use tokio::time::Instant;

/// An open account. A drain waits for it.
pub(super) struct Session {
    pub(super) worker: Rc<Worker>,
    transport: Transport,
    pub(super) client: Cell<SocketAddr>,
    /// What the client asked: the address where it is known, and the port.
    pub(super) address: Cell<Option<IpAddr>>,
    port: u16,
    backend: OnceCell<BackendKey>,
    tries: RefCell<Vec<Try>>,
    start: Instant,
    pub(super) carried: Carried,
    status: Cell<Status>,
    _open: OpenGuard,
}

/// nginx's `$status` of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It reached an endpoint.
    Ok = 200,
    /// No PROXY header where there has to be one.
    BadHeader = 400,
    /// No endpoint could be reached.
    BadGateway = 502,
}

/// ingress-nginx's default `log-format-stream`.
struct Line<'a> {
    session: &'a Session,
    duration: Duration,
}

// === impl Session ===

impl Session {
    /// Opens the account of a client that came to a port.
    pub(super) fn open(worker: &Rc<Worker>, transport: Transport, client: SocketAddr, port: u16) -> Self {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        worker.metrics().accepted.add(1);
        Self {
            worker: Rc::clone(worker),
            transport,
            client: Cell::new(client),
            address: Cell::new(None),
            port,
            backend: OnceCell::new(),
            tries: RefCell::default(),
            start: Instant::now(),
            carried: Carried::default(),
            status: Cell::new(Status::Ok),
            _open: worker.open_tunnel(),
        }
    }

    /// The service is known.
    pub(super) fn belongs_to(&self, backend: &BackendKey) {
        let _ = self.backend.set(backend.clone());
    }

    /// An endpoint was asked, and was there after so long, or not at all.
    pub(super) fn tried(&self, endpoint: Endpoint, connected: Option<Duration>) {
        self.tries.borrow_mut().push(Try { endpoint: endpoint.address, connected });
    }

    pub(super) fn failed(&self, status: Status) {
        self.status.set(status);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.worker.metrics().closed.add(1);
        let view = self.worker.last_view();
        let settings = view.table().settings();
        if !settings.streams.access_log {
            return;
        }
        let (log, duration) = (self.worker.access_log(), self.start.elapsed());
        let Some(format) = &settings.logs.sessions else {
            return log.write(&Line { session: self, duration });
        };
        let ended = Ended {
            transport: self.transport,
            client: self.client.get(),
            address: self.address.get(),
            port: self.port,
            backend: self.backend.get().map_or("", BackendKey::as_str),
            status: self.status.get() as u16,
            sent: self.carried.sent.get(),
            received: self.carried.received.get(),
            duration,
            tries: &self.tries.borrow(),
        };
        log.write(&format.line(&ended));
    }
}

// === impl Line ===

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, duration } = self;
        write!(
            f,
            "[{}] [{}] {} {} {} {} {:.3}",
            session.client.get().ip(),
            Moment::Local,
            session.transport.as_str(),
            session.status.get() as u16,
            session.carried.sent.get(),
            session.carried.received.get(),
            duration.as_secs_f64(),
        )
    }
}
