//! A connection under its protocol: HTTP/1 or HTTP/2, the deadlines of what it waits for, its end.

use super::{Connection, GOODBYE};
use crate::{
    body::ResponseBody,
    listener::{
        gathered::Gathered,
        io::ServerIo,
        refusal::{self, RefusedHead},
        stream::StreamExecutor,
        watch::{HeadWatch, USUAL_FIELDS, Verdict},
    },
    request,
    table::HeadLimits,
};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{HttpService, service_fn},
};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::AsyncWriteExt as _;

/// What the connection waits for; every value has its own time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::listener) enum Waiting {
    /// For the endpoint or the client's body: the request's deadline counts. Nobody sees the client go while it is `quiet`.
    Request { quiet: bool },
    /// For the rest of a request head.
    Head,
    /// For the next request; counts those so far. Over HTTP/2 nobody may look at the connection while one is under way.
    Idle { requests: u32 },
    /// For the rest of a body that nobody wants; counts what was read.
    Rest { read: u64 },
    /// For the client to take bytes; counts what it took.
    Client { taken: u64 },
}

/// How the connection ended.
#[derive(Debug)]
pub(in crate::listener) enum End {
    /// In order.
    Done,
    /// The protocol gave up.
    Failed(hyper::Error),
    /// The client took too long.
    TimedOut(Waiting),
    /// The watch stopped it; nothing is under way.
    Stopped(Verdict),
    /// It has been idle for a while, and its protocol can be made anew.
    Dozing,
}

/// What graceful shutdown and polling look like for any protocol.
trait Protocol {
    /// It has frames, which have an allowance.
    const FRAMES: bool;
    fn graceful_shutdown(self: Pin<&mut Self>);
    fn poll_done(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>>;
}

/// HTTP/2, and the IO that gathers what it writes.
struct Http2<'a, S: HttpService<Incoming>> {
    protocol: Pin<&'a mut http2::Connection<TokioIo<Gathered>, S, StreamExecutor>>,
    io: Gathered,
}

/// How long a connection stays ready for its next request: then its protocol is put away, with the buffers that are most of
/// what an idle connection costs. Making a new one for a request costs less than the request.
const DOZE: Duration = Duration::from_millis(250);

/// How long a request may take before anybody looks whether its client is still there, on a connection that the reactor
/// does not know. Most are answered before.
const WATCH: Duration = Duration::from_millis(50);

/// Above the largest head: the watch refuses it, not hyper, and what follows it may have come along.
const BESIDE_HEAD: usize = 8 << 10;

/// A header map panics beyond 32768 fields; far below that hyper may refuse.
const MOST_FIELDS: u32 = 16 << 10;

/// Bytes of responses that may wait per stream of HTTP/2. With the streams, the windows and the heads it is what one
/// connection can make us hold: 128 streams × 64 KiB, as much again that was read for each, 1 MiB of request bodies and 128 heads.
const SEND_BUFFER: usize = 64 << 10;

/// Streams of a client that it resets before anybody has seen them, and streams that we reset because the client broke
/// a rule (CVE-2023-44487, CVE-2025-8671) or asked for more streams than it may before it knew how many. More end the
/// connection with ENHANCE_YOUR_CALM.
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 500;

