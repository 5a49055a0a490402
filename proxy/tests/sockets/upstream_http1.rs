//! What endpoints of HTTP/1.1 send, and what becomes of it and of their connections.

use crate::{
    harness::{Client, Message, Origin, PATIENCE, Running, nobody, ok},
    http2::{connect, head, patient},
};
use rust_nginx_proxy::table::{Policy, Retry, Settings};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// Answers every request with these bytes, at once or each in a packet of its own, and closes after them where `close`
/// says so.
fn origin(wire: &'static str, piece: usize, close: bool) -> Origin {
    Origin::raw(move |stream| {
        stream.set_nodelay(true).unwrap();
        let mut client = Client::new(stream);
        while client.try_read().is_some() {
            for part in wire.as_bytes().chunks(piece) {
                if client.stream.write_all(part).is_err() {
                    return;
                }
            }
            if close {
                return;
            }
        }
    })
}

fn saying(wire: &'static str, close: bool) -> Origin {
    origin(wire, usize::MAX, close)
}

fn once() -> Policy {
    Policy { retry: Retry { tries: 1, ..Retry::default() }, ..Policy::default() }
}

fn proxy(origin: &Origin) -> Running {
    Running::with(&[origin.address], once(), Settings::default())
}

/// RFC 9112 §6.3: what the client gets, and over how many connections two requests go.
#[test]
fn bodies_end_where_they_end_and_connections_are_kept_where_they_can_be() {
    const KEPT: usize = 1;
    const CLOSED: usize = 2;
    for (wire, close, status, body, connections) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, 200, "hello", KEPT),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 5, 5\r\n\r\nhello", false, 200, "hello", KEPT),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 200, "", KEPT),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", false, 200, "hello", KEPT),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nA: 1\r\n\r\n",
            false,
            200,
            "hello",
            KEPT,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", false, 204, "", KEPT),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            false,
            200,
            "ok",
            KEPT,
        ),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", false, 200, "ok", KEPT),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", false, 200, "ok", KEPT),
        // The end of the connection ends the body, or nothing more is to be asked on it.
        ("HTTP/1.1 200 OK\r\n\r\nhello", true, 200, "hello", CLOSED),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, 200, "ok", CLOSED),
        ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok", false, 200, "ok", CLOSED),
        // More than was asked for: nobody gets it.
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            false,
            200,
            "ok",
            CLOSED,
        ),
    ] {
        // What is too much cannot be told from the next answer when it comes late.
        let pieces = if wire.ends_with("evil") { &[usize::MAX][..] } else { &[usize::MAX, 1, 7] };
        for piece in pieces {
            let origin = origin(wire, *piece, close);
            let proxy = proxy(&origin);
            let mut client = proxy.connect();
            for _ in 0..2 {
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                let response = client.try_read().unwrap_or_else(|| panic!("no whole answer to {wire:?} by {piece}"));
                assert_eq!((response.status(), response.text().as_str()), (status, body), "{wire:?}");
                assert!(response.headers.iter().filter(|(name, _)| name == "content-length").count() <= 1, "{wire:?}");
            }
            assert_eq!(origin.accepted(), connections, "{wire:?} by {piece}");
        }
    }
}

/// Nothing of it reaches the client, and the endpoint is not asked again on that connection.
#[test]
fn what_is_no_response_is_answered_with_502() {
    for wire in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: 1\r\n 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
    ] {
        let origin = saying(wire, true);
        let proxy = proxy(&origin);
        let response = proxy.connect().get("/");
        assert_eq!(response.status(), 502, "{wire:?}");
        assert!(response.header("a").is_none());
    }
}

/// RFC 9110 §15.2: any number of them, within reason, in all no more than one head may have.
#[test]
fn interim_responses_are_bounded() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let hints = |length: usize| format!("HTTP/1.1 103 E\r\nLink: {}\r\n\r\n", "x".repeat(length - 26));
    for (interim, status) in [
        ("HTTP/1.1 102 P\r\n\r\n".repeat(100), 200),
        ("HTTP/1.1 102 P\r\n\r\n".repeat(101), 502),
        (hints(1024).repeat(4), 200),
        (hints(1025).repeat(4), 502),
    ] {
        let wire: &'static str = format!("{interim}{OK}").leak();
        for piece in [usize::MAX, 1000] {
            let response = proxy(&origin(wire, piece, true)).connect().get("/");
            assert_eq!(response.status(), status, "{} bytes by {piece}", interim.len());
        }
    }
}

/// The read timeout is between two of them, and between two parts of a head, as in nginx.
#[test]
fn an_endpoint_that_says_something_has_time_for_the_rest() {
    let origin = Origin::raw(|stream| {
        let mut client = Client::new(stream);
        while client.try_read().is_some() {
            for part in [
                "HTTP/1.1 102 P\r\n\r\n",
                "HTTP/1.1 102 P\r\n\r\n",
                "HTTP/1.1 2",
                "00 OK\r\n",
                "Content-Length: 2\r\n",
                "\r\nok",
            ] {
                thread::sleep(Duration::from_millis(200));
                client.send(part);
            }
        }
    });
    let policy = Policy { read_timeout: Duration::from_millis(600), ..once() };
    let proxy = Running::with(&[origin.address], policy, Settings::default());
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "ok");
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.read().text(), "ok");
}

