//! HTTP/2 to endpoints, in cleartext.

mod failures;
mod floods;

use crate::{
    harness::{Message, Origin, PATIENCE, Running},
    http2::{End, Http2Origin, Setup, Stream, connect, exchange, head, patient, read, write},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use rust_nginx_proxy::table::{Policy, Protocol, ProtocolChoice, Retry, Settings, UpstreamKeepAlive};
use std::{
    io::Read,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc};

fn policy(protocol: Protocol) -> Policy {
    Policy { protocol: Some(ProtocolChoice::Fixed(protocol)), ..Policy::default() }
}

fn one_try(protocol: Protocol) -> Policy {
    Policy { retry: Retry { tries: 1, ..Retry::default() }, ..policy(protocol) }
}

fn proxy(endpoints: &[SocketAddr], protocol: Protocol) -> Running {
    Running::with(endpoints, policy(protocol), Settings::default())
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::yield_now();
    }
}

fn lines(echo: &Message) -> Vec<String> {
    let text = echo.text();
    text.lines().take_while(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn an_endpoint_gets_the_head_that_http2_has() {
    let origin = Http2Origin::echo(Setup::default());
    for (protocol, te) in [(Protocol::H2c, None), (Protocol::Grpc, Some("te: trailers"))] {
        let proxy = proxy(&[origin.address], protocol);
        let mut client = proxy.connect();
        client.send(
            "GET /a%2Fb?x=%20 HTTP/1.1\r\nHost: A.example:81\r\nConnection: upgrade, x-mine\r\nUpgrade: websocket\r\n\
             X-Mine: 1\r\nCookie: a=1\r\nX-Forwarded-For: 1.2.3.4\r\nKeep-Alive: 3\r\nAccept: */*\r\n\r\n",
        );
        let mut seen = lines(&client.read());
        assert_eq!(seen.remove(0), "GET http://A.example:81/a%2Fb?x=%20");
        let names: Vec<_> = seen.iter().map(|line| line.split(':').next().unwrap()).collect();
        for gone in ["host", "connection", "upgrade", "x-mine", "keep-alive"] {
            assert!(!names.contains(&gone), "{gone} in {seen:?}");
        }
        for kept in ["accept: */*", "cookie: a=1", "x-forwarded-host: A.example:81", "x-forwarded-for: 127.0.0.1"] {
            assert!(seen.iter().any(|line| line == kept), "{kept} in {seen:?}");
        }
        assert_eq!(seen.iter().find(|line| line.starts_with("te:")).map(String::as_str), te);
    }
}

#[test]
fn a_client_that_wants_trailers_says_so_to_the_endpoint() {
    let origin = Http2Origin::echo(Setup::default());
    let proxy = proxy(&[origin.address], Protocol::H2c);
    let mut client = proxy.connect();
    let echo = client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n").read();
    assert!(lines(&echo).contains(&"te: trailers".to_owned()), "{:?}", lines(&echo));
}

#[test]
fn a_host_that_is_no_authority_stays_in_host() {
    let origin = Http2Origin::echo(Setup::default());
    let proxy = proxy(&[origin.address], Protocol::H2c);
    let mut client = proxy.connect();
    let echo = client.send("GET /x HTTP/1.1\r\nHost: a|b\r\n\r\n").read();
    assert!(lines(&echo).contains(&"host: a|b".to_owned()), "{:?}", lines(&echo));
    let mut client = proxy.connect();
    let mut text = String::new();
    client.send("GET /x HTTP/1.0\r\n\r\n").stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("\r\n\r\nGET /x\n") && !text.contains("\nhost:"), "{text}");
}

#[test]
fn large_bodies_pass_both_ways_for_either_client() {
    let origin = Http2Origin::echo(Setup::default());
    let proxy = proxy(&[origin.address], Protocol::H2c);
    let body: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())).send(&body);
        assert_eq!(client.read().echoed().body, body);
    }
    proxy.runtime.block_on(async {
        let client = connect(proxy.http()).await;
        let (response, _) = exchange(&client, head("POST", "/"), body.clone().into()).await.unwrap();
        assert!(response.body().ends_with(&body));
        assert_eq!(response.status(), 200);
    });
    assert_eq!(origin.accepted(), 1, "requests one after the other use one connection");
}

