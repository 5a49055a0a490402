//! Which fields pass and which end here, in both directions: RFC 9110 §7.6.1 and the header set of ingress-nginx, a row
//! each.

use crate::{
    harness::{Client, Message, Origin, Running},
    http2,
};
use bytes::Bytes;
use http::Request;
use rust_nginx_proxy::table::{Policy, Settings, UpstreamKeepAlive};

/// What becomes of a field.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It goes on as it is.
    Passes,
    /// It ends here.
    Ends,
    /// The other side gets this in its place.
    Becomes(&'static str),
}
use Outcome::{Becomes, Ends, Passes};

/// A field, others that come with it, and what becomes of it.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], Outcome);

/// Fields of requests, and what the endpoint sees of them.
const REQUEST: [Row; 44] = [
    ("accept", "text/html", &[], Passes),
    ("accept-encoding", "gzip, br", &[], Passes),
    ("authorization", "Basic eDp5", &[], Passes),
    ("cookie", "a=1; b=2", &[], Passes),
    ("proxy-authorization", "Basic eDp5", &[], Passes),
    ("trailer", "x-checksum", &[], Passes),
    ("via", "1.1 other", &[], Passes),
    ("x-forwarded-prefix", "/p", &[], Passes),
    ("x-request-id", "mine, unchecked", &[], Passes),
    ("x-original-uri", "/x", &[], Passes),
    ("user-agent", "test", &[], Passes),
    ("range", "bytes=0-1", &[], Passes),
    ("if-none-match", "\"e\"", &[], Passes),
    ("origin", "https://a.example", &[], Passes),
    // Of this connection only.
    ("connection", "close", &[], Ends),
    ("connection", "keep-alive", &[], Ends),
    ("keep-alive", "timeout=5", &[], Ends),
    ("proxy-connection", "keep-alive", &[], Ends),
    ("te", "trailers", &[], Ends),
    ("expect", "100-continue", &[], Ends),
    ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA", &[], Ends),
    ("upgrade", "h2c", &[("connection", "Upgrade")], Ends),
    ("upgrade", "H2C, h2", &[("connection", "Upgrade, HTTP2-Settings"), ("http2-settings", "AAMAAABk")], Ends),
    ("upgrade", "TLS/1.2", &[("connection", "upgrade")], Ends),
    ("x-hop", "1", &[("connection", "X-Hop")], Ends),
    ("x-hop", "1", &[("connection", "keep-alive, x-other ,x-hop")], Ends),
    ("x-hop", "1", &[("connection", "x-other"), ("connection", "x-hop")], Ends),
    ("authorization", "Basic eDp5", &[("connection", "authorization")], Ends),
    // Not to be believed, or not to be understood.
    ("proxy", "http://evil.example", &[], Ends),
    ("forwarded", "for=6.6.6.6", &[], Ends),
    ("ssl-client-verify", "SUCCESS", &[], Ends),
    ("ssl-client-cert", "x", &[], Ends),
    ("x-original-forwarded-for", "6.6.6.6", &[], Ends),
    ("x-original-forwarded-host", "evil", &[], Ends),
    ("under_score", "1", &[], Ends),
    ("x.dot", "1", &[], Ends),
    ("x-real-ip", "6.6.6.6", &[], Becomes("127.0.0.1")),
    ("x-forwarded-for", "6.6.6.6", &[], Becomes("127.0.0.1")),
    ("x-forwarded-host", "evil", &[], Becomes("a.example")),
    ("x-forwarded-proto", "https", &[], Becomes("http")),
    ("x-forwarded-scheme", "https", &[], Becomes("http")),
    ("x-scheme", "https", &[], Becomes("http")),
    // `Connection` cannot take away what we say, nor what a message means.
    ("x-real-ip", "6.6.6.6", &[("connection", "x-real-ip, x-forwarded-for, x-forwarded-proto")], Becomes("127.0.0.1")),
    ("content-type", "text/plain", &[("connection", "content-type, host, content-length")], Passes),
];

/// Fields of responses, and what the client sees of them.
const RESPONSE: [Row; 27] = [
    ("content-type", "text/plain", &[], Passes),
    ("content-language", "en", &[], Passes),
    ("etag", "\"e\"", &[], Passes),
    ("location", "http://elsewhere.example/", &[], Passes),
    ("set-cookie", "a=1", &[], Passes),
    ("x-powered-by", "PHP", &[], Passes),
    ("vary", "Origin", &[], Passes),
    ("via", "1.1 other", &[], Passes),
    ("age", "5", &[], Passes),
    ("cache-control", "no-store", &[], Passes),
    ("www-authenticate", "Basic", &[], Passes),
    ("x-request-id", "theirs", &[], Passes),
    ("access-control-allow-origin", "*", &[], Passes),
    ("strict-transport-security", "max-age=1", &[], Passes),
    ("content-encoding", "gzip", &[], Passes),
    ("server", "Apache", &[], Ends),
    ("x-pad", "1", &[], Ends),
    ("x-accel-redirect", "/secret", &[], Ends),
    ("x-accel-buffering", "no", &[], Ends),
    ("x-accel-expires", "5", &[], Ends),
    ("connection", "keep-alive", &[], Ends),
    ("keep-alive", "timeout=5", &[], Ends),
    ("proxy-connection", "keep-alive", &[], Ends),
    ("upgrade", "h2c", &[], Ends),
    ("upgrade", "h2,h2c", &[("connection", "Upgrade")], Ends),
    ("x-hop", "1", &[("connection", "x-hop")], Ends),
    ("x-hop", "1", &[("connection", "keep-alive"), ("connection", "other, X-Hop")], Ends),
];

