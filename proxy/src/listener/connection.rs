//! One client connection: its protocol, its deadlines, its end.

use super::{
    clients::ClientSlot,
    io::{IoCounters, ServerIo},
    proxy_protocol::{self, BadHeader, Proxied},
    refusal,
    stream::StreamExecutor,
    watch::{HeadWatch, USUAL_FIELDS, Verdict},
};
use crate::{
    body::ResponseBody,
    metrics::Refusal,
    request,
    stream::passthrough::{self, Hello},
    table::{Backend, HeadLimits, HostMatch, Settings},
    timeout::Deadline,
    tls::{Configurations, Session},
    worker::Worker,
};
use http::HeaderValue;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{HttpService, service_fn},
};
use hyper_util::rt::TokioIo;
use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{StartHandshake, server::TlsStream};

/// A fatal alert `unrecognized_name` (RFC 6066 §3) in its record (RFC 8446 §5.1).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// How long a connection may take to say goodbye, or to bring its first request, once it is to be closed.
const GOODBYE: Duration = Duration::from_secs(5);

/// What hyper holds of a head unless it is told otherwise.
const USUAL_BUFFER: usize = 8192 + 4096 * 100;

/// A header map panics beyond 32768 fields; far below that hyper may refuse.
const MOST_FIELDS: u32 = 16 << 10;

/// Bytes of responses that may wait per stream of HTTP/2. With the streams, the windows and the heads it is what one
/// connection can make us hold: 128 streams × 64 KiB, 1 MiB of request bodies and 128 heads.
const SEND_BUFFER: usize = 64 << 10;

/// Streams of a client that it resets before anybody has seen them, and streams that we reset because the client broke
/// a rule (CVE-2023-44487, CVE-2025-8671). More end the connection with ENHANCE_YOUR_CALM.
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 100;

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
    active: Cell<u32>,
    read_before: Cell<u64>,
}

/// A connection on its way to its protocol.
pub(super) struct Downstream {
    connection: Rc<Connection>,
}

/// What the connection waits for; every value has its own time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// For the endpoint or the client's body: the request's deadline counts.
    Request,
    /// For the rest of a request head.
    Head,
    /// For the next request.
    Idle,
    /// For the client to take bytes; counts what it took.
    Client { written: u64 },
}

/// How the connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// In order.
    Done,
    /// The protocol gave up.
    Failed(hyper::Error),
    /// The client took too long.
    TimedOut(Waiting),
    /// The watch stopped it; nothing is under way.
    Stopped(Verdict),
}

