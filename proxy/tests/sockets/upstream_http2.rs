//! HTTP/2 to endpoints, in cleartext.

use crate::{
    harness::{Client, Message, Origin, PATIENCE, Running, nobody},
    http2::{
        End, Http2Origin, Setup, Stream, await_frame, connect, exchange, frame, greet, head, patient, read, write,
    },
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use rust_nginx_proxy::table::{Policy, Protocol, ProtocolChoice, Retry, Settings, UpstreamKeepAlive};
use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc};

const GOAWAY: u8 = 7;
const RST_STREAM: u8 = 3;
const HEADERS: u8 = 1;
const DATA: u8 = 0;

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

/// Refuses the first stream of each of the first `refusing` connections after it has its body, answers all others.
fn refusing(refusing: usize, refusal: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Origin {
    let connections = AtomicUsize::new(0);
    Origin::raw(move |mut stream| {
        let refuses = connections.fetch_add(1, SeqCst) < refusing;
        greet(&mut stream);
        while let Some(id) = await_frame(&mut stream, HEADERS) {
            await_frame(&mut stream, DATA);
            let answer = if refuses {
                refusal(id)
            } else {
                // `:status: 200` from the static table of HPACK, and the end of the stream.
                frame(HEADERS, 5, id, &[0x88])
            };
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    })
}

#[test]
fn what_an_endpoint_has_not_processed_is_sent_again_and_does_not_count() {
    let goaway = |_| frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0]);
    let refused = |id| frame(RST_STREAM, 0, id, &[0, 0, 0, 7]);
    for origin in [refusing(1, goaway), refusing(1, refused)] {
        let proxy = Running::with(&[origin.address], one_try(Protocol::Grpc), Settings::default());
        let mut client = proxy.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.read().status(), 200, "not even a POST with a body is lost");
        assert_eq!(origin.accepted(), 2);
    }
    // Whoever refuses for good fails, and another endpoint is asked as the policy says.
    let origin = refusing(usize::MAX, refused);
    let proxy = Running::with(&[origin.address], policy(Protocol::Grpc), Settings::default());
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.read().status(), 502);
    let willing = Http2Origin::echo(Setup::default());
    let proxy = Running::with(&[origin.address, willing.address], policy(Protocol::Grpc), Settings::default());
    let mut client = proxy.connect();
    for _ in 0..4 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.read().echoed().body, b"body");
    }
}

#[test]
fn a_request_that_may_have_been_processed_is_not_repeated_unless_it_is_idempotent() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let origin = Http2Origin::start(Setup::default(), move |stream| {
        count.fetch_add(1, SeqCst);
        async move { stream.end.send(End::Cut).unwrap() }
    });
    let proxy = proxy(&[origin.address], Protocol::H2c);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.read().status(), 502);
    assert_eq!(seen.load(SeqCst), 1);
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 502);
    assert_eq!(seen.load(SeqCst), 4);
}

#[test]
fn a_connection_that_was_closed_while_idle_costs_nothing() {
    let (told, mut ends) = mpsc::unbounded_channel();
    let origin = Http2Origin::start(Setup::default(), move |mut stream| {
        let told = told.clone();
        async move {
            stream.respond.send_response(Response::new(()), true).unwrap();
            told.send(stream.end).unwrap();
        }
    });
    let proxy = Running::with(&[origin.address], one_try(Protocol::H2c), Settings::default());
    let mut client = proxy.connect();
    for number in 0..20 {
        assert_eq!(client.get("/").status(), 200);
        ends.blocking_recv().unwrap().send(End::Cut).unwrap();
        until("the connection is closed", || origin.ended() == number + 1);
    }
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
fn a_client_that_leaves_resets_the_stream_and_keeps_the_connection() {
    let (told, mut ends) = mpsc::unbounded_channel();
    let origin = Http2Origin::start(Setup::default(), move |stream| {
        let told = told.clone();
        async move {
            let Stream { request, mut respond, .. } = stream;
            if request.uri().path() == "/short" {
                respond.send_response(Response::new(()), true).unwrap();
                return;
            }
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            write(&mut send, Bytes::from_static(b"first")).await;
            let reason = patient(std::future::poll_fn(|cx| send.poll_reset(cx))).await.unwrap();
            told.send(reason).unwrap();
        }
    });
    let proxy = proxy(&[origin.address], Protocol::Grpc);
    proxy.runtime.block_on(async {
        let client = connect(proxy.http()).await;
        let mut ready = client.clone().ready().await.unwrap();
        let (response, mut send) = ready.send_request(head("POST", "/"), false).unwrap();
        let mut incoming = patient(response).await.unwrap().into_body();
        assert_eq!(read(&mut incoming).await.as_deref(), Some(&b"first"[..]));
        send.send_reset(h2::Reason::CANCEL);
        assert_eq!(patient(ends.recv()).await, Some(h2::Reason::CANCEL));
        let (response, _) = exchange(&client, head("GET", "/short"), Bytes::new()).await.unwrap();
        assert_eq!(response.status(), 200);
    });
    // The same for a client of HTTP/1.1, which can only close.
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.line().unwrap(), "HTTP/1.1 200 OK");
    drop(client);
    assert_eq!(proxy.runtime.block_on(patient(ends.recv())), Some(h2::Reason::CANCEL));
    assert_eq!(origin.accepted(), 1);
}

