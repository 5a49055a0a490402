//! HTTP/2, WebSocket and other upgrades, and bodies that stream both ways.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use rust_nginx_tests::client::tls::connect;
use rust_nginx_tests::client::websocket::WebSocket;
use rust_nginx_tests::client::{Connection, Request, http2};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{backend, ingress, ingress_class, prefix};
use rust_nginx_tests::pod::{Behaviour, Pod, digest};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// More than the kernel's buffers on the way from one end to the other can hold; what
/// passes beyond that is held in the subject's memory.
const BUFFERS: usize = 48 << 20;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        http2_with_prior_knowledge_on_the_plain_port,
        http2_streams_run_side_by_side,
        http2_bodies_pass_both_ways,
        connections_to_pods_are_kept,
        pipelined_requests_are_answered_in_order,
        http_1_0_is_answered,
        websockets_pass,
        websockets_pass_over_tls,
        any_other_upgrade_passes,
        a_refused_upgrade_is_an_ordinary_answer,
        parts_of_an_answer_arrive_as_they_are_sent,
        parts_of_a_request_arrive_as_they_are_sent,
        large_bodies_arrive_whole,
        an_answer_that_ends_with_its_connection_arrives_whole,
        a_head_request_has_no_body,
        a_body_above_the_limit_is_refused,
        a_slow_reader_slows_the_pod,
        a_slow_pod_slows_the_client,
        a_client_that_leaves_frees_the_pod,
    ]
}

async fn site() -> Result<(Site, Pod)> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]);
    let rules = rules.annotation("nginx.ingress.kubernetes.io/proxy-body-size", "0").build();
    let streamed = ingress("streamed").class(CLASS).host("streamed.test", [prefix("/", "app")]);
    let streamed = streamed.annotation("nginx.ingress.kubernetes.io/proxy-request-buffering", "off");
    let streamed = streamed.annotation("nginx.ingress.kubernetes.io/proxy-body-size", "0").build();
    let limited = ingress("limited").class(CLASS).host("limited.test", [prefix("/", "app")]).build();
    Ok((Site::start([ingress_class(CLASS, CONTROLLER), service, slice, rules, streamed, limited]).await?, pod))
}

/// Waits until a growing number has stopped growing.
async fn stalls(what: &str, mut number: impl FnMut() -> usize) -> Result<usize> {
    let mut before = 0;
    wait::until(what, async || {
        let now = number();
        ensure!(now < BUFFERS, "{now} bytes have passed already: somebody holds them all");
        let still = now > 0 && now == before;
        before = now;
        // Long against the moment that a busy machine may take for the next byte.
        tokio::time::sleep(Duration::from_millis(300)).await;
        ensure!(still, "{now} bytes and growing");
        Ok(now)
    })
    .await
}

async fn http2_with_prior_knowledge_on_the_plain_port() -> Result<()> {
    let (site, _pod) = site().await?;
    let mut connection = http2::Connection::over(TcpStream::connect(site.subject.http()).await?).await?;
    for target in ["/one?x", "/two"] {
        let echo = connection.send("http", &Request::get("a.test", target)).await?.echo()?;
        assert_eq!(
            (echo.target.as_str(), echo.values("host"), echo.values("x-forwarded-proto")),
            (target, vec!["a.test"], vec!["http"])
        );
    }
    connection.send("http", &Request::get("unknown.test", "/")).await?.expect(404)?;
    // Whoever speaks HTTP/1.1 is served on the same port.
    site.subject.get("a.test", "/").await?.expect(200)?;
    Ok(())
}

async fn http2_streams_run_side_by_side() -> Result<()> {
    let (site, pod) = site().await?;
    pod.set(Behaviour::Hold);
    let session = connect(site.subject.https(), Some("a.test"), &["h2"]).await?;
    let connection = http2::Connection::over(session.wire).await?;
    let asks = (0..50).map(|number| {
        let mut requests = connection.another();
        async move {
            let request =
                http::Request::get(format!("https://a.test/{number}")).body(http_body_util::Full::default())?;
            requests.ready().await?;
            anyhow::Ok(requests.send_request(request).await?.status())
        }
    });
    let all = try_join_all(asks);
    let release = async {
        // All of them are with the pod at the same time.
        wait::until("the pod has all requests", async || {
            let count = pod.seen().len();
            ensure!(count == 50, "it has {count}");
            Ok(())
        })
        .await?;
        pod.set(Behaviour::Serve);
        anyhow::Ok(())
    };
    let (statuses, ()) = tokio::try_join!(all, release)?;
    ensure!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    Ok(())
}

