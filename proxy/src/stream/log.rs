//! The account of one session: open while it lasts, and one line in the log at its end, whatever ends it.

use super::Carried;
use crate::{
    table::Transport,
    worker::{OpenGuard, Worker},
};
use std::{cell::Cell, fmt, net::IpAddr, rc::Rc, time::Duration};
use tokio::time::Instant;

/// An open account. A drain waits for it.
pub(super) struct Session {
    pub(super) worker: Rc<Worker>,
    transport: Transport,
    pub(super) client: Cell<IpAddr>,
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
    pub(super) fn open(worker: &Rc<Worker>, transport: Transport, client: IpAddr) -> Self {
        worker.metrics().accepted.add(1);
        Self {
            worker: Rc::clone(worker),
            transport,
            client: Cell::new(client),
            start: Instant::now(),
            carried: Carried::default(),
            status: Cell::new(Status::Ok),
            _open: worker.open_tunnel(),
        }
    }

    pub(super) fn failed(&self, status: Status) {
        self.status.set(status);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.worker.metrics().closed.add(1);
        if self.worker.last_view().table().settings().streams.access_log {
            self.worker.access_log().write(&Line { session: self, duration: self.start.elapsed() });
        }
    }
}

// === impl Line ===

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, duration } = self;
        write!(
            f,
            "[{}] [{}] {} {} {} {} {:.3}",
            session.client.get(),
            jiff::Zoned::now().strftime("%d/%b/%Y:%H:%M:%S %z"),
            session.transport.as_str(),
            session.status.get() as u16,
            session.carried.sent.get(),
            session.carried.received.get(),
            duration.as_secs_f64(),
        )
    }
}
