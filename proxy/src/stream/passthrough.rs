//! TLS that is not ours to end: the first message is read for the server name, and handed on with all that follows.
//!
//! The message is rustls's to parse, in however many pieces it comes. It is read once: what turns out to be for us is
//! shaken hands with from there.

use crate::{
    table::{Backend, Endpoint},
    worker::Worker,
};
use rustls::server::{Accepted, Acceptor};
use socket2::{SockRef, TcpKeepalive};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional_with_sizes},
    net::TcpStream,
};

/// A ClientHello, parsed and as it came.
pub(crate) struct Hello {
    pub(crate) accepted: Accepted,
    bytes: Vec<u8>,
}

/// What is read at a time while the ClientHello comes; most fit.
const READ: usize = 2048;

/// Time to connect to an endpoint (nginx's `proxy_connect_timeout` as ingress-nginx sets it).
const CONNECT: Duration = Duration::from_secs(5);

/// How long nothing may come from either side before the network is asked whether they are still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Bytes on their way in each direction.
const BUFFER: usize = 8 * 1024;

// === impl Hello ===

impl Hello {
    /// Reads a ClientHello. Whoever sends something else is told so by alert.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Self> {
        let (mut acceptor, mut bytes) = (Acceptor::default(), Vec::with_capacity(READ));
        loop {
            let known = bytes.len();
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut fresh = &bytes[known..];
            while !fresh.is_empty() {
                acceptor.read_tls(&mut fresh)?;
            }
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(Self { accepted, bytes }),
                Ok(None) => bytes.reserve(READ),
                Err((error, mut alert)) => {
                    let mut message = Vec::new();
                    alert.write_all(&mut message)?;
                    // Whether the client still reads this makes no difference.
                    let _ = stream.write_all(&message).await;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }
}

/// Carries a connection to an endpoint of the backend until both sides have closed.
pub(crate) async fn carry(mut client: TcpStream, hello: Hello, backend: &Backend, worker: &Worker) -> io::Result<()> {
    let mut endpoint = connect(backend, worker).await?;
    endpoint.set_nodelay(true)?;
    for stream in [&client, &endpoint] {
        SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    }
    endpoint.write_all(&hello.bytes).await?;
    drop(hello);
    copy_bidirectional_with_sizes(&mut client, &mut endpoint, BUFFER, BUFFER).await?;
    Ok(())
}

/// The endpoints in turn, from a random one on: an address of a Service is one endpoint.
async fn connect(backend: &Backend, worker: &Worker) -> io::Result<TcpStream> {
    let endpoints = backend.endpoints();
    let start = usize::from(worker.random()[0]) % endpoints.len().max(1);
    let mut last = io::Error::new(io::ErrorKind::NotConnected, "no ready endpoint");
    for Endpoint { address } in endpoints.iter().cycle().skip(start).take(endpoints.len()) {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
        tracing::debug!(error = %last, endpoint = %address, backend = %backend.key(), "passthrough cannot connect");
    }
    Err(last)
}
