//! TCP services: a connection of a client, a connection to an endpoint, and the bytes between them.

use super::{
    Turn,
    connect::connect,
    copy,
    log::{Session, Status},
    service,
};
use crate::{
    listener::{Acceptor, proxy_protocol},
    table::{Endpoint, StreamService, StreamSettings, Transport},
    timeout::Deadline,
    worker::Worker,
};
use proxy_header::{ProxiedAddress, ProxyHeader};
use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
};
use tokio::{net::TcpStream, time::Instant};

/// Serves a port until the worker drains.
pub(super) async fn serve(socket: Acceptor, address: SocketAddr, worker: Rc<Worker>) {
    let turn = Rc::new(Turn::default());
    let serve = |stream, peer| {
        let stream = TcpStream::from_std(stream)?;
        tokio::task::spawn_local(session(stream, peer, address.port(), Rc::clone(&turn), Rc::clone(&worker)));
        Ok(())
    };
    socket.run(address, &worker, serve).await;
}

/// One session, from the first byte to the last.
async fn session(mut client: TcpStream, peer: SocketAddr, port: u16, turn: Rc<Turn>, worker: Rc<Worker>) {
    let session = Session::open(&worker, Transport::Tcp, peer, port);
    let Some(service) = service(&worker, Transport::Tcp, port) else {
        return session.failed(Status::BadGateway);
    };
    session.belongs_to(&service.backend);
    let local = client.local_addr().ok();
    session.address.set(local.map(|local| local.ip().to_canonical()));
    let settings = worker.last_view().table().settings().streams;
    let deadline = worker.timers().deadline();
    let Some(source) = source(&mut client, peer, &service, &session, &deadline).await else {
        return session.failed(Status::BadHeader);
    };
    let greeting = if service.sends_proxy { greeting(source, local) } else { Vec::new() };
    let endpoints = tries(&service, &settings, &turn);
    let tried = |endpoint, connected| session.tried(endpoint, connected);
    let Ok(mut endpoint) = connect(endpoints, &service.backend, &greeting, &worker, &deadline, tried).await else {
        return session.failed(Status::BadGateway);
    };
    let (scratch, idle) = (worker.scratch(), Some(settings.idle));
    if let Err(error) = copy(&mut client, &mut endpoint, scratch, &deadline, idle, &session.carried).await {
        tracing::debug!(%error, %peer, backend = %service.backend, "session ended with an error");
    }
}

/// Who the client is: whom its PROXY header names, where one has to come and its sender is trusted.
async fn source(
    client: &mut TcpStream,
    peer: SocketAddr,
    service: &StreamService,
    session: &Session,
    deadline: &Deadline,
) -> Option<SocketAddr> {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if !service.accepts_proxy {
        return Some(peer);
    }
    let view = session.worker.last_view();
    let trust = &view.table().settings().trust;
    let proxied = match deadline.limit(trust.proxy_protocol_timeout, proxy_protocol::read(client)).await {
        Some(Ok(proxied)) => proxied,
        Some(Err(error)) => {
            proxy_protocol::refused(&session.worker, peer.ip(), &error);
            return None;
        }
        None => {
            proxy_protocol::refused(&session.worker, peer.ip(), &proxy_protocol::BadHeader::Late);
            return None;
        }
    };
    let source = proxied
        .filter(|_| trust.peers.contains(peer.ip()))
        .map_or(peer, |proxied| SocketAddr::new(proxied.source, proxied.source_port));
    session.client.set(source);
    Some(source)
}

/// The endpoints to try, as the settings allow.
fn tries<'a>(
    service: &'a StreamService,
    settings: &'a StreamSettings,
    turn: &'a Turn,
) -> impl Iterator<Item = Endpoint> + 'a {
    let start = Instant::now();
    let tries = match settings.tries {
        _ if !settings.next_upstream => 1,
        0 => service.endpoints.len(),
        tries => usize::try_from(tries).unwrap_or(usize::MAX),
    };
    let mut tried: Vec<Endpoint> = Vec::new();
    std::iter::from_fn(move || {
        let late = settings.timeout.is_some_and(|timeout| start.elapsed() >= timeout);
        if tried.len() >= tries || late && !tried.is_empty() {
            return None;
        }
        let endpoint = turn.next(&service.endpoints, &tried)?;
        tried.push(endpoint);
        Some(endpoint)
    })
}

/// The PROXY header that an endpoint gets, version 1 as nginx writes it: from the client, to the address of ours that it
/// asked.
fn greeting(source: SocketAddr, local: Option<SocketAddr>) -> Vec<u8> {
    let local = local.map(|local| match (source.ip(), local.ip().to_canonical()) {
        // A line names two addresses of one family.
        (IpAddr::V6(_), IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), local.port()),
        (_, ip) => SocketAddr::new(ip, local.port()),
    });
    let source = match (source.ip(), local.map(|local| local.ip())) {
        (IpAddr::V4(ip), Some(IpAddr::V6(_))) => SocketAddr::new(ip.to_ipv6_mapped().into(), source.port()),
        _ => source,
    };
    let header = local
        .map_or_else(ProxyHeader::with_local, |local| ProxyHeader::with_address(ProxiedAddress::stream(source, local)));
    let mut line = Vec::with_capacity(64);
    header.encode_v1(&mut line).expect("two addresses of one family, and room for them");
    line
}

#[cfg(test)]
mod tests {
    use super::greeting;

    #[test]
    fn a_greeting_names_client_and_own_address_in_one_family() {
        for (source, local, expected) in [
            ("192.0.2.1:4711", "10.0.0.1:9000", "PROXY TCP4 192.0.2.1 10.0.0.1 4711 9000\r\n"),
            ("192.0.2.1:4711", "[::ffff:10.0.0.1]:9000", "PROXY TCP4 192.0.2.1 10.0.0.1 4711 9000\r\n"),
            ("[2001:db8::1]:4711", "[::1]:9000", "PROXY TCP6 2001:db8::1 ::1 4711 9000\r\n"),
            ("[2001:db8::1]:4711", "10.0.0.1:9000", "PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 4711 9000\r\n"),
            ("192.0.2.1:4711", "[::1]:9000", "PROXY TCP6 ::ffff:192.0.2.1 ::1 4711 9000\r\n"),
        ] {
            let parse = |text: &str| text.parse().expect("an address");
            let line = greeting(parse(source), Some(parse(local)));
            assert_eq!(String::from_utf8_lossy(&line), expected);
        }
        assert_eq!(greeting("192.0.2.1:1".parse().expect("an address"), None), b"PROXY UNKNOWN\r\n");
    }
}
