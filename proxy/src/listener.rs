//! Bytes → connections: binds, accepts, terminates TLS, and hands each connection to its protocol.

mod accept;
mod address;
mod bind;
mod clients;
mod connection;
mod counters;
mod gathered;
mod io;
pub(crate) mod proxy_protocol;
mod refusal;
mod socket;
mod stream;
mod watch;
#[cfg(feature = "fuzzing")]
pub(crate) mod watched;

pub use self::bind::unspecified;
pub(crate) use self::{
    accept::Acceptor,
    address::header as address_header,
    bind::{bind, bind_udp},
    clients::{ClientSlot, Clients},
    connection::{Connection, Scheme},
    proxy_protocol::Proxied,
};
use self::{connection::Downstream, io::ServerIo, socket::Socket};
use crate::{stream::passthrough::Hello, table::Backend, tls::Configurations, worker::Worker};
use http::HeaderValue;
use std::{
    io::ErrorKind,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    sync::Arc,
};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};

/// One bound socket of one worker.
pub(crate) struct Listener {
    socket: Acceptor,
    address: SocketAddr,
    /// The port as endpoints are told it.
    port: HeaderValue,
    tls: Option<Arc<Configurations>>,
    /// Connections begin with a PROXY header here, whatever the settings say.
    proxy_protocol: bool,
}

/// What becomes of a connection on the TLS port.
enum Handshake {
    Done(Box<TlsStream<Socket>>),
    /// It goes on as TLS to a backend.
    NotOurs(TcpStream, Box<Hello>, Arc<Backend>),
    /// It was none, and has been answered.
    Plain,
}

/// Content type of a TLS record that carries a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

// === impl Listener ===

impl Listener {
    pub(crate) fn new(
        socket: std::net::TcpListener,
        tls: Option<Arc<Configurations>>,
        proxy_protocol: bool,
    ) -> std::io::Result<Self> {
        let address = socket.local_addr()?;
        let port = HeaderValue::from(if tls.is_some() { 443 } else { address.port() });
        Ok(Self { socket: Acceptor::new(socket)?, address, port, tls, proxy_protocol })
    }

    /// Serves what connects until the worker drains.
    pub(crate) async fn run(self, worker: Rc<Worker>) {
        self.socket.run(self.address, &worker, |stream, peer| self.spawn(stream, peer, &worker)).await;
    }

    fn spawn(&self, stream: std::net::TcpStream, peer: SocketAddr, worker: &Rc<Worker>) -> std::io::Result<()> {
        let scheme = if self.tls.is_some() { Scheme::Https } else { Scheme::Http };
        // One that is refused is closed here and now, as nginx does: it has cost nothing yet.
        let Ok(slot) = worker.admit(peer.ip()) else { return Ok(()) };
        let downstream = Downstream::new(worker, peer, self.port.clone(), scheme, slot);
        if self.proxy_protocol || downstream.proxy_protocol() {
            spawn_boxed(serve_proxied(TcpStream::from_std(stream)?, downstream, self.tls.clone()));
            return Ok(());
        }
        match &self.tls {
            None => spawn_boxed(serve_plain(Socket::unwatched(stream, downstream.io()), downstream)),
            Some(tls) => spawn_boxed(serve_tls(TcpStream::from_std(stream)?, downstream, Arc::clone(tls))),
        }
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A task moves its future six times from the call to its end, and that of a connection is 2 KB: moved is the box.
fn spawn_boxed(connection: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(Box::pin(connection));
}

/// Serves a connection that begins with a PROXY header.
async fn serve_proxied(mut stream: TcpStream, downstream: Downstream, tls: Option<Arc<Configurations>>) {
    if !downstream.read_proxy_header(&mut stream).await {
        return;
    }
    match tls {
        None => serve_plain(Socket::watched(stream, downstream.io()), downstream).await,
        Some(tls) => serve_tls(stream, downstream, tls).await,
    }
}

/// Serves one cleartext connection. HTTP/2 is boxed: its state is large, and every connection would be as large as the
/// largest.
async fn serve_plain(socket: Socket, downstream: Downstream) {
    let mut io = ServerIo::plain(socket, downstream.io());
    let timeout = downstream.header_timeout();
    if downstream.http2_allowed() {
        match downstream.begin(timeout, io.peek_http2_preface()).await {
            Some(Ok(true)) => return Box::pin(downstream.serve_http2(io)).await,
            Some(Ok(false)) => {}
            Some(Err(error)) => return tracing::debug!(%error, "client closed before its first request"),
            None => return tracing::debug!("client sent nothing in time"),
        }
    }
    downstream.serve_http1(io).await;
}

async fn serve_tls(stream: TcpStream, downstream: Downstream, tls: Arc<Configurations>) {
    let timeout = downstream.header_timeout();
    // Boxed: it is large, and over soon.
    let handshake = Box::pin(shake_hands(stream, &downstream, &tls));
    match downstream.begin(timeout, handshake).await {
        Some(Ok(Handshake::Done(stream))) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = ServerIo::tls(stream, downstream.io());
            if http2 {
                Box::pin(downstream.serve_http2(io)).await;
            } else {
                downstream.serve_http1(io).await;
            }
        }
        Some(Ok(Handshake::NotOurs(stream, hello, backend))) => {
            if let Err(error) = Box::pin(downstream.carry(stream, *hello, backend)).await {
                tracing::debug!(%error, "passthrough ended with an error");
            }
        }
        Some(Ok(Handshake::Plain)) => tracing::debug!("plain HTTP on the TLS port"),
        Some(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        None => tracing::debug!("TLS handshake not complete in time"),
    }
}

/// Brings a connection on the TLS port to where its protocol can begin.
async fn shake_hands(stream: TcpStream, downstream: &Downstream, tls: &Configurations) -> std::io::Result<Handshake> {
    // As nginx does: one look at the first byte tells TLS from plain HTTP before anything is consumed.
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => return Err(ErrorKind::UnexpectedEof.into()),
        _ if first[0] != TLS_HANDSHAKE => return refusal::plain_http(stream).await.map(|()| Handshake::Plain),
        _ => {}
    }
    if downstream.passthrough_allowed() {
        let mut stream = stream;
        let hello = Hello::read(&mut stream).await?;
        let name = hello.accepted.client_hello().server_name().map(str::to_owned);
        if let Some(backend) = name.and_then(|name| downstream.passthrough(&name)) {
            return Ok(Handshake::NotOurs(stream, Box::new(hello), backend));
        }
        let start = StartHandshake::from_parts(hello.accepted, Socket::watched(stream, downstream.io()));
        return downstream.shake_hands(start, tls).await.map(Handshake::Done);
    }
    let socket = Socket::watched(stream, downstream.io());
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket).await?;
    downstream.shake_hands(start, tls).await.map(Handshake::Done)
}
