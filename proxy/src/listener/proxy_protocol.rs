//! The PROXY protocol (versions 1 and 2) at the start of a connection: who its client is, said by a proxy before us.
//!
//! What arrives is looked at in the socket, and only what belongs to the header is taken out of it: whatever comes next,
//! TLS or HTTP, reads the socket as if the header had never been there. A header is required where it is switched on;
//! guessing would let clients choose their address.

use crate::worker::Worker;
use proxy_header::{ParseConfig, ProxyHeader};
use std::{io, net::IpAddr};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// What a PROXY header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proxied {
    /// The client.
    pub(crate) source: IpAddr,
    /// Port of the client.
    pub(crate) source_port: u16,
    /// The port that the client asked.
    pub(crate) port: u16,
}

/// Why a connection has no usable PROXY header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadHeader {
    /// It begins with something else, or breaks the grammar.
    #[error("no valid PROXY header")]
    Malformed,
    /// It is longer than anybody needs.
    #[error("PROXY header of more than {LONGEST} bytes")]
    TooLong,
    /// It is not complete in time.
    #[error("PROXY header not complete in time")]
    Late,
    /// The connection ended or broke first.
    #[error(transparent)]
    Io(#[from] io::Error),
}

const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 1: longest line, its end included.
const LONGEST_LINE: usize = 107;
/// Version 2: bytes before the addresses.
const FIXED: usize = 16;
/// As nginx. Addresses need 36 bytes, and the rest is for extensions.
const LONGEST: usize = 4096;
/// Command and version of a connection that the proxy makes for itself.
const LOCAL: u8 = 0x20;

/// Where a header ends, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// After so many bytes, all of which are known to belong to it.
    At(usize),
    /// Not before this many bytes.
    NotBefore(usize),
    /// At the first line end.
    Line,
}

/// Reads the header. `None` is a connection whose client is who it seems: the proxy's own, or one of which it knows
/// nothing (`LOCAL`, `UNKNOWN`).
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<Proxied>, BadHeader> {
    let mut header = Vec::with_capacity(LONGEST_LINE);
    let mut peeked = [0; 512];
    loop {
        let end = end(&header)?;
        let Some(wanted) = end.missing(header.len()) else { return parse(&header) };
        let wanted = wanted.min(peeked.len());
        let there = stream.peek(&mut peeked[..wanted]).await?;
        if there == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let taken = end.part_of(&peeked[..there]);
        let start = header.len();
        header.resize(start + taken, 0);
        stream.read_exact(&mut header[start..]).await?;
    }
}

/// Counts a connection that is closed for its header, and says so now and then: anybody can make us say it.
pub(crate) fn refused(worker: &Worker, peer: IpAddr, error: &BadHeader) {
    match worker.bad_proxy_header() {
        Some(unsaid) => tracing::warn!(%error, %peer, unsaid, "connection closed: PROXY protocol is expected here"),
        None => tracing::debug!(%error, %peer, "connection closed: PROXY protocol is expected here"),
    }
}

/// The same of bytes that are there, so many at a time, for fuzzing: how many belong to the header, and the client.
#[cfg(feature = "fuzzing")]
pub(crate) fn take(bytes: &[u8], piece: usize) -> Option<(usize, Option<IpAddr>)> {
    let mut length = 0;
    loop {
        let end = end(&bytes[..length]).ok()?;
        let Some(wanted) = end.missing(length) else {
            return Some((length, parse(&bytes[..length]).ok()?.map(|proxied| proxied.source)));
        };
        let there = wanted.min(piece).min(bytes.len() - length);
        if there == 0 {
            return None;
        }
        length += end.part_of(&bytes[length..length + there]);
    }
}

// === impl End ===

impl End {
    /// How many bytes may be read after so many without going beyond the end; `None` when it is reached.
    fn missing(self, length: usize) -> Option<usize> {
        match self {
            Self::At(end) if length == end => None,
            Self::At(end) | Self::NotBefore(end) => Some(end - length),
            Self::Line => Some(LONGEST_LINE - length),
        }
    }

    /// How many of the bytes that come next belong to the header.
    fn part_of(self, there: &[u8]) -> usize {
        let line_end = there.iter().position(|&byte| byte == b'\n').filter(|_| self == Self::Line);
        line_end.map_or(there.len(), |position| position + 1)
    }
}

/// What the bytes so far say about the end. Anything that cannot become a header is refused at once.
fn end(header: &[u8]) -> Result<End, BadHeader> {
    let begins = |signature: &[u8]| header.iter().zip(signature).all(|(a, b)| a == b);
    if begins(SIGNATURE_2) && !header.is_empty() {
        if header.len() < FIXED {
            return Ok(End::NotBefore(FIXED));
        }
        let length = FIXED + usize::from(u16::from_be_bytes([header[14], header[15]]));
        return if length <= LONGEST { Ok(End::At(length)) } else { Err(BadHeader::TooLong) };
    }
    if !begins(SIGNATURE_1) {
        return Err(BadHeader::Malformed);
    }
    match header {
        // The first byte tells the versions apart, and both are longer than their signatures.
        _ if header.len() < SIGNATURE_1.len() => Ok(End::NotBefore(SIGNATURE_1.len())),
        [.., b'\n'] => Ok(End::At(header.len())),
        _ if header.len() < LONGEST_LINE => Ok(End::Line),
        _ => Err(BadHeader::Malformed),
    }
}

