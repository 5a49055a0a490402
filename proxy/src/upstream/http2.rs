//! HTTP/2 connections to endpoints: shared by the requests of a worker, each driven by a task of its own.
//!
//! We speak to h2 rather than to hyper's client on top of it, because that hides what a proxy needs: whether the
//! endpoint has seen a request at all (RFC 9113 §8.7), how many streams it allows, and the body of a request that it
//! refused. The requests drive their own bodies, so that a stream costs no further task.

mod exchange;
mod io;
mod shares;
mod upload;

pub(crate) use self::exchange::{Exchange, send};
use self::io::WatchedIo;
pub(super) use self::shares::{Share, Shares};
use super::{Key, Target, connect};
use crate::{error::ProxyError, frames::Allowance, table::UpstreamKeepAlive, timeout::Tick, worker::Worker};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use std::{
    cell::{Cell, RefCell},
    io::ErrorKind,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::Notify;

/// Bytes of a response that may wait for a slow client: as many as of an HTTP/1.1 endpoint, since one client can have many
/// such streams. The connection as a whole has no limit of its own: it would let the slow clients of some streams hold up
/// all others.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Bytes of a request body that may wait for the socket.
const SEND_BUFFER: usize = 128 * 1024;

/// Largest accepted head of a response.
const HEADER_LIST: u32 = 256 * 1024;

/// Most requests side by side on one connection, whatever the endpoint allows: what is lost holds up all of them.
const MOST_STREAMS: usize = 128;

/// How long an endpoint may take to read our goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// A connection that is past its handshake. It closes when the last who holds it lets go: the pool and its streams.
pub(crate) struct Connection {
    pub(super) key: Key,
    sender: RefCell<SendRequest<Bytes>>,
    /// Frames that the endpoint may still send although they do nothing.
    allowance: Rc<Allowance>,
    /// Requests that are under way.
    active: Cell<usize>,
    /// Requests so far.
    requests: Cell<u32>,
    created: Tick,
    idle_since: Cell<Tick>,
    /// A request on it met a silence: it may be dead without our knowing.
    suspect: Cell<bool>,
    closing: Rc<Notify>,
}

/// The right to one stream of a connection.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Rc<Connection>,
    worker: Rc<Worker>,
}

/// Somebody waits for a connection that another request opens.
struct Waiting<'a> {
    worker: &'a Worker,
    target: Target<'a>,
}

/// Somebody opens a connection, which others may wait for.
struct Connecting<'a> {
    worker: &'a Worker,
    target: Target<'a>,
    done: bool,
}

/// A stream on a connection that is there, or on a new one (`true`). The caller limits the time.
pub(crate) async fn acquire(worker: &Rc<Worker>, target: Target<'_>) -> Result<(Lease, bool), ProxyError> {
    let mut wait = true;
    loop {
        match worker.pooled(|pool, limits, now| pool.share(target, wait, limits, now)) {
            Share::Use(connection) => return Ok((Lease { connection, worker: Rc::clone(worker) }, false)),
            Share::Wait { changed, failures } => {
                let notified = changed.notified();
                let waiting = Waiting::begin(worker, target);
                notified.await;
                drop(waiting);
                // Behind one that failed nobody queues up again: a dead endpoint would cost the last one many timeouts.
                wait = with_shares(worker, target, |shares| shares.failures()) == Some(failures);
            }
            Share::Connect => {
                let connecting = Connecting::begin(worker, target);
                let connection = connect(target, worker).await?;
                connection.begin();
                let lease = Lease { connection: Rc::clone(&connection), worker: Rc::clone(worker) };
                if let Some(connecting) = connecting {
                    connecting.done(connection);
                }
                return Ok((lease, true));
            }
        }
    }
}

