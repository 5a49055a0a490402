//! A connection on its way to its protocol: what its first bytes say about its client, be it a PROXY header or a TLS
//! handshake.

use super::{Connection, GOODBYE, Scheme, protocol};
use crate::{
    listener::{
        address,
        clients::ClientSlot,
        counters::IoCounters,
        io::ServerIo,
        proxy_protocol::{self, BadHeader},
        socket::Socket,
    },
    stream::passthrough::{self, Hello},
    table::{Backend, HostMatch},
    tls::{Configurations, Session},
    worker::Worker,
};
use http::HeaderValue;
use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{StartHandshake, server::TlsStream};

/// A connection on its way to its protocol.
pub(in crate::listener) struct Downstream {
    connection: Rc<Connection>,
}

/// A fatal alert `unrecognized_name` (RFC 6066 §3) in its record (RFC 8446 §5.1).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

// === impl Downstream ===

impl Downstream {
    pub(in crate::listener) fn new(
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
            peer_header: address::header(peer),
            port_header,
            requests: Cell::new(0),
            most_requests: Cell::new(view.table().settings().keep_alive_requests),
            send_timeout: Cell::new(view.table().settings().limits.send_timeout),
            lingers: Cell::new(false),
            rest: RefCell::new(None),
            active: Cell::new(0),
            read_before: Cell::new(0),
            head_since: Cell::new(None),
            goodbye: Cell::new(None),
        });
        Self { connection }
    }

    pub(in crate::listener) fn io(&self) -> Arc<IoCounters> {
        Arc::clone(&self.connection.io)
    }

    /// Waits for what a connection begins with, before its protocol is known. Less long once the worker drains.
    pub(in crate::listener) async fn begin<F: Future>(&self, timeout: Duration, beginning: F) -> Option<F::Output> {
        let Connection { deadline, worker, .. } = &*self.connection;
        let mut beginning = pin!(deadline.limit(timeout, beginning));
        tokio::select! {
            biased;
            begun = &mut beginning => return begun,
            () = worker.draining() => deadline.set(timeout.min(GOODBYE)),
        }
        beginning.await
    }

    /// Reads the PROXY header that the connection has to begin with. Returns whether it may go on.
    pub(in crate::listener) async fn read_proxy_header(&self, stream: &mut TcpStream) -> bool {
        let connection = &self.connection;
        let timeout = connection.worker.last_view().table().settings().trust.proxy_protocol_timeout;
        match self.begin(timeout, proxy_protocol::read(stream)).await {
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
    pub(in crate::listener) fn proxy_protocol(&self) -> bool {
        self.connection.worker.last_view().table().settings().trust.proxy_protocol
    }

    pub(in crate::listener) fn header_timeout(&self) -> Duration {
        self.connection.worker.last_view().table().settings().client_header_timeout
    }

    pub(in crate::listener) fn http2_allowed(&self) -> bool {
        self.connection.worker.last_view().table().settings().http2
    }

    pub(in crate::listener) fn passthrough_allowed(&self) -> bool {
        self.connection.worker.last_view().table().settings().passthrough
    }

    /// Where connections for a server name go as they are; `None` ends their TLS here.
    pub(in crate::listener) fn passthrough(&self, server_name: &str) -> Option<Arc<Backend>> {
        let view = self.connection.worker.view();
        let table = view.table();
        table.virtual_host_of_handshake(Some(server_name)).passthrough().map(|index| Arc::clone(table.backend(index)))
    }

    /// Carries a connection to where it goes as it is, however long that takes.
    pub(in crate::listener) async fn carry(
        &self,
        stream: TcpStream,
        hello: Hello,
        backend: Arc<Backend>,
    ) -> io::Result<()> {
        let connection = &self.connection;
        passthrough::carry(stream, hello, &backend, &connection.worker, &connection.deadline).await
    }

    /// Completes a handshake under the policy of the host that it names.
    pub(in crate::listener) async fn shake_hands(
        &self,
        start: StartHandshake<Socket>,
        configurations: &Configurations,
    ) -> io::Result<Box<TlsStream<Socket>>> {
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

    /// Serves HTTP/1 to the end of the connection. No async function, which would hold the connection's state twice.
    pub(in crate::listener) fn serve_http1(self, io: ServerIo) -> impl Future<Output = ()> {
        protocol::http1(self.connection, io)
    }

    /// The same for HTTP/2.
    pub(in crate::listener) fn serve_http2(self, io: ServerIo) -> impl Future<Output = ()> {
        protocol::http2(self.connection, io)
    }
}

/// Ends a handshake that names nobody.
async fn reject(mut start: StartHandshake<Socket>) -> io::Error {
    // Whether the client still reads this makes no difference.
    let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
    io::Error::other("the server name is not one of ours")
}