fn parse(header: &[u8]) -> Result<Option<Proxied>, BadHeader> {
    // Of a local connection the receiver ignores everything else, the family included.
    if header.starts_with(SIGNATURE_2) && header[SIGNATURE_2.len()] == LOCAL {
        return Ok(None);
    }
    match ProxyHeader::parse(header, ParseConfig { include_tlvs: false, ..ParseConfig::default() }) {
        Ok((parsed, length)) if length == header.len() => Ok(parsed.proxied_address().map(|address| Proxied {
            source: address.source.ip().to_canonical(),
            source_port: address.source.port(),
            port: address.destination.port(),
        })),
        Ok(_) | Err(_) => Err(BadHeader::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, SocketAddr};
    use tokio::{
        io::AsyncWriteExt as _,
        net::{TcpListener, TcpSocket},
    };

    /// Sends the pieces one by one, each when the one before was taken, and says what was read and what was left.
    async fn received(pieces: &[&[u8]]) -> (Result<Option<Proxied>, String>, Vec<u8>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let client = TcpSocket::new_v4().expect("a socket");
        client.set_nodelay(true).expect("an option");
        let mut client = client.connect(listener.local_addr().expect("an address")).await.expect("somebody listens");
        let (mut server, _) = listener.accept().await.expect("somebody comes");
        let send = async {
            for piece in pieces {
                if client.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let _ = client.shutdown().await;
        };
        let (header, ()) = tokio::join!(read(&mut server), send);
        let mut rest = Vec::new();
        let _ = server.read_to_end(&mut rest).await;
        (header.map_err(|error| error.to_string()), rest)
    }

    fn version_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [SIGNATURE_2, &[command, family], &length, body].concat()
    }

    fn proxied(source: &str, port: u16) -> Proxied {
        let source: SocketAddr = source.parse().expect("an address");
        Proxied { source: source.ip(), source_port: source.port(), port }
    }

    fn headers() -> Vec<(Vec<u8>, Option<Proxied>)> {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];
        let extended = [&v4[..], &[0x01, 0, 2, b'h', b'2', 0x04, 1, 0], &[0; 256]].concat();
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        v6[32..].copy_from_slice(&[0, 80, 0, 81]);
        vec![
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n".to_vec(), Some(proxied("192.0.2.1:12345", 443))),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 80\r\n".to_vec(), Some(proxied("[2001:db8::1]:1", 80))),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:f::ffff ffff:f::ffff 65535 65535\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &v4), Some(proxied("192.0.2.1:12345", 443))),
            (version_2(0x21, 0x11, &extended), Some(proxied("192.0.2.1:12345", 443))),
            (version_2(0x21, 0x21, &v6), Some(proxied("[2001:db8::]:80", 81))),
            (version_2(0x20, 0x00, &[]), None),
            (version_2(0x20, 0x11, &[1, 2, 3]), None),
            (version_2(0x21, 0x00, &[]), None),
        ]
    }

    #[tokio::test]
    async fn headers_are_read_in_any_pieces_and_nothing_behind_them() {
        for (header, expected) in headers() {
            // Bytes behind the header that look like line ends and headers.
            let all = [&header[..], b"\r\nGET / PROXY TCP4\n"].concat();
            let whole = [&all[..]];
            let bytes: Vec<&[u8]> = all.chunks(1).collect();
            let halves = [&all[..7], &all[7..]];
            for pieces in [&whole[..], &bytes, &halves] {
                let (read, rest) = received(pieces).await;
                assert_eq!(read, Ok(expected), "{:?}", String::from_utf8_lossy(&header));
                assert_eq!(rest, b"\r\nGET / PROXY TCP4\n");
            }
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for bad in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00".to_vec(),
            b"PROXY\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 10.0.0.1 12345 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443 x\r\n".to_vec(),
            b"PROXY TCP5 192.0.2.1 10.0.0.1 12345 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 70000 443\r\n".to_vec(),
            b"proxy TCP4 192.0.2.1 10.0.0.1 12345 443\r\n".to_vec(),
            long.into_bytes(),
            version_2(0x21, 0x11, &[0; 11]),
            version_2(0x22, 0x11, &[0; 12]),
            version_2(0x11, 0x11, &[0; 12]),
            version_2(0x21, 0x41, &[0; 12]),
            version_2(0x21, 0x11, &[0; 5000]),
            b"\r\n\r\n\0\r\nQUIT!".to_vec(),
            // Broken off.
            b"PROXY TCP4 192.0.2.1".to_vec(),
            version_2(0x21, 0x11, &[0; 12])[..20].to_vec(),
            Vec::new(),
        ] {
            let (read, _) = received(&[&bad]).await;
            assert!(read.is_err(), "{:?} gives {read:?}", String::from_utf8_lossy(&bad));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(prefix in prop::sample::select(vec![&b""[..], SIGNATURE_1, SIGNATURE_2, b"PROXY TCP4 "]), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let all = [prefix, &bytes].concat();
            for length in 0..=all.len() {
                if end(&all[..length]).is_ok_and(|end| end == End::At(length)) {
                    drop(parse(&all[..length]));
                }
            }
        }
    }
}
