//! Endpoints of HTTP/2 that refuse, stall, break off or speak something else, and clients that leave.

use super::{one_try, policy, proxy, until};
use crate::{
    harness::{Client, Origin, Running, nobody},
    http2::{
        End, Http2Origin, Setup, Stream, await_frame, connect, exchange, frame, greet, head, patient, read, write,
    },
};
use bytes::Bytes;
use http::{Response, StatusCode};
use rust_nginx_proxy::table::{Policy, Protocol, Settings};
use std::{
    io::{Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

const GOAWAY: u8 = 7;
const RST_STREAM: u8 = 3;
const HEADERS: u8 = 1;
const DATA: u8 = 0;

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
