//! One client connection: its protocol, its deadlines, its end.

use super::io::{IoCounters, ServerIo};
use crate::{
    body::ResponseBody,
    request,
    stream::passthrough::{self, Hello},
    table::{Backend, HostMatch, Settings},
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
    scheme: Scheme,
    /// What the TLS handshake came to; empty for cleartext, and until it is over.
    session: OnceCell<Box<Session>>,
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
            scheme,
            session: OnceCell::new(),
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

/// Ends a handshake that names nobody.
async fn reject(mut start: StartHandshake<TcpStream>) -> io::Error {
    // Whether the client still reads this makes no difference.
    let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
    io::Error::other("the server name is not one of ours")
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
fn address_header(address: IpAddr) -> HeaderValue {
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
