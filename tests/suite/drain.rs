//! SIGTERM: nobody is cut off, and the process ends.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::client::websocket::WebSocket;
use rust_nginx_tests::client::{Connection, Request, http2};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{backend, config_map, ingress, ingress_class, prefix};
use rust_nginx_tests::pod::{Behaviour, Pod};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::subject::Launch;
use rust_nginx_tests::{tests, wait};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// An orderly end takes less, beyond what it waits for.
const PROMPT: Duration = Duration::from_secs(5);

pub(crate) fn tests() -> Vec<Test> {
    tests![
        an_idle_subject_ends_at_once,
        health_turns_while_requests_are_still_accepted,
        requests_in_flight_are_finished,
        websockets_live_until_they_end,
        websockets_are_cut_after_the_limit,
        silent_connections_hold_the_end_for_seconds_only,
        http2_connections_are_sent_away,
        accepted_connections_are_answered,
        a_second_signal_ends_it_at_once,
    ]
}

async fn site(change: impl FnOnce(Launch) -> Launch) -> Result<(Site, Pod)> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]);
    // So that a pod hears of a request whose body is still to come.
    let rules = rules.annotation("nginx.ingress.kubernetes.io/proxy-request-buffering", "off").build();
    let site = Site::start_with([ingress_class(CLASS, CONTROLLER), service, slice, rules], change).await?;
    Ok((site, pod))
}

async fn refused(site: &Site) -> Result<()> {
    wait::until("new connections are refused", async || {
        ensure!(TcpStream::connect(site.subject.http()).await.is_err(), "they are accepted");
        Ok(())
    })
    .await
}

async fn ends(site: &Site, within: Duration) -> Result<()> {
    let status = site.subject.exited(within).await?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    Ok(())
}

async fn an_idle_subject_ends_at_once() -> Result<()> {
    let (site, _pod) = site(|launch| launch).await?;
    // A client that keeps its connection open without asking anything holds nobody up.
    let mut idle = Connection::open(site.subject.http()).await?;
    idle.send(&Request::get("a.test", "/")).await?.expect(200)?;
    site.subject.terminate()?;
    ends(&site, PROMPT).await?;
    idle.closed().await
}

