//! Opens connections to endpoints.

use super::{Target, UpstreamIo, http1::Connection};
use crate::{error::ProxyError, timeout::Deadline, worker::Worker};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Connects within the time limit, TLS included, and prepares HTTP/1.1.
pub(crate) async fn connect(
    target: Target<'_>,
    limit: Duration,
    deadline: &Deadline,
    worker: &Worker,
) -> Result<Box<Connection>, ProxyError> {
    let io = deadline.limit(limit, open(target, false)).await.ok_or(ProxyError::ConnectTimeout)??;
    Ok(Box::new(Connection::new(target.to_key(), io, worker.timers().now(), worker.table_number())))
}

/// Connects, and shakes hands where there is TLS.
pub(super) async fn open(target: Target<'_>, http2: bool) -> Result<UpstreamIo, ProxyError> {
    let address = target.endpoint.address;
    let stream = TcpStream::connect(address).await.map_err(ProxyError::Connect)?;
    // A proxy writes whole messages; waiting for more only adds latency.
    stream.set_nodelay(true).map_err(ProxyError::Connect)?;
    let Some(tls) = target.tls else { return Ok(UpstreamIo::Plain(stream)) };
    let connector = TlsConnector::from(tls.config(http2).clone());
    // The state of a handshake is large, and few connections need one.
    let handshake = Box::pin(connector.connect(tls.server_name(address.ip()), stream));
    let stream = handshake.await.map_err(ProxyError::Tls)?;
    let chosen = stream.get_ref().1.alpn_protocol();
    if http2 && chosen != Some(b"h2") {
        return Err(ProxyError::NoHttp2(chosen.map(<[u8]>::to_vec)));
    }
    Ok(UpstreamIo::Tls(Box::new(stream)))
}