/// What graceful shutdown and polling look like for any protocol.
trait Protocol {
    /// It has frames, which have an allowance.
    const FRAMES: bool;
    fn graceful_shutdown(self: Pin<&mut Self>);
    fn poll_done(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>>;
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

    /// A request has come: counts it, and says how many bytes were read for its head.
    pub(crate) fn request_started(&self) -> u64 {
        self.requests.set(self.requests.get() + 1);
        self.active.set(self.active.get() + 1);
        let read = self.io.read();
        read - self.read_before.replace(read)
    }

    /// The last byte of a response has been handed over, or given up.
    pub(crate) fn request_ended(&self) {
        self.active.set(self.active.get() - 1);
        self.read_before.set(self.io.read());
    }

    /// The deadline for a request; HTTP/1 has one request at a time, so they share one.
    pub(crate) fn request_deadline(&self, version: http::Version) -> Rc<Deadline> {
        if version == http::Version::HTTP_2 {
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

    fn waiting(&self, frames: bool) -> Waiting {
        if self.io.write_blocked() {
            Waiting::Client { written: self.io.written() }
        } else if self.active.get() > 0 {
            Waiting::Request
        } else if self.requests.get() == 0 || self.has_begun(frames) {
            Waiting::Head
        } else {
            Waiting::Idle
        }
    }

    /// Part of something is here.
    fn has_begun(&self, frames: bool) -> bool {
        if frames { self.io.is_inside() } else { self.io.read() > self.read_before.get() }
    }

    /// True when the client must not send another request on this connection.
    pub(crate) fn is_last_request(&self) -> bool {
        self.requests.get() >= self.most_requests.get() || self.worker.is_draining()
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

    /// hyper's parser for heads within the limits of this moment, which come with it.
    fn http1_builder(&self, most_fields: u32) -> (http1::Builder, HeadLimits) {
        let view = self.worker.last_view();
        let settings = view.table().settings();
        let limits = settings.limits.head;
        let mut builder = http1::Builder::new();
        // hyper's own timer would be set for every head; ours costs a store.
        builder.keep_alive(!settings.keep_alive.is_zero()).header_read_timeout(None);
        if most_fields > USUAL_FIELDS {
            builder.max_headers(most_fields as usize);
        }
        if limits.total as usize > USUAL_BUFFER {
            builder.max_buf_size(limits.total as usize);
        }
        (builder, limits)
    }

    fn limit_of(&self, waiting: Waiting) -> Option<Duration> {
        let view = self.worker.last_view();
        let settings = view.table().settings();
        match waiting {
            Waiting::Request => None,
            Waiting::Head => Some(settings.client_header_timeout),
            Waiting::Idle => Some(settings.keep_alive),
            Waiting::Client { .. } => Some(settings.limits.send_timeout),
        }
    }

    /// Looks again at what the connection waits for: called by the worker when it starts to drain.
    pub(crate) fn wake(&self) {
        self.deadline.wake();
    }

    /// Runs a protocol to its end under the deadlines of the connection.
    async fn run<P: Protocol>(&self, mut protocol: Pin<&mut P>) -> End {
        let mut waiting = None;
        let mut closing = false;
        let mut refilled = self.worker.timers().now();
        std::future::poll_fn(|cx| {
            loop {
                // A connection that has not brought its first request yet still gets to: it was accepted.
                if !closing && self.requests.get() > 0 && self.is_last_request() {
                    closing = true;
                    protocol.as_mut().graceful_shutdown();
                }
                if let Poll::Ready(result) = protocol.as_mut().poll_done(cx) {
                    return Poll::Ready(result.map_or_else(End::Failed, |()| End::Done));
                }
                if !closing && self.requests.get() > 0 && self.is_last_request() {
                    continue;
                }
                if P::FRAMES && self.io.allowance().is_spent() {
                    let now = self.worker.timers().now();
                    self.io.allowance().refill(now.ticks_since(refilled));
                    refilled = now;
                }
                if let Some(verdict) = self.io.verdict()
                    && self.active.get() == 0
                    && !self.io.write_blocked()
                {
                    return Poll::Ready(End::Stopped(verdict));
                }
                let now = self.waiting(P::FRAMES);
                let draining = self.worker.is_draining();
                if waiting != Some((now, draining)) {
                    waiting = Some((now, draining));
                    match self.limit_of(now) {
                        Some(limit) if draining || closing => self.deadline.set(limit.min(GOODBYE)),
                        Some(limit) => self.deadline.set(limit),
                        None => self.deadline.clear(),
                    }
                }
                std::task::ready!(self.deadline.poll_expired(cx));
                if now == Waiting::Idle && !closing {
                    closing = true;
                    waiting = None;
                    protocol.as_mut().graceful_shutdown();
                    continue;
                }
                return Poll::Ready(End::TimedOut(now));
            }
        })
        .await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker.connection_closed(self.id);
    }
}

// === impl Downstream ===

impl Downstream {
    pub(super) fn new(
        worker: &Rc<Worker>,
        peer: SocketAddr,
        port_header: HeaderValue,
        scheme: Scheme,
        slot: Option<ClientSlot>,
    ) -> Self {
        let peer = peer.ip().to_canonical();
        let view = worker.view();
        let connection = Rc::new_cyclic(|weak| Connection {
            worker: Rc::clone(worker),
            id: worker.connection_opened(weak.clone()),
            peer,
            proxied: OnceCell::new(),
            scheme,
            session: OnceCell::new(),
            io: Arc::default(),
            deadline: worker.timers().deadline(),
            request_deadline: RefCell::new(None),
            current_stream: RefCell::new(None),
            _slot: slot,
            peer_header: address_header(peer),
            port_header,
            requests: Cell::new(0),
            most_requests: Cell::new(view.table().settings().keep_alive_requests),
            send_timeout: Cell::new(view.table().settings().limits.send_timeout),
            lingers: Cell::new(false),
            active: Cell::new(0),
            read_before: Cell::new(0),
        });
        Self { connection }
    }

    pub(super) fn io(&self) -> Arc<IoCounters> {
        Arc::clone(&self.connection.io)
    }

    pub(super) fn deadline(&self) -> &Deadline {
        &self.connection.deadline
    }

    /// Reads the PROXY header that the connection has to begin with. Returns whether it may go on.
    pub(super) async fn read_proxy_header(&self, stream: &mut TcpStream) -> bool {
        let connection = &self.connection;
        let timeout = connection.worker.last_view().table().settings().trust.proxy_protocol_timeout;
        match connection.deadline.limit(timeout, proxy_protocol::read(stream)).await {
            Some(Ok(proxied)) => {
                if let Some(proxied) = proxied {
                    let _ = connection.proxied.set(proxied);
                }
                return true;
            }
            Some(Err(error)) => proxy_protocol::refused(&connection.worker, connection.peer, &error),
            None => proxy_protocol::refused(&connection.worker, connection.peer, &BadHeader::Late),
        }
        false
    }

    /// Whether every connection has to begin with a PROXY header.
    pub(super) fn proxy_protocol(&self) -> bool {
        self.connection.worker.last_view().table().settings().trust.proxy_protocol
    }

    pub(super) fn header_timeout(&self) -> Duration {
        self.connection.worker.last_view().table().settings().client_header_timeout
    }

    pub(super) fn http2_allowed(&self) -> bool {
        self.connection.worker.last_view().table().settings().http2
    }

    pub(super) fn passthrough_allowed(&self) -> bool {
        self.connection.worker.last_view().table().settings().passthrough
    }

    /// Where connections for a server name go as they are; `None` ends their TLS here.
    pub(super) fn passthrough(&self, server_name: &str) -> Option<Arc<Backend>> {
        let view = self.connection.worker.view();
        let table = view.table();
        table.virtual_host_of_handshake(Some(server_name)).passthrough().map(|index| Arc::clone(table.backend(index)))
    }

    /// Carries a connection to where it goes as it is, however long that takes.
    pub(super) async fn carry(&self, stream: TcpStream, hello: Hello, backend: Arc<Backend>) -> io::Result<()> {
        passthrough::carry(stream, hello, &backend, &self.connection.worker).await
    }

    /// Completes a handshake under the policy of the host that it names.
    pub(super) async fn shake_hands(
        &self,
        start: StartHandshake<TcpStream>,
        configurations: &Configurations,
    ) -> io::Result<Box<TlsStream<TcpStream>>> {
        let view = self.connection.worker.view();
        let (table, name) = (view.table(), start.client_hello().server_name().map(Box::<str>::from));
        let host = table.virtual_host_of_handshake(name.as_deref());
        if table.settings().reject_unknown_names && *host.host() == HostMatch::Any {
            return Err(reject(start).await);
        }
        let policy = table.tls_of(host);
        let config = view.tls(policy, configurations).map_err(io::Error::other)?;
        let stream = Box::new(start.into_stream(config).await?);
        let session = Session::new(name, stream.get_ref().1, policy);
        if self.connection.session.set(Box::new(session)).is_err() {
            unreachable!("a connection has one handshake");
        }
        Ok(stream)
    }

    pub(super) async fn serve_http1(self, mut io: ServerIo) {
        let connection = self.connection;
        let mut most_fields = USUAL_FIELDS;
        loop {
            let (builder, limits) = connection.http1_builder(most_fields);
            io.watch_heads(HeadWatch::new(limits, most_fields));
            let service = {
                let connection = Rc::clone(&connection);
                service_fn(move |request: http::Request<Incoming>| request::handle(Rc::clone(&connection), request))
            };
            let mut protocol = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
            let end = connection.run(Pin::new(&mut protocol)).await;
            // Nothing is left of a connection that has become a tunnel.
            let Some(parts) = protocol.into_parts() else { return };
            let mut rest = parts.io.into_inner();
            if matches!(end, End::Done) && !connection.lingers.get() && !rest.is_inside_body() {
                return;
            }
            let inside = rest.is_inside_head();
            rest.rewind(parts.read_buf);
            match end {
                End::Stopped(Verdict::ManyFields) if most_fields < most_fields_of(limits) => {
                    most_fields = most_fields.saturating_mul(10).min(most_fields_of(limits));
                    io = rest;
                }
                // Rare, and larger than the rest of the connection.
                end => return Box::pin(refusal::http1(&connection, rest, end, inside)).await,
            }
        }
    }

    pub(super) async fn serve_http2(self, mut io: ServerIo) {
        let connection = self.connection;
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
        let service = {
            let connection = Rc::clone(&connection);
            service_fn(move |request: http::Request<Incoming>| request::handle(Rc::clone(&connection), request))
        };
        let protocol = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
        let end = connection.run(protocol).await;
        refusal::http2(&connection, &end);
    }
}

/// As many fields as fit into a head: of three bytes each.
fn most_fields_of(limits: HeadLimits) -> u32 {
    (limits.total / 3 + 1).clamp(USUAL_FIELDS, MOST_FIELDS)
}

/// Ends a handshake that names nobody.
async fn reject(mut start: StartHandshake<TcpStream>) -> io::Error {
    // Whether the client still reads this makes no difference.
    let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
    io::Error::other("the server name is not one of ours")
}

/// An address as a header value. Formatting machinery costs more than the rest of accepting a connection.
pub(crate) fn address_header(address: IpAddr) -> HeaderValue {
    const EXPECT: &str = "digits, letters, dots and colons are valid in a header value";
    let IpAddr::V4(v4) = address else {
        return HeaderValue::try_from(address.to_string()).expect(EXPECT);
    };
    let mut text = [0; 15];
    let mut length = 0;
    for (index, octet) in v4.octets().into_iter().enumerate() {
        let digits = [(100, octet / 100), (10, octet / 10 % 10), (1, octet % 10)];
        let significant = digits.into_iter().filter(|(unit, _)| octet >= *unit || *unit == 1);
        let dot = (index > 0).then_some(b'.');
        for byte in dot.into_iter().chain(significant.map(|(_, digit)| b'0' + digit)) {
            text[length] = byte;
            length += 1;
        }
    }
    HeaderValue::from_bytes(&text[..length]).expect(EXPECT)
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

impl<S> Protocol for http2::Connection<TokioIo<ServerIo>, S, StreamExecutor>
where
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Future: 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const FRAMES: bool = true;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }

    fn poll_done(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_everybody_writes_them() {
        for text in ["0.0.0.0", "1.20.203.255", "127.0.0.1", "10.100.9.99", "2001:db8::1", "::1"] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(address_header(address), text);
        }
    }
}
