//! One connection of a pod: reads requests as they are on the wire, answers them in turn.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::answer::answer;
use super::{Behaviour, Echo, Shared};

/// Longer bodies are counted and digested, but not kept.
const KEPT: usize = 64 * 1024;

/// A connection and what has been read of it too far.
pub(super) struct Exchange {
    pub(super) stream: TcpStream,
    pub(super) shared: Arc<Shared>,
    buffer: Vec<u8>,
    peer: SocketAddr,
    number: usize,
}

/// What is done after an answer.
#[derive(PartialEq, Eq)]
pub(super) enum Then {
    Continue,
    End,
}

enum Framing {
    Length(usize),
    Chunked,
}

/// FNV-1a, enough to tell bodies apart.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    continue_digest(0xcbf2_9ce4_8422_2325, bytes)
}

fn continue_digest(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

// === impl Exchange ===

impl Exchange {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, number: usize, shared: Arc<Shared>) -> Self {
        Self { stream, shared, buffer: vec![], peer, number }
    }

    /// Serves requests until one side has had enough; an error is a broken request.
    pub(super) async fn run(&mut self) -> Result<()> {
        while let Some((mut echo, framing)) = self.head().await? {
            let mut behaviour = self.shared.behaviour.subscribe();
            let released = behaviour.wait_for(|behaviour| *behaviour != Behaviour::HoldBody).await;
            released.context("the pod is gone")?;
            let early = match &*behaviour.borrow() {
                Behaviour::Early(bytes) => Some(bytes.clone()),
                _ => None,
            };
            if let Some(bytes) = early {
                // Writing fails when the other side has gone, which is its right.
                let _ = self.write(&bytes).await;
                break;
            }
            self.body(&mut echo, framing).await?;
            self.shared.seen.send_modify(|seen| seen.push(echo.clone()));
            let now =
                behaviour.wait_for(|behaviour| *behaviour != Behaviour::Hold).await.context("the pod is gone")?.clone();
            let then = match now {
                Behaviour::Serve | Behaviour::Hold | Behaviour::HoldBody | Behaviour::Early(_) => {
                    answer(self, &echo).await
                }
                Behaviour::Reset | Behaviour::ResetAfterRequest => return Ok(()),
                Behaviour::Close => Ok(Then::End),
                Behaviour::Slow(time) => {
                    tokio::time::sleep(time).await;
                    answer(self, &echo).await
                }
                Behaviour::Raw(bytes) => self.write(&bytes).await.map(|()| Then::Continue),
            };
            if !matches!(then, Ok(Then::Continue)) {
                break;
            }
        }
        // An orderly end: the other side reads all that was sent, then that it was all.
        if self.stream.shutdown().await.is_ok() {
            while self.fill().await.is_ok_and(|count| count > 0) {
                self.buffer.clear();
            }
        }
        Ok(())
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Bytes that came after the last request.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    async fn head(&mut self) -> Result<Option<(Echo, Framing)>> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 256];
            let mut head = httparse::Request::new(&mut headers);
            let status = head.parse(&self.buffer);
            let status =
                status.with_context(|| format!("not a request: {:?}", String::from_utf8_lossy(&self.buffer)))?;
            if let httparse::Status::Complete(length) = status {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let echo = Echo {
                    pod: self.shared.name.clone(),
                    method: head.method.unwrap_or_default().to_owned(),
                    target: head.path.unwrap_or_default().to_owned(),
                    headers: head.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect(),
                    length: 0,
                    digest: digest(b""),
                    body: String::new(),
                    connection: self.number,
                    peer: self.peer,
                };
                self.buffer.drain(..length);
                let framing = framing(&echo)?;
                return Ok(Some((echo, framing)));
            }
            // The other side may end the connection in any way between two requests.
            match self.fill().await {
                Ok(0) | Err(_) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => {
                    bail!("the connection ended in the middle of a head: {:?}", String::from_utf8_lossy(&self.buffer))
                }
                Ok(_) => {}
                Err(error) => return Err(error).context("the connection broke in the middle of a head"),
            }
        }
    }

    async fn body(&mut self, echo: &mut Echo, framing: Framing) -> Result<()> {
        let mut kept = vec![];
        match framing {
            Framing::Length(length) => self.take(length, echo, &mut kept).await?,
            Framing::Chunked => loop {
                let (start, size) = loop {
                    match httparse::parse_chunk_size(&self.buffer) {
                        Ok(httparse::Status::Complete(found)) => break found,
                        Ok(httparse::Status::Partial) => ensure!(self.fill().await? > 0, "a chunked body ended early"),
                        Err(_) => bail!("invalid size of a chunk"),
                    }
                };
                self.buffer.drain(..start);
                let size = usize::try_from(size)?;
                self.take(size, echo, &mut kept).await?;
                self.line_end(size == 0).await?;
                if size == 0 {
                    break;
                }
            },
        }
        if echo.length <= KEPT {
            echo.body = String::from_utf8_lossy(&kept).into_owned();
        }
        Ok(())
    }

    /// The end of a chunk's line; after the last chunk the trailers too.
    async fn line_end(&mut self, last: bool) -> Result<()> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                self.buffer.drain(..end + 2);
                if !last || end == 0 {
                    return Ok(());
                }
            }
            ensure!(self.fill().await? > 0, "a chunked body ended early");
        }
    }

    async fn take(&mut self, length: usize, echo: &mut Echo, kept: &mut Vec<u8>) -> Result<()> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() {
                ensure!(self.fill().await? > 0, "{left} of {length} bytes of a body are missing");
            }
            let part: Vec<u8> = self.buffer.drain(..left.min(self.buffer.len())).collect();
            left -= part.len();
            echo.length += part.len();
            echo.digest = continue_digest(echo.digest, &part);
            if echo.length <= KEPT {
                kept.extend_from_slice(&part);
            }
            self.shared.received.send_modify(|received| *received += part.len());
        }
        Ok(())
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }
}

/// A pod must never be asked in a way that two readers could read differently.
fn framing(echo: &Echo) -> Result<Framing> {
    match (&echo.values("transfer-encoding")[..], &echo.values("content-length")[..]) {
        ([], []) => Ok(Framing::Length(0)),
        (["chunked"], []) => Ok(Framing::Chunked),
        ([], [length]) => Ok(Framing::Length(length.parse()?)),
        (encodings, lengths) => bail!("ambiguous framing: Transfer-Encoding {encodings:?}, Content-Length {lengths:?}"),
    }
}
