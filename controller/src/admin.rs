//! The admin listener: probes, metrics, debug pages. Read-only; for operators and the kubelet, not for clients.
//!
//! It is bound before anything else and answers until the process ends. Pages that take a while to render do so off the
//! threads of the runtime. Secrets never appear in a page.

mod health;

pub use self::health::{Health, Signs};
use crate::{args::BindAddress, metrics::Metrics, reconcile::Pass};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use std::{
    convert::Infallible,
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinSet, spawn_blocking},
    time::sleep,
};
use tracing::{debug, warn};

/// Connections served at the same time; more wait in the queue of the kernel.
const CONNECTIONS: usize = 256;

/// Time for a request head, idle time between requests included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROMETHEUS: HeaderValue = HeaderValue::from_static(prometheus::TEXT_FORMAT);

/// What the pages show.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Probes.
    pub health: Health,
    /// `--health-check-path`
    pub health_path: Arc<str>,
    /// `/metrics`
    pub metrics: Metrics,
    /// `/debug/*`
    pub passes: watch::Receiver<Option<Arc<Pass>>>,
}

/// Why the admin listener could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for health and metrics")]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

type Page = Response<Full<Bytes>>;

/// Binds the addresses.
///
/// # Errors
/// When one of them is taken or not ours.
pub async fn bind(addresses: &[BindAddress]) -> Result<Vec<TcpListener>, BindError> {
    let mut listeners = Vec::new();
    for &address in addresses {
        let listener = match address {
            BindAddress::One(address) => bind_one(address).await,
            BindAddress::Every(port) => match bind_one((Ipv6Addr::UNSPECIFIED, port).into()).await {
                // There is no IPv6 on this machine, or it is switched off. Otherwise the socket takes IPv4 as well.
                Err(BindError { source, .. }) if source.kind() != ErrorKind::AddrInUse => {
                    bind_one((Ipv4Addr::UNSPECIFIED, port).into()).await
                }
                result => result,
            },
        };
        listeners.push(listener?);
    }
    Ok(listeners)
}

async fn bind_one(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

// === impl Admin ===

impl Admin {
    /// Serves until it is dropped.
    pub async fn serve(self, listeners: Vec<TcpListener>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(self.clone().accept(listener, Arc::clone(&slots)));
        }
        accepting.join_all().await;
    }

    async fn accept(self, listener: TcpListener, slots: Arc<Semaphore>) {
        let mut connections = JoinSet::new();
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    let admin = self.clone();
                    connections.spawn(async move {
                        admin.connection(stream).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely; trying again at once would only burn the CPU.
                    warn!(%error, "cannot accept a connection on the admin listener");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream) {
        let service = service_fn(|request| {
            let admin = self.clone();
            async move { Ok::<_, Infallible>(admin.answer(&request).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            debug!(%error, "a connection to the admin listener ended with an error");
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Page {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut page = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            page.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return page;
        }
        match request.uri().path() {
            "/healthz" => probe(self.health.healthy()),
            path if path == &*self.health_path => probe(self.health.healthy()),
            "/livez" => probe(self.health.live()),
            "/readyz" => probe(self.health.ready()),
            "/metrics" => self.metrics().await,
            "/debug/table" => self.debug(|pass| json(&pass.compiled.table)).await,
            "/debug/diagnostics" => self.debug(|pass| json(&pass.compiled.diagnostics)).await,
            "/" => text(StatusCode::OK, "/healthz\n/livez\n/readyz\n/metrics\n/debug/table\n/debug/diagnostics\n"),
            _ => text(StatusCode::NOT_FOUND, "no such page\n"),
        }
    }

    async fn metrics(&self) -> Page {
        let metrics = self.metrics.clone();
        match spawn_blocking(move || metrics.render()).await {
            Ok(Ok(rendered)) => page(StatusCode::OK, PROMETHEUS, rendered),
            Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    async fn debug(&self, render: impl FnOnce(&Pass) -> Page + Send + 'static) -> Page {
        let Some(pass) = self.passes.borrow().clone() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "no table is installed yet\n");
        };
        spawn_blocking(move || render(&pass))
            .await
            .unwrap_or_else(|error| text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))
    }
}

fn probe(verdict: Result<(), Vec<String>>) -> Page {
    match verdict {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(reasons) => text(StatusCode::INTERNAL_SERVER_ERROR, reasons.join("\n") + "\n"),
    }
}

fn json(value: &impl Serialize) -> Page {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            page(StatusCode::OK, JSON, body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Page {
    page(status, TEXT, body)
}

fn page(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = status;
    page.headers_mut().insert(header::CONTENT_TYPE, content_type);
    page.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}
