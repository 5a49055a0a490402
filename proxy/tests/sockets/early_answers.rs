//! Answers that go out before the body of their request is here: the connection goes on behind the rest of the body, or
//! the answer says that it does not. Whatever the body looks like, none of it is taken for a request.

use crate::harness::{Client, Message, Origin, Running, nobody, ok};
use http::StatusCode;
use rust_nginx_proxy::{
    filter::{Filter, Refuse},
    table::{
        Backend, BackendKey, Endpoint, HostMatch, PathMatch, Policy, Protocol, Route, RouteLabels, Settings, Table,
        TableBuilder, Target, VirtualHostBuilder,
    },
    tls::Certificate,
};
use std::{io::Write as _, net::SocketAddr, sync::Arc, time::Duration};

/// Paths that are answered without anybody having asked for a body, and how.
const EARLY: [(&str, u16); 4] = [("/refused", 403), ("/status", 404), ("/empty", 503), ("/dead", 502)];

/// A body that would do harm as requests.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Beyond what is read for nobody.
const LONG: usize = (1 << 20) + 1;

fn table(endpoint: SocketAddr, settings: Settings) -> Table {
    let settings = Settings { access_log: false, ..settings };
    let mut builder = TableBuilder::new(Arc::new(settings), Arc::new(Certificate::self_signed().unwrap()));
    let mut backend = |name: &str, endpoints: &[SocketAddr]| {
        let endpoints = endpoints.iter().map(|address| Endpoint { address: *address }).collect();
        let backend = builder.add_backend(Arc::new(Backend::new(BackendKey::new(name), Protocol::Http1, endpoints)));
        Target::Backend { backend, no_endpoints: StatusCode::SERVICE_UNAVAILABLE }
    };
    let serving = backend("serving", &[endpoint]);
    let refuse = Filter::Refuse(Refuse { status: StatusCode::FORBIDDEN });
    let routes = [
        ("/", serving, None),
        ("/refused", serving, Some(refuse)),
        ("/status", Target::Status(StatusCode::NOT_FOUND), None),
        ("/empty", backend("empty", &[]), None),
        ("/dead", backend("dead", &[nobody()]), None),
    ];
    let mut host = VirtualHostBuilder::new(HostMatch::Any);
    for (path, target, filter) in routes {
        // Streaming: the dead backend is asked before the body is here.
        let policy = Policy { max_body: None, request_buffering: false, ..Policy::default() };
        host.add_route(Arc::new(Route {
            path: PathMatch::Prefix(path.into()),
            labels: Arc::new(RouteLabels { ingress: "app".into(), ..RouteLabels::default() }),
            target,
            filters: filter.into_iter().collect(),
            policy: Arc::new(policy),
        }))
        .unwrap();
    }
    builder.set_host(host.build());
    builder.build()
}

fn proxy() -> (Origin, Running) {
    let origin = Origin::echo();
    let proxy = Running::of(table(origin.address, Settings::default()));
    (origin, proxy)
}

fn head(path: &str, framing: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\nX-Trailer: 1\r\n\r\n", body.len())
}

/// The next request is answered, and is the one that the client meant.
fn goes_on<S: std::io::Read + std::io::Write>(client: &mut Client<S>) {
    assert_eq!(client.get("/next").echoed().start, "GET /next HTTP/1.1");
}

#[test]
fn the_next_request_is_read_behind_the_body() {
    let (_origin, proxy) = proxy();
    for (path, status) in EARLY {
        for size in [1, 500, 20_000, LONG - 1] {
            let body = SMUGGLED.repeat(size / SMUGGLED.len() + 1)[..size].to_owned();
            let framings = [
                (format!("Content-Length: {size}"), body.clone()),
                ("Transfer-Encoding: chunked".to_owned(), chunked(&body)),
            ];
            for (framing, body) in framings {
                let mut client = proxy.connect();
                for _ in 0..3 {
                    // The answer is here before the client has begun to send the body.
                    let response = client.send(head(path, &framing)).read();
                    assert_eq!((response.status(), response.header("connection")), (status, None), "{path} {framing}");
                    client.send(&body);
                    goes_on(&mut client);
                }
            }
        }
    }
}

