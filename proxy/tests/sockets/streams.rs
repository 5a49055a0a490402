//! TCP and UDP services.

use crate::harness::{Client, Origin, PATIENCE, Running, nobody, wait_until};
use rust_nginx_proxy::{
    Listen,
    table::{
        BackendKey, Endpoint, Settings, StreamService, StreamSettings, Streams, Table, TableBuilder, Transport, Trust,
        TrustedPeers,
    },
    tls::Certificate,
};
use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn tcp(port: u16, endpoints: &[SocketAddr]) -> StreamService {
    let mut endpoints: Box<[_]> = endpoints.iter().map(|address| Endpoint { address: *address }).collect();
    endpoints.sort_unstable();
    StreamService {
        transport: Transport::Tcp,
        port,
        backend: BackendKey::new("default-db-5432"),
        endpoints,
        accepts_proxy: false,
        sends_proxy: false,
    }
}

fn udp(port: u16, endpoints: &[SocketAddr]) -> StreamService {
    StreamService { transport: Transport::Udp, ..tcp(port, endpoints) }
}

fn table(services: Vec<StreamService>, settings: Settings) -> Table {
    let settings = Settings { access_log: false, ..settings };
    let mut builder = TableBuilder::new(Arc::new(settings), Arc::new(Certificate::self_signed().unwrap()));
    builder.set_streams(Streams::new(services));
    builder.build()
}

fn running(services: Vec<StreamService>, settings: StreamSettings) -> Running {
    let settings = StreamSettings { access_log: false, ..settings };
    let listen = Listen { streams: vec![LOCALHOST], ..Listen::default() };
    Running::listening(table(services, Settings { streams: settings, ..Settings::default() }), &listen)
}

/// A port that nobody has right now.
fn free_port() -> u16 {
    nobody().port()
}

/// An endpoint that says its name and then everything that it hears.
fn echo(name: &'static str) -> Origin {
    Origin::raw(move |mut stream| {
        stream.write_all(name.as_bytes()).unwrap();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    })
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn opened(port: u16) -> TcpStream {
    wait_until("the port is open", || connect(port).ok())
}

fn closed(port: u16) {
    wait_until("the port is closed", || {
        matches!(connect(port), Err(error) if error.kind() == ErrorKind::ConnectionRefused).then_some(())
    });
}

fn read(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn ports_open_and_close_with_the_table_and_sessions_stay() {
    let (a, b) = (echo("a"), echo("b"));
    let (one, two) = (free_port(), free_port());
    let proxy = running(vec![tcp(one, &[a.address])], StreamSettings::default());
    let mut kept = opened(one);
    assert_eq!(read(&mut kept, 1), "a");
    // Another port and another endpoint.
    proxy.handle.install(table(vec![tcp(one, &[b.address]), tcp(two, &[a.address])], Settings::default()));
    assert_eq!(read(&mut opened(two), 1), "a");
    assert_eq!(read(&mut opened(one), 1), "b");
    // Nobody there, and gone altogether: a client learns it at once.
    proxy.handle.install(table(vec![tcp(one, &[])], Settings::default()));
    closed(one);
    closed(two);
    kept.write_all(b"still here").unwrap();
    assert_eq!(read(&mut kept, 10), "still here");
    proxy.handle.install(table(vec![tcp(one, &[b.address])], Settings::default()));
    assert_eq!(read(&mut opened(one), 1), "b");
}

#[test]
fn endpoints_take_turns_and_dead_ones_cost_nothing() {
    let (a, b) = (echo("a"), echo("b"));
    let port = free_port();
    let proxy = running(vec![tcp(port, &[a.address, nobody(), b.address])], StreamSettings::default());
    drop(opened(port));
    let mut seen = String::new();
    for _ in 0..12 {
        seen += &read(&mut connect(port).unwrap(), 1);
    }
    assert!(seen.contains("ab") && seen.contains("ba"), "{seen}");
    // Without another try the dead one is felt.
    let settings = StreamSettings { next_upstream: false, access_log: false, ..StreamSettings::default() };
    let services = vec![tcp(port, &[a.address, nobody()])];
    proxy.handle.install(table(services, Settings { streams: settings, ..Settings::default() }));
    wait_until("a session ends without an endpoint", || {
        matches!(connect(port).unwrap().read(&mut [0]), Ok(0) | Err(_)).then_some(())
    });
}

#[test]
fn each_direction_ends_by_itself() {
    let origin = Origin::raw(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(format!("{} bytes", all.len()).as_bytes()).unwrap();
    });
    let port = free_port();
    let _proxy = running(vec![tcp(port, &[origin.address])], StreamSettings::default());
    let mut client = opened(port);
    client.write_all(&vec![b'x'; 3_000_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "3000000 bytes");
}

#[test]
fn a_session_in_which_nothing_moves_ends() {
    let origin = echo("a");
    let port = free_port();
    let settings = StreamSettings { idle: Duration::from_millis(300), ..StreamSettings::default() };
    let _proxy = running(vec![tcp(port, &[origin.address])], settings);
    let mut client = opened(port);
    assert_eq!(read(&mut client, 1), "a");
    for _ in 0..3 {
        client.write_all(b"x").unwrap();
        assert_eq!(read(&mut client, 1), "x");
    }
    let start = Instant::now();
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    assert!(start.elapsed() >= Duration::from_millis(250));
}

#[test]
fn proxy_headers_are_read_and_written() {
    let (heard, lines) = mpsc::channel();
    let origin = Origin::raw(move |stream| heard.send(Client::new(stream).line().unwrap_or_default()).unwrap());
    let (both, out) = (free_port(), free_port());
    let to = [origin.address];
    let services = vec![
        StreamService { accepts_proxy: true, sends_proxy: true, ..tcp(both, &to) },
        StreamService { sends_proxy: true, ..tcp(out, &to) },
    ];
    let proxy = running(services.clone(), StreamSettings::default());
    let client = opened(out);
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {out}", client.local_addr().unwrap().port());
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), expected);
    opened(both).write_all(b"PROXY TCP4 198.51.100.9 203.0.113.1 4711 443\r\nhello").unwrap();
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), format!("PROXY TCP4 198.51.100.9 127.0.0.1 4711 {both}"));
    // No header, no session.
    let mut client = connect(both).unwrap();
    client.write_all(b"hello, I am a client\r\n").unwrap();
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    // Somebody who is not trusted is who it seems.
    let trust = Trust { peers: TrustedPeers::new([]), ..Trust::default() };
    proxy.handle.install(table(services, Settings { trust, ..Settings::default() }));
    let mut client = connect(both).unwrap();
    client.write_all(b"PROXY TCP4 198.51.100.9 203.0.113.1 4711 443\r\n").unwrap();
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {both}", client.local_addr().unwrap().port());
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), expected);
}

