//! Request bodies that are read before an endpoint is asked, and those that are not.

use crate::{
    harness::{Client, Origin, Running, nobody, ok},
    http2::{connect, exchange, head, patient},
};
use bytes::Bytes;
use rust_nginx_proxy::table::{Policy, Settings};
use std::{
    sync::{Mutex, mpsc},
    time::Duration,
};

fn small_buffer(body_buffer: u64) -> Policy {
    Policy { body_buffer, max_body: None, ..Policy::default() }
}

fn streaming() -> Policy {
    Policy { request_buffering: false, ..Policy::default() }
}

#[test]
fn an_endpoint_hears_of_a_request_when_all_of_it_is_here() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    let mut slow = proxy.connect();
    slow.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    // There is one worker: when it has answered this, it has seen the other.
    assert_eq!(proxy.connect().get("/quick").echoed().start, "GET /quick HTTP/1.1");
    assert_eq!(origin.accepted(), 1);
    let echoed = slow.send("world").read().echoed();
    assert_eq!((echoed.start.as_str(), &echoed.body[..]), ("POST /slow HTTP/1.1", &b"helloworld"[..]));
}

/// Wishing for another protocol changes nothing about a body, as in nginx.
#[test]
fn a_body_that_comes_with_an_upgrade_is_read_first() {
    let origin = Origin::echo();
    let policy = Policy { max_body: Some(10), ..Policy::default() };
    let proxy = Running::with(&[origin.address, nobody(), nobody()], policy, Settings::default());
    for fields in ["Upgrade: foo\r\n", "Upgrade: foo\r\nConnection: upgrade\r\n"] {
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
        let mut client = proxy.connect();
        for _ in 0..6 {
            let echoed = client.send(&head).send("5\r\nhello\r\n0\r\n\r\n").read().echoed();
            assert_eq!((echoed.header("content-length"), &echoed.body[..]), (Some("5"), &b"hello"[..]));
        }
        let before = origin.accepted();
        client.send(&head).send("8\r\nhellohel\r\n8\r\nlohello!\r\n");
        assert_eq!(client.read().status(), 413);
        assert_eq!(origin.accepted(), before);
    }
}

#[test]
fn without_it_a_body_is_passed_on_as_it_comes() {
    let (begun, begins) = mpsc::channel();
    let begun = Mutex::new(begun);
    let origin = Origin::raw(move |stream| {
        let mut client = Client::new(stream);
        client.skip_head();
        begun.lock().unwrap().send(client.bytes(5).unwrap()).unwrap();
        client.bytes(5).unwrap();
        client.send(ok(b"done"));
    });
    let proxy = Running::with(&[origin.address], streaming(), Settings::default());
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    assert_eq!(begins.recv_timeout(crate::harness::PATIENCE).unwrap(), b"hello");
    assert_eq!(client.send("world").read().text(), "done");
}

#[test]
fn chunks_become_a_length() {
    let origin = Origin::echo();
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nX-T: 1\r\n\r\n");
        let echoed = client.read().echoed();
        assert_eq!(echoed.header("content-length"), Some("6"));
        assert_eq!((echoed.header("transfer-encoding"), echoed.header("x-t")), (None, None));
        assert_eq!(echoed.body, b"hello!");
    }
    let proxy = Running::with(&[origin.address], streaming(), Settings::default());
    client = proxy.connect();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let echoed = client.read().echoed();
    assert_eq!((echoed.header("content-length"), echoed.header("transfer-encoding")), (None, Some("chunked")));
    // No bytes are no body.
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(client.read().status(), 200);
}

#[test]
fn what_is_too_much_for_memory_comes_back_from_the_disk() {
    let origin = Origin::http(|request| ok(&request.body));
    for body_buffer in [0, 1, 8 * 1024, 1 << 20] {
        let proxy = Running::with(&[origin.address], small_buffer(body_buffer), Settings::default());
        let mut client = proxy.connect();
        for length in [1, 8 * 1024, 8 * 1024 + 1, 65_536, 200_000, 3_000_000] {
            let body: Vec<u8> = (0..length).map(|number: u32| (number ^ (number >> 8)).to_le_bytes()[0]).collect();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")).send(&body);
            assert!(client.read().body == body, "{length} bytes with {body_buffer} in memory");
        }
    }
}

