//! The account of one request: opened when its head is here, closed when the last byte of the response is written or
//! given up. Closing writes the log line and the counters, whatever happened in between.

use crate::{
    access_log::{Attempt, Entry, Logged},
    balance::InFlight,
    body::Upload,
    error::{Outcome, ProxyError, client_closed_request},
    listener::Connection,
    metrics::{Durations, RouteStats},
    table::{Endpoint, Expanded},
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
    /// Bytes of the head of the request.
    head_length: u64,
    /// Counts those of its body.
    upload: Option<Rc<Upload>>,
    /// Bytes that came from the client behind both.
    tunnelled: u64,
    attempts: Vec<Attempt>,
    /// When the last try started.
    tried: Instant,
    log: Option<Logged>,
    /// What the response gets besides what its endpoint says, where that depends on the request.
    fields: Option<Expanded>,
    /// Counts the request for its endpoint, where that decides about others.
    in_flight: Option<InFlight>,
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn open(connection: &Rc<Connection>, method: Method) -> Box<Self> {
        connection.request_started();
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
            head_length: 0,
            upload: None,
            tunnelled: 0,
            attempts: Vec::new(),
            tried: start,
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
    }

    /// So many bytes of the body came from the endpoint that answered.
    pub(crate) fn delivered(&mut self, bytes: usize) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.length += bytes as u64;
        }
    }

    /// So many bytes went both ways after the connection had left HTTP.
    pub(crate) fn carried(&mut self, from_client: u64, from_endpoint: u64) {
        self.tunnelled += from_client;
        self.bytes_sent += from_endpoint;
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.length += from_endpoint;
        }
    }

    /// The body ended before its time; the status has already been sent.
    pub(crate) fn broken(&mut self) {
        tracing::debug!(status = ?self.status, "response broke off");
    }

    /// The head of the request has so many bytes. The first one counts, if it is answered with the page of another.
    pub(crate) fn set_head_length(&mut self, bytes: usize) {
        if self.head_length == 0 {
            self.head_length = bytes as u64;
        }
    }

    /// The request has a body.
    pub(crate) fn set_upload(&mut self, upload: Option<Rc<Upload>>) {
        self.upload = upload;
    }

    /// When the head of the request was here.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// A try of an endpoint begins. The first one begins with the request.
    pub(crate) fn try_started(&mut self, endpoint: Endpoint, in_flight: Option<InFlight>) {
        self.in_flight = in_flight;
        if !self.attempts.is_empty() {
            self.tried = Instant::now();
        }
        let time = Duration::ZERO;
        self.attempts.push(Attempt { endpoint, status: None, length: 0, connect: None, header: None, time });
    }

    /// The connection for the current try is there: a new one, or one that was there before.
    pub(crate) fn connected(&mut self, is_new: bool) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.connect = Some(if is_new { self.tried.elapsed() } else { Duration::ZERO });
        }
    }

    /// The current try is none: it only met a connection that had come to its end.
    pub(crate) fn try_forgiven(&mut self) {
        self.attempts.pop();
    }

    /// The current try has brought the head of a response. Returns how long it took.
    pub(crate) fn try_answered(&mut self, status: StatusCode) -> Duration {
        let time = self.try_ended(Some(status));
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.header = Some(time);
        }
        time
    }

    /// The current try has brought none. Returns how long it took.
    pub(crate) fn try_failed(&mut self, error: &ProxyError) -> Duration {
        // As in nginx: what would be answered if there were no other endpoint. It is silent where the client is at fault.
        self.try_ended((error.outcome() != Outcome::Final).then(|| error.status()))
    }

    /// The status of a request that got none.
    fn left_unanswered(&self) -> StatusCode {
        // The end of the process is not the client's.
        if self.connection.worker().is_cut() { StatusCode::SERVICE_UNAVAILABLE } else { client_closed_request() }
    }

    fn try_ended(&mut self, status: Option<StatusCode>) -> Duration {
        let time = self.tried.elapsed();
        if let Some(attempt) = self.attempts.last_mut() {
            (attempt.status, attempt.time) = (status, time);
        }
        time
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.request_ended();
        self.connection.worker().metrics().active.sub(1);
        let now = Instant::now();
        let duration = now - self.start;
        let status = self.status.unwrap_or_else(|| self.left_unanswered());
        let single = self.attempts.len() == 1;
        let upstream = self.attempts.last_mut().and_then(|attempt| {
            let ended = !attempt.is_under_way();
            // The last byte of its response is here, or the client did not wait for the first.
            if attempt.header.is_some() || !ended {
                attempt.time = now - self.tried;
            }
            let Attempt { connect, header, time: response, .. } = *attempt;
            (ended && single).then(|| Durations { connect, header: header.unwrap_or(response), response })
        });
        let request_length =
            self.head_length + self.upload.as_ref().map_or(0, |upload| upload.received()) + self.tunnelled;
        if let Some(route) = self.route.as_ref().filter(|_| self.counted) {
            route.count(&self.method, status, duration, request_length, self.bytes_sent, upstream);
        }
        if let Some(request) = &self.log {
            self.connection.worker().access_log().write(&Entry {
                request,
                route: self.route.as_deref(),
                end: Finished {
                    status,
                    bytes_sent: self.bytes_sent,
                    request_length,
                    duration,
                    attempts: &self.attempts,
                },
            });
        }
    }
}

#[cfg(test)]
mod tests;