/// Serves HTTP/1. A head with very many fields is parsed again with room for them.
pub(super) async fn http1(connection: Rc<Connection>, mut io: ServerIo) {
    let mut most_fields = USUAL_FIELDS;
    loop {
        let (builder, limits) = connection.http1_builder(most_fields);
        io.watch_heads(HeadWatch::new(limits, most_fields));
        let service = connection.service();
        // Boxed, so that it is gone while the connection dozes.
        let mut protocol = Box::new(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
        let end = connection.run(Pin::new(&mut *protocol)).await;
        // Nothing is left of a connection that has become a tunnel.
        let Some(parts) = protocol.into_parts() else { return };
        let mut rest = parts.io.into_inner();
        if matches!(end, End::Done) && !connection.lingers.get() && !rest.is_inside_body() {
            return;
        }
        let head = RefusedHead::of(&rest, &end);
        rest.rewind(parts.read_buf);
        match end {
            End::Dozing => match connection.doze(rest).await {
                Some(awake) => io = awake,
                None => return,
            },
            End::Stopped(Verdict::ManyFields) if most_fields < most_fields_of(limits) => {
                most_fields = most_fields.saturating_mul(10).min(most_fields_of(limits));
                io = rest;
            }
            // Rare, and larger than the rest of the connection.
            end => return Box::pin(refusal::http1(&connection, rest, end, &head)).await,
        }
    }
}

/// Serves HTTP/2.
pub(super) async fn http2(connection: Rc<Connection>, mut io: ServerIo) {
    io.watch_frames();
    let view = connection.worker.last_view();
    let settings = view.table().settings();
    let mut builder = http2::Builder::new(StreamExecutor::new(&connection));
    builder
        .max_concurrent_streams(settings.http2_max_concurrent_streams)
        // What is larger, and not absurdly so, is refused by us: then there is a line in the log.
        .max_header_list_size(settings.limits.head.total.saturating_mul(2))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .max_send_buf_size(SEND_BUFFER);
    drop(view);
    let service = connection.stream_service();
    let io = Gathered::new(io, &connection.worker);
    let protocol = std::pin::pin!(builder.serve_connection(TokioIo::new(io.clone()), service));
    let end = connection.run(Pin::new(&mut Http2 { protocol, io })).await;
    connection.note_resets();
    refusal::http2(&connection, &end);
}

/// As many fields as fit into a head: of three bytes each.
fn most_fields_of(limits: HeadLimits) -> u32 {
    (limits.total / 3 + 1).clamp(USUAL_FIELDS, MOST_FIELDS)
}

// === impl Connection ===

impl Connection {
    /// What hyper asks for answers. The future of a request is large: as a part of its connection it would be there while
    /// there is no request, and as a part of a stream's task it would be moved eight times.
    fn service(
        self: &Rc<Self>,
    ) -> impl HttpService<Incoming, ResBody = ResponseBody, Error = Infallible, Future: 'static> + Unpin + use<> {
        let connection = Rc::clone(self);
        service_fn(move |request| Box::pin(request::handle(Rc::clone(&connection), request)))
    }

    /// The same for HTTP/2, where a client may go on asking after our goodbye: its requests are refused in a way that lets it
    /// ask elsewhere (RFC 9113 §8.7).
    fn stream_service(
        self: &Rc<Self>,
    ) -> impl HttpService<Incoming, ResBody = ResponseBody, Error = h2::Error, Future: 'static> + use<> {
        let connection = Rc::clone(self);
        service_fn(move |request| {
            let connection = Rc::clone(&connection);
            Box::pin(async move {
                if connection.time_since_goodbye() > GOODBYE {
                    return Err(h2::Reason::REFUSED_STREAM.into());
                }
                request::handle(connection, request).await.map_err(|never| match never {})
            })
        })
    }

    /// The client is told not to ask for more.
    fn say_goodbye<P: Protocol>(&self, protocol: Pin<&mut P>) {
        self.goodbye.set(Some(self.worker.timers().now()));
        protocol.graceful_shutdown();
    }

    fn is_closing(&self) -> bool {
        self.goodbye.get().is_some()
    }

    fn time_since_goodbye(&self) -> Duration {
        self.goodbye.get().map_or(Duration::ZERO, |since| self.worker.timers().now().since(since))
    }

    /// Runs a protocol to its end under the deadlines of the connection.
    async fn run<P: Protocol>(&self, mut protocol: Pin<&mut P>) -> End {
        let mut waiting = None;
        // One that is made anew has to be told, too.
        self.goodbye.set(None);
        let mut refilled = self.worker.timers().now();
        let keep_alive = self.keep_alive();
        let dozes = |now, ends: bool| !P::FRAMES && matches!(now, Waiting::Idle { .. }) && !ends && keep_alive > DOZE;
        std::future::poll_fn(|cx| {
            loop {
                // A connection that has not brought its first request yet still gets to: it was accepted.
                if !self.is_closing() && self.requests.get() > 0 && self.is_last_request() {
                    self.say_goodbye(protocol.as_mut());
                }
                if let Poll::Ready(result) = protocol.as_mut().poll_done(cx) {
                    return Poll::Ready(result.map_or_else(End::Failed, |()| End::Done));
                }
                if !self.is_closing() && self.requests.get() > 0 && self.is_last_request() {
                    continue;
                }
                if !P::FRAMES && self.poll_rest(cx).is_ready() {
                    // What stood behind it can be read now, or never.
                    continue;
                }
                if !P::FRAMES && self.active.get() == 0 && self.io.take_due() {
                    // The next request is wanted now.
                    continue;
                }
                if P::FRAMES {
                    self.note_resets();
                }
                if P::FRAMES && self.io.allowance().is_spent() {
                    let now = self.worker.timers().now();
                    self.io.allowance().refill(now.ticks_since(refilled));
                    refilled = now;
                }
                if let Some(verdict) = self.io.verdict()
                    && self.active.get() == 0
                    && !self.has_rest()
                    && !self.io.write_blocked()
                {
                    return Poll::Ready(End::Stopped(verdict));
                }
                let now = self.waiting(P::FRAMES);
                let (closing, draining) = (self.is_closing(), self.worker.is_draining());
                if waiting != Some((now, draining)) {
                    if now != Waiting::Head {
                        self.head_since.set(None);
                    } else if self.head_since.get().is_none() {
                        self.head_since.set(Some(self.worker.timers().now()));
                    }
                    waiting = Some((now, draining));
                    match self.limit_of(now) {
                        Some(_) if dozes(now, closing || draining) => self.deadline.set(DOZE),
                        Some(limit) if draining || closing => self.deadline.set(limit.min(GOODBYE)),
                        Some(limit) => self.deadline.set(limit),
                        None => self.deadline.clear(),
                    }
                }
                std::task::ready!(self.deadline.poll_expired(cx));
                if dozes(now, closing || draining) {
                    return Poll::Ready(End::Dozing);
                }
                if let Waiting::Request { .. } = now {
                    self.io.set_quiet(false);
                    continue;
                }
                if let Waiting::Rest { .. } = now {
                    self.give_up_rest();
                    continue;
                }
                if matches!(now, Waiting::Idle { .. }) && !closing {
                    waiting = None;
                    self.say_goodbye(protocol.as_mut());
                    continue;
                }
                if let Waiting::Client { .. } = now {
                    self.io.give_up();
                }
                return Poll::Ready(End::TimedOut(now));
            }
        })
        .await
    }

    /// Streams that h2 has reset: it tells nobody else.
    fn note_resets(&self) {
        (0..self.io.take_resets()).for_each(|_| refusal::stream(self));
    }

    /// Waits until there is something to read; `None` when the connection has ended meanwhile.
    async fn doze(&self, mut io: ServerIo) -> Option<ServerIo> {
        self.deadline.set(self.keep_alive().saturating_sub(DOZE));
        let awake = std::future::poll_fn(|cx| {
            if self.is_last_request() {
                return Poll::Ready(false);
            }
            if io.poll_readable(cx).is_ready() {
                return Poll::Ready(true);
            }
            self.deadline.poll_expired(cx).map(|()| false)
        });
        if awake.await {
            return Some(io);
        }
        // Whether the client reads a goodbye makes no difference.
        let _ = self.deadline.limit(GOODBYE, io.shutdown()).await;
        None
    }

    fn waiting(&self, frames: bool) -> Waiting {
        if self.io.write_blocked() {
            Waiting::Client { taken: self.io.taken() }
        } else if self.active.get() > 0 {
            Waiting::Request { quiet: self.io.is_quiet() }
        } else if self.has_rest() {
            Waiting::Rest { read: self.io.read() }
        } else if self.requests.get() == 0 || self.has_begun(frames) {
            Waiting::Head
        } else {
            Waiting::Idle { requests: self.requests.get() }
        }
    }

    /// How long the client may let a connection wait for its next request.
    fn keep_alive(&self) -> Duration {
        self.worker.last_view().table().settings().keep_alive
    }

    /// Part of something is here.
    fn has_begun(&self, frames: bool) -> bool {
        if frames { self.io.is_inside() } else { self.io.read() > self.read_before.get() }
    }

    fn limit_of(&self, waiting: Waiting) -> Option<Duration> {
        let view = self.worker.last_view();
        let settings = view.table().settings();
        match waiting {
            Waiting::Request { quiet } => quiet.then_some(WATCH),
            Waiting::Head => Some(settings.client_header_timeout),
            Waiting::Idle { .. } => Some(settings.keep_alive),
            Waiting::Rest { .. } => Some(refusal::LINGER),
            Waiting::Client { .. } => Some(settings.limits.send_timeout),
        }
    }

    /// hyper's parser for heads within the limits of this moment, which come with it.
    fn http1_builder(&self, most_fields: u32) -> (http1::Builder, HeadLimits) {
        let view = self.worker.last_view();
        let settings = view.table().settings();
        let limits = settings.limits.head;
        let mut builder = http1::Builder::new();
        // hyper's own timer would be set for every head; ours costs a store.
        builder.keep_alive(!settings.keep_alive.is_zero()).header_read_timeout(None);
        // What bodies yield reaches our IO as it is, never copied into a buffer: it may only stand for something, see `splice`.
        builder.writev(true);
        if most_fields > USUAL_FIELDS {
            builder.max_headers(most_fields as usize);
        }
        builder.max_buf_size(self.worker.buffer().max(limits.total as usize + BESIDE_HEAD));
        (builder, limits)
    }
}

// === impl Protocol ===

impl<S> Protocol for http1::UpgradeableConnection<TokioIo<ServerIo>, S>
where
    S: HttpService<Incoming, ResBody = ResponseBody> + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const FRAMES: bool = false;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }

    fn poll_done(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.poll(cx)
    }
}

impl<S> Protocol for Http2<'_, S>
where
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Future: 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const FRAMES: bool = true;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.get_mut().protocol.as_mut().graceful_shutdown();
    }

    fn poll_done(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        let this = self.get_mut();
        let done = this.protocol.as_mut().poll(cx);
        this.io.release(cx);
        done
    }
}