#[test]
fn a_body_that_grows_too_large_never_reaches_an_endpoint() {
    let origin = Origin::echo();
    let policy = Policy { max_body: Some(10), ..Policy::default() };
    let proxy = Running::with(&[origin.address], policy, Settings::default());
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhellohel\r\n");
    client.send("8\r\nlohello!\r\n");
    let response = client.read();
    assert_eq!((response.status(), response.header("connection")), (413, Some("close")));
    assert!(client.is_closed());
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn over_http2_bodies_are_read_first_and_the_limit_holds() {
    let origin = Origin::echo();
    let policy = Policy { max_body: Some(10), ..Policy::default() };
    let proxy = Running::with(&[origin.address], policy, Settings::default());
    proxy.runtime.block_on(async {
        let client = connect(proxy.http()).await;
        let mut ready = client.clone().ready().await.unwrap();
        let (response, mut send) = ready.send_request(head("POST", "/"), false).unwrap();
        send.send_data(Bytes::from_static(b"hello"), false).unwrap();
        send.send_data(Bytes::from_static(b"hello!"), false).unwrap();
        assert_eq!(patient(response).await.unwrap().status(), 413);
        let (response, _) = exchange(&client, head("PUT", "/"), Bytes::from_static(b"hello")).await.unwrap();
        let echoed = String::from_utf8(response.body().to_vec()).unwrap();
        assert!(echoed.contains("\ncontent-length: 5\n") && echoed.ends_with("\n\nhello"), "{echoed}");
    });
    assert_eq!(origin.accepted(), 1);
}

#[test]
fn a_client_that_stops_sending_is_told_so() {
    let origin = Origin::echo();
    let settings = || Settings { client_body_timeout: Duration::from_millis(200), ..Settings::default() };
    for policy in [Policy::default(), streaming()] {
        let buffers = policy.request_buffering;
        let proxy = Running::with(&[origin.address], policy, settings());
        let mut client = proxy.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
        let response = client.read();
        assert_eq!((response.status(), response.header("connection")), (408, Some("close")));
        assert_eq!(origin.accepted(), usize::from(!buffers));
    }
}

#[test]
fn a_client_that_waits_for_permission_gets_it_after_the_limits_were_looked_at() {
    let origin = Origin::echo();
    for policy in [Policy::default(), streaming()] {
        let policy = Policy { max_body: Some(10), ..policy };
        let proxy = Running::with(&[origin.address], policy, Settings::default());
        let mut client = proxy.connect();
        let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n";
        client.send(format!("{head}Content-Length: 5\r\n\r\n"));
        assert_eq!(client.line().unwrap(), "HTTP/1.1 100 Continue");
        assert_eq!(client.line().unwrap(), "");
        let echoed = client.send("hello").read().echoed();
        assert_eq!((echoed.header("expect"), &echoed.body[..]), (None, &b"hello"[..]));
        client.send(format!("{head}Content-Length: 11\r\n\r\n"));
        assert_eq!(client.read().status(), 413, "without having asked for the body");
    }
}

#[test]
fn an_endpoint_may_answer_before_it_has_read_everything() {
    let origin = Origin::raw(|stream| {
        let mut client = Client::new(stream);
        client.skip_head();
        client.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    });
    // Larger than what the kernel holds for us on the way.
    let body = vec![b'x'; 20 << 20];
    for policy in [small_buffer(8192), Policy { max_body: None, ..streaming() }] {
        let proxy = Running::with(&[origin.address], policy, Settings::default());
        let stream = std::net::TcpStream::connect(proxy.http()).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let writing = std::thread::spawn({
            let body = body.clone();
            move || {
                use std::io::Write as _;
                let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
                // The proxy may hang up in the middle.
                let _ = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&body));
            }
        });
        let response = Client::new(stream).read();
        assert_eq!((response.status(), response.text().as_str()), (401, "no"));
        writing.join().unwrap();
    }
}

#[test]
fn an_interim_response_of_an_endpoint_goes_no_further() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            .to_vec()
    });
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!((response.status(), response.text().as_str(), response.header("link")), (200, "ok", None));
    }
}

#[test]
fn an_old_client_gets_a_body_that_ends_with_the_connection() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_vec()
    });
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let response = client.read();
    assert_eq!((response.status(), response.header("transfer-encoding")), (200, None));
    if response.header("content-length").is_none() {
        assert_eq!(client.bytes(5).unwrap(), b"abcde");
    }
    assert!(client.is_closed());
}
