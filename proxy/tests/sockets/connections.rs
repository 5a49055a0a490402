//! Cleartext connections, of clients and to endpoints: how long they are kept, and how they end.

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
fn connections_are_kept_on_both_sides() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    for number in 0..50 {
        assert_eq!(client.get(&format!("/{number}")).echoed().start, format!("GET /{number} HTTP/1.1"));
    }
    assert_eq!(origin.accepted(), 1);
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

/// Whatever it has sent behind its request, and whether it closes or resets the connection.
#[test]
fn a_client_that_leaves_is_noticed_behind_what_it_sent_ahead() {
    const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let (arrived, arrival) = std::sync::mpsc::channel();
    let (ended, end) = std::sync::mpsc::channel();
    let origin = Origin::raw(move |stream| {
        let mut client = Client::new(stream);
        let request = client.read();
        let _ = arrived.send(());
        if request.start.contains("/begun") {
            client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        }
        let _ = client.stream.read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let proxy = Running::with(
        &[origin.address],
        Policy { read_timeout: PATIENCE * 2, ..Policy::default() },
        Settings::default(),
    );
    for (number, ahead) in ["\r\n", "GET ", NEXT, &NEXT.repeat(20), "nonsense\r\n\r\n"].iter().enumerate() {
        for path in ["/silent", "/begun"] {
            for later in [false, true] {
                let mut client = proxy.connect();
                let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
                client.send(if later { request.clone() } else { format!("{request}{ahead}") });
                arrival.recv_timeout(PATIENCE).expect("the request");
                if path == "/begun" {
                    client.skip_head();
                    assert_eq!(client.bytes(12).as_deref(), Some(&b"9\r\ndata: 1\n\n"[..]));
                }
                if later {
                    client.send(ahead);
                }
                if number % 2 == 1 {
                    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
                }
                drop(client);
                end.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{path}, {ahead:?}, later: {later}"));
            }
        }
    }
}

#[test]
fn requests_that_come_ahead_are_answered_in_their_order() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    let requests: String = (0..200)
        .map(|number| match number % 3 {
            0 => format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("PUT /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\r\n"),
            _ => {
                format!("PUT /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
            }
        })
        .collect();
    for piece in [usize::MAX, 1000, 77] {
        let mut client = proxy.connect();
        for part in requests.as_bytes().chunks(piece) {
            client.send(part);
        }
        for number in 0..200 {
            let echoed = client.read().echoed();
            assert!(echoed.start.ends_with(&format!(" /{number} HTTP/1.1")), "{} instead of {number}", echoed.start);
            assert_eq!(echoed.body.len(), if number % 3 == 0 { 0 } else { 4 });
        }
    }
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
