//! What reads the bytes of strangers, for fuzz/: built with the feature `fuzzing` alone.

use crate::{
    listener::{proxy_protocol, watched},
    stream::passthrough::Hello,
    table::HeadLimits,
    upstream, variable,
};
use bytes::Buf as _;
use http::{HeaderMap, HeaderValue, header};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Shows bytes to the watch over heads, in pieces: from which byte on it held them back, and why.
#[must_use]
pub fn heads(limits: HeadLimits, bytes: &[u8], piece: usize) -> Option<(usize, u8)> {
    watched::heads(limits, bytes, piece)
}

/// Shows bytes to the watch over frames, in pieces: whether it is a flood, and whether something is incomplete.
#[must_use]
pub fn frames(bytes: &[u8], piece: usize) -> (bool, bool) {
    watched::frames(bytes, piece)
}

pub use upstream::http1::FuzzedResponse;

/// Reads a response of HTTP/1.1 from bytes that come in pieces; `None` when it is none, or its head is not complete.
#[must_use]
pub fn response(bytes: &[u8], piece: usize, after_head: bool) -> Option<FuzzedResponse> {
    upstream::http1::respond(bytes, piece, after_head)
}

/// Reads a PROXY header from the beginning of the bytes, as it is read from a socket that has so many of them at a time:
/// how many belong to it, and the client's address if it names one.
#[must_use]
pub fn proxy_header(bytes: &[u8], piece: usize) -> Option<(usize, Option<std::net::IpAddr>)> {
    proxy_protocol::take(bytes, piece)
}

/// The names and values of the cookies in one line; `None` where it is no value of a field.
#[must_use]
pub fn cookies(line: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut headers = HeaderMap::new();
    headers.append(header::COOKIE, HeaderValue::from_bytes(line).ok()?);
    Some(variable::cookies(&headers).map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
}

/// Reads a ClientHello that comes in pieces: the server name that it has, if it is one; and what was answered if not.
///
/// # Errors
/// When it is none; with the alert.
pub fn server_name(bytes: &[u8], piece: usize) -> Result<Option<String>, Vec<u8>> {
    let mut wire = Wire { rest: bytes, piece, answered: Vec::new() };
    let read = {
        let mut read = std::pin::pin!(Hello::read(&mut wire));
        match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => read,
            Poll::Pending => unreachable!("the wire has always something to say"),
        }
    };
    match read {
        Ok(hello) => Ok(hello.accepted.client_hello().server_name().map(str::to_owned)),
        Err(_) => Err(wire.answered),
    }
}

/// A connection that brings bytes in pieces, and then its end.
struct Wire<'a> {
    rest: &'a [u8],
    piece: usize,
    answered: Vec<u8>,
}

// === impl Wire ===

impl AsyncRead for Wire<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let length = this.piece.min(this.rest.len()).min(buf.remaining());
        buf.put_slice(&this.rest[..length]);
        this.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().answered.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
