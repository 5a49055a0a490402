//! WebSocket as a client, as far as proxies care: the handshake of RFC 6455 and
//! short text messages, masked on the way there.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Answer, Connection, Request, Wire};
use crate::wait;

/// The example of RFC 6455 §1.3: a key and what the server must make of it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// See [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// An open WebSocket.
pub struct WebSocket {
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
    /// The answer that opened it.
    pub opening: Answer,
}

// === impl WebSocket ===

impl WebSocket {
    /// Opens one over plain HTTP.
    ///
    /// # Errors
    /// When the server does not switch protocols.
    pub async fn open(to: SocketAddr, host: &str, target: &str) -> Result<Self> {
        Self::over(Connection::open(to).await?, host, target).await
    }

    /// Opens one on a connection that exists.
    ///
    /// # Errors
    /// When the server does not switch protocols.
    pub async fn over(mut connection: Connection, host: &str, target: &str) -> Result<Self> {
        let request = Request::get(host, target)
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", KEY);
        let opening = connection.send(&request).await?.expect(101)?;
        ensure!(
            opening.header("sec-websocket-accept") == Some(ACCEPT),
            "wrong Sec-WebSocket-Accept: {}",
            opening.summary()
        );
        let (wire, buffer) = connection.into_wire();
        Ok(Self { wire, buffer, opening })
    }

    /// Sends a text and expects the same text back.
    ///
    /// # Errors
    /// When something else comes.
    pub async fn round_trip(&mut self, text: &str) -> Result<()> {
        self.wire.write_all(&frame(TEXT, text)).await?;
        let (kind, payload) = self.next().await?;
        ensure!(kind == TEXT && payload == text.as_bytes(), "expected {text:?} back, got {kind:#x} {payload:?}");
        Ok(())
    }

    /// Closes it as the protocol says.
    ///
    /// # Errors
    /// When the other side does not do its part.
    pub async fn close(mut self) -> Result<()> {
        self.wire.write_all(&frame(CLOSE, "")).await?;
        let (kind, _) = self.next().await?;
        ensure!(kind == CLOSE, "expected a closing frame, got {kind:#x}");
        Ok(())
    }

    /// Waits for the end of the connection without a word.
    ///
    /// # Errors
    /// When something comes.
    pub async fn cut(mut self) -> Result<()> {
        match self.wire.read(&mut [0; 1]).await {
            Ok(0) | Err(_) => Ok(()),
            Ok(_) => anyhow::bail!("the server said something instead of closing"),
        }
    }

    async fn next(&mut self) -> Result<(u8, Vec<u8>)> {
        wait::at_most(wait::LONG, "waiting for a WebSocket message", async {
            loop {
                if let [kind, length, rest @ ..] = &self.buffer[..] {
                    let length = usize::from(*length);
                    if rest.len() >= length {
                        let found = (*kind, rest[..length].to_vec());
                        self.buffer.drain(..2 + length);
                        return Ok(found);
                    }
                }
                let count = self.wire.read_buf(&mut self.buffer).await.context("the WebSocket broke")?;
                ensure!(count > 0, "the WebSocket was closed");
            }
        })
        .await?
    }
}

/// A frame of a client. The mask is not random: nothing here depends on it.
fn frame(kind: u8, text: &str) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("messages of tests are short");
    let mut frame = vec![kind, 0x80 | length];
    frame.extend(MASK);
    frame.extend(text.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
