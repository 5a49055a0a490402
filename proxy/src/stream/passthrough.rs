//! TLS that is not ours to end: the first message is read for the server name, and handed on with all that follows.
//!
//! The message is rustls's to parse, in however many pieces it comes. It is read once: what turns out to be for us is
//! shaken hands with from there.

use super::{Carried, connect::connect, copy};
use crate::{table::Backend, timeout::Deadline, worker::Worker};
use rustls::server::{Accepted, Acceptor};
use socket2::{SockRef, TcpKeepalive};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

/// A ClientHello, parsed and as it came.
pub(crate) struct Hello {
    pub(crate) accepted: Accepted,
    bytes: Vec<u8>,
}

/// What is read at a time while the ClientHello comes; most fit.
const READ: usize = 2048;

/// How long nothing may come from either side before the network is asked whether they are still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

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

/// Carries a connection to an endpoint of the backend until both sides have closed, however long nothing moves.
pub(crate) async fn carry(
    client: TcpStream,
    hello: Hello,
    backend: &Backend,
    worker: &Worker,
    deadline: &Deadline,
) -> io::Result<()> {
    // In turn, from a random one on: an address of a Service is one endpoint.
    let endpoints = backend.endpoints();
    let start = usize::from(worker.random()[0]) % endpoints.len().max(1);
    let endpoints = endpoints.iter().copied().cycle().skip(start).take(endpoints.len());
    let mut endpoint = connect(endpoints, backend.key(), &[], worker, deadline, |_, _| ()).await?;
    for stream in [&client, &endpoint] {
        SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    }
    endpoint.write_all(&hello.bytes).await?;
    drop(hello);
    copy(client, endpoint, worker.scratch(), deadline, None, &Carried::default()).await
}
