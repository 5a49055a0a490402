//! Heads that are too large, too many fields, two framings, and too many connections.

use crate::harness::{Client, Message, Origin, PATIENCE, Running};
use rust_nginx_proxy::{
    metrics::{ConstantLabels, ProxyCollector},
    table::{HeadLimits, Limits, Policy, Settings},
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

fn limited(limits: Limits) -> (Origin, Running) {
    let origin = Origin::echo();
    let proxy = Running::with(&[origin.address], Policy::default(), Settings { limits, ..Settings::default() });
    (origin, proxy)
}

/// Clients refused for a reason so far.
pub(crate) fn refused(proxy: &Running, reason: &str) -> u64 {
    let collector = ProxyCollector::new(Arc::clone(&proxy.handle), &ConstantLabels::default());
    let families = prometheus::core::Collector::collect(&collector);
    let family = families.iter().find(|family| family.name().ends_with("refused_total")).unwrap();
    let metric = family.get_metric().iter().find(|metric| metric.get_label().iter().any(|l| l.value() == reason));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    {
        metric.unwrap().get_counter().get_value() as u64
    }
}

/// Waits until so many clients were refused for a reason.
pub(crate) fn await_refused(proxy: &Running, reason: &str, count: u64) {
    let start = Instant::now();
    while refused(proxy, reason) < count {
        assert!(start.elapsed() < PATIENCE, "{reason}: {} of {count}", refused(proxy, reason));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(refused(proxy, reason), count, "{reason}");
}

fn field(length: usize) -> String {
    format!("A: {}\r\n", "x".repeat(length - 5))
}

fn head(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn a_line_fits_into_a_buffer_and_a_head_into_all() {
    let (_origin, proxy) = limited(Limits::default());
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 16));
    for (request, status) in [
        (target(8192), 200),
        (target(8193), 414),
        (target(70_000), 414),
        (target(500_000), 414),
        (head(&field(8192)), 200),
        (head(&field(8193)), 400),
        (head(&field(8000).repeat(4)), 200),
        (head(&field(8190).repeat(4)), 400),
        (head(&field(8000).repeat(60)), 400),
    ] {
        let mut client = proxy.connect();
        // The answer may come before all of it was taken.
        let _ = client.stream.write_all(request.as_bytes());
        let response = client.read();
        assert_eq!(response.status(), status, "{} bytes", request.len());
        if status != 200 {
            assert_eq!(response.header("connection"), Some("close"));
            assert!(client.is_closed());
        }
    }
    await_refused(&proxy, "long_request_line", 3);
    await_refused(&proxy, "large_head", 3);
}

#[test]
fn the_limits_of_heads_can_be_changed() {
    let head = HeadLimits::of_buffers(1024, 8, 512 << 10).unwrap();
    let (_origin, proxy) = limited(Limits { head, ..Limits::default() });
    let request = self::head(&field(500 << 10).repeat(4));
    assert_eq!(proxy.connect().send(request).read().status(), 200);
    let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(60_000));
    assert_eq!(proxy.connect().send(request).read().status(), 200);
    let head = HeadLimits { line: 100, total: 200 };
    let (_origin, proxy) = limited(Limits { head, ..Limits::default() });
    assert_eq!(proxy.connect().send(self::head(&field(101))).read().status(), 400);
    assert_eq!(HeadLimits::of_buffers(1, 0, 8), None);
    assert_eq!(HeadLimits::of_buffers(1024, 4, 8192), Some(HeadLimits::default()));
}

#[test]
fn any_number_of_fields_that_fits() {
    let (_origin, proxy) = limited(Limits::default());
    let fields = |count: usize| (0..count).map(|number| format!("a{number}:b\r\n")).collect::<String>();
    let mut client = proxy.connect();
    // On a connection that has served before, with a request before and one behind, and again.
    for count in [10, 99, 100, 101, 250, 1500, 3000, 10] {
        let request = head(&fields(count));
        client.send(format!("{0}{request}{0}", head("")));
        assert_eq!(client.read().status(), 200);
        let seen = client.read().echoed();
        assert_eq!(seen.headers.iter().filter(|(name, _)| name.starts_with('a')).count(), count);
        assert_eq!(client.read().status(), 200, "{count}");
    }
    assert_eq!(proxy.connect().send(head(&"a:\n".repeat(9000))).read().status(), 200);
    // Byte by byte.
    let mut client = proxy.connect();
    for byte in head(&fields(120)).bytes() {
        client.send([byte]);
    }
    assert_eq!(client.read().status(), 200);
}