#[test]
fn a_port_that_somebody_else_has_is_reported_and_tried_again() {
    let origin = echo("a");
    let squatter = TcpListener::bind((LOCALHOST, 0)).unwrap();
    let (taken, free) = (squatter.local_addr().unwrap().port(), free_port());
    let proxy = running(vec![tcp(taken, &[origin.address]), tcp(free, &[origin.address])], StreamSettings::default());
    assert_eq!(read(&mut opened(free), 1), "a");
    let unbound = proxy.handle.unbound();
    wait_until("the failure is reported", || (unbound.borrow().len() == 1).then_some(()));
    assert_eq!(unbound.borrow()[0].port.address.port(), taken);
    drop(squatter);
    wait_until("the port is opened after all", || unbound.borrow().is_empty().then_some(()));
    assert_eq!(read(&mut opened(taken), 1), "a");
}

#[test]
fn a_drain_closes_ports_and_lets_sessions_finish() {
    let origin = echo("a");
    let port = free_port();
    let mut proxy = running(vec![tcp(port, &[origin.address])], StreamSettings::default());
    let mut client = opened(port);
    assert_eq!(read(&mut client, 1), "a");
    thread::scope(|scope| {
        let drained = scope.spawn(|| proxy.drain(PATIENCE));
        closed(port);
        client.write_all(b"not yet").unwrap();
        assert_eq!(read(&mut client, 7), "not yet");
        client.shutdown(Shutdown::Both).unwrap();
        assert_eq!(drained.join().unwrap(), 0);
    });
}

/// An endpoint that answers each datagram with so many copies; it says who asked.
fn udp_echo(copies: usize) -> (SocketAddr, mpsc::Receiver<SocketAddr>) {
    let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let (asked, askers) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = asked.send(from);
            for _ in 0..copies {
                socket.send_to(&buffer[..length], from).unwrap();
            }
        }
    });
    (address, askers)
}

