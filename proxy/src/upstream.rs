//! Connections to endpoints, pooled per worker: HTTP/1.1 here, HTTP/2 in [`http2`].
//!
//! An HTTP/1.1 connection carries one request at a time and has no task of its own. Whoever uses it polls it in place
//! ([`Connection::send`], then the response body does), so a request needs no wake-up between tasks; while it is idle
//! nobody polls it and the pool's sweep finds the dead ones. [`relay`] keeps hyper from waking the wrong one.

pub(crate) mod connect;
pub(crate) mod http2;
mod io;
pub(crate) mod pool;
mod relay;

pub(crate) use self::io::UpstreamIo;
use self::relay::Relay;
use crate::{
    body::RequestBody,
    error::ProxyError,
    table::Endpoint,
    timeout::{Deadline, Tick},
    tls::UpstreamTls,
};
use bytes::Bytes;
use hashbrown::Equivalent;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{
    hash::{Hash, Hasher},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// What a connection may be used for: its endpoint, under the TLS settings that it was opened with. HTTP/1.1 and HTTP/2
/// have maps of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    endpoint: Endpoint,
    tls: Option<Arc<UpstreamTls>>,
}

/// Where a request wants to go: a [`Key`] that is only looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) endpoint: Endpoint,
    /// `None` is cleartext.
    pub(crate) tls: Option<&'a Arc<UpstreamTls>>,
}

/// An HTTP/1.1 connection to an endpoint.
pub(crate) struct Connection {
    key: Key,
    sender: http1::SendRequest<RequestBody>,
    /// Taken when the connection is over, so that hyper reports it to whoever still waits.
    driver: Option<Driver>,
    /// The driver has finished; it must not be polled again.
    finished: bool,
    relay: Relay,
    created: Tick,
    requests: u32,
    /// Number of the table under which it was taken for its request.
    table: u32,
}

type Driver = http1::Connection<TokioIo<UpstreamIo>, RequestBody>;

/// A request that got no response.
pub(crate) struct Unanswered {
    pub(crate) error: ProxyError,
    /// The body as it was, when the endpoint cannot have acted on the request.
    pub(crate) body: Option<RequestBody>,
    /// It only says that this connection was closed by the time, and nothing about the endpoint.
    pub(crate) stale: bool,
}

// === impl Key ===

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Few endpoints are reached under two settings.
        self.endpoint.hash(state);
    }
}

// === impl Target ===

impl Target<'_> {
    fn to_key(self) -> Key {
        Key { endpoint: self.endpoint, tls: self.tls.cloned() }
    }
}

impl Hash for Target<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.endpoint.hash(state);
    }
}

impl Equivalent<Key> for Target<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.endpoint == key.endpoint
            && match (self.tls, &key.tls) {
                (None, None) => true,
                (Some(this), Some(other)) => Arc::ptr_eq(this, other) || this == other,
                _ => false,
            }
    }
}

// === impl Connection ===

impl Connection {
    fn new(key: Key, sender: http1::SendRequest<RequestBody>, driver: Driver, now: Tick, table: u32) -> Self {
        let relay = Relay::new();
        Self { key, sender, driver: Some(driver), finished: false, relay, created: now, requests: 0, table }
    }

    /// True after the first request: a failure may then only mean that the endpoint closed an idle connection.
    fn is_reused(&self) -> bool {
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
                    let body = error.take_message().map(Request::into_body);
                    let (error, stale) = (ProxyError::Upstream(error.into_error()), self.is_reused());
                    Poll::Ready(Err(Box::new(Unanswered { error, body, stale })))
                }
                Poll::Pending => deadline
                    .poll_expired(cx)
                    .map(|()| Err(Box::new(Unanswered { error: expired(), body: None, stale: false }))),
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
    pub(crate) fn into_upgraded(self) -> Option<(UpstreamIo, Bytes)> {
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
            .field("key", &self.key)
            .field("requests", &self.requests)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}
