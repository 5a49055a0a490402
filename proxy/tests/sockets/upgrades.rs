//! Connections that leave HTTP.

use crate::harness::{Client, Origin, Running};
use rust_nginx_proxy::table::{Policy, Settings};
use std::time::Duration;

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

/// An endpoint that switches to the protocol x, and what it does then.
fn agreeing(then: impl Fn(&mut Client) + Send + Sync + 'static) -> Origin {
    Origin::raw(move |stream| {
        let mut client = Client::new(stream);
        client.read();
        client.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
        then(&mut client);
    })
}

/// A client may speak before it has heard that it may, and what it says waits for whoever agrees.
#[test]
fn what_comes_right_behind_an_upgrade_is_for_the_tunnel() {
    let origin = agreeing(|client| {
        let early = client.bytes(27).expect("what came early");
        client.send(early);
    });
    let proxy = Running::to(&[origin.address]);
    let mut client = proxy.connect();
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nGET /other HTTP/1.1\r\nA: b\r\n");
    assert_eq!(client.read().status(), 101);
    assert_eq!(client.bytes(27).as_deref(), Some(&b"GET /other HTTP/1.1\r\nA: b\r\n"[..]));
}

/// The idle time of a tunnel is the read timeout, as in nginx, however long sending may take.
#[test]
fn a_silent_tunnel_ends_with_the_read_timeout() {
    let origin = agreeing(|client| _ = client.bytes(1));
    let policy = Policy {
        read_timeout: Duration::from_millis(200),
        send_timeout: Duration::from_secs(3600),
        ..Policy::default()
    };
    let proxy = Running::with(&[origin.address], policy, Settings::default());
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(client.read().status(), 101);
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
