//! Opens connections to endpoints.

use super::Connection;
use crate::{error::ProxyError, table::Endpoint, timeout::Deadline, worker::Worker};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// Connects within the time limit and prepares HTTP/1.1.
pub(crate) async fn connect(
    endpoint: Endpoint,
    limit: Duration,
    deadline: &Deadline,
    worker: &Worker,
) -> Result<Box<Connection>, ProxyError> {
    let stream = deadline
        .limit(limit, TcpStream::connect(endpoint.address))
        .await
        .ok_or(ProxyError::ConnectTimeout)?
        .map_err(ProxyError::Connect)?;
    // A proxy writes whole messages; waiting for more only adds latency.
    stream.set_nodelay(true).map_err(ProxyError::Connect)?;
    let (sender, driver) = worker.http1_client().handshake(TokioIo::new(stream)).await.map_err(ProxyError::Upstream)?;
    Ok(Box::new(Connection::new(endpoint, sender, driver, worker.timers().now())))
}
