//! Connections that leave HTTP.

use crate::harness::{Client, Origin, Running};

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