#[test]
fn requests_side_by_side_share_one_connection() {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::new(AtomicUsize::new(0));
    let (at_origin, reached) = (Arc::clone(&gate), Arc::clone(&waiting));
    let origin = Http2Origin::start(Setup::default(), move |mut stream| {
        let (gate, reached) = (Arc::clone(&at_origin), Arc::clone(&reached));
        async move {
            reached.fetch_add(1, SeqCst);
            gate.acquire().await.unwrap().forget();
            stream.respond.send_response(Response::new(()), true).unwrap();
        }
    });
    let proxy = proxy(&[origin.address], Protocol::H2c);
    let mut clients: Vec<_> = (0..50).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    until("all of them are at the endpoint", || waiting.load(SeqCst) == 50);
    assert_eq!(origin.accepted(), 1);
    gate.add_permits(50);
    for client in &mut clients {
        assert_eq!(client.read().status(), 200);
    }
}

#[test]
fn what_an_endpoint_allows_side_by_side_is_kept() {
    for most in [1, 3] {
        let gate = Arc::new(Semaphore::new(0));
        let active = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let (at_origin, counts) = (Arc::clone(&gate), Arc::clone(&active));
        let setup = Setup { most_streams: Some(most), ..Setup::default() };
        let origin = Http2Origin::start(setup, move |mut stream| {
            let (gate, counts) = (Arc::clone(&at_origin), Arc::clone(&counts));
            async move {
                {
                    let mut counts = counts.lock();
                    let number = counts.len().max(stream.connection + 1);
                    counts.resize(number, 0u32);
                    counts[stream.connection] += 1;
                }
                gate.acquire().await.unwrap().forget();
                stream.respond.send_response(Response::new(()), true).unwrap();
            }
        });
        let proxy = Running::with(&[origin.address], one_try(Protocol::H2c), Settings::default());
        let mut clients: Vec<_> = (0..12).map(|_| proxy.connect()).collect();
        for client in &mut clients {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        }
        until("all of them are at an endpoint", || active.lock().iter().sum::<u32>() == 12);
        assert!(active.lock().iter().all(|&count| count <= most), "{:?} of {most}", active.lock());
        gate.add_permits(12);
        for client in &mut clients {
            assert_eq!(client.read().status(), 200);
        }
        // What was opened serves those that follow.
        let opened = origin.accepted();
        gate.add_permits(12);
        for client in &mut clients {
            assert_eq!(client.get("/").status(), 200);
        }
        assert_eq!(origin.accepted(), opened);
    }
}

