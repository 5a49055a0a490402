//! What a new table or a drain means for those who are connected.

use crate::harness::{Origin, PATIENCE, Running, ok, table};
use rust_nginx_proxy::table::{Policy, Settings};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

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
