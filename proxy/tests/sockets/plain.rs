//! Requests and responses over cleartext HTTP/1.1.

use crate::harness::{Client, Origin, PATIENCE, Running, nobody, ok};
use rust_nginx_proxy::table::{Policy, Settings};
use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

#[test]
fn endpoint_sees_the_header_set_and_client_sees_no_software() {
    let origin = Origin::http(|request| {
        assert_eq!(request.start, "GET /a%2Fb//c?x=%20 HTTP/1.1");
        let echoed: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let head = "HTTP/1.1 200 OK\r\nServer: Apache\r\nX-Powered-By: PHP\r\nX-Accel-Redirect: /x\r\n\
                    Connection: x-hop\r\nX-Hop: 1\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{echoed}", echoed.len()).into_bytes()
    });
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    let response = client
        .send(
            "GET /a%2Fb//c?x=%20 HTTP/1.1\r\nHost: A.example:81\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 9.9.9.9\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX_Under: 1\r\nConnection: x-mine\r\nX-Mine: 1\r\n\
             TE: trailers\r\nProxy: x\r\nSSL-Client-Verify: SUCCESS\r\nAccept: */*\r\n\r\n",
        )
        .read();
    assert_eq!(response.status(), 200);
    let mut names: Vec<_> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "date", "x-powered-by"]);

    let text = response.text();
    let mut seen: Vec<_> = text.lines().collect();
    seen.sort_unstable();
    let port = proxy.http().port();
    let request_id = seen.iter().find(|line| line.starts_with("x-request-id: ")).unwrap().to_owned();
    assert_eq!(request_id.len(), "x-request-id: ".len() + 32);
    let mut expected = vec![
        "accept: */*".to_owned(),
        "host: A.example:81".to_owned(),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "x-forwarded-host: A.example:81".to_owned(),
        format!("x-forwarded-port: {port}"),
        "x-forwarded-proto: http".to_owned(),
        "x-forwarded-scheme: http".to_owned(),
        "x-original-forwarded-for: 1.2.3.4".to_owned(),
        "x-original-forwarded-host: evil".to_owned(),
        "x-real-ip: 127.0.0.1".to_owned(),
        request_id.to_owned(),
        "x-scheme: http".to_owned(),
    ];
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

#[test]
fn bodies_pass_in_both_directions_whatever_their_framing() {
    let origin = Origin::http(|request| {
        let mut response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for piece in request.body.chunks(1000) {
            write!(response, "{:x}\r\n", piece.len()).unwrap();
            response.extend_from_slice(piece);
            response.extend_from_slice(b"\r\n");
        }
        response.extend_from_slice(b"0\r\n\r\n");
        response
    });
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    let body: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[0]).collect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())).send(&body);
    assert_eq!(client.read().body, body);
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    assert_eq!(client.read().body, b"hello world");
    assert_eq!(origin.accepted(), 1, "a complete exchange leaves the connection usable");
}

#[test]
fn head_and_bodiless_statuses_keep_the_connection_in_step() {
    let origin = Origin::http(|request| match request.start.split(' ').nth(1).unwrap() {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_vec(),
        _ if request.start.starts_with("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
        _ => ok(b"body"),
    });
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.line().unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(client.line().unwrap().to_ascii_lowercase(), "content-length: 1234");
    while !client.line().unwrap().is_empty() {}
    for (path, status) in [("/204", 204), ("/304", 304), ("/", 200)] {
        assert_eq!(client.get(path).status(), status);
    }
    assert_eq!(origin.accepted(), 1);
}

#[test]
fn statuses_say_what_is_wrong_with_the_backend() {
    let policy = Policy { read_timeout: Duration::from_millis(200), ..Policy::default() };
    let hangs = Origin::raw(|mut stream| while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {});
    let closes = Origin::raw(|mut stream| drop(stream.read(&mut [0; 1024])));
    let garbles = Origin::raw(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"this is no HTTP\r\n\r\n");
    });
    for (endpoints, status) in [
        (vec![], 503),
        (vec![nobody()], 502),
        (vec![closes.address], 502),
        (vec![garbles.address], 502),
        (vec![hangs.address], 504),
    ] {
        let proxy = Running::with(&endpoints, policy.clone(), Settings::default());
        let mut client = proxy.connect();
        assert_eq!(client.get("/").status(), status);
        assert_eq!(client.get("/").status(), status, "and the client's connection stays usable");
    }
    assert_eq!(closes.accepted(), 6, "a GET is tried three times");
}

#[test]
fn a_post_that_may_have_arrived_is_not_repeated() {
    let closes = Origin::raw(|mut stream| drop(stream.read(&mut [0; 1024])));
    let proxy = Running::to(&[closes.address]);
    let response = proxy.connect().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").read();
    assert_eq!(response.status(), 502);
    assert_eq!(closes.accepted(), 1);
}

#[test]
fn too_large_a_body_is_413_by_length_and_by_counting() {
    let policy = Policy { max_body: Some(10), ..Policy::default() };
    let origin = Origin::echo();
    let proxy = Running::with(&[origin.address], policy, Settings::default());
    let response = proxy.connect().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n").read();
    assert_eq!(response.status(), 413);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("8\r\n12345678\r\n8\r\n12345678\r\n");
    assert_eq!(client.read().status(), 413);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1234567890");
    assert_eq!(client.read().status(), 200);
}

#[test]
fn a_client_that_reads_slowly_holds_the_endpoint_back() {
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    const TOTAL: usize = 64 * 1024 * 1024;
    let origin = Origin::raw(move |stream| {
        let mut client = Client::new(stream);
        client.read();
        client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n"));
        let piece = vec![7; 64 * 1024];
        for _ in 0..TOTAL / piece.len() {
            if client.stream.write_all(&piece).is_err() {
                return;
            }
            counter.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    while !client.line().unwrap().is_empty() {}
    // Wait until nothing moves any more: everything between is full.
    let mut last = usize::MAX;
    let deadline = std::time::Instant::now() + PATIENCE;
    while last != written.load(Ordering::SeqCst) {
        assert!(std::time::Instant::now() < deadline);
        last = written.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(last < TOTAL / 2, "{last} bytes were taken from the endpoint for a client that read none");
    let mut left = TOTAL;
    while left > 0 {
        left -= client.bytes(left.min(1 << 20)).unwrap().len();
    }
    assert_eq!(client.get("/").status(), 200);
}

#[test]
fn malformed_requests_get_400_and_reach_nobody() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /../x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    ] {
        assert_eq!(proxy.connect().send(request).read().status(), 400, "{request:?}");
    }
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn a_response_that_breaks_off_never_looks_complete() {
    for (head, body) in [("Content-Length: 100", "half"), ("Transfer-Encoding: chunked", "4\r\nhalf\r\n")] {
        let response = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
        let origin = Origin::raw(move |stream| {
            let mut client = Client::new(stream);
            client.read();
            client.send(&response);
        });
        let proxy = Running::to(&[origin.address]);
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.try_read().is_none(), "{head}: the client must see that bytes are missing");
    }
}

#[test]
fn a_transfer_coding_that_nobody_speaks_is_501() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n");
    let response = client.read();
    assert_eq!((response.status(), response.header("connection")), (501, Some("close")));
    assert_eq!(origin.accepted(), 0);
}
