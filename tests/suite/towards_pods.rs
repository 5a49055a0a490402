//! What is spoken to pods: by annotation, by the port of their Service, over TLS and HTTP/2.

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use rust_nginx_tests::certificate::Authority;
use rust_nginx_tests::client::grpc::Call;
use rust_nginx_tests::client::tls::connect;
use rust_nginx_tests::client::websocket::WebSocket;
use rust_nginx_tests::client::{self, Connection, Request, http2};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{Manifest, endpoints_at, ingress, ingress_class, prefix, secret, service};
use rust_nginx_tests::pod::{Http2Pod, Pod, Terminator, digest};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};
use std::net::SocketAddr;
use tokio::net::TcpStream;

const PROTOCOL: &str = "nginx.ingress.kubernetes.io/backend-protocol";

pub(crate) fn tests() -> Vec<Test> {
    tests![
        https_pods_are_reached_without_a_check_of_their_certificate,
        websockets_reach_https_pods,
        auto_http_is_what_the_client_speaks,
        grpc_calls_stream_both_ways_and_end_with_their_trailers,
        requests_to_grpc_pods_share_connections,
        the_port_of_a_service_says_what_its_pods_speak,
        the_annotation_beats_the_port_and_a_flag_switches_it_off,
        a_change_of_protocol_is_taken_at_once,
        a_pod_that_is_gone_costs_no_call,
        fastcgi_closes_its_paths,
        pods_are_verified_and_see_who_comes,
    ]
}

/// The Service `app` of these pods, and an Ingress for `a.test` that may say what they speak.
fn objects(pods: &[SocketAddr], app_protocol: &str, annotation: &str) -> Vec<Manifest> {
    let mut rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]);
    if !annotation.is_empty() {
        rules = rules.annotation(PROTOCOL, annotation);
    }
    let app = service("app", 80);
    let app = if app_protocol.is_empty() { app } else { app.app_protocol(app_protocol) };
    vec![ingress_class(CLASS, CONTROLLER), app, endpoints_at("app", "", pods), rules.build()]
}

/// TLS in front of a pod of HTTP/1.1.
async fn https_pod(pod: &Pod) -> Result<Terminator> {
    let pair = Authority::new("nobody knows it")?.server(&["whatever.test"])?;
    Terminator::start(pod.address, &pair, &[]).await
}

async fn https_pods_are_reached_without_a_check_of_their_certificate() -> Result<()> {
    let pod = Pod::start("a").await?;
    let terminator = https_pod(&pod).await?;
    let site = Site::start(objects(&[terminator.address], "", "HTTPS")).await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    let body = vec![b'x'; 1 << 20];
    for _ in 0..3 {
        let echo = connection.send(&Request::post("a.test", "/x?y", body.clone())).await?.echo()?;
        assert_eq!((echo.target.as_str(), echo.digest), ("/x?y", digest(&body)));
        assert_eq!(echo.values("host"), ["a.test"]);
        // What the pod is told about is the client's connection.
        assert_eq!(echo.values("x-forwarded-proto"), ["http"]);
    }
    assert_eq!(terminator.handshakes(), 1);
    Ok(())
}

