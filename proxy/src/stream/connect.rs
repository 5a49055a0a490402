//! Connections to endpoints that get the bytes of a client as they are.

use crate::{
    table::{BackendKey, Endpoint},
    timeout::Deadline,
    worker::Worker,
};
use std::{
    io::{self, ErrorKind},
    time::Duration,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::Instant};

/// Time to connect to an endpoint: the default for HTTP, which is also `proxy_connect_timeout` as ingress-nginx sets it for
/// the proxy that it passes TLS through. There is no setting for it.
const CONNECT: Duration = Duration::from_secs(5);

/// Tries endpoints one after the other until one takes the connection and the greeting. The error is that of the last.
/// `tried` is told about each, and how long it took where it led to a connection.
pub(super) async fn connect(
    endpoints: impl Iterator<Item = Endpoint>,
    backend: &BackendKey,
    greeting: &[u8],
    worker: &Worker,
    deadline: &Deadline,
    tried: impl Fn(Endpoint, Option<Duration>),
) -> io::Result<TcpStream> {
    let mut last = None;
    for endpoint in endpoints {
        let (address, begun) = (endpoint.address, Instant::now());
        let attempt = deadline.limit(CONNECT, async {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            stream.write_all(greeting).await?;
            Ok(stream)
        });
        let error = match attempt.await {
            Some(Ok(stream)) => {
                tried(endpoint, Some(begun.elapsed()));
                return Ok(stream);
            }
            Some(Err(error)) => error,
            None => ErrorKind::TimedOut.into(),
        };
        tried(endpoint, None);
        worker.endpoint_failed(backend, Some(address), &format_args!("cannot connect: {error}"));
        last = Some(error);
    }
    Err(last.unwrap_or_else(|| {
        let error = io::Error::new(ErrorKind::NotConnected, "no ready endpoint");
        worker.endpoint_failed(backend, None, &error);
        error
    }))
}