#[test]
fn an_early_answer_ends_the_request() {
    let origin = Http2Origin::start(Setup::default(), |mut stream| async move {
        let response = Response::builder().status(403).body(()).unwrap();
        let mut send = stream.respond.send_response(response, false).unwrap();
        send.send_data(Bytes::from_static(b"no"), true).unwrap();
        // h2 says by RST_STREAM that it wants no more.
    });
    let proxy =
        Running::with(&[origin.address], Policy { max_body: None, ..policy(Protocol::H2c) }, Settings::default());
    proxy.runtime.block_on(async {
        let client = connect(proxy.http()).await;
        for _ in 0..5 {
            let (response, _) = exchange(&client, head("POST", "/"), vec![b'x'; 3_000_000].into()).await.unwrap();
            assert_eq!((response.status(), &response.body()[..]), (StatusCode::FORBIDDEN, &b"no"[..]));
        }
    });
    assert_eq!(origin.accepted(), 1);
}

#[test]
fn a_body_above_the_limit_is_refused_and_the_stream_reset() {
    let origin = Http2Origin::echo(Setup::default());
    let limited = Policy { max_body: Some(1000), ..policy(Protocol::H2c) };
    let proxy = Running::with(&[origin.address], limited, Settings::default());
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("400\r\n").send(vec![b'x'; 0x400]).send("\r\n0\r\n\r\n");
    // The endpoint answers at once and may be first; either way nothing of what is too long is completed.
    let response = client.try_read();
    assert!(response.is_none_or(|response| response.status() == 413));
    assert_eq!(proxy.connect().get("/").status(), 200);
    assert_eq!(origin.accepted(), 1);
}

#[test]
fn silence_is_answered_with_504_and_the_connection_not_used_again() {
    let origin = Http2Origin::start(Setup::default(), |mut stream| async move {
        if stream.request.uri().path() == "/hang" {
            let _ = std::future::poll_fn(|cx| stream.respond.poll_reset(cx)).await;
        } else if stream.request.uri().path() == "/stall" {
            let mut send = stream.respond.send_response(Response::new(()), false).unwrap();
            write(&mut send, Bytes::from_static(b"first")).await;
            let _ = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
        } else {
            stream.respond.send_response(Response::new(()), true).unwrap();
        }
    });
    let impatient = Policy { read_timeout: Duration::from_millis(200), ..one_try(Protocol::H2c) };
    let proxy = Running::with(&[origin.address], impatient, Settings::default());
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.get("/hang").status(), 504);
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(origin.accepted(), 2);
    client.send("GET /stall HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.try_read().is_none(), "a response that stalls breaks off");
    assert_eq!(proxy.connect().get("/").status(), 200);
    assert_eq!(origin.accepted(), 3);
}

#[test]
fn an_endpoint_that_takes_nothing_is_answered_with_504() {
    let origin = Http2Origin::start(Setup::default(), |mut stream| async move {
        // Its window stays full.
        let _ = std::future::poll_fn(|cx| stream.respond.poll_reset(cx)).await;
    });
    let impatient = Policy { send_timeout: Duration::from_millis(200), ..one_try(Protocol::H2c) };
    let proxy = Running::with(&[origin.address], impatient, Settings::default());
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n").send(vec![b'x'; 400_000]);
    assert_eq!(client.read().status(), 504);
}

#[test]
fn what_does_not_speak_http2_is_answered_with_502() {
    let http1 = Origin::raw(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
    });
    let silent = Origin::raw(|mut stream| while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {});
    let closes = Origin::raw(drop);
    let impatient = Policy { connect_timeout: Duration::from_millis(200), ..policy(Protocol::Grpc) };
    for (endpoint, status) in [(http1.address, 502), (closes.address, 502), (nobody(), 502), (silent.address, 504)] {
        let proxy = Running::with(&[endpoint], impatient.clone(), Settings::default());
        let mut client = proxy.connect();
        assert_eq!(client.get("/").status(), status);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.read().status(), status);
    }
    // A request that was never sent goes on to another endpoint, whatever its method.
    let origin = Http2Origin::echo(Setup::default());
    let proxy = Running::with(&[http1.address, nobody(), origin.address], impatient, Settings::default());
    let mut client = proxy.connect();
    for _ in 0..6 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.read().echoed().body, b"body");
    }
}

#[test]
fn many_who_wait_for_a_dead_endpoint_fail_together() {
    let silent = Origin::raw(|mut stream| while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {});
    let impatient = Policy { connect_timeout: Duration::from_millis(300), ..one_try(Protocol::H2c) };
    let proxy = Running::with(&[silent.address], impatient, Settings::default());
    let start = Instant::now();
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.read().status(), 504);
    }
    assert!(start.elapsed() < Duration::from_secs(3), "they queued up: {:?}", start.elapsed());
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
