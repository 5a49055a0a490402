//! The account of one request: opened when its head is here, closed when the last byte of the response is written or
//! given up. Closing writes the log line and the counters, whatever happened in between.

use crate::{
    access_log::{Attempt, Entry, Logged},
    balance::InFlight,
    listener::Connection,
    metrics::{Durations, RouteStats},
    table::Expanded,
    variable::Finished,
};
use http::{Method, StatusCode};
use std::{rc::Rc, time::Duration};
use tokio::time::Instant;

/// An open account. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Rc<Connection>,
    start: Instant,
    method: Method,
    route: Option<Rc<RouteStats>>,
    /// Whether the request counts for its route.
    counted: bool,
    /// `None` until there is an answer: the client then went away first.
    status: Option<StatusCode>,
    bytes_sent: u64,
    request_length: u64,
    attempts: Vec<Attempt>,
    /// When the last try started.
    tried: Instant,
    upstream: Durations,
    log: Option<Logged>,
    /// What the response gets besides what its endpoint says, where that depends on the request.
    fields: Option<Expanded>,
    /// Counts the request for its endpoint, where that decides about others.
    in_flight: Option<InFlight>,
}

/// What nginx logs when the client closes before there is an answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

// === impl Exchange ===

impl Exchange {
    pub(crate) fn open(connection: &Rc<Connection>, method: Method) -> Box<Self> {
        let request_length = connection.request_started();
        let worker = connection.worker();
        worker.metrics().requests.add(1);
        worker.metrics().active.add(1);
        let start = Instant::now();
        Box::new(Self {
            connection: Rc::clone(connection),
            start,
            method,
            route: None,
            counted: false,
            status: None,
            bytes_sent: 0,
            request_length,
            attempts: Vec::new(),
            tried: start,
            upstream: Durations::default(),
            log: None,
            fields: None,
            in_flight: None,
        })
    }

    /// From now on the request belongs to a route; `counted` when it also counts for it.
    pub(crate) fn set_route(&mut self, route: Rc<RouteStats>, counted: bool) {
        self.route = Some(route);
        self.counted = counted;
    }

    /// From now on the request has a line in the log.
    pub(crate) fn set_log(&mut self, log: Logged) {
        self.log = Some(log);
    }

    /// Keeps fields for the response, whichever it will be.
    pub(crate) fn set_fields(&mut self, fields: Expanded) {
        self.fields = Some(fields);
    }

    /// What was kept.
    pub(crate) fn take_fields(&mut self) -> Option<Expanded> {
        self.fields.take()
    }

    /// The status that the client gets.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.connection.handed_over();
    }

    /// So many bytes of the body went to the client.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.connection.handed_over();
        self.bytes_sent += bytes as u64;
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.length += bytes as u64;
        }
    }

    /// The body ended before its time; the status has already been sent.
    pub(crate) fn broken(&mut self) {
        tracing::debug!(status = ?self.status, "response broke off");
    }

    /// So many bytes of the request's body were read.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.request_length += bytes;
    }

    /// When the head of the request was here.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// A try of an endpoint begins. The first one begins with the request.
    pub(crate) fn try_started(&mut self, in_flight: Option<InFlight>) {
        self.in_flight = in_flight;
        if !self.attempts.is_empty() {
            self.tried = Instant::now();
        }
        self.upstream.connect = Duration::ZERO;
    }

    /// A new connection for the current try is there.
    pub(crate) fn connected(&mut self) {
        self.upstream.connect = self.tried.elapsed();
    }

    /// The current try is over: with a response head, or without. Returns how long it took.
    pub(crate) fn try_ended(&mut self, endpoint: crate::table::Endpoint, status: Option<StatusCode>) -> Duration {
        let time = self.tried.elapsed();
        self.upstream.header = time;
        let connect = self.upstream.connect;
        self.attempts.push(Attempt { endpoint, status, length: 0, connect, header: time, time });
        time
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.request_ended();
        self.connection.worker().metrics().active.sub(1);
        let now = Instant::now();
        let duration = now - self.start;
        let status = self
            .status
            .unwrap_or_else(|| StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST));
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.time = now - self.tried;
            self.upstream.response = attempt.time;
        }
        if let Some(route) = self.route.as_ref().filter(|_| self.counted) {
            let upstream = (self.attempts.len() == 1).then_some(self.upstream);
            route.count(&self.method, status, duration, self.request_length, self.bytes_sent, upstream);
        }
        if let Some(request) = &self.log {
            self.connection.worker().access_log().write(&Entry {
                request,
                route: self.route.as_deref(),
                end: Finished {
                    status,
                    bytes_sent: self.bytes_sent,
                    request_length: self.request_length,
                    duration,
                    attempts: &self.attempts,
                },
            });
        }
    }
}