#[test]
fn bodies_and_requests_may_come_in_one_piece_or_byte_by_byte() {
    let (_origin, proxy) = proxy();
    let requests = [
        head("/status", &format!("Content-Length: {}", SMUGGLED.len())) + SMUGGLED,
        head("/status", "Transfer-Encoding: chunked") + &chunked(SMUGGLED),
        head("/dead", "Content-Length: 5") + "hello",
        "GET /between HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        head("/empty", "Transfer-Encoding: chunked") + &chunked("hello"),
        head("/status", "Content-Length: 3") + "abc",
    ];
    let all = requests.concat();
    let mut together = proxy.connect();
    together.send(&all);
    let mut apart = proxy.connect();
    for byte in all.bytes() {
        apart.send([byte]);
    }
    for client in [&mut together, &mut apart] {
        let statuses: Vec<_> = (0..requests.len()).map(|_| client.read().status()).collect();
        assert_eq!(statuses, [404, 404, 502, 200, 503, 404]);
        goes_on(client);
    }
}

#[test]
fn a_body_that_nobody_will_read_ends_the_connection_and_the_answer_says_so() {
    let (origin, proxy) = proxy();
    for (path, status) in EARLY {
        let mut client = proxy.connect();
        client.send(head(path, &format!("Content-Length: {}", 4 * LONG)));
        let response = client.read();
        assert_eq!((response.status(), response.header("connection")), (status, Some("close")), "{path}");
        // All of it before anything of the answer is read, and then a request.
        let mut client = proxy.connect();
        client.send(head(path, &format!("Content-Length: {}", 4 * LONG))).send(vec![b'x'; 4 * LONG]).send(SMUGGLED);
        assert_eq!(client.read().status(), status, "{path}");
        assert!(client.is_closed());
    }
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn chunks_without_end_are_read_up_to_a_limit() {
    let (origin, proxy) = proxy();
    let mut client = proxy.connect();
    let response = client.send(head("/status", "Transfer-Encoding: chunked")).read();
    assert_eq!((response.status(), response.header("connection")), (404, None));
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16));
    // Every chunk is read, though only some of them for the sake of the next request.
    for _ in 0..40 {
        client.send(&chunk);
    }
    assert!(client.is_closed());
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn a_client_that_waits_for_permission_and_gets_an_answer_may_do_as_it_likes() {
    let (origin, proxy) = proxy();
    for (path, status) in EARLY {
        // RFC 9110 §10.1.1: it may leave the body out, or send it.
        for sent in ["", "hello", "helloGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut client = proxy.connect();
            client.send(head(path, "Expect: 100-continue\r\nContent-Length: 5"));
            let response = client.read();
            // The endpoint that cannot be reached was about to get the body.
            let response = if response.status() == 100 { client.read() } else { response };
            assert_eq!((response.status(), response.header("connection")), (status, Some("close")), "{path}");
            let _ = client.stream.write_all(sent.as_bytes());
            assert!(client.is_closed());
        }
    }
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn an_old_client_that_wants_to_keep_its_connection_does() {
    let (origin, proxy) = proxy();
    let head = |length: usize| {
        format!("POST /status HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut client = proxy.connect();
    let response = client.send(head(SMUGGLED.len())).read();
    assert_eq!((response.status(), response.header("connection")), (404, Some("keep-alive")));
    client.send(SMUGGLED);
    let response = client.send(head(LONG)).read();
    assert_eq!((response.status(), response.header("connection")), (404, Some("close")));
    assert!(client.is_closed());
    // And nobody who wants no other answer is kept waiting for the end.
    for (version, fields) in [("1.0", ""), ("1.1", "Connection: x, Close\r\n")] {
        let mut client = proxy.connect();
        client.send(format!("POST /status HTTP/{version}\r\nHost: a\r\n{fields}Content-Length: 5\r\n\r\n"));
        assert_eq!(client.read().status(), 404);
        assert!(client.is_closed());
    }
    assert_eq!(origin.accepted(), 0);
}

/// An endpoint that answers when it has the head of a request.
fn hasty(response: &'static [u8]) -> Origin {
    Origin::raw(move |stream| {
        let mut client = Client::new(stream);
        client.skip_head();
        client.send(response);
        // Whatever else comes: until the proxy closes.
        while client.line().is_some() {}
    })
}

#[test]
fn an_endpoint_that_answers_early_ends_no_connection_of_a_client() {
    let responses: [&[u8]; 2] = [
        b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nn\r\n1\r\no\r\n0\r\n\r\n",
    ];
    for response in responses {
        let origin = hasty(response);
        let proxy = Running::of(table(origin.address, Settings::default()));
        for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
            let mut client = proxy.connect();
            let rest = if framing.starts_with('C') {
                client.send(head("/", framing)).send("ab");
                "cdefghij"
            } else {
                client.send(head("/", framing)).send("2\r\nab\r\n");
                "8\r\ncdefghij\r\n0\r\n\r\n"
            };
            let first = client.read();
            assert_eq!((first.status(), first.text().as_str(), first.header("connection")), (403, "no", None));
            client.send(rest);
            assert_eq!(client.get("/status").status(), 404, "{framing}");
        }
        // Too much is to come.
        let mut client = proxy.connect();
        client.send(head("/", &format!("Content-Length: {}", 4 * LONG))).send("ab");
        let first = client.read();
        assert_eq!((first.status(), first.text().as_str(), first.header("connection")), (403, "no", Some("close")));
    }
}

/// An idle connection is put away, and begins anew with a head. One that waits for the rest of a body is not idle.
#[test]
fn a_pause_in_the_body_makes_no_request_of_the_rest() {
    let origin = Origin::echo();
    let settings = Settings { keep_alive: Duration::from_secs(1), ..Settings::default() };
    let proxy = Running::of(table(origin.address, settings));
    let mut client = proxy.connect();
    let length = 2 + SMUGGLED.len();
    let response = client.send(head("/status", &format!("Content-Length: {length}"))).send("ab").read();
    assert_eq!(response.status(), 404);
    // Longer than a connection may be idle: another one that was served later has been closed for it.
    let mut idle = proxy.connect();
    assert_eq!(idle.get("/status").status(), 404);
    assert!(idle.is_closed());
    client.send(SMUGGLED);
    goes_on(&mut client);
    // Behind the body it may be idle for as long as any other.
    assert!(client.is_closed());
}

#[test]
fn a_client_that_never_sends_the_rest_is_closed() {
    let (origin, proxy) = proxy();
    let mut client = proxy.connect();
    let response: Message = client.send(head("/status", "Content-Length: 10")).send("ab").read();
    assert_eq!((response.status(), response.header("connection")), (404, None));
    assert!(client.is_closed());
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn a_drain_waits_for_nobody_who_has_his_answer() {
    let (_origin, mut proxy) = proxy();
    let mut client = proxy.connect();
    assert_eq!(client.send(head("/status", "Content-Length: 10")).send("ab").read().status(), 404);
    drop(client);
    assert_eq!(proxy.drain(crate::harness::PATIENCE), 0);
}

#[test]
fn what_an_endpoint_reads_late_is_no_rest() {
    let origin = Origin::raw(|stream| {
        let mut client = Client::new(stream);
        client.skip_head();
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly");
        let body = client.bytes(10).unwrap();
        client.send(&body[5..]);
        assert_eq!(client.read().start, "GET /next HTTP/1.1", "on the same connection");
        client.send(ok(b"next"));
    });
    let proxy = Running::of(table(origin.address, Settings::default()));
    let mut client = proxy.connect();
    client.send(head("/", "Content-Length: 10")).send("01234");
    assert_eq!(client.line().unwrap(), "HTTP/1.1 200 OK");
    client.send("56789");
    while !client.line().unwrap().is_empty() {}
    assert_eq!(client.bytes(10).unwrap(), b"early56789");
    assert_eq!(client.get("/next").text(), "next");
}
