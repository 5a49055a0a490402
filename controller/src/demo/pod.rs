//! Sample pods: HTTP servers on loopback ports of their own, which answer with what they received.
//!
//! Invariant: a pod answers every request, whatever the path, with its own name, so that routing and balancing can be
//! seen from outside. Must not know: manifests, certificates, the proxy in front.

mod answer;

pub(crate) use self::answer::Echo;
use super::websocket;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tracing::debug;

/// Pause after a failed accept: the usual reason is that file descriptors ran out, which only time can mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Fields of a request: what the proxy lets pass, and what it adds.
const MAX_HEADERS: usize = 256;

/// Who a pod says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) name: String,
}

/// A running pod. It stops when it is dropped; a WebSocket that is open then lives until its client closes.
#[derive(Debug)]
pub(crate) struct Pod {
    identity: Arc<Identity>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

// === impl Pod ===

impl Pod {
    /// Starts a pod on a free loopback port.
    pub(crate) async fn start(identity: Identity) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let identity = Arc::new(identity);
        let task = tokio::spawn(accept(listener, identity.clone()));
        Ok(Self { identity, address, task })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, identity: Arc<Identity>) {
    // Dropped with this future, which ends the connections too.
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, identity.clone()));
            }
            Err(error) => {
                debug!(pod = identity.name, %error, "a sample pod cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, identity: Arc<Identity>) {
    let service = service_fn(|request| {
        let identity = identity.clone();
        async move { Ok::<_, Infallible>(respond(request, &identity).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        debug!(pod = identity.name, %error, "a connection to a sample pod ended early");
    }
}

async fn respond(request: Request<Incoming>, identity: &Identity) -> Response<Full<Bytes>> {
    if websocket::is_requested(request.headers()) {
        open_websocket(request)
    } else {
        answer::answer(request, identity).await
    }
}

/// Accepts the handshake; the connection echoes from then on.
fn open_websocket(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, websocket::accept_key(key.as_bytes()));
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let ended = match upgrade.await {
            Ok(connection) => websocket::echo(TokioIo::new(connection)).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = ended {
            debug!(%error, "a WebSocket of a sample pod ended early");
        }
    });
    response
}

#[cfg(test)]
mod tests;
