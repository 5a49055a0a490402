//! A pod that speaks HTTP/2 by prior knowledge, and gRPC as far as a proxy can tell.
//!
//! | target | answer |
//! |---|---|
//! | `/pod.Echo/Talk` | every message back as it comes, then `grpc-status: 0` in trailers, with the TE of the request beside it |
//! | `/pod/endless` | a body without an end |
//! | all others | an [`Echo`] in JSON |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{Echo, PORT, digest};
use crate::address;

/// A part of a body without an end.
const ENDLESS: &[u8] = &[b'x'; 4096];

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A pod that runs until it is dropped.
pub struct Http2Pod {
    /// Where it listens.
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

// === impl Http2Pod ===

impl Http2Pod {
    /// A pod on an address of its own.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_on(name, SocketAddr::new(address::pod(), PORT)).await
    }

    /// The same on a given address and port.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_on(name: &str, address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("binding {address}"))?;
        let (connections, sent) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let server = tokio::spawn(serve(listener, name.into(), Arc::clone(&connections), Arc::clone(&sent)));
        Ok(Self { address, connections, sent, server })
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Bytes of bodies without an end that it got rid of.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent.load(SeqCst)
    }
}

impl Drop for Http2Pod {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, name: Arc<str>, count: Arc<AtomicUsize>, sent: Arc<AtomicUsize>) {
    // Connections end with the task that owns this set.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let number = count.fetch_add(1, SeqCst);
        connections.spawn(converse(stream, peer, number, Arc::clone(&name), Arc::clone(&sent)));
    }
}

/// How it ends is the test's business, which sees it from the client.
async fn converse(stream: TcpStream, peer: SocketAddr, number: usize, name: Arc<str>, sent: Arc<AtomicUsize>) {
    let service = service_fn(move |request| answer(request, peer, number, Arc::clone(&name), Arc::clone(&sent)));
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    connection: usize,
    name: Arc<str>,
    sent: Arc<AtomicUsize>,
) -> Result<Response<Body>, Infallible> {
    if request.uri().path() == "/pod/endless" {
        let parts = futures::stream::repeat_with(move || {
            sent.fetch_add(ENDLESS.len(), SeqCst);
            Ok(Frame::data(Bytes::from_static(ENDLESS)))
        });
        return Ok(Response::new(StreamBody::new(parts).boxed_unsync()));
    }
    if request.uri().path() == "/pod.Echo/Talk" {
        return Ok(talk(request));
    }
    let (head, body) = request.into_parts();
    // A client that breaks off gets no answer anyway.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    // The pseudo-fields that hyper has put into the target.
    if let (Some(scheme), Some(authority)) = (head.uri.scheme_str(), head.uri.authority()) {
        headers.insert(0, (":scheme".to_owned(), scheme.to_owned()));
        headers.insert(1, (":authority".to_owned(), authority.to_string()));
    }
    let echo = Echo {
        pod: name.to_string(),
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers,
        length: body.len(),
        digest: digest(&body),
        body: String::from_utf8_lossy(&body[..body.len().min(64 * 1024)]).into_owned(),
        connection,
        peer,
    };
    let json = serde_json::to_vec(&echo).unwrap_or_default();
    let mut response = Response::new(Full::new(json.into()).map_err(|never| match never {}).boxed_unsync());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Data goes back as it comes; what follows it too, with the status of the call.
fn talk(request: Request<Incoming>) -> Response<Body> {
    let te = request.headers().get("te").cloned();
    let frames = BodyStream::new(request.into_body()).filter(|frame| {
        let data = frame.as_ref().is_ok_and(Frame::is_data);
        std::future::ready(data || frame.is_err())
    });
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    if let Some(te) = te {
        trailers.insert("x-te", te);
    }
    let end = futures::stream::once(std::future::ready(Ok(Frame::trailers(trailers))));
    let mut response = Response::new(StreamBody::new(frames.chain(end)).boxed_unsync());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