async fn pods_are_verified_and_see_who_comes() -> Result<()> {
    let pod = Pod::start("a").await?;
    let (pods, clients) = (Authority::new("pods")?, Authority::new("clients")?);
    let identity = clients.client("ingress", "proxies")?;
    let terminator =
        Terminator::start_for_clients_of(&clients.certificate, pod.address, &pods.server(&["app.test"])?).await?;
    let annotation = |name: &str| format!("nginx.ingress.kubernetes.io/proxy-ssl-{name}");
    let rules = |name: &str| {
        let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).annotation(PROTOCOL, "HTTPS");
        let rules = rules.annotation(&annotation("secret"), "default/towards-pods");
        rules.annotation(&annotation("verify"), "on").annotation(&annotation("name"), name).build()
    };
    // The paths of another Ingress on the host follow.
    let beside =
        ingress("beside").class(CLASS).host("a.test", [prefix("/beside", "app")]).annotation(PROTOCOL, "HTTPS");
    let beside = beside.build().created("2026-01-01T00:00:00Z");
    let mut manifests = vec![ingress_class(CLASS, CONTROLLER), service("app", 80)];
    manifests.extend([endpoints_at("app", "", &[terminator.address]), beside]);
    let site = Site::start(manifests).await?;
    site.files.put("rules.yaml", [rules("app.test")])?;
    site.subject.answers("a.test", "/", 503).await?;
    let parts = |authority: &Authority| {
        let pair = [("tls.crt", identity.certificate.as_str()), ("tls.key", &identity.key)];
        secret("towards-pods", &[pair[0], pair[1], ("ca.crt", &authority.certificate)])
    };
    site.files.put("secret.yaml", [parts(&pods)])?;
    site.subject.answers("a.test", "/", 200).await?;
    site.subject.answers("a.test", "/beside", 200).await?;
    // A name that the certificate does not carry, and an authority that has not signed it.
    site.files.put("rules.yaml", [rules("other.test")])?;
    site.subject.answers("a.test", "/", 502).await?;
    site.files.put("rules.yaml", [rules("app.test")])?;
    site.subject.answers("a.test", "/", 200).await?;
    site.files.put("secret.yaml", [parts(&clients)])?;
    site.subject.answers("a.test", "/", 502).await?;
    Ok(())
}

async fn websockets_reach_https_pods() -> Result<()> {
    let pod = Pod::start("a").await?;
    let terminator = https_pod(&pod).await?;
    let site = Site::start(objects(&[terminator.address], "kubernetes.io/wss", "")).await?;
    let mut socket = WebSocket::open(site.subject.http(), "a.test", "/").await?;
    socket.round_trip("hello").await?;
    socket.close().await
}

async fn auto_http_is_what_the_client_speaks() -> Result<()> {
    let pod = Pod::start("a").await?;
    let site = Site::start(objects(&[pod.address], "", "AUTO_HTTP")).await?;
    client::send(site.subject.http(), &Request::get("a.test", "/")).await?.expect(200)?;
    // Over TLS the pod would have to speak it, too.
    client::send_tls(site.subject.https(), "a.test", &Request::get("a.test", "/")).await?.expect(502)?;
    Ok(())
}

async fn grpc_calls_stream_both_ways_and_end_with_their_trailers() -> Result<()> {
    let pod = Http2Pod::start("a").await?;
    let pair = Authority::new("nobody knows it")?.server(&["whatever.test"])?;
    let terminator = Terminator::start(pod.address, &pair, &["h2"]).await?;
    for (address, annotation, app_protocol) in
        [(pod.address, "GRPC", ""), (terminator.address, "grpcs", ""), (pod.address, "", "kubernetes.io/h2c")]
    {
        let site = Site::start(objects(&[address], app_protocol, annotation)).await?;
        let plain = Call::open(TcpStream::connect(site.subject.http()).await?, "http://a.test/pod.Echo/Talk").await?;
        let session = connect(site.subject.https(), Some("a.test"), &["h2"]).await?;
        let secure = Call::open(session.wire, "https://a.test/pod.Echo/Talk").await?;
        for mut call in [plain, secure] {
            assert_eq!(call.status, 200);
            for number in 0..5 {
                let message = format!("message {number}");
                call.send(&message).await?;
                assert_eq!(call.next().await?, message);
            }
            let trailers = call.finish().await?;
            let value = |name| trailers.get(name).and_then(|value| value.to_str().ok());
            assert_eq!((value("grpc-status"), value("x-te")), (Some("0"), Some("trailers")));
        }
    }
    Ok(())
}

async fn requests_to_grpc_pods_share_connections() -> Result<()> {
    let pod = Http2Pod::start("a").await?;
    let site = Site::start(objects(&[pod.address], "", "GRPC")).await?;
    let mut client = http2::Connection::over(TcpStream::connect(site.subject.http()).await?).await?;
    let body = vec![b'x'; 500_000];
    let echo = client.send("http", &Request::post("a.test", "/x?y", body.clone())).await?.echo()?;
    assert_eq!((echo.length, echo.digest), (body.len(), digest(&body)));
    assert_eq!((echo.values(":authority"), echo.values(":scheme")), (vec!["a.test"], vec!["http"]));
    for gone in ["host", "connection", "upgrade"] {
        assert_eq!(echo.values(gone), Vec::<&str>::new(), "{gone}");
    }
    assert_eq!(echo.values("x-forwarded-host"), ["a.test"]);
    let http = site.subject.http();
    let requests = (0..100).map(|_| async move {
        client::send(http, &Request::get("a.test", "/")).await?.echo()?;
        anyhow::Ok(())
    });
    try_join_all(requests).await?;
    // At most one for each worker.
    let workers = std::thread::available_parallelism()?.get();
    ensure!(pod.connections() <= workers, "{} connections of {workers} workers", pod.connections());
    Ok(())
}