fn values(message: &Message, name: &str) -> Vec<String> {
    message.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
}

fn judge(seen: &[String], value: &str, outcome: Outcome, what: &str) {
    match outcome {
        Passes => assert_eq!(seen, [value], "{what}"),
        Becomes(other) => assert_eq!(seen, [other], "{what}"),
        Ends => assert_eq!(seen, [] as [&str; 0], "{what}"),
    }
}

#[test]
fn fields_of_requests() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    for (name, value, others, outcome) in REQUEST {
        let fields = [&[(name, value)], others].concat();
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let method = if name == "content-type" || name == "expect" { "POST" } else { "GET" };
        let (length, body) = if method == "POST" { ("Content-Length: 4\r\n", "body") } else { ("", "") };
        let request = format!("{method} / HTTP/1.1\r\nHost: a.example\r\n{length}{lines}\r\n");
        let mut client = proxy.connect();
        client.send(request);
        if name == "expect" {
            assert_eq!(client.read().status(), 100);
        }
        let seen = client.send(body).read().echoed();
        let what = format!("{fields:?} over HTTP/1.1");
        judge(&values(&seen, name), value, outcome, &what);
        assert_eq!(values(&seen, "host"), ["a.example"], "{what}");
        assert_eq!(seen.body, body.as_bytes(), "{what}");
        for (other, _) in others {
            assert_eq!(values(&seen, other), [] as [&str; 0], "{what}");
        }
        // In HTTP/2 there are no fields of a connection: hyper refuses them.
        let connection_fields = ["connection", "keep-alive", "proxy-connection", "te", "http2-settings", "expect"];
        if connection_fields.contains(&name) || !others.is_empty() {
            continue;
        }
        let answer = proxy.runtime.block_on(async {
            let sender = http2::connect(proxy.http()).await;
            let request = Request::builder().uri("http://a.example/").header(name, value).body(()).unwrap();
            http2::exchange(&sender, request, Bytes::new()).await.unwrap().0
        });
        let (_, body) = answer.into_parts();
        let seen = Message { start: String::new(), headers: Vec::new(), body: body.to_vec() }.echoed();
        judge(&values(&seen, name), value, outcome, &format!("{name}: {value} over HTTP/2"));
    }
    // Nobody is told that we were here.
    let seen = proxy.connect().get("/").echoed();
    assert_eq!(values(&seen, "via"), [] as [&str; 0]);
}

#[test]
fn fields_of_responses() {
    let origin = Origin::http(|request| {
        let row: usize = request.start.split(' ').nth(1).unwrap()[1..].parse().unwrap();
        let (name, value, others, _) = RESPONSE[row];
        let fields = [&[(name, value)], others].concat();
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok").into_bytes()
    });
    let proxy = Running::to(&[origin.address]);
    let mut client = Client::new(std::net::TcpStream::connect(proxy.http()).unwrap());
    for (row, (name, value, others, outcome)) in RESPONSE.into_iter().enumerate() {
        let response = client.get(&format!("/{row}"));
        let what = format!("{name}: {value} with {others:?}");
        assert_eq!((response.status(), response.text()), (200, "ok".to_owned()), "{what}");
        judge(&values(&response, name), value, outcome, &format!("{what} over HTTP/1.1"));
        assert_eq!(values(&response, "date").len(), 1, "{what}");
        for (other, _) in others {
            assert_eq!(values(&response, other), [] as [&str; 0], "{what}");
        }
        if name != "via" {
            assert_eq!(values(&response, "via"), [] as [&str; 0], "{what}");
        }
        let answer = proxy.runtime.block_on(async {
            let sender = http2::connect(proxy.http()).await;
            http2::exchange(&sender, http2::head("GET", &format!("/{row}")), Bytes::new()).await.unwrap().0
        });
        let seen: Vec<_> =
            answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        judge(&seen, value, outcome, &format!("{what} over HTTP/2"));
    }
    assert_eq!(client.get("/0").status(), 200);
}

#[test]
fn framing_is_ours_on_both_sides() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n\
                   4;ext=1\r\nbody\r\n0\r\nx-t: 1\r\n\r\n";
    let seen = proxy.connect().send(chunked).read().echoed();
    // It was read as a whole before, so its length is known.
    assert_eq!((values(&seen, "transfer-encoding"), values(&seen, "content-length")), (vec![], vec!["4".into()]));
    assert_eq!((&seen.body[..], values(&seen, "x-t")), (&b"body"[..], vec![]));
    let sized = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    let seen = proxy.connect().send(sized).read().echoed();
    assert_eq!((values(&seen, "transfer-encoding"), values(&seen, "content-length")), (vec![], vec!["4".into()]));
}

#[test]
fn an_endpoint_knows_that_no_connection_is_kept() {
    let origin = Origin::echo();
    for (connections, told) in [(0, vec!["close"]), (1, vec![])] {
        let upstream_keep_alive = UpstreamKeepAlive { connections, ..UpstreamKeepAlive::default() };
        let settings = Settings { upstream_keep_alive, ..Settings::default() };
        let proxy = Running::with(&[origin.address], Policy::default(), settings);
        let mut client = proxy.connect();
        for _ in 0..2 {
            assert_eq!(values(&client.get("/").echoed(), "connection"), told);
        }
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(values(&client.read().echoed(), "connection"), ["upgrade"], "an upgrade needs the field");
    }
    assert_eq!(origin.accepted(), 3 + 1);
}