/// An endpoint that never comes to an end of them loses its connection; the request is over long before its time.
#[test]
fn endless_interim_responses_end_the_connection() {
    let (told, stopped) = mpsc::channel();
    let origin = Origin::raw(move |mut stream| {
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client::new(stream.try_clone().unwrap()).try_read();
        let batch = b"HTTP/1.1 103 E\r\n\r\n".repeat(1000);
        let error = loop {
            if let Err(error) = stream.write_all(&batch) {
                break error;
            }
        };
        // The test may have failed before.
        let _ = told.send(error.kind());
    });
    let policy = Policy { read_timeout: 10 * PATIENCE, ..once() };
    let proxy = Running::with(&[origin.address], policy, Settings::default());
    assert_eq!(proxy.connect().get("/").status(), 502);
    let kind = stopped.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind}");
}

/// A body that breaks off breaks off for the client, too: it must not look complete.
#[test]
fn a_body_that_breaks_off_does_not_look_complete() {
    for wire in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n-1\r\n\r\n",
    ] {
        let proxy = proxy(&saying(wire, true));
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut answer = Vec::new();
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A reset is as good as an end.
        let _ = client.stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let whole = answer.ends_with("\r\n0\r\n\r\n") || answer.contains("hello") && wire.contains("Length");
        assert!(!whole, "{wire:?}: {answer:?}");
    }
}

/// Whatever the endpoint sent before it broke off, in one go, the client gets before its connection is closed.
#[test]
fn what_came_before_a_body_broke_off_reaches_the_client() {
    for wire in [
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    ] {
        let proxy = proxy(&saying(wire, true));
        for _ in 0..10 {
            let mut client = proxy.connect();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut answer = String::new();
            client.stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("hello"), "{wire:?}: {answer:?}");
        }
        proxy.runtime.block_on(async {
            let mut client = connect(proxy.http()).await.ready().await.unwrap();
            let (response, _) = client.send_request(head("GET", "/"), true).unwrap();
            let response = patient(response).await.unwrap();
            assert_eq!(response.status(), 200, "{wire:?}");
            let mut body = response.into_body();
            assert_eq!(patient(body.data()).await.unwrap().unwrap(), "hello", "{wire:?}");
            assert!(patient(body.data()).await.is_some_and(|data| data.is_err()), "{wire:?}");
        });
    }
}

/// nginx `proxy_buffer_size`: 4 KiB for status line and fields.
#[test]
fn a_head_has_to_fit_into_its_buffer() {
    let head = |length: usize| {
        let fixed = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: \r\n\r\n".len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: {}\r\n\r\nok", "x".repeat(length - fixed))
    };
    for (limit, length, status) in
        [(4096, 4096, 200), (4096, 4097, 502), (4096, 100_000, 502), (1024, 1025, 502), (65_536, 65_536, 200)]
    {
        let wire: &'static str = head(length).leak();
        let origin = saying(wire, true);
        let policy = Policy { response_head: limit, ..once() };
        let proxy = Running::with(&[origin.address], policy, Settings::default());
        assert_eq!(proxy.connect().get("/").status(), status, "{length} of {limit}");
    }
    assert_eq!(Policy::default().response_head, 4096);
}

/// The connection was closed while nobody looked: the request goes out again, whatever its method.
#[test]
fn a_connection_that_was_closed_while_idle_costs_nothing() {
    let streams = Arc::new(Mutex::new(Vec::<TcpStream>::new()));
    let opened = Arc::clone(&streams);
    let origin = Origin::raw(move |stream| {
        opened.lock().unwrap().push(stream.try_clone().unwrap());
        let mut client = Client::new(stream);
        while client.try_read().is_some() {
            if client.stream.write_all(&ok(b"ok")).is_err() {
                return;
            }
        }
    });
    let streamed = Policy { request_buffering: false, ..once() };
    for policy in [once(), streamed] {
        let proxy = Running::with(&[origin.address], policy, Settings::default());
        let mut client = proxy.connect();
        for round in 1..=50 {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
            assert_eq!(client.read().status(), 200, "{round}");
            for stream in streams.lock().unwrap().drain(..) {
                stream.shutdown(Shutdown::Both).unwrap();
            }
        }
    }
}