async fn http2_bodies_pass_both_ways() -> Result<()> {
    let (site, _pod) = site().await?;
    let mut connection = http2::Connection::over(TcpStream::connect(site.subject.http()).await?).await?;
    let body = vec![b'y'; 3 << 20];
    let echo = connection.send("http", &Request::post("a.test", "/", body.clone())).await?.echo()?;
    assert_eq!((echo.length, echo.digest), (body.len(), digest(&body)));
    let answer = connection.send("http", &Request::get("a.test", "/pod/bytes/3000000")).await?;
    assert_eq!(answer.body.len(), 3_000_000);
    Ok(())
}

async fn connections_to_pods_are_kept() -> Result<()> {
    let (site, pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    for _ in 0..20 {
        connection.send(&Request::get("a.test", "/")).await?.expect(200)?;
    }
    assert_eq!(pod.connections(), 1);
    // Neither does a client that comes and goes cost the pod a connection each time.
    for _ in 0..40 {
        site.subject.get("a.test", "/").await?.expect(200)?;
    }
    let workers = std::thread::available_parallelism()?.get();
    ensure!(pod.connections() <= workers, "{} connections for {workers} workers", pod.connections());
    Ok(())
}

async fn pipelined_requests_are_answered_in_order() -> Result<()> {
    let (site, _pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    let requests: String = (0..5).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a.test\r\n\r\n")).collect();
    connection.write(requests.as_bytes()).await?;
    for number in 0..5 {
        assert_eq!(connection.answer("GET").await?.echo()?.target, format!("/{number}"));
    }
    Ok(())
}

async fn http_1_0_is_answered() -> Result<()> {
    let (site, _pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    connection.write(b"GET /old HTTP/1.0\r\nHost: a.test\r\n\r\n").await?;
    assert_eq!(connection.answer("GET").await?.echo()?.target, "/old");
    connection.closed().await
}

async fn websockets_pass() -> Result<()> {
    let (site, pod) = site().await?;
    let mut socket = WebSocket::open(site.subject.http(), "a.test", "/chat?room=1").await?;
    let seen = pod.seen().pop().context("the pod saw nothing")?;
    assert_eq!(seen.target, "/chat?room=1");
    assert_eq!(seen.values("upgrade"), ["websocket"]);
    assert_eq!(seen.values("connection").join("").to_lowercase(), "upgrade");
    for text in ["hello", "again", &"x".repeat(120)] {
        socket.round_trip(text).await?;
    }
    socket.close().await?;
    // The pod's end is told to the client.
    let mut socket = WebSocket::open(site.subject.http(), "a.test", "/").await?;
    socket.round_trip("still here").await?;
    pod.disappear().await;
    wait::at_most(wait::LONG, "the end of a WebSocket", socket.cut()).await?
}

async fn websockets_pass_over_tls() -> Result<()> {
    let (site, _pod) = site().await?;
    let session = connect(site.subject.https(), Some("a.test"), &["http/1.1"]).await?;
    let mut socket = WebSocket::over(Connection::over(session.wire), "a.test", "/").await?;
    socket.round_trip("hello").await?;
    socket.close().await
}

async fn any_other_upgrade_passes() -> Result<()> {
    let (site, pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    let request = Request::get("a.test", "/").header("Connection", "Upgrade").header("Upgrade", "SPDY/3.1");
    let answer = connection.send(&request).await?.expect(101)?;
    assert_eq!(answer.header("upgrade"), Some("SPDY/3.1"));
    assert_eq!(pod.seen()[0].values("upgrade"), ["SPDY/3.1"]);
    let (mut wire, _) = connection.into_wire();
    let text = vec![b'z'; 200_000];
    let (mut read, mut write) = tokio::io::split(&mut wire);
    let mut back = vec![0; text.len()];
    tokio::try_join!(write.write_all(&text), read.read_exact(&mut back))?;
    assert_eq!(digest(&back), digest(&text));
    Ok(())
}

async fn a_refused_upgrade_is_an_ordinary_answer() -> Result<()> {
    let (site, _pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    // The pods refuse every key but the one of the RFC.
    let request = Request::get("a.test", "/")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Key", "another");
    connection.send(&request).await?.expect(400)?;
    connection.send(&Request::get("a.test", "/")).await?.expect(200)?;
    Ok(())
}

async fn parts_of_an_answer_arrive_as_they_are_sent() -> Result<()> {
    let (site, pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    connection.write(b"GET /pod/parts HTTP/1.1\r\nHost: a.test\r\n\r\n").await?;
    connection.head("GET").await?.expect(200)?;
    assert_eq!(connection.part().await?.as_deref(), Some(&b"first "[..]));
    // The second part exists only now.
    pod.open_gate();
    assert_eq!(connection.part().await?.as_deref(), Some(&b"second"[..]));
    assert_eq!(connection.part().await?, None);
    Ok(())
}

async fn parts_of_a_request_arrive_as_they_are_sent() -> Result<()> {
    let (site, pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    connection
        .write(b"POST / HTTP/1.1\r\nHost: streamed.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await?;
    wait::until("the pod has the first part", async || {
        let count = pod.received();
        ensure!(count == 5, "it has {count} bytes");
        Ok(())
    })
    .await?;
    connection.write(b"7\r\n second\r\n0\r\n\r\n").await?;
    assert_eq!(connection.answer("POST").await?.echo()?.body, "first second");
    Ok(())
}

async fn large_bodies_arrive_whole() -> Result<()> {
    let (site, _pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    let body: Vec<u8> = (0_u32..900_000).flat_map(|number| number.to_le_bytes()).collect();
    let echo = connection.send(&Request::post("a.test", "/", body.clone())).await?.echo()?;
    assert_eq!((echo.length, echo.digest), (body.len(), digest(&body)));
    assert_eq!(echo.values("content-length"), [body.len().to_string()]);
    for _ in 0..3 {
        assert_eq!(connection.send(&Request::get("a.test", "/pod/bytes/5000000")).await?.body.len(), 5_000_000);
    }
    Ok(())
}

async fn an_answer_that_ends_with_its_connection_arrives_whole() -> Result<()> {
    let (site, _pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    for _ in 0..2 {
        let answer = connection.send(&Request::get("a.test", "/pod/until-close")).await?.expect(200)?;
        assert_eq!(answer.text(), "until the end");
        // The pod's connection ends; ours with the client need not.
        assert_eq!(answer.header("connection"), None);
    }
    Ok(())
}

async fn a_head_request_has_no_body() -> Result<()> {
    let (site, _pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    let answer = connection.send(&Request::new("HEAD", "a.test", "/pod/bytes/1234")).await?.expect(200)?;
    assert_eq!(answer.header("content-length"), Some("1234"));
    for (target, status) in [("/pod/status/204", 204), ("/pod/status/304", 304), ("/", 200)] {
        connection.send(&Request::get("a.test", target)).await?.expect(status)?;
    }
    Ok(())
}

async fn a_body_above_the_limit_is_refused() -> Result<()> {
    let (site, pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    connection.send(&Request::post("limited.test", "/", vec![b'x'; 1 << 20])).await?.expect(200)?;
    // Announced: refused before anything of it is sent.
    connection.write(b"POST /long HTTP/1.1\r\nHost: limited.test\r\nContent-Length: 1048577\r\n\r\n").await?;
    connection.answer("POST").await?.expect(413)?;
    // Not announced: refused when it gets too long.
    let mut connection = Connection::open(site.subject.http()).await?;
    connection.write(b"POST /long HTTP/1.1\r\nHost: limited.test\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    for _ in 0..17 {
        connection.write(&chunk).await?;
    }
    connection.answer("POST").await?.expect(413)?;
    assert_eq!(pod.seen().len(), 1, "a request that is too long was completed");
    Ok(())
}

async fn a_slow_reader_slows_the_pod() -> Result<()> {
    let (site, pod) = site().await?;
    let mut connection = Connection::open_narrow(site.subject.http()).await?;
    connection.write(b"GET /pod/endless HTTP/1.1\r\nHost: a.test\r\n\r\n").await?;
    connection.head("GET").await?.expect(200)?;
    let held = stalls("the pod cannot send any more", || pod.sent()).await?;
    // It goes on when the client does.
    let mut read = 0;
    while read < held + (1 << 20) {
        read += connection.part().await?.context("an endless body has ended")?.len();
    }
    ensure!(pod.sent() > held, "the pod has sent nothing more");
    Ok(())
}

async fn a_slow_pod_slows_the_client() -> Result<()> {
    let (site, pod) = site().await?;
    pod.set(Behaviour::HoldBody);
    let mut connection = Connection::open(site.subject.http()).await?;
    let length = BUFFERS * 2;
    let head = format!("POST / HTTP/1.1\r\nHost: streamed.test\r\nContent-Length: {length}\r\n\r\n");
    connection.write(head.as_bytes()).await?;
    let (mut wire, _) = connection.into_wire();
    let part = vec![b'x'; 0x10000];
    let mut written = 0;
    while let Ok(count) = tokio::time::timeout(Duration::from_millis(500), wire.write(&part)).await {
        written += count?;
        if written > BUFFERS {
            bail!("{written} bytes were taken while the pod reads nothing");
        }
    }
    pod.set(Behaviour::Serve);
    while written < length {
        written += wire.write(&part[..part.len().min(length - written)]).await?;
    }
    let echo = Connection::over(wire).answer("POST").await?.echo()?;
    assert_eq!(echo.length, length);
    Ok(())
}

async fn a_client_that_leaves_frees_the_pod() -> Result<()> {
    let (site, pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    connection.write(b"GET /pod/endless HTTP/1.1\r\nHost: a.test\r\n\r\n").await?;
    connection.head("GET").await?.expect(200)?;
    drop(connection);
    // The pod's connection breaks, so that it stops sending.
    stalls("the pod stops sending", || pod.sent()).await?;
    site.subject.get("a.test", "/").await?.expect(200)?;
    Ok(())
}
