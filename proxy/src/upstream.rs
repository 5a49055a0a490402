//! Connections to endpoints: one request at a time on each (HTTP/1.1), idle ones pooled per worker.
//!
//! A connection has no task of its own. Whoever uses it polls it in place ([`Connection::send`], then the response body
//! does), so a request needs no wake-up between tasks; while it is idle nobody polls it and the pool's sweep finds the
//! dead ones. [`relay`] keeps hyper from waking the wrong one.

pub(crate) mod connect;
pub(crate) mod pool;
mod relay;

use self::relay::Relay;
use crate::{
    body::RequestBody,
    error::ProxyError,
    table::Endpoint,
    timeout::{Deadline, Tick},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};
use tokio::net::TcpStream;

/// An HTTP/1.1 connection to an endpoint.
pub(crate) struct Connection {
    endpoint: Endpoint,
    sender: http1::SendRequest<RequestBody>,
    /// Taken when the connection is over, so that hyper reports it to whoever still waits.
    driver: Option<Driver>,
    /// The driver has finished; it must not be polled again.
    finished: bool,
    relay: Relay,
    created: Tick,
    requests: u32,
}

type Driver = http1::Connection<TokioIo<TcpStream>, RequestBody>;

/// A request that got no response.
pub(crate) struct Unanswered {
    pub(crate) error: ProxyError,
    /// The request itself, when not a byte of it was written.
    pub(crate) request: Option<Request<RequestBody>>,
}

// === impl Connection ===

impl Connection {
    fn new(endpoint: Endpoint, sender: http1::SendRequest<RequestBody>, driver: Driver, now: Tick) -> Self {
        Self { endpoint, sender, driver: Some(driver), finished: false, relay: Relay::new(), created: now, requests: 0 }
    }

    /// True after the first request: a failure may then only mean that the endpoint closed an idle connection.
    pub(crate) fn is_reused(&self) -> bool {
        self.requests > 1
    }

    /// Drives the connection; `user` is woken when there is more to do.
    fn drive(&mut self, user: &Waker) {
        if self.finished {
            return;
        }
        let Some(driver) = &mut self.driver else { return };
        self.relay.begin();
        let driven = driver.poll_without_shutdown(&mut Context::from_waker(self.relay.waker()));
        self.relay.end(user);
        // An error of the driver also reaches the response or its body, which is where it is handled.
        self.finished = driven.is_ready();
    }

    /// Drives the connection without anybody waiting for it.
    fn drive_idle(&mut self) {
        self.drive(Waker::noop());
        self.relay.mute();
    }

    /// Sends a request and waits for the head of its response. The caller sets the deadline; the request body moves it.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
        deadline: &Deadline,
        expired: impl Fn() -> ProxyError,
    ) -> Result<Response<Incoming>, Box<Unanswered>> {
        self.requests += 1;
        self.relay.mute();
        let response = self.sender.try_send_request(request);
        let mut response = std::pin::pin!(response);
        std::future::poll_fn(|cx| {
            self.drive(cx.waker());
            // The response only arrives while the connection is driven, which was just now: no need for a wake-up.
            let mut quiet = Context::from_waker(Waker::noop());
            let mut answer = response.as_mut().poll(&mut quiet);
            if answer.is_pending() && self.finished {
                // The endpoint closed cleanly before it saw the request. Dropping the driver gives the request back.
                self.driver = None;
                answer = response.as_mut().poll(&mut quiet);
            }
            match answer {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => {
                    let request = error.take_message();
                    Poll::Ready(Err(Box::new(Unanswered { error: ProxyError::Upstream(error.into_error()), request })))
                }
                Poll::Pending => {
                    deadline.poll_expired(cx).map(|()| Err(Box::new(Unanswered { error: expired(), request: None })))
                }
            }
        })
        .await
    }

    /// True when the connection can carry another request.
    fn is_reusable(&mut self) -> bool {
        if !self.finished && !self.sender.is_ready() {
            self.drive_idle();
        }
        !self.finished && self.sender.is_ready()
    }

    /// True when the endpoint closed the connection while it was idle.
    fn is_dead(&mut self) -> bool {
        self.drive_idle();
        self.finished || self.sender.is_closed()
    }

    /// Takes the bare connection after a 101 response, with what was read beyond the response.
    pub(crate) fn into_upgraded(self) -> Option<(TcpStream, Bytes)> {
        let parts = self.driver?.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }

    /// The frame of the body that has arrived already, without asking the socket for more.
    pub(crate) fn arrived(&self, body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        self.relay.mute();
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => frame,
            Poll::Pending => None,
        }
    }

    /// Polls the body of the response that this connection is delivering.
    pub(crate) fn poll_body(
        &mut self,
        mut body: Pin<&mut Incoming>,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Bytes only arrive while the connection is driven, and asking for them only wakes its driver: that is us.
        let mut quiet = Context::from_waker(Waker::noop());
        self.relay.mute();
        if let Poll::Ready(frame) = body.as_mut().poll_frame(&mut quiet) {
            return Poll::Ready(frame);
        }
        self.drive(cx.waker());
        if self.finished {
            // Nothing more will come: the body ends here, complete or with an error.
            self.driver = None;
        }
        body.poll_frame(&mut quiet)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("endpoint", &self.endpoint)
            .field("requests", &self.requests)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}