#[test]
fn two_framings_are_refused_wherever_they_stand() {
    let (origin, proxy) = limited(Limits::default());
    let both =
        "POST /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x";
    for (before, answers) in [
        ("", 0),
        ("GET /before HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        ("POST /before HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 1),
        ("POST /before HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 1),
    ] {
        let accepted = origin.accepted();
        let mut client = proxy.connect();
        client.send(format!("{before}{both}"));
        for _ in 0..answers {
            assert_eq!(client.read().status(), 200);
        }
        let refusal = client.read();
        assert_eq!((refusal.status(), refusal.header("connection")), (400, Some("close")), "{before}");
        assert!(client.is_closed());
        assert!(origin.accepted() <= accepted + answers);
    }
    await_refused(&proxy, "bad_request", 4);
}

#[test]
fn what_hyper_refuses_is_counted_and_its_answer_arrives() {
    let (origin, proxy) = limited(Limits::default());
    for request in ["GET / HTTP/1.1\r\nHost : a\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n", "GET / HTTP/1.1\r\n a: b\r\n\r\n"]
    {
        let mut client = proxy.connect();
        // More than anybody has read yet: the answer must not be lost with it.
        client.send(format!("{request}{}", "x".repeat(100_000)));
        assert_eq!(client.read().status(), 400, "{request:?}");
        assert!(client.is_closed());
    }
    await_refused(&proxy, "bad_request", 3);
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn a_head_that_is_not_complete_in_time_is_counted() {
    let origin = Origin::echo();
    let settings = Settings { client_header_timeout: Duration::from_millis(200), ..Settings::default() };
    let proxy = Running::with(&[origin.address], Policy::default(), settings);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHos");
    let mut silent = proxy.connect();
    assert!(client.is_closed() && silent.is_closed());
    await_refused(&proxy, "slow_head", 1);
}

#[test]
fn bytes_of_a_tunnel_are_no_heads() {
    let origin = Origin::raw(|stream| {
        let mut client = Client::new(stream);
        client.read();
        client.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n");
        let bytes = client.bytes(200_000).unwrap();
        client.send(bytes);
    });
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    // Early bytes come with the head, and would be refused as one.
    let line = "x".repeat(50_000);
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n{line}"));
    assert_eq!(client.line().unwrap(), "HTTP/1.1 101 Switching Protocols");
    while !client.line().unwrap().is_empty() {}
    client.send(line.repeat(3));
    assert_eq!(client.bytes(200_000).unwrap().len(), 200_000);
}

fn open(proxy: &Running) -> (Client, Option<Message>) {
    let mut client = proxy.connect();
    let _ = client.stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.try_read();
    (client, answer)
}

#[test]
fn a_worker_takes_so_many_connections() {
    let (_origin, proxy) = limited(Limits { connections: 3, ..Limits::default() });
    let mut clients: Vec<_> = (0..3).map(|_| open(&proxy)).collect();
    assert!(clients.iter().all(|(_, answer)| answer.is_some()));
    let (_, refused) = open(&proxy);
    assert!(refused.is_none());
    await_refused(&proxy, "connections", 1);
    assert_eq!(clients[0].0.get("/").status(), 200, "those that are open go on");
    clients.pop();
    let start = Instant::now();
    while open(&proxy).1.is_none() {
        assert!(start.elapsed() < PATIENCE, "a place that is free again is not given");
    }
}

#[test]
fn a_client_has_so_many_connections() {
    let (_origin, proxy) = limited(Limits { connections_per_client: 2, ..Limits::default() });
    let first = open(&proxy);
    let second = open(&proxy);
    assert!(first.1.is_some() && second.1.is_some());
    assert!(open(&proxy).1.is_none());
    // Another client, of another address.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.2:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&proxy.http().into()).unwrap();
    let mut other = TcpStream::from(socket);
    other.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(first);
    let start = Instant::now();
    while open(&proxy).1.is_none() {
        assert!(start.elapsed() < PATIENCE, "a place that is free again is not given");
    }
}

/// RFC 9112 §9.6: closing with unread bytes would reset the connection and lose the answer.
#[test]
fn an_answer_that_comes_before_the_whole_body_arrives() {
    let (_origin, proxy) = limited(Limits::default());
    let body = vec![b'x'; 3 << 20];
    for (head, status) in [
        ("Transfer-Encoding: chunked\r\n\r\nnot a size\r\n", 400),
        // A size of zero and an end, to those who read less strictly.
        ("Transfer-Encoding: chunked\r\n\r\n0x5\r\n\r\n", 400),
        ("Content-Length: 30000000\r\n\r\n", 413),
    ] {
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}"));
        // Sent before anything of the answer is read, and more than fits into buffers.
        client.send(&body);
        let response = client.read();
        assert_eq!(response.status(), status, "{head:?}");
    }
}

#[test]
fn a_chunked_body_of_a_get_reaches_the_endpoint() {
    let origin = Origin::echo();
    let streamed = Policy { request_buffering: false, ..Policy::default() };
    let read_first = Running::with(&[origin.address], Policy::default(), Settings::default());
    let streaming = Running::with(&[origin.address], streamed, Settings::default());
    for (proxy, framing) in [(&read_first, [None, Some("5")]), (&streaming, [Some("chunked"), None])] {
        chunked_bodies_reach_the_endpoint(proxy, framing);
    }
}

/// `framing` is what stands in Transfer-Encoding and Content-Length towards the endpoint.
fn chunked_bodies_reach_the_endpoint(proxy: &Running, framing: [Option<&str>; 2]) {
    for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS"] {
        let mut client = proxy.connect();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        ));
        if method == "HEAD" {
            assert_eq!(client.line().unwrap(), "HTTP/1.1 200 OK");
            continue;
        }
        let seen = client.read().echoed();
        assert_eq!(seen.body, b"hello", "{method}");
        assert_eq!(["transfer-encoding", "content-length"].map(|name| seen.header(name)), framing, "{method}");
    }
}
