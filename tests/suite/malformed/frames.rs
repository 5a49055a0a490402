//! HTTP/2 by hand: frames and header blocks in which anything may be wrong.

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use rust_nginx_tests::wait::{self, LONG};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::http2::{Case, Ending};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// A connection after its preface.
pub(super) struct Frames(TcpStream);

/// A frame (RFC 9113 §4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("tests write short frames").to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes()[..], payload].concat()
}

/// Fields as they are, without compression (RFC 7541 §6.2.2).
pub(super) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let text = |text: &[u8]| {
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("tests write short fields");
        [&[length][..], text].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The status in a response's header block: of the static table, or a literal, plain or in Huffman's code (RFC 7541
/// appendix B).
fn status(block: &[u8]) -> Option<u16> {
    let known = [(0x88, 200), (0x89, 204), (0x8a, 206), (0x8b, 304), (0x8c, 400), (0x8d, 404), (0x8e, 500)];
    if let Some((_, status)) = known.iter().find(|(code, _)| block.first() == Some(code)) {
        return Some(*status);
    }
    (100..600).find(|status: &u16| {
        let (mut bits, mut length) = (0u32, 0);
        for digit in status.to_string().bytes() {
            let (code, size) = if digit < b'3' { (digit - b'0', 5) } else { (digit - b'3' + 0x19, 6) };
            (bits, length) = (bits << size | u32::from(code), length + size);
        }
        let padding = (8 - length % 8) % 8;
        let bits = ((bits << padding) | ((1 << padding) - 1)).to_be_bytes();
        let huffman = &bits[4 - (length + padding) / 8..];
        let literal = block.get(1..).unwrap_or_default();
        literal
            .get(1..)
            .is_some_and(|text| text.starts_with(huffman) || text.starts_with(status.to_string().as_bytes()))
    })
}

// === impl Frames ===

impl Frames {
    pub(super) async fn open(to: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(PREFACE).await?;
        stream.write_all(&frame(SETTINGS, 0, 0, b"")).await?;
        Ok(Self(stream))
    }

    /// Sends a case and checks how it ends.
    pub(super) async fn run(&mut self, case: &Case) -> Result<()> {
        // The end may come before all of it was taken.
        let _ = self.0.write_all(&case.bytes).await;
        let ended = wait::at_most(LONG, "waiting for the end of a stream", self.ending()).await?;
        let fits = match (&case.ending, ended) {
            (Ending::Passed(_), Ended::Status(200)) | (Ending::Reset, Ended::Reset) => true,
            // An error of the connection is the harsher answer to one of the stream (RFC 9113 §5.4.2).
            (Ending::Reset | Ending::Gone, Ended::Gone(_)) => true,
            (Ending::Status(statuses), Ended::Status(status)) => statuses.contains(&status),
            _ => false,
        };
        ensure!(fits, "ended with {ended:?}");
        if matches!(case.ending, Ending::Passed(_) | Ending::Status(_) | Ending::Reset)
            && !matches!(ended, Ended::Gone(_))
        {
            return Ok(());
        }
        ensure!(
            matches!(ended, Ended::Gone(reason) if reason != 0),
            "the connection ended without a reason: {ended:?}"
        );
        Ok(())
    }

    async fn ending(&mut self) -> Ended {
        let mut reason = None;
        loop {
            let Ok((kind, stream, payload)) = self.next().await else { return Ended::Gone(reason.unwrap_or_default()) };
            match kind {
                HEADERS if stream == 1 => return Ended::Status(status(&payload).unwrap_or_default()),
                RST_STREAM if stream == 1 => return Ended::Reset,
                GOAWAY => {
                    let code = payload.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
                    reason = code;
                    if code.is_some_and(|code| code != 0) {
                        return Ended::Gone(code.unwrap_or_default());
                    }
                }
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Result<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await?;
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]]))?;
        if length > 1 << 20 {
            bail!("a frame of {length} bytes");
        }
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await?;
        Ok((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }
}

/// What became of the first stream.
#[derive(Clone, Copy, Debug)]
enum Ended {
    Status(u16),
    Reset,
    /// The connection is over, for this reason.
    Gone(u32),
}