/// It answers and closes without reading on: its answer is what counts, not the reset that follows.
#[test]
fn an_early_answer_is_the_answer() {
    let origin = Origin::raw(|mut stream: TcpStream| {
        let mut some = [0; 4096];
        let _ = stream.read(&mut some);
        let _ = stream.write_all(b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno");
    });
    let policy = Policy { request_buffering: false, max_body: None, ..once() };
    let proxy = Running::with(&[origin.address], policy, Settings::default());
    for _ in 0..10 {
        let mut client = proxy.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n");
        let mut stream = client.stream.try_clone().unwrap();
        let sender = thread::spawn(move || {
            let _ = stream.write_all(&vec![b'x'; 8_000_000]);
        });
        let response = client.read();
        assert_eq!((response.start.as_str(), response.text().as_str()), ("HTTP/1.1 413 Too Much", "no"));
        drop(client);
        sender.join().unwrap();
    }
}

/// Both directions at once: the endpoint answers each part as it comes.
#[test]
fn a_response_begins_while_the_request_goes_on() {
    let origin = Origin::raw(|stream| {
        let mut client = Client::new(stream);
        client.skip_head();
        client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        loop {
            let Some(size) = client.line().and_then(|line| usize::from_str_radix(&line, 16).ok()) else { return };
            let Some(part) = client.bytes(size) else { return };
            client.line();
            client.send(format!("{size:x}\r\n")).send(part).send("\r\n");
            if size == 0 {
                return;
            }
        }
    });
    let policy = Policy { request_buffering: false, ..once() };
    let proxy = Running::with(&[origin.address], policy, Settings::default());
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.skip_head();
    for part in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{part}\r\n", part.len()));
        assert_eq!(client.line().unwrap(), format!("{:x}", part.len()));
        assert_eq!(client.bytes(part.len()).unwrap(), part.as_bytes());
        client.line();
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.line().unwrap(), "0");
}

/// RFC 9112 §6.3: HTTP/1.0 has no chunks, so that what the endpoint does not give a length to ends with the connection, and
/// whoever asked for keep-alive is told.
#[test]
fn a_client_of_http10_is_told_when_the_connection_closes() {
    for (wire, connection) in [
        ("HTTP/1.1 200 OK\r\n\r\nhello", "close"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "close"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "keep-alive"),
    ] {
        let proxy = proxy(&saying(wire, true));
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        let mut lines = Vec::new();
        while let Some(line) = client.line().filter(|line| !line.is_empty()) {
            lines.push(line.to_ascii_lowercase());
        }
        let said: Vec<_> = lines.iter().filter(|line| line.starts_with("connection:")).collect();
        assert_eq!(said, [&format!("connection: {connection}")], "{wire:?}: {lines:?}");
        assert_eq!(client.bytes(5).unwrap(), b"hello");
        if connection == "close" {
            assert!(client.is_closed(), "{wire:?}");
        } else {
            assert_eq!(client.get("/").text(), "hello");
        }
    }
}

/// RFC 9110 §8.6: not even in an answer to HEAD, where nothing else would go wrong.
#[test]
fn an_answer_without_content_has_no_length() {
    for wire in ["HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"] {
        let origin = saying(wire, false);
        let proxy = proxy(&origin);
        let mut client = proxy.connect();
        for method in ["HEAD", "GET", "HEAD"] {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(client.line().unwrap(), "HTTP/1.1 204 No Content");
            let lines: Vec<_> = std::iter::from_fn(|| client.line().filter(|line| !line.is_empty())).collect();
            assert!(!lines.iter().any(|line| line.to_ascii_lowercase().starts_with("content-length")), "{lines:?}");
        }
    }
}

/// RFC 9110 §9.3.2: the endpoint says what a GET would have had, and sends nothing of it.
#[test]
fn a_length_without_a_body_is_passed_on() {
    for (method, wire, status) in [("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK")] {
        let origin = saying(wire, false);
        let proxy = proxy(&origin);
        let mut client = proxy.connect();
        for _ in 0..2 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(client.line().unwrap(), status);
            let mut lines = std::iter::from_fn(|| client.line().filter(|line| !line.is_empty()));
            assert!(lines.by_ref().any(|line| line.eq_ignore_ascii_case("content-length: 5")), "{wire:?}");
            lines.for_each(drop);
        }
    }
}

#[test]
fn an_endpoint_that_is_not_there_is_502() {
    let proxy = Running::with(&[nobody()], once(), Settings::default());
    assert_eq!(proxy.connect().get("/").status(), 502);
}

/// A client's connection that was idle for a while has put its protocol away, and takes the next request nevertheless.
#[test]
fn a_connection_that_dozes_wakes_up() {
    let origin = Origin::echo();
    let settings = Settings { keep_alive: Duration::from_secs(3), ..Settings::default() };
    let proxy = Running::with(&[origin.address], once(), settings);
    let mut client = proxy.connect();
    let asked = |client: &mut Client, bytes: &[&str]| -> Message {
        for part in bytes {
            client.send(part);
        }
        client.read()
    };
    for _ in 0..2 {
        assert_eq!(client.get("/").status(), 200);
        // Longer than it stays ready, shorter than it stays open.
        thread::sleep(Duration::from_millis(1500));
    }
    assert_eq!(asked(&mut client, &["GET /a HT", "TP/1.1\r\nHost: a\r\n\r\n"]).status(), 200);
    assert_eq!(client.get("/").status(), 200);
    let start = Instant::now();
    assert!(client.is_closed(), "it is not closed");
    let open = start.elapsed();
    assert!(open > Duration::from_secs(2) && open < PATIENCE, "{open:?}");
}