fn udp_client(local: [u8; 4]) -> UdpSocket {
    let socket = UdpSocket::bind((IpAddr::from(local), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket
}

/// Asks until there is an answer: datagrams may be lost, at least while the port is not open yet.
fn ask(client: &UdpSocket, to: SocketAddr, text: &str) {
    wait_until("there is an answer", || {
        client.send_to(text.as_bytes(), to).unwrap();
        let mut buffer = [0; 65_535];
        let (length, from) = client.recv_from(&mut buffer).ok()?;
        assert_eq!(from, to, "answers come from where the question went");
        (buffer[..length] == *text.as_bytes()).then_some(())
    });
}

#[test]
fn datagrams_find_their_way_back() {
    let (endpoint, _askers) = udp_echo(1);
    let port = free_port();
    let proxy = running(vec![udp(port, &[endpoint])], StreamSettings::default());
    let to = SocketAddr::new(LOCALHOST, port);
    let (one, two) = (udp_client([127, 0, 0, 1]), udp_client([127, 0, 0, 3]));
    for round in 0..20 {
        ask(&one, to, &format!("one {round}"));
        ask(&two, to, &format!("two {round}"));
    }
    ask(&one, to, &"x".repeat(9000));
    // The first datagram of a session is not lost, and nor is any other.
    for _ in 0..20 {
        let client = udp_client([127, 0, 0, 1]);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        for text in ["a", "b"] {
            client.send_to(text.as_bytes(), to).unwrap();
            let mut buffer = [0; 64];
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], text.as_bytes());
        }
    }
    // Gone with the table: nothing comes back.
    proxy.handle.install(table(vec![], Settings::default()));
    wait_until("nobody answers", || {
        while one.recv(&mut [0; 64]).is_ok() {}
        one.send_to(b"?", to).unwrap();
        one.recv(&mut [0; 64]).is_err().then_some(())
    });
}

#[test]
fn a_client_that_never_pauses_leaves_an_endpoint_that_is_gone() {
    let (gone, gone_askers) = udp_echo(0);
    let (here, here_askers) = udp_echo(0);
    let port = free_port();
    let proxy = running(vec![udp(port, &[gone])], StreamSettings::default());
    let (client, to) = (udp_client([127, 0, 0, 1]), SocketAddr::new(LOCALHOST, port));
    let asks = |askers: &mpsc::Receiver<SocketAddr>| {
        client.send_to(b"?", to).unwrap();
        askers.recv_timeout(Duration::from_millis(50)).ok()
    };
    let first = wait_until("the question arrives", || asks(&gone_askers));
    // Another one beside it takes nothing away.
    proxy.handle.install(table(vec![udp(port, &[here, gone])], Settings::default()));
    assert_eq!(wait_until("the question arrives again", || asks(&gone_askers)), first);
    proxy.handle.install(table(vec![udp(port, &[here])], Settings::default()));
    wait_until("the other one is asked", || asks(&here_askers));
}

#[test]
fn a_datagram_session_lasts_until_its_answers_are_there() {
    let port = free_port();
    let to = SocketAddr::new(LOCALHOST, port);
    // Two answers to each: the session ends after the second, and the next question is another session.
    let (endpoint, askers) = udp_echo(2);
    let settings = StreamSettings { responses: 2, ..StreamSettings::default() };
    let proxy = running(vec![udp(port, &[endpoint])], settings);
    let client = udp_client([127, 0, 0, 1]);
    ask(&client, to, "first");
    let mut sources: BTreeSet<SocketAddr> = askers.try_iter().collect();
    for _ in 0..3 {
        wait_until("both answers have come", || client.recv(&mut [0; 64]).is_err().then_some(()));
        ask(&client, to, "again");
        sources.extend(askers.try_iter());
    }
    assert!(sources.len() >= 3, "sessions share a socket: {sources:?}");
    drop(proxy);
    // One answer that never comes: the client keeps its session, and its endpoint.
    let (silent, askers) = udp_echo(0);
    let port = free_port();
    let settings = StreamSettings { idle: Duration::from_millis(500), ..StreamSettings::default() };
    let proxy = running(vec![udp(port, &[silent])], settings);
    let to = SocketAddr::new(LOCALHOST, port);
    let first = wait_until("the question arrives", || {
        client.send_to(b"?", to).unwrap();
        askers.recv_timeout(Duration::from_millis(50)).ok()
    });
    for _ in 0..5 {
        client.send_to(b"?", to).unwrap();
        assert_eq!(askers.recv_timeout(PATIENCE).unwrap(), first);
    }
    // A port that closes takes its sessions along, or it could not be opened again.
    proxy.handle.install(table(vec![], Settings::default()));
    wait_until("the port is free", || UdpSocket::bind(to).ok());
    let settings = Settings { streams: settings, ..Settings::default() };
    proxy.handle.install(table(vec![udp(port, &[silent])], settings));
    let first = wait_until("the question arrives again", || {
        client.send_to(b"?", to).unwrap();
        askers.recv_timeout(Duration::from_millis(50)).ok().filter(|asker| *asker != first)
    });
    // Until it is idle for too long.
    wait_until("a new session begins", || {
        thread::sleep(Duration::from_millis(700));
        while askers.try_recv().is_ok() {}
        client.send_to(b"?", to).unwrap();
        (askers.recv_timeout(PATIENCE).unwrap() != first).then_some(())
    });
}
