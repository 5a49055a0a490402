//! What a pod answers when it behaves.
//!
//! | target | answer |
//! |---|---|
//! | `/pod/bytes/N` | N bytes with a Content-Length |
//! | `/pod/pattern/N` | the same, of [`pattern`] |
//! | `/pod/status/N` | an empty answer of that status |
//! | `/pod/headers` | many headers, some of which a proxy must not pass on |
//! | `/pod/parts` | a chunked `first `, and when the test opens a gate, `second` |
//! | `/pod/endless` | a chunked body without an end |
//! | `/pod/until-close` | a body that ends with the connection |
//! | with `Upgrade: websocket` | a WebSocket that sends every text back |
//! | with another `Upgrade` | 101, then every byte back |
//! | all others | an [`Echo`] in JSON |

use std::io::{Error, Result};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Echo;
use super::exchange::{Exchange, Then};
use crate::client::websocket::{ACCEPT, KEY};

/// Answers one request.
pub(super) async fn answer(exchange: &mut Exchange, echo: &Echo) -> Result<Then> {
    if let Some(protocol) = echo.values("upgrade").first() {
        return upgrade(exchange, echo, protocol).await;
    }
    let path = echo.target.split('?').next().unwrap_or_default();
    if let Some(count) = path.strip_prefix("/pod/bytes/").and_then(|count| count.parse().ok()) {
        return bytes(exchange, echo, &vec![b'x'; count]).await;
    }
    if let Some(count) = path.strip_prefix("/pod/pattern/").and_then(|count| count.parse().ok()) {
        return bytes(exchange, echo, &pattern(count)).await;
    }
    if let Some(status) = path.strip_prefix("/pod/status/") {
        exchange.write(format!("HTTP/1.1 {status} Chosen\r\nContent-Length: 0\r\n\r\n").as_bytes()).await?;
        return Ok(Then::Continue);
    }
    match path {
        "/pod/headers" => {
            let head = "HTTP/1.1 200 OK\r\nServer: pod/1\r\nX-Powered-By: pod\r\nX-Accel-Buffering: no\r\n\
                        Strict-Transport-Security: max-age=1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                        Location: http://elsewhere.test/\r\nX-Pad: x\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
                        Keep-Alive: timeout=9\r\nETag: \"e\"\r\nContent-Length: 2\r\n\r\nok";
            exchange.write(head.as_bytes()).await?;
        }
        "/pod/parts" => {
            exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst \r\n").await?;
            let mut gates = exchange.shared.gates.subscribe();
            gates.wait_for(|open| *open > 0).await.map_err(Error::other)?;
            exchange.write(b"6\r\nsecond\r\n0\r\n\r\n").await?;
        }
        "/pod/endless" => {
            exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
            loop {
                exchange.write(&chunk).await?;
                exchange.shared.sent.send_modify(|sent| *sent += 0x4000);
            }
        }
        "/pod/until-close" => {
            exchange.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end").await?;
            return Ok(Then::End);
        }
        _ => {
            let body = serde_json::to_string(echo)?;
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            let body = if echo.method == "HEAD" { "" } else { &body };
            exchange.write((head + body).as_bytes()).await?;
        }
    }
    Ok(Then::Continue)
}

/// Bytes of which no part looks like another, nor like those of another length.
#[must_use]
pub fn pattern(length: usize) -> Vec<u8> {
    let words = (length as u64..).map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    words.flatten().take(length).collect()
}

async fn bytes(exchange: &mut Exchange, echo: &Echo, bytes: &[u8]) -> Result<Then> {
    exchange.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()).as_bytes()).await?;
    if echo.method != "HEAD" {
        for part in bytes.chunks(0x10000) {
            exchange.write(part).await?;
            exchange.shared.sent.send_modify(|sent| *sent += part.len());
        }
    }
    Ok(Then::Continue)
}

async fn upgrade(exchange: &mut Exchange, echo: &Echo, protocol: &str) -> Result<Then> {
    if protocol != "websocket" {
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n\r\n");
        exchange.write(head.as_bytes()).await?;
        let early = exchange.take_buffer();
        exchange.write(&early).await?;
        let (mut read, mut write) = exchange.stream.split();
        tokio::io::copy(&mut read, &mut write).await?;
        return Ok(Then::End);
    }
    if echo.values("sec-websocket-key") != [KEY] {
        exchange.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await?;
        return Ok(Then::Continue);
    }
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    exchange.write(head.as_bytes()).await?;
    let mut buffer = exchange.take_buffer();
    loop {
        // Frames of clients are masked, ours are not; tests keep them short.
        while let [kind, length, a, b, c, d, rest @ ..] = &buffer[..] {
            let length = usize::from(length & 0x7f);
            if rest.len() < length {
                break;
            }
            let mut frame = vec![*kind, u8::try_from(length).map_err(Error::other)?];
            frame.extend(rest[..length].iter().zip([a, b, c, d].into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
            let close = kind & 0x0f == 8;
            buffer.drain(..6 + length);
            exchange.stream.write_all(&frame).await?;
            if close {
                return Ok(Then::End);
            }
        }
        if exchange.stream.read_buf(&mut buffer).await? == 0 {
            return Ok(Then::End);
        }
    }
}