/// Opens a connection and waits until the endpoint has said how many streams it allows (RFC 9113 §3.4: its first frame).
async fn connect(target: Target<'_>, worker: &Worker) -> Result<Rc<Connection>, ProxyError> {
    let allowance = Rc::default();
    let io = WatchedIo::new(connect::open(target, true).await?, &allowance, worker.timers());
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(0)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_push(false);
    let (sender, mut driver) = builder.handshake(io).await.map_err(ProxyError::Http2)?;
    std::future::poll_fn(|cx| match Pin::new(&mut driver).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(ProxyError::Connect(ErrorKind::UnexpectedEof.into()))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(ProxyError::Http2(error))),
        Poll::Pending if driver.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    let closing = Rc::new(Notify::new());
    let (closed, endpoint) = (Rc::clone(&closing), target.endpoint.address);
    tokio::task::spawn_local(async move {
        tokio::select! {
            biased;
            ended = driver => if let Err(error) = ended {
                tracing::debug!(%error, %endpoint, "HTTP/2 connection to an endpoint ended with an error");
            },
            () = async { closed.notified().await; tokio::time::sleep(GOODBYE).await } => {}
        }
    });
    let now = worker.timers().now();
    Ok(Rc::new(Connection {
        key: target.to_key(),
        sender: RefCell::new(sender),
        allowance,
        active: Cell::new(0),
        requests: Cell::new(0),
        created: now,
        idle_since: Cell::new(now),
        suspect: Cell::new(false),
        closing,
    }))
}

/// The connections to a target, where they are shared at all.
fn with_shares<T>(worker: &Worker, target: Target<'_>, change: impl FnOnce(&mut Shares) -> T) -> Option<T> {
    worker.pooled(|pool, _, _| pool.shares(target).map(change))
}

// === impl Connection ===

impl Connection {
    /// Counts a request; true when it ends an idle time.
    pub(super) fn begin(&self) -> bool {
        self.allowance.asked();
        self.requests.set(self.requests.get().saturating_add(1));
        self.active.replace(self.active.get() + 1) == 0
    }

    /// A request is over; true when it was the last one under way.
    pub(super) fn end(&self, now: Tick) -> bool {
        self.active.set(self.active.get() - 1);
        self.idle_since.set(now);
        self.active.get() == 0
    }

    fn is_idle(&self) -> bool {
        self.active.get() == 0
    }

    /// True when a request has been on it before the current one: a failure may only mean that it had been closed.
    fn is_reused(&self) -> bool {
        self.requests.get() > 1
    }

    /// True when it may carry further requests: the endpoint has neither closed it nor sent GOAWAY, and it is not used up.
    pub(super) fn is_usable(&self, limits: &UpstreamKeepAlive, now: Tick) -> bool {
        !self.suspect.get()
            && self.requests.get() < limits.requests
            && now.since(self.created) < limits.max_age
            && matches!(
                self.sender.borrow_mut().poll_ready(&mut Context::from_waker(Waker::noop())),
                Poll::Ready(Ok(()))
            )
    }

    /// Requests that it may carry side by side.
    fn most_streams(&self) -> usize {
        self.sender.borrow().current_max_send_streams().min(MOST_STREAMS)
    }

    fn has_room(&self) -> bool {
        self.active.get() < self.most_streams()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.closing.notify_one();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("key", &self.key)
            .field("active", &self.active)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

// === impl Lease ===

impl Lease {
    /// No further request goes on the connection.
    fn suspect(&self) {
        self.connection.suspect.set(true);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.worker.pooled(|pool, limits, now| pool.release(&self.connection, limits, now));
    }
}

// === impl Waiting ===

impl<'a> Waiting<'a> {
    /// `None` where connections are not shared.
    fn begin(worker: &'a Worker, target: Target<'a>) -> Option<Self> {
        with_shares(worker, target, Shares::begin_waiting).map(|()| Self { worker, target })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        with_shares(self.worker, self.target, Shares::end_waiting);
    }
}

// === impl Connecting ===

impl<'a> Connecting<'a> {
    /// `None` where connections are not shared.
    fn begin(worker: &'a Worker, target: Target<'a>) -> Option<Self> {
        with_shares(worker, target, Shares::begin_connecting).map(|()| Self { worker, target, done: false })
    }

    fn done(mut self, connection: Rc<Connection>) {
        self.done = true;
        with_shares(self.worker, self.target, |shares| shares.add(connection));
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        with_shares(self.worker, self.target, |shares| shares.end_connecting(self.done));
    }
}
