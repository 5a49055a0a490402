//! The harness itself: clients and pods talk to each other without a subject, so
//! that a failure elsewhere is the subject's.

use std::time::Duration;

use anyhow::{Result, ensure};
use rust_nginx_tests::client::websocket::WebSocket;
use rust_nginx_tests::client::{self, Connection, Request};
use rust_nginx_tests::control_plane::ControlPlane;
use rust_nginx_tests::objects::{backend, ingress, namespace, prefix};
use rust_nginx_tests::pod::{Behaviour, Pod, Silence, digest};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{address, tests, wait};
use tokio::net::TcpStream;

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = tests![
        a_pod_reports_what_it_received,
        a_pod_reads_bodies_in_both_framings,
        a_pod_talks_over_ipv6,
        a_pod_misbehaves_when_told,
        a_pod_disappears_and_comes_back,
        a_pod_opens_websockets_and_other_protocols,
        a_silent_address_neither_accepts_nor_refuses,
    ];
    tests.extend(tests![cluster: a_control_plane_takes_what_a_test_applies]);
    tests
}

async fn a_pod_reports_what_it_received() -> Result<()> {
    let pod = Pod::start("a").await?;
    let mut connection = Connection::open(pod.address).await?;
    let request = Request::get("h.test", "/x%2Fy?q=1").header("X-Two", "1").header("x-TWO", "2");
    for _ in 0..2 {
        let echo = connection.send(&request).await?.echo()?;
        assert_eq!((echo.pod.as_str(), echo.method.as_str(), echo.target.as_str()), ("a", "GET", "/x%2Fy?q=1"));
        assert_eq!(echo.headers[1..], [("X-Two".into(), "1".into()), ("x-TWO".into(), "2".into())]);
        assert_eq!(echo.connection, 0);
    }
    assert_eq!(pod.seen().len(), 2);
    Ok(())
}

async fn a_pod_reads_bodies_in_both_framings() -> Result<()> {
    let pod = Pod::start("a").await?;
    let mut connection = Connection::open(pod.address).await?;
    let echo = connection.send(&Request::post("h", "/", "hello")).await?.echo()?;
    assert_eq!((echo.length, echo.body.as_str(), echo.digest), (5, "hello", digest(b"hello")));
    connection.write(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: 1\r\n\r\n").await?;
    let echo = connection.answer("POST").await?.echo()?;
    assert_eq!((echo.length, echo.body.as_str(), echo.digest), (5, "hello", digest(b"hello")));
    let big = connection.send(&Request::get("h", "/pod/bytes/300000")).await?;
    assert_eq!(big.body.len(), 300_000);
    Ok(())
}

async fn a_pod_talks_over_ipv6() -> Result<()> {
    let pod = Pod::start_at("six", address::pod_v6()).await?;
    assert_eq!(client::send(pod.address, &Request::get("h", "/")).await?.echo()?.pod, "six");
    Ok(())
}

async fn a_pod_misbehaves_when_told() -> Result<()> {
    let pod = Pod::start("a").await?;
    for behaviour in [Behaviour::Reset, Behaviour::ResetAfterRequest, Behaviour::Close] {
        pod.set(behaviour.clone());
        let answer = client::send(pod.address, &Request::get("h", "/")).await;
        ensure!(answer.is_err(), "{behaviour:?} has answered");
    }
    pod.set(Behaviour::Hold);
    let mut connection = Connection::open(pod.address).await?;
    connection.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await?;
    ensure!(
        wait::at_most(Duration::from_millis(100), "", connection.head("GET")).await.is_err(),
        "a held request was answered"
    );
    pod.set(Behaviour::Serve);
    connection.answer("GET").await?.expect(200)?;
    assert_eq!(pod.broken(), Vec::<String>::new());
    Ok(())
}

async fn a_pod_disappears_and_comes_back() -> Result<()> {
    let pod = Pod::start("a").await?;
    let mut connection = Connection::open(pod.address).await?;
    connection.send(&Request::get("h", "/")).await?.expect(200)?;
    pod.disappear().await;
    ensure!(connection.closed().await.is_err(), "the connection was closed in order, not reset");
    ensure!(TcpStream::connect(pod.address).await.is_err(), "somebody listens still");
    pod.appear().await?;
    client::send(pod.address, &Request::get("h", "/")).await?.expect(200)?;
    Ok(())
}

async fn a_pod_opens_websockets_and_other_protocols() -> Result<()> {
    let pod = Pod::start("a").await?;
    let mut socket = WebSocket::open(pod.address, "h", "/").await?;
    socket.round_trip("hello").await?;
    socket.round_trip("again").await?;
    socket.close().await?;
    let mut connection = Connection::open(pod.address).await?;
    connection.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nearly").await?;
    connection.head("GET").await?.expect(101)?;
    Ok(())
}

async fn a_silent_address_neither_accepts_nor_refuses() -> Result<()> {
    let silence = Silence::start().await?;
    let attempt = wait::at_most(Duration::from_millis(300), "connecting", TcpStream::connect(silence.address)).await;
    ensure!(attempt.is_err(), "it did not stay silent");
    Ok(())
}

async fn a_control_plane_takes_what_a_test_applies() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let cluster = &plane.cluster;
    cluster.apply(&namespace("harness")).await?;
    let pod = Pod::start("a").await?;
    for manifest in backend("app", &[&pod]) {
        cluster.apply(&manifest.within("harness")).await?;
    }
    let ingress = ingress("web").host("a.test", [prefix("/", "app")]).build().within("harness");
    cluster.apply(&ingress).await?;
    assert_eq!(cluster.published("harness", "web").await?, Vec::<String>::new());
    cluster.delete(&ingress).await?;
    ensure!(cluster.published("harness", "web").await.is_err(), "it is still there");
    plane.compact().await
}
