//! Cleartext HTTP/1.1.

use crate::harness::{Client, Origin, PATIENCE, Running, nobody, ok, table};
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
fn connections_are_kept_on_both_sides() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    for number in 0..50 {
        assert_eq!(client.get(&format!("/{number}")).echoed().start, format!("GET /{number} HTTP/1.1"));
    }
    assert_eq!(origin.accepted(), 1);
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
fn a_dead_endpoint_costs_no_request() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address, nobody(), nobody()]);
    let mut client = proxy.connect();
    for _ in 0..30 {
        assert_eq!(client.get("/").status(), 200);
    }
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.read().echoed().body, b"body", "a body that nobody has read yet goes to the next endpoint");
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
fn an_endpoint_that_closes_idle_connections_costs_no_request() {
    // Answers once per connection and closes it without saying so.
    let origin = Origin::raw(|stream| {
        let mut client = Client::new(stream);
        if client.try_read().is_some() {
            let _ = client.stream.write_all(&ok(b"once"));
        }
    });
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    for _ in 0..100 {
        assert_eq!(client.get("/").text(), "once");
    }
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
fn upgrades_become_tunnels_in_both_directions() {
    let origin = Origin::raw(|stream| {
        let mut client = Client::new(stream);
        let request = client.read();
        assert_eq!(request.header("upgrade"), Some("websocket"));
        assert_eq!(request.header("connection"), Some("upgrade"));
        // The first bytes of the tunnel come with the response.
        client.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nearly");
        while let Some(byte) = client.bytes(1) {
            client.send(byte.to_ascii_uppercase());
        }
        // The client's end of its direction has arrived; ours is still open.
        client.send("goodbye");
    });
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    );
    let response = client.read();
    assert_eq!(response.status(), 101);
    assert_eq!(response.header("upgrade"), Some("websocket"));
    assert_eq!(client.bytes(5).unwrap(), b"early");
    for _ in 0..10 {
        client.send("hello");
        assert_eq!(client.bytes(5).unwrap(), b"HELLO");
    }
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.bytes(7).unwrap(), b"goodbye");
    assert!(client.is_closed());
}

#[test]
fn a_refused_upgrade_is_an_ordinary_response() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.read().status(), 200);
    assert_eq!(client.get("/").status(), 200);
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
fn an_idle_or_silent_client_is_closed_in_time() {
    let origin = Origin::echo();
    let settings = Settings {
        keep_alive: Duration::from_millis(200),
        client_header_timeout: Duration::from_millis(200),
        ..Settings::default()
    };
    let proxy = Running::with(&[origin.address], Policy::default(), settings);
    let mut idle = proxy.connect();
    assert_eq!(idle.get("/").status(), 200);
    let mut silent = proxy.connect();
    let mut halfway = proxy.connect();
    halfway.send("GET / HTTP/1.1\r\nHos");
    for client in [&mut idle, &mut silent, &mut halfway] {
        assert!(client.is_closed());
    }
}

#[test]
fn the_last_allowed_request_says_so() {
    let origin = Origin::echo();
    let settings = Settings { keep_alive_requests: 3, ..Settings::default() };
    let proxy = Running::with(&[origin.address], Policy::default(), settings);
    let mut client = proxy.connect();
    for number in 1..=3 {
        let response = client.get("/");
        assert_eq!(response.header("connection"), (number == 3).then_some("close"), "request {number}");
    }
    assert!(client.is_closed());
}

#[test]
fn a_new_table_serves_from_the_next_request_on_and_cuts_nobody() {
    let (first, second) = (Origin::http(|_| ok(b"first")), Origin::http(|_| ok(b"second")));
    let proxy = Running::to(&[first.address]);
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "first");
    assert!(proxy.handle.install(table(&[second.address], Policy::default(), Settings::default())));
    assert_eq!(client.get("/").text(), "second");
}