async fn the_port_of_a_service_says_what_its_pods_speak() -> Result<()> {
    let (pod, http2) = (Pod::start("a").await?, Http2Pod::start("b").await?);
    let terminator = https_pod(&pod).await?;
    for (protocol, address, name) in [
        ("https", terminator.address, "a"),
        ("kubernetes.io/wss", terminator.address, "a"),
        ("kubernetes.io/ws", pod.address, "a"),
        ("http", pod.address, "a"),
        ("example.com/unknown", pod.address, "a"),
        ("kubernetes.io/h2c", http2.address, "b"),
        ("grpc", http2.address, "b"),
    ] {
        let site = Site::start(objects(&[address], protocol, "")).await?;
        let answer = client::send(site.subject.http(), &Request::get("a.test", "/")).await?;
        assert_eq!(answer.echo()?.pod, name, "{protocol}");
    }
    Ok(())
}

async fn the_annotation_beats_the_port_and_a_flag_switches_it_off() -> Result<()> {
    let pod = Pod::start("a").await?;
    let site = Site::start(objects(&[pod.address], "grpc", "HTTP")).await?;
    client::send(site.subject.http(), &Request::get("a.test", "/")).await?.expect(200)?;
    let wrong = objects(&[pod.address], "grpc", "");
    let site = Site::start(wrong.clone()).await?;
    client::send(site.subject.http(), &Request::get("a.test", "/")).await?.expect(502)?;
    let site = Site::start_with(wrong, |launch| launch.arg("--ignore-app-protocol")).await?;
    client::send(site.subject.http(), &Request::get("a.test", "/")).await?.expect(200)?;
    Ok(())
}

async fn a_change_of_protocol_is_taken_at_once() -> Result<()> {
    let (pod, http2) = (Pod::start("a").await?, Http2Pod::start("b").await?);
    let site = Site::start(objects(&[pod.address], "", "")).await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    connection.send(&Request::get("a.test", "/")).await?.expect(200)?;
    site.files.put("site.yaml", objects(&[http2.address], "kubernetes.io/h2c", ""))?;
    wait::until("the other pod answers", async || {
        let answer = connection.send(&Request::get("a.test", "/")).await?.expect(200)?;
        ensure!(answer.echo()?.pod == "b", "the old one does");
        Ok(())
    })
    .await?;
    // In between nobody was told anything but an answer of one of the two.
    Ok(())
}

async fn a_pod_that_is_gone_costs_no_call() -> Result<()> {
    let (first, second) = (Http2Pod::start("a").await?, Http2Pod::start("b").await?);
    let site = Site::start(objects(&[first.address, second.address], "", "GRPC")).await?;
    let mut client = http2::Connection::over(TcpStream::connect(site.subject.http()).await?).await?;
    for _ in 0..6 {
        client.send("http", &Request::post("a.test", "/", "hello")).await?.echo()?;
    }
    drop(first);
    for _ in 0..20 {
        assert_eq!(client.send("http", &Request::get("a.test", "/")).await?.echo()?.pod, "b");
    }
    for _ in 0..20 {
        assert_eq!(client.send("http", &Request::post("a.test", "/", "hello")).await?.echo()?.pod, "b");
    }
    Ok(())
}

async fn fastcgi_closes_its_paths() -> Result<()> {
    let pod = Pod::start("a").await?;
    let site = Site::start(objects(&[pod.address], "", "FCGI")).await?;
    client::send(site.subject.http(), &Request::get("a.test", "/")).await?.expect(503)?;
    assert_eq!(pod.connections(), 0);
    Ok(())
}
