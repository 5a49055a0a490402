//! Sockets: one per worker and address, sharing the port.

use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
};

/// What the kernel may queue per socket; it applies its own limit (`net.core.somaxconn`) below that.
const BACKLOG: i32 = 4096;

/// Binds `address` once per worker. Port 0 picks one free port for all of them.
///
/// # Errors
/// When the address cannot be bound, in particular when anybody else listens there: `SO_REUSEPORT` alone would share
/// the port silently with another process of the same user.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let probe = socket(address, Type::STREAM)?;
    probe.bind(&address.into())?;
    probe.listen(1)?;
    let bound = probe.local_addr()?.as_socket().ok_or_else(|| io::Error::other("the socket has no IP address"))?;
    drop(probe);
    (0..workers)
        .map(|_| {
            let socket = socket(bound, Type::STREAM)?;
            socket.set_reuse_port(true)?;
            // Accepted sockets inherit it on Linux: one system call less per connection.
            socket.set_tcp_nodelay(true)?;
            socket.bind(&bound.into())?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
        .collect()
}

/// The same for datagrams.
pub(crate) fn bind_udp(address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    // Without sharing the port: whoever else has it is found out.
    socket(address, Type::DGRAM)?.bind(&address.into())?;
    (0..workers)
        .map(|_| {
            let socket = socket(address, Type::DGRAM)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
        .collect()
}

fn socket(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        // IPv4 has its own socket, so that the two can be bound in any order.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// The wildcard addresses of both families, or of IPv4 alone where the machine has no IPv6.
#[must_use]
pub fn unspecified(port: u16, ipv6: bool) -> Vec<SocketAddr> {
    let mut addresses = vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
    if ipv6 && Socket::new(Domain::IPV6, Type::STREAM, None).is_ok() {
        addresses.push(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The socket of IPv6 is for IPv6 alone, or the two would be in each other's way.
    #[test]
    fn datagrams_come_over_both_families() {
        // Somebody else may be quicker with a port that was free.
        let bound = (0..20).any(|_| {
            let free =
                UdpSocket::bind("[::]:0").expect("this machine has IPv6").local_addr().expect("it is bound").port();
            let both =
                [SocketAddr::from((Ipv4Addr::UNSPECIFIED, free)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, free))];
            let sockets: Vec<_> = both.iter().map(|address| bind_udp(*address, 2)).collect();
            sockets.iter().all(Result::is_ok)
        });
        assert!(bound);
    }

    #[test]
    fn a_port_that_somebody_has_is_not_shared() {
        let other = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let error = bind_udp(other.local_addr().expect("it is bound"), 1).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
