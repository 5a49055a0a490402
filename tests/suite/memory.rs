//! What clients can make the process hold: those that read slowly or not at all, and those that only stay.

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rust_nginx_tests::client::{self, Request};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{backend, endpoints_at, ingress, ingress_class, prefix, service};
use rust_nginx_tests::pod::{Http2Pod, Pod};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::subject::Subject;
use rust_nginx_tests::{tests, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        stalled_streams_of_one_connection_hold_little,
        stalled_streams_to_a_pod_of_http2_hold_little,
        slow_readers_hold_little,
        idle_connections_give_their_buffers_back
    ]
}

/// As many as a connection may have at a time.
const STREAMS: usize = 128;
const READERS: usize = 64;
const IDLE: usize = 100;
const MOST_IDLE: usize = 8000;

/// What was read from the pod, what waits for the client, and what the request itself takes.
const PER_STREAM: usize = 192 << 10;
const PER_READER: usize = 1200 << 10;
/// Of an idle connection, after it was idle for a while.
const PER_IDLE: usize = 10 << 10;

async fn site() -> Result<(Site, Pod)> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build();
    let site = Site::start([ingress_class(CLASS, CONTROLLER), service, slice, rules]).await?;
    for _ in 0..10 {
        client::send(site.subject.http(), &Request::get("a.test", "/")).await?.expect(200)?;
    }
    Ok((site, pod))
}

/// Resident bytes, as the process says itself.
async fn resident(subject: &Subject) -> Result<usize> {
    let bytes = subject.metric("process_resident_memory_bytes", &[]).await?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of memory")]
    Ok(bytes as usize)
}

/// Waits until the pod gets rid of nothing more: the kernel's buffers hold much of it.
pub(crate) async fn stalled(sent: impl Fn() -> usize) -> Result<()> {
    wait::until("a pod to stall", async || {
        let before = sent();
        tokio::time::sleep(wait::SETTLE).await;
        ensure!(sent() == before && before > 0, "it still sends");
        Ok(())
    })
    .await
}

/// CVE-2019-9511 and relatives: a client that opens many streams and no window.
async fn stalled_streams_of_one_connection_hold_little() -> Result<()> {
    let (site, pod) = site().await?;
    hold_little(&site.subject, || pod.sent()).await
}

/// The windows towards the pod are ours, too.
async fn stalled_streams_to_a_pod_of_http2_hold_little() -> Result<()> {
    let pod = Http2Pod::start("a").await?;
    let app = service("app", 80).app_protocol("grpc");
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build();
    let endpoints = endpoints_at("app", "", &[pod.address]);
    let site = Site::start([ingress_class(CLASS, CONTROLLER), app, endpoints, rules]).await?;
    client::send(site.subject.http(), &Request::get("a.test", "/")).await?.expect(200)?;
    hold_little(&site.subject, || pod.sent()).await
}

async fn hold_little(subject: &Subject, sent: impl Fn() -> usize) -> Result<()> {
    let before = resident(subject).await?;
    let wire = TcpStream::connect(subject.http()).await?;
    let mut builder = Builder::new(TokioExecutor::new());
    let (mut requests, connection) = builder.initial_stream_window_size(1).handshake(TokioIo::new(wire)).await?;
    let driver = tokio::spawn(connection);
    let mut responses = vec![];
    for _ in 0..STREAMS {
        requests.ready().await?;
        let request = http::Request::get("http://a.test/pod/endless").body(Empty::<Bytes>::new())?;
        responses.push(requests.send_request(request).await?);
    }
    stalled(sent).await?;
    let held = resident(subject).await?.saturating_sub(before);
    ensure!(held < STREAMS * PER_STREAM, "{STREAMS} streams hold {held} bytes");
    drop(responses);
    driver.abort();
    Ok(())
}

async fn slow_readers_hold_little() -> Result<()> {
    let (site, pod) = site().await?;
    let before = resident(&site.subject).await?;
    let mut readers = vec![];
    for _ in 0..READERS {
        let mut reader = TcpStream::connect(site.subject.http()).await?;
        reader.write_all(b"GET /pod/endless HTTP/1.1\r\nHost: a.test\r\n\r\n").await?;
        readers.push(reader);
    }
    stalled(|| pod.sent()).await?;
    let held = resident(&site.subject).await?.saturating_sub(before);
    ensure!(held < READERS * PER_READER, "{READERS} slow readers hold {held} bytes");
    Ok(())
}

async fn idle_connections_give_their_buffers_back() -> Result<()> {
    let (site, _pod) = site().await?;
    let before = resident(&site.subject).await?;
    let mut idle = vec![];
    // What was given back shows in what others need: they come until it does.
    wait::until("idle connections to become small", async || {
        ensure!(idle.len() < MOST_IDLE, "{MOST_IDLE} connections are still large");
        for _ in 0..IDLE {
            let mut connection = TcpStream::connect(site.subject.http()).await?;
            asks(&mut connection).await?;
            idle.push(connection);
        }
        let held = resident(&site.subject).await?.saturating_sub(before);
        ensure!(held < idle.len() * PER_IDLE, "{} connections hold {held} bytes", idle.len());
        Ok(())
    })
    .await?;
    // And they go on.
    for connection in &mut idle {
        asks(connection).await?;
    }
    Ok(())
}

async fn asks(connection: &mut TcpStream) -> Result<()> {
    connection.write_all(b"GET /pod/status/204 HTTP/1.1\r\nHost: a.test\r\n\r\n").await?;
    let mut answer = [0; 1024];
    let length = connection.read(&mut answer).await?;
    ensure!(answer[..length].starts_with(b"HTTP/1.1 204 "), "{:?}", String::from_utf8_lossy(&answer[..length]));
    Ok(())
}
