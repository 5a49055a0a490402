//! One client connection: its protocol, its deadlines, its end.

use super::{
    io::{IoCounters, ServerIo},
    proxy_protocol::{self, BadHeader, Proxied},
};
use crate::{body::ResponseBody, request, table::Settings, timeout::Deadline, worker::Worker};
use http::HeaderValue;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{HttpService, service_fn},
};
use hyper_util::rt::TokioIo;
use std::{
    cell::{Cell, OnceCell, RefCell},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;

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
    io: Arc<IoCounters>,
    /// For the phases of the connection itself; a request has its own.
    deadline: Deadline,
    /// Deadline of the request on an HTTP/1 connection, made once.
    request_deadline: RefCell<Option<Rc<Deadline>>>,
    /// Peer address and port as header values, made once.
    peer_header: HeaderValue,
    port_header: HeaderValue,
    requests: Cell<u32>,
    /// `keep-alive-requests` as of the last time that somebody looked.
    most_requests: Cell<u32>,
    active: Cell<u32>,
    read_before: Cell<u64>,
}

/// A connection on its way to its protocol.
pub(super) struct Downstream {
    connection: Rc<Connection>,
}

/// What the connection waits for; every value has its own time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// For the endpoint or the client's body: the request's deadline counts.
    Request,
    /// For the rest of a request head.
    Head,
    /// For the next request.
    Idle,
    /// For the client to take bytes; counts what it took.
    Client { written: u64 },
}

/// What graceful shutdown and polling look like for any protocol.
trait Protocol {
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
            return Rc::new(self.worker.timers().deadline());
        }
        Rc::clone(self.request_deadline.borrow_mut().get_or_insert_with(|| Rc::new(self.worker.timers().deadline())))
    }

    fn waiting(&self) -> Waiting {
        if self.io.write_blocked() {
            Waiting::Client { written: self.io.written() }
        } else if self.active.get() > 0 {
            Waiting::Request
        } else if self.requests.get() == 0 || self.io.read() > self.read_before.get() {
            Waiting::Head
        } else {
            Waiting::Idle
        }
    }

    /// True when the client must not send another request on this connection.
    pub(crate) fn is_last_request(&self) -> bool {
        self.requests.get() >= self.most_requests.get() || self.worker.is_draining()
    }

    /// The connection leaves HTTP.
    pub(crate) fn become_tunnel(&self) {
        self.io.become_tunnel();
    }

    /// Takes over settings that may have changed since the connection was accepted.
    pub(crate) fn refresh(&self, settings: &Settings) {
        self.most_requests.set(settings.keep_alive_requests);
    }

    fn limit_of(&self, waiting: Waiting) -> Option<Duration> {
        let view = self.worker.last_view();
        let settings = view.table().settings();
        match waiting {
            Waiting::Request => None,
            Waiting::Head => Some(settings.client_header_timeout),
            Waiting::Idle => Some(settings.keep_alive),
            // nginx's send_timeout, which ingress-nginx leaves at its default.
            Waiting::Client { .. } => Some(Duration::from_secs(60)),
        }
    }

    /// Looks again at what the connection waits for: called by the worker when it starts to drain.
    pub(crate) fn wake(&self) {
        self.deadline.wake();
    }

    /// Runs a protocol to its end under the deadlines of the connection.
    async fn run<P: Protocol>(&self, protocol: P) {
        let mut protocol = std::pin::pin!(protocol);
        let mut waiting = None;
        let mut closing = false;
        let result = std::future::poll_fn(|cx| {
            loop {
                // A connection that has not brought its first request yet still gets to: it was accepted.
                if !closing && self.requests.get() > 0 && self.is_last_request() {
                    closing = true;
                    protocol.as_mut().graceful_shutdown();
                }
                if let Poll::Ready(result) = protocol.as_mut().poll_done(cx) {
                    return Poll::Ready(Ok(result));
                }
                if !closing && self.requests.get() > 0 && self.is_last_request() {
                    continue;
                }
                let now = self.waiting();
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
                return Poll::Ready(Err(now));
            }
        })
        .await;
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, peer = %self.peer, "client connection ended with an error"),
            Err(waiting) => tracing::debug!(?waiting, peer = %self.peer, "client connection timed out"),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker.connection_closed(self.id);
    }
}

// === impl Downstream ===

impl Downstream {
    pub(super) fn new(worker: &Rc<Worker>, peer: SocketAddr, port_header: HeaderValue, scheme: Scheme) -> Self {
        let peer = peer.ip().to_canonical();
        let view = worker.view();
        let connection = Rc::new_cyclic(|weak| Connection {
            worker: Rc::clone(worker),
            id: worker.connection_opened(weak.clone()),
            peer,
            proxied: OnceCell::new(),
            scheme,
            io: Arc::default(),
            deadline: worker.timers().deadline(),
            request_deadline: RefCell::new(None),
            peer_header: address_header(peer),
            port_header,
            requests: Cell::new(0),
            most_requests: Cell::new(view.table().settings().keep_alive_requests),
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

    pub(super) async fn serve_http1(self, io: ServerIo) {
        let connection = self.connection;
        let mut builder = http1::Builder::new();
        let keep_alive = !connection.worker.last_view().table().settings().keep_alive.is_zero();
        // hyper's own timer would be set for every head; ours costs a store.
        builder.keep_alive(keep_alive).header_read_timeout(None);
        let service = {
            let connection = Rc::clone(&connection);
            service_fn(move |request: http::Request<Incoming>| request::handle(Rc::clone(&connection), request))
        };
        let protocol = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
        connection.run(protocol).await;
    }

    pub(super) async fn serve_http2(self, io: ServerIo) {
        let connection = self.connection;
        let streams = connection.worker.last_view().table().settings().http2_max_concurrent_streams;
        let mut builder = http2::Builder::new(LocalExecutor);
        builder.max_concurrent_streams(streams).max_header_list_size(32 * 1024);
        let service = {
            let connection = Rc::clone(&connection);
            service_fn(move |request: http::Request<Incoming>| request::handle(Rc::clone(&connection), request))
        };
        let protocol = builder.serve_connection(TokioIo::new(io), service);
        connection.run(protocol).await;
    }
}

/// Runs the streams of an HTTP/2 connection on the worker of the connection.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
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
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }

    fn poll_done(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.poll(cx)
    }
}

impl<S> Protocol for http2::Connection<TokioIo<ServerIo>, S, LocalExecutor>
where
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Future: 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
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