#[test]
fn a_graceful_goodbye_costs_no_request() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let origin = Http2Origin::start(Setup::default(), move |stream| {
        let number = count.fetch_add(1, SeqCst);
        async move {
            let Stream { request, mut respond, end, .. } = stream;
            if number % 7 == 3 {
                end.send(End::Graceful).unwrap();
            }
            let mut body = request.into_body();
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            while let Some(data) = read(&mut body).await {
                write(&mut send, data).await;
            }
            send.send_data(Bytes::new(), true).unwrap();
        }
    });
    let proxy = Running::with(&[origin.address], one_try(Protocol::Grpc), Settings::default());
    proxy.runtime.block_on(async {
        let client = connect(proxy.http()).await;
        let mut tasks = Vec::new();
        for number in 0..20 {
            let client = client.clone();
            tasks.push(tokio::spawn(async move {
                for round in 0..10 {
                    let body = Bytes::from(format!("{number} {round}"));
                    let (response, _) = exchange(&client, head("POST", "/"), body.clone()).await.unwrap();
                    assert_eq!((response.status(), response.body()), (StatusCode::OK, &body));
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert!(origin.accepted() > 3, "{} connections", origin.accepted());
    until("connections that said goodbye are closed", || origin.ended() + 1 >= origin.accepted());
}

#[test]
fn both_directions_of_a_stream_move_side_by_side_and_trailers_pass() {
    let (told, mut trailers) = mpsc::unbounded_channel();
    let origin = Http2Origin::start(Setup::default(), move |stream| {
        let told = told.clone();
        async move {
            let Stream { request, mut respond, .. } = stream;
            let mut body = request.into_body();
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            while let Some(data) = read(&mut body).await {
                write(&mut send, data).await;
            }
            told.send(patient(body.trailers()).await.unwrap()).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            trailers.insert("x-accel-redirect", HeaderValue::from_static("/secret"));
            send.send_trailers(trailers).unwrap();
        }
    });
    let proxy = proxy(&[origin.address], Protocol::Grpc);
    proxy.runtime.block_on(async {
        let client = connect(proxy.http()).await;
        let mut ready = client.ready().await.unwrap();
        let (response, mut send) = ready.send_request(head("POST", "/Chat/Talk"), false).unwrap();
        let mut incoming = patient(response).await.unwrap().into_body();
        for number in 0..10 {
            let message = Bytes::from(format!("message {number}"));
            write(&mut send, message.clone()).await;
            // The next one is sent only when this one has come back.
            assert_eq!(read(&mut incoming).await, Some(message));
        }
        let mut ours = HeaderMap::new();
        ours.insert("x-checksum", HeaderValue::from_static("42"));
        ours.insert("x-forwarded-for", HeaderValue::from_static("1.2.3.4"));
        send.send_trailers(ours).unwrap();
        assert_eq!(read(&mut incoming).await, None);
        let back = patient(incoming.trailers()).await.unwrap().unwrap();
        assert_eq!(back.get("grpc-status").unwrap(), "0");
        assert_eq!(back.len(), 1);
        let there = patient(trailers.recv()).await.unwrap().unwrap();
        assert_eq!(there.get("x-checksum").unwrap(), "42");
        assert_eq!(there.len(), 1, "a client cannot smuggle what the proxy says");
    });
}

/// Neither has to begin: a client may wait for the first message, and an endpoint for the first word of a client.
#[test]
fn silence_of_a_client_is_no_fault_while_its_endpoint_may_speak() {
    let origin = Http2Origin::start(Setup::default(), |stream| async move {
        let Stream { request, mut respond, .. } = stream;
        let mut body = request.into_body();
        // No head before the client has said something.
        let first = read(&mut body).await.unwrap();
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        send.send_data(first, true).unwrap();
    });
    let settings = || Settings { client_body_timeout: Duration::from_millis(100), ..Settings::default() };
    let patience = Policy { read_timeout: PATIENCE, ..policy(Protocol::Grpc) };
    let proxy = Running::with(&[origin.address], patience, settings());
    proxy.runtime.block_on(async {
        let mut ready = connect(proxy.http()).await.ready().await.unwrap();
        let (response, mut send) = ready.send_request(head("POST", "/Chat/Talk"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        write(&mut send, Bytes::from_static(b"hello")).await;
        let mut incoming = patient(response).await.unwrap().into_body();
        assert_eq!(read(&mut incoming).await.as_deref(), Some(&b"hello"[..]));
    });
    // When nobody says anything, it is the endpoint that took too long.
    let hasty = Policy { read_timeout: Duration::from_millis(200), ..policy(Protocol::Grpc) };
    let proxy = Running::with(&[origin.address], hasty, settings());
    proxy.runtime.block_on(async {
        let mut ready = connect(proxy.http()).await.ready().await.unwrap();
        let (response, _send) = ready.send_request(head("POST", "/Chat/Talk"), false).unwrap();
        assert_eq!(patient(response).await.unwrap().status(), 504);
    });
}

#[test]
fn a_client_may_send_all_of_it_before_it_reads_anything() {
    let origin = Http2Origin::start(Setup::default(), |stream| async move {
        let Stream { request, mut respond, .. } = stream;
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        // More than the windows on the way to the client hold.
        let answer = tokio::spawn(async move {
            write(&mut send, vec![b'y'; 2_000_000].into()).await;
            send
        });
        let (mut body, mut count) = (request.into_body(), 0);
        while let Some(data) = read(&mut body).await {
            count += data.len();
        }
        let mut send = answer.await.unwrap();
        send.send_data(Bytes::from(count.to_string()), true).unwrap();
    });
    let unlimited = Policy { max_body: None, ..policy(Protocol::Grpc) };
    let proxy = Running::with(&[origin.address], unlimited, Settings::default());
    proxy.runtime.block_on(async {
        let client = connect(proxy.http()).await;
        let mut ready = client.ready().await.unwrap();
        let (response, mut send) = ready.send_request(head("POST", "/"), false).unwrap();
        let mut incoming = patient(response).await.unwrap().into_body();
        patient(write(&mut send, vec![b'x'; 3_000_000].into())).await;
        send.send_data(Bytes::new(), true).unwrap();
        let mut whole = Vec::new();
        while let Some(data) = read(&mut incoming).await {
            whole.extend(data);
        }
        assert!(whole.ends_with(b"y3000000"), "{} bytes", whole.len());
    });
}

#[test]
fn an_answer_without_a_body_is_only_a_head() {
    let origin = Http2Origin::start(Setup::default(), |mut stream| async move {
        let response = Response::builder().header("grpc-status", "12").body(()).unwrap();
        stream.respond.send_response(response, true).unwrap();
    });
    let proxy = proxy(&[origin.address], Protocol::Grpc);
    proxy.runtime.block_on(async {
        let client = connect(proxy.http()).await;
        let (response, trailers) = exchange(&client, head("POST", "/"), Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(response.headers().get("grpc-status").unwrap(), "12");
        assert_eq!(response.headers().get("content-length"), None);
        assert!(response.body().is_empty() && trailers.is_none());
    });
}

#[test]
fn trailers_of_http1_endpoints_end_here() {
    let origin = Origin::http(|request| {
        assert!(!request.body.is_empty());
        b"HTTP/1.1 200 OK\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-End: 1\r\n\r\n"
            .to_vec()
    });
    let proxy = Running::to(&[origin.address]);
    proxy.runtime.block_on(async {
        let client = connect(proxy.http()).await;
        for _ in 0..2 {
            let mut ready = client.clone().ready().await.unwrap();
            let (response, mut send) = ready.send_request(head("POST", "/"), false).unwrap();
            write(&mut send, Bytes::from_static(b"hello")).await;
            let mut ours = HeaderMap::new();
            ours.insert("x-mine", HeaderValue::from_static("1"));
            send.send_trailers(ours).unwrap();
            let mut incoming = patient(response).await.unwrap().into_body();
            let mut whole = Vec::new();
            while let Some(data) = read(&mut incoming).await {
                whole.extend(data);
            }
            assert_eq!(whole, b"ok");
            assert_eq!(patient(incoming.trailers()).await.unwrap(), None);
        }
    });
    assert_eq!(origin.accepted(), 1, "the connection stays usable");
}

#[test]
fn limits_of_the_pools_hold() {
    let origin = Http2Origin::echo(Setup::default());
    let with = |keep: UpstreamKeepAlive| {
        let settings = Settings { upstream_keep_alive: keep, ..Settings::default() };
        Running::with(&[origin.address], policy(Protocol::H2c), settings)
    };
    let before = origin.accepted();
    let proxy = with(UpstreamKeepAlive { connections: 0, ..UpstreamKeepAlive::default() });
    let mut client = proxy.connect();
    for _ in 0..4 {
        client.get("/");
    }
    assert_eq!(origin.accepted() - before, 4, "no connection is kept");
    until("and all of them are closed", || origin.ended() == origin.accepted());

    let before = origin.accepted();
    let proxy = with(UpstreamKeepAlive { requests: 3, ..UpstreamKeepAlive::default() });
    let mut client = proxy.connect();
    for _ in 0..9 {
        client.get("/");
    }
    assert_eq!(origin.accepted() - before, 3, "three requests on each");

    let proxy = with(UpstreamKeepAlive { timeout: Duration::from_millis(50), ..UpstreamKeepAlive::default() });
    proxy.connect().get("/");
    until("an idle connection is closed", || origin.ended() == origin.accepted());
}

#[test]
fn a_head_request_keeps_its_length() {
    let origin = Http2Origin::start(Setup::default(), |mut stream| async move {
        let response = Response::builder().header("content-length", "1234").body(()).unwrap();
        stream.respond.send_response(response, true).unwrap();
    });
    let proxy = proxy(&[origin.address], Protocol::H2c);
    let mut client = proxy.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.line().unwrap(), "HTTP/1.1 200 OK");
    let mut length = None;
    loop {
        let line = client.line().unwrap().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        length = line.strip_prefix("content-length: ").map(str::to_owned).or(length);
    }
    assert_eq!(length.as_deref(), Some("1234"));
}

#[test]
fn a_slow_reader_holds_up_the_endpoint_and_nobody_else() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let origin = Http2Origin::start(Setup::default(), move |stream| {
        let count = Arc::clone(&count);
        async move {
            let Stream { request, mut respond, .. } = stream;
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            if request.uri().path() == "/short" {
                send.send_data(Bytes::from_static(b"ok"), true).unwrap();
                return;
            }
            for _ in 0..2000 {
                write(&mut send, vec![b'x'; 0x10000].into()).await;
                count.fetch_add(0x10000, SeqCst);
            }
            let _ = send.send_data(Bytes::new(), true);
        }
    });
    let proxy = proxy(&[origin.address], Protocol::H2c);
    proxy.runtime.block_on(async {
        let client = connect(proxy.http()).await;
        let mut ready = client.clone().ready().await.unwrap();
        let request: Request<()> = head("GET", "/endless");
        let (response, _) = ready.send_request(request, true).unwrap();
        let incoming = patient(response).await.unwrap().into_body();
        // Nothing of it is read: the windows fill up on both sides. Others on the same connection go on.
        for _ in 0..50 {
            let other = connect(proxy.http()).await;
            let (response, _) = exchange(&other, head("GET", "/short"), Bytes::new()).await.unwrap();
            assert_eq!(&response.body()[..], b"ok");
        }
        assert!(sent.load(SeqCst) < 4_000_000, "{} bytes were taken", sent.load(SeqCst));
        drop(incoming);
    });
    assert_eq!(origin.accepted(), 1);
}
