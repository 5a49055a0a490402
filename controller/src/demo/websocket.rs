//! WebSocket (RFC 6455), as much of it as an echo and its client need: the handshake's key and single frames.
//!
//! The echo returns frames one by one, so that a message of any length needs memory for one frame only.

use aws_lc_rs::digest;
use http::{HeaderMap, HeaderValue, header};
use k8s_openapi::ByteString;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Largest frame that is taken.
const MAX_FRAME: u64 = 1024 * 1024;

/// Opcode of a text message.
pub(crate) const TEXT: u8 = 0x1;
/// Opcode that ends the conversation.
pub(crate) const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Close codes of RFC 6455 §7.4.1.
const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;

/// A frame, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The FIN bit, the reserved bits and the opcode, as on the wire.
    head: u8,
    pub(crate) payload: Vec<u8>,
}

/// Which side reads or writes: what clients send is masked, what servers send is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// Whether a request asks for this protocol.
pub(crate) fn is_requested(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|protocols| protocols.split(',').any(|name| name.trim().eq_ignore_ascii_case("websocket")))
}

/// The `Sec-WebSocket-Accept` that belongs to a `Sec-WebSocket-Key`, RFC 6455 §4.2.2.
pub(crate) fn accept_key(key: &[u8]) -> HeaderValue {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    // ByteString serialises as base64, which is how Kubernetes writes bytes.
    let encoded = serde_json::to_value(ByteString(context.finish().as_ref().to_vec())).unwrap_or_default();
    HeaderValue::from_str(encoded.as_str().unwrap_or_default()).expect("base64 is a valid header value")
}

/// Sends every message back until the client closes.
pub(crate) async fn echo(mut io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    loop {
        let frame = match Frame::read(&mut io, Side::Client).await {
            Ok(frame) => frame,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Frame::close(PROTOCOL_ERROR).write(&mut io, Side::Server).await;
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Frame::close(TOO_BIG).write(&mut io, Side::Server).await;
            }
            Err(error) => return Err(error),
        };
        match frame.opcode() {
            CLOSE => return frame.write(&mut io, Side::Server).await,
            PING => Frame { head: FINAL | PONG, ..frame }.write(&mut io, Side::Server).await?,
            PONG => {}
            _ => frame.write(&mut io, Side::Server).await?,
        }
    }
}

// === impl Frame ===

impl Frame {
    /// A whole text message.
    pub(crate) fn text(text: &str) -> Self {
        Self { head: FINAL | TEXT, payload: text.as_bytes().to_vec() }
    }

    /// The end, with its reason.
    pub(crate) fn close(code: u16) -> Self {
        Self { head: FINAL | CLOSE, payload: code.to_be_bytes().to_vec() }
    }

    pub(crate) fn opcode(&self) -> u8 {
        self.head & 0x0f
    }

    /// Reads what the other side, `from`, sent. A frame that is masked when it must not be, or the other way round, is
    /// `InvalidData`; one that is too large `FileTooLarge`.
    pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin), from: Side) -> io::Result<Self> {
        let head = io.read_u8().await?;
        let second = io.read_u8().await?;
        if (second & MASKED != 0) != (from == Side::Client) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is masked on the wrong side"));
        }
        let length = match second & !MASKED {
            126 => u64::from(io.read_u16().await?),
            127 => io.read_u64().await?,
            length => u64::from(length),
        };
        if length > MAX_FRAME {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("a frame of {length} bytes is too large")));
        }
        let mut mask = [0; 4];
        if from == Side::Client {
            io.read_exact(&mut mask).await?;
        }
        let mut payload = Vec::new();
        // Grows with what arrives, not with what is announced.
        io.take(length).read_to_end(&mut payload).await?;
        if (payload.len() as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        apply_mask(&mut payload, mask);
        Ok(Self { head, payload })
    }

    /// Writes the frame as this side.
    pub(crate) async fn write(&self, io: &mut (impl AsyncWrite + Unpin), side: Side) -> io::Result<()> {
        let length = self.payload.len();
        let masked = if side == Side::Client { MASKED } else { 0 };
        let mut bytes = vec![self.head];
        if length < 126 {
            bytes.push(masked | u8::try_from(length).expect("it is below 126"));
        } else if let Ok(length) = u16::try_from(length) {
            bytes.push(masked | 126);
            bytes.extend(length.to_be_bytes());
        } else {
            bytes.push(masked | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
        // The mask protects caches from scripts in browsers; a client without scripts may take any.
        let mask = [0x5a, 0x17, 0xc3, 0x88];
        if side == Side::Client {
            bytes.extend(mask);
        }
        let start = bytes.len();
        bytes.extend(&self.payload);
        if side == Side::Client {
            apply_mask(&mut bytes[start..], mask);
        }
        io.write_all(&bytes).await?;
        io.flush().await
    }
}

/// Masks or unmasks, RFC 6455 §5.3.
fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::{CLOSE, Frame, MAX_FRAME, PROTOCOL_ERROR, Side, TOO_BIG, accept_key, echo};
    use tokio::io::{AsyncWriteExt as _, duplex};

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn messages_of_every_length_encoding_come_back() {
        let (mut client, server) = duplex(1024);
        let server = tokio::spawn(echo(server));
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            let sent = Frame::text(&"x".repeat(length));
            let (mut read, mut write) = tokio::io::split(&mut client);
            let (written, received) =
                tokio::join!(sent.write(&mut write, Side::Client), Frame::read(&mut read, Side::Server));
            written.unwrap();
            assert_eq!(received.unwrap(), sent, "{length} bytes");
        }
        Frame::close(1000).write(&mut client, Side::Client).await.unwrap();
        assert_eq!(Frame::read(&mut client, Side::Server).await.unwrap(), Frame::close(1000));
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_does_not_mask_is_told_so() {
        let (mut client, server) = duplex(1024);
        let server = tokio::spawn(echo(server));
        Frame::text("naked").write(&mut client, Side::Server).await.unwrap();
        assert_eq!(Frame::read(&mut client, Side::Server).await.unwrap(), Frame::close(PROTOCOL_ERROR));
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_frame_that_is_too_large_is_refused_before_it_arrives() {
        let (mut client, server) = duplex(1024);
        let server = tokio::spawn(echo(server));
        client.write_all(&[0x82, 0x80 | 127]).await.unwrap();
        client.write_all(&(MAX_FRAME + 1).to_be_bytes()).await.unwrap();
        let answer = Frame::read(&mut client, Side::Server).await.unwrap();
        assert_eq!((answer.opcode(), answer), (CLOSE, Frame::close(TOO_BIG)));
        server.await.unwrap().unwrap();
    }
}
