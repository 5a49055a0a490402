//! The endpoints of a soak: what `origin.rs` answers, and besides bodies and upgrades.
//!
//! Here the origin limits no measurement and hyper may speak for it, which knows every framing of a
//! body; `origin.rs` goes on refusing what the other works must not send. The last path segment
//! decides, see `answer`.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::site::ECHO_SEGMENT;
use crate::work::Size;

/// Answers with length and checksum of the request body, see [`receipt`].
pub(super) const STORE_SEGMENT: &str = "store";
/// Switches to the protocol that is asked for and sends every byte back.
pub(super) const UPGRADE_SEGMENT: &str = "upgrade";

/// A running endpoint; lives as long as the runtime.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    small: Bytes,
    large: Bytes,
    requests: AtomicU64,
}

/// What is answered to a body of this length and checksum.
pub(super) fn receipt(length: usize, checksum: u32) -> String {
    format!("{length} bytes, checksum {checksum:08x}\n")
}

// === impl Origin ===

impl Origin {
    /// Listens on a free loopback port.
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen as an origin")?;
        let address = listener.local_addr().context("address of an origin")?;
        let body = |size: Size| Bytes::from(vec![b'x'; size.bytes()]);
        let shared = Shared { small: body(Size::Small), large: body(Size::Large), requests: AtomicU64::new(0) };
        let shared = Arc::new(shared);
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared })
    }

    /// Requests that have come so far.
    pub(super) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // What is not accepted is an error of the client that waits for its answer.
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(converse(stream, Arc::clone(&shared)));
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Requests are broken off on purpose, and what ends else shows up in the client's answer.
    connection.with_upgrades().await.ok();
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let last = request.uri().path().rsplit('/').next().unwrap_or_default();
    let body = match last {
        _ if last == Size::Small.segment() => shared.small.clone(),
        _ if last == Size::Large.segment() => shared.large.clone(),
        ECHO_SEGMENT => head(&request).into(),
        STORE_SEGMENT => store(request.into_body()).await?.into(),
        UPGRADE_SEGMENT => return Ok(upgrade(request)),
        _ => {
            let mut response = Response::new(Full::from("no such thing\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Ok(response);
        }
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// The request head as text.
fn head(request: &Request<Incoming>) -> String {
    let mut text = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        write!(text, "{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()))
            .expect("writing to a String cannot fail");
    }
    text + "\r\n"
}

async fn store(mut body: Incoming) -> Result<String, hyper::Error> {
    let (mut length, mut checksum) = (0, crc32fast::Hasher::new());
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            length += data.len();
            checksum.update(data);
        }
    }
    Ok(receipt(length, checksum.finalize()))
}

fn upgrade(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let Some(protocol) = request.headers().get(UPGRADE).cloned() else {
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return response;
    };
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(UPGRADE, protocol);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
            // Ends with the client, however it leaves.
            tokio::io::copy(&mut read, &mut write).await.ok();
        }
    });
    response
}