async fn health_turns_while_requests_are_still_accepted() -> Result<()> {
    let (site, _pod) = site(|launch| launch.arg("--shutdown-grace-period=3")).await?;
    let mut kept = Connection::open(site.subject.http()).await?;
    kept.send(&Request::get("a.test", "/")).await?.expect(200)?;
    let start = Instant::now();
    site.subject.terminate()?;
    for target in ["/healthz", "/readyz"] {
        wait::until_within(Duration::from_secs(1), "health turns", async || {
            site.subject.inspect(target).await?.expect(500)
        })
        .await?;
    }
    // For as long as the grace period lasts, everything goes on.
    while start.elapsed() < Duration::from_millis(2500) {
        let answer = site.subject.get("a.test", "/").await?.expect(200)?;
        ensure!(answer.header("connection") != Some("close"), "connections are ended within the grace period");
        kept.send(&Request::get("a.test", "/")).await?.expect(200)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ends(&site, PROMPT).await?;
    ensure!(start.elapsed() >= Duration::from_secs(3), "the grace period was cut short: {:?}", start.elapsed());
    Ok(())
}

async fn requests_in_flight_are_finished() -> Result<()> {
    let (site, pod) = site(|launch| launch).await?;
    let mut waiting = Connection::open(site.subject.http()).await?;
    pod.set(Behaviour::Hold);
    waiting.write(b"GET /waiting HTTP/1.1\r\nHost: a.test\r\n\r\n").await?;
    let mut sending = Connection::open(site.subject.http()).await?;
    sending.write(b"POST /sending HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhello").await?;
    wait::until("the pod has both requests", async || {
        ensure!(
            pod.seen().len() == 1 && pod.received() == 5,
            "it has {} and {} bytes",
            pod.seen().len(),
            pod.received()
        );
        Ok(())
    })
    .await?;
    site.subject.terminate()?;
    refused(&site).await?;
    wait::remains("the process waits for them", async || {
        ensure!(site.subject.running().await?, "it has ended");
        Ok(())
    })
    .await?;
    pod.set(Behaviour::Serve);
    let answer = waiting.answer("GET").await?;
    assert_eq!(answer.echo()?.target, "/waiting");
    ensure!(answer.header("connection") == Some("close"), "the answer does not say close: {}", answer.summary());
    waiting.closed().await?;
    sending.write(b"world").await?;
    assert_eq!(sending.answer("POST").await?.echo()?.body, "helloworld");
    ends(&site, PROMPT).await
}

async fn websockets_live_until_they_end() -> Result<()> {
    let (site, _pod) = site(|launch| launch).await?;
    let mut socket = WebSocket::open(site.subject.http(), "a.test", "/").await?;
    site.subject.terminate()?;
    refused(&site).await?;
    for _ in 0..5 {
        socket.round_trip("still here").await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(site.subject.running().await?, "it has ended");
    socket.close().await?;
    ends(&site, PROMPT).await
}

async fn websockets_are_cut_after_the_limit() -> Result<()> {
    let (site, pod) = site(|launch| launch.arg("--configmap=default/settings")).await?;
    site.files
        .put("settings.yaml", [config_map("settings", &[("worker-shutdown-timeout", "2s"), ("hsts", "false")])])?;
    wait::until("the ConfigMap is read", async || {
        let answer = site.subject.get_tls("a.test", "/").await?;
        ensure!(answer.header("strict-transport-security").is_none(), "HSTS is still on");
        Ok(())
    })
    .await?;
    let mut socket = WebSocket::open(site.subject.http(), "a.test", "/").await?;
    pod.set(Behaviour::Hold);
    let mut held = Connection::open(site.subject.http()).await?;
    held.write(b"GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n").await?;
    let start = Instant::now();
    site.subject.terminate()?;
    socket.round_trip("still here").await?;
    wait::at_most(PROMPT, "the end of a WebSocket", socket.cut()).await??;
    let took = start.elapsed();
    ensure!(took >= Duration::from_millis(1900), "cut after {took:?}");
    ends(&site, PROMPT).await?;
    // Both have their lines; of the one that was never answered it is not said that its client went away.
    wait::until("lines of what was cut", async || {
        let lines = site.subject.log.lines();
        for expected in ["\"GET / HTTP/1.1\" 101 ", "\"GET /held HTTP/1.1\" 503 0 "] {
            ensure!(lines.iter().any(|line| line.contains(expected)), "no line with {expected}");
        }
        Ok(())
    })
    .await
}

/// Connections that bring nothing, neither a request nor the beginning of TLS.
async fn silent_connections_hold_the_end_for_seconds_only() -> Result<()> {
    let (site, _pod) = site(|launch| launch).await?;
    let mut silent = [Connection::open(site.subject.http()).await?, Connection::open(site.subject.https()).await?];
    site.subject.get("a.test", "/").await?.expect(200)?;
    let start = Instant::now();
    site.subject.terminate()?;
    for connection in &mut silent {
        connection.closed().await?;
    }
    let took = start.elapsed();
    ensure!((4..15).contains(&took.as_secs()), "closed after {took:?}");
    ends(&site, PROMPT).await
}

async fn http2_connections_are_sent_away() -> Result<()> {
    let (site, pod) = site(|launch| launch).await?;
    let mut connection = http2::Connection::over(TcpStream::connect(site.subject.http()).await?).await?;
    connection.send("http", &Request::get("a.test", "/")).await?.expect(200)?;
    pod.set(Behaviour::Hold);
    let mut other = connection.another();
    let request = http::Request::get("http://a.test/held").body(http_body_util::Full::default())?;
    let held = tokio::spawn(async move { other.send_request(request).await });
    wait::until("the pod has the request", async || {
        ensure!(pod.seen().len() == 2, "it has {}", pod.seen().len());
        Ok(())
    })
    .await?;
    site.subject.terminate()?;
    refused(&site).await?;
    pod.set(Behaviour::Serve);
    let status = held.await?.context("the stream was cut")?.status();
    assert_eq!(status, 200);
    connection.closed().await?;
    ends(&site, PROMPT).await
}

async fn accepted_connections_are_answered() -> Result<()> {
    // Whether a worker hears of the signal before it has emptied its queue is a matter of luck: try it often enough.
    futures::future::try_join_all((0..6).map(|_| full_queues_are_emptied())).await.map(drop)
}

async fn full_queues_are_emptied() -> Result<()> {
    let (site, _pod) = site(|launch| launch).await?;
    // While the process stands still, the kernel accepts for it: by the time it hears of
    // the signal its queues are full of people who were let in.
    site.subject.pause()?;
    let mut waiting = vec![];
    for number in 0..50 {
        let mut connection = Connection::open(site.subject.http()).await?;
        connection.write(format!("GET /{number} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes()).await?;
        waiting.push(connection);
    }
    site.subject.terminate()?;
    site.subject.resume()?;
    for (number, mut connection) in waiting.into_iter().enumerate() {
        let answer = connection.answer("GET").await.with_context(|| format!("connection {number} of 50"))?;
        assert_eq!(answer.echo()?.target, format!("/{number}"));
    }
    ends(&site, PROMPT).await
}

async fn a_second_signal_ends_it_at_once() -> Result<()> {
    let (site, _pod) = site(|launch| launch).await?;
    let socket = WebSocket::open(site.subject.http(), "a.test", "/").await?;
    site.subject.terminate()?;
    refused(&site).await?;
    // One that comes right behind the first counts as the same, so it may take another.
    wait::until_within(PROMPT, "a later signal ends it", async || {
        if site.subject.running().await? {
            site.subject.terminate()?;
        }
        site.subject.exited(wait::SETTLE).await.map(drop)
    })
    .await?;
    socket.cut().await
}