#[test]
fn a_drain_finishes_what_has_begun_and_refuses_nobody_who_got_in() {
    let (release, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let wait = std::sync::Mutex::new(wait);
    let arrived = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&arrived);
    let origin = Origin::http(move |request| {
        if request.start.contains("/slow") {
            counter.fetch_add(1, Ordering::SeqCst);
            wait.lock().unwrap().recv().unwrap();
        }
        ok(b"done")
    });
    let mut proxy = Running::to(&[origin.address]);
    let address = proxy.http();
    let mut idle = proxy.connect();
    assert_eq!(idle.get("/").status(), 200);
    let mut busy = proxy.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let deadline = std::time::Instant::now() + PATIENCE;
    while arrived.load(Ordering::SeqCst) == 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    let drain = std::thread::spawn(move || proxy.drain(PATIENCE));
    assert!(idle.is_closed(), "idle connections go first");
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(std::time::Instant::now() < deadline, "the listener closes");
    }
    release.send(()).unwrap();
    let response = busy.read();
    assert_eq!((response.status(), response.header("connection")), (200, Some("close")));
    assert_eq!(drain.join().unwrap(), 0);
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
fn a_connection_that_was_accepted_brings_its_first_request_even_during_a_drain() {
    let origin = Origin::echo();
    let mut proxy = Running::to(&[origin.address]);
    let address = proxy.http();
    // A busy connection keeps the drain going.
    let mut busy = proxy.connect();
    busy.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1");
    let mut early = proxy.connect();
    let mut unknown = proxy.connect();
    let deadline = std::time::Instant::now() + PATIENCE;
    while proxy.handle.metrics().open_connections() < 3 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    let drain = std::thread::spawn(move || proxy.drain(PATIENCE));
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(std::time::Instant::now() < deadline, "the listener closes");
    }
    let response = early.get("/");
    assert_eq!((response.status(), response.header("connection")), (200, Some("close")));
    unknown.send("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = unknown.read();
    assert_eq!((response.status(), response.header("connection")), (400, Some("close")), "our own answers too");
    busy.send("2");
    assert_eq!(busy.read().status(), 200);
    assert_eq!(drain.join().unwrap(), 0);
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

#[test]
fn connections_to_an_endpoint_that_is_gone_are_closed_and_requests_on_them_end_in_peace() {
    let closed = Arc::new(AtomicUsize::new(0));
    let (release, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let wait = std::sync::Mutex::new(wait);
    let (arrived, arrival) = std::sync::mpsc::channel();
    let arrived = std::sync::Mutex::new(arrived);
    let origin = Origin::raw({
        let closed = Arc::clone(&closed);
        move |stream| {
            let mut client = Client::new(stream);
            client.stream.set_read_timeout(None).unwrap();
            while let Some(request) = client.try_read() {
                if request.start.contains("/slow") {
                    arrived.lock().unwrap().send(()).unwrap();
                    wait.lock().unwrap().recv().unwrap();
                }
                client.send(ok(b"first"));
            }
            closed.fetch_add(1, Ordering::SeqCst);
        }
    });
    let second = Origin::http(|_| ok(b"second"));
    let proxy = Running::to(&[origin.address]);
    let mut slow = proxy.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    arrival.recv_timeout(PATIENCE).unwrap();
    assert_eq!(proxy.connect().get("/").text(), "first");
    assert_eq!(origin.accepted(), 2);
    proxy.handle.install(table(&[second.address], Policy::default(), Settings::default()));
    let reached = |count| {
        let deadline = std::time::Instant::now() + PATIENCE;
        while closed.load(Ordering::SeqCst) < count {
            assert!(std::time::Instant::now() < deadline, "connections stay open");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    reached(1);
    release.send(()).unwrap();
    assert_eq!(slow.read().text(), "first");
    // The other one came back after the new table had been looked at.
    reached(2);
}

/// Nothing is said to the reactor about a connection before there is something to wait for, and after the first answer there
/// is: the connection would be closed unused here.
#[test]
fn the_second_request_of_a_connection_is_noticed() {
    let origin = Origin::echo();
    let short = Settings { keep_alive: Duration::from_millis(250), ..Settings::default() };
    let proxy = Running::with(&[origin.address], Policy::default(), short);
    // A machine that stands still for so long proves nothing.
    let both = || {
        let mut client = proxy.connect();
        assert_eq!(client.send("\r\n").get("/").status(), 200);
        let sent = client.stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        sent.is_ok() && client.try_read().is_some()
    };
    assert!((0..5).any(|_| both()));
}

/// All of its request is there before anybody reads: the connection is one that the reactor has not heard of yet.
#[test]
fn a_client_that_leaves_is_noticed_while_its_endpoint_says_nothing() {
    let (ended, end) = std::sync::mpsc::channel();
    let origin = Origin::raw(move |mut stream| {
        // To the end, which is when the proxy gives the request up.
        let _ = stream.read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let proxy = Running::with(&[origin.address], Policy::default(), Settings::default());
    for body in [0, 4 << 10] {
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n{}", "x".repeat(body)));
        assert!(end.recv_timeout(Duration::from_millis(200)).is_err(), "given up too early");
        drop(client);
        end.recv_timeout(PATIENCE).expect("the endpoint is told");
    }
}
