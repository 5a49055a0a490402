//! Just enough HTTP/2 to have one GET after another answered on a blocking stream.
//!
//! A general client brings a runtime, a task and several wake-ups to each request, which at tens of
//! thousands of requests per second takes the cores away from what is measured. The peer is told
//! to use no dynamic table, so that a header block can be read without keeping state.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};

use super::{BUFFER, Reply, USER_AGENT, read};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;
/// Both windows: more than all bodies of a short run, so that they rarely need to be opened again.
const WINDOW: u32 = 1 << 30;
/// RFC 9113 §6.9.2: what a connection may send before any WINDOW_UPDATE.
const FIRST_WINDOW: u32 = 65_535;

/// Frame types, RFC 9113 §6.
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
}

/// Frame flags; ACK and END_STREAM share a bit.
mod flag {
    pub(super) const ACK: u8 = 0x1;
    pub(super) const END_STREAM: u8 = 0x1;
    pub(super) const END_HEADERS: u8 = 0x4;
    pub(super) const PADDED: u8 = 0x8;
    pub(super) const PRIORITY: u8 = 0x20;
}

/// One connection.
pub(crate) struct Http2<S> {
    stream: S,
    next_stream: u32,
    /// What has been received and not yet been looked at: `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Body bytes since the windows were last opened.
    consumed: u32,
    /// Bytes that go out with the next write.
    out: Vec<u8>,
}

/// One frame, its payload in the buffer.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    start: usize,
    length: usize,
}

// === impl Http2 ===

impl<S: Read + Write> Http2<S> {
    /// Takes over a stream on which `h2` has been agreed.
    pub(super) fn new(stream: S) -> Self {
        let mut out = PREFACE.to_vec();
        let settings: [(u16, u32); 3] = [(1, 0), (2, 0), (4, WINDOW)];
        frame(&mut out, kind::SETTINGS, 0, 0, |out| {
            for (name, value) in settings {
                out.extend(name.to_be_bytes());
                out.extend(value.to_be_bytes());
            }
        });
        window_update(&mut out, 0, WINDOW - FIRST_WINDOW);
        Self { stream, next_stream: 1, buffer: vec![0; BUFFER], start: 0, end: 0, consumed: 0, out }
    }

    pub(super) fn exchange(&mut self, host: &str, target: &str, sink: &mut dyn FnMut(&[u8])) -> Result<Reply> {
        let id = self.next_stream;
        self.next_stream += 2;
        let flags = flag::END_STREAM | flag::END_HEADERS;
        frame(&mut self.out, kind::HEADERS, flags, id, |out| request(out, host, target));
        self.send()?;
        let mut status = None;
        loop {
            let frame = self.frame()?;
            let payload = frame.start..frame.start + frame.length;
            match frame.kind {
                kind::DATA if frame.stream == id => {
                    let body = unpadded(&self.buffer[payload], frame.flags & flag::PADDED)?;
                    sink(body);
                    self.consumed += u32::try_from(frame.length).expect("a frame fits the buffer");
                }
                kind::HEADERS if frame.stream == id => {
                    if frame.flags & flag::END_HEADERS == 0 {
                        bail!("a header block of more than one frame");
                    }
                    let block = unpadded(&self.buffer[payload], frame.flags & flag::PADDED)?;
                    let priority = if frame.flags & flag::PRIORITY == 0 { 0 } else { 5 };
                    let block = block.get(priority..).context("a HEADERS frame without a header block")?;
                    // A second block on the stream holds trailers.
                    status = status.or(Some(read_status(block)?));
                }
                kind::SETTINGS if frame.flags & flag::ACK == 0 => {
                    self::frame(&mut self.out, kind::SETTINGS, flag::ACK, 0, |_| {});
                }
                kind::PING if frame.flags & flag::ACK == 0 => {
                    let data = self.buffer[payload].to_vec();
                    self::frame(&mut self.out, kind::PING, flag::ACK, 0, |out| out.extend(&data));
                }
                kind::RST_STREAM if frame.stream == id => bail!("the stream was reset"),
                kind::GOAWAY => bail!("the connection was given up"),
                // What concerns no request of ours (sent windows, settings acknowledged, …).
                _ => {}
            }
            let ends = matches!(frame.kind, kind::DATA | kind::HEADERS) && frame.flags & flag::END_STREAM != 0;
            if ends && frame.stream == id {
                break;
            }
        }
        if self.consumed > WINDOW / 4 {
            window_update(&mut self.out, 0, self.consumed);
            self.consumed = 0;
        }
        self.send()?;
        Ok(Reply { status: status.context("an answer without a header block")?, hsts: None })
    }

    fn send(&mut self) -> Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).and_then(|()| self.stream.flush()).context("send frames")?;
            self.out.clear();
        }
        Ok(())
    }

    /// Waits for one complete frame.
    fn frame(&mut self) -> Result<Frame> {
        let head: [u8; FRAME_HEADER] = self.fill(FRAME_HEADER)?.try_into().expect("filled to its length");
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if FRAME_HEADER + length > self.buffer.len() {
            bail!("a frame of {length} bytes, more than was allowed");
        }
        self.fill(FRAME_HEADER + length)?;
        let start = self.start + FRAME_HEADER;
        self.start = start + length;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
        Ok(Frame { kind: head[3], flags: head[4], stream, start, length })
    }

    /// Reads until `count` bytes are there, and returns them.
    fn fill(&mut self, count: usize) -> Result<&[u8]> {
        if self.start + count > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < count {
            // While nothing is kept there is no reason to move on in the buffer.
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
            }
            self.end += read(&mut self.stream, &mut self.buffer[self.end..])?;
        }
        Ok(&self.buffer[self.start..self.start + count])
    }
}

/// Appends a frame whose payload is what `payload` appends.
fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0, 0, 0, kind, flags]);
    out.extend(stream.to_be_bytes());
    payload(out);
    let length = u32::try_from(out.len() - start - FRAME_HEADER).expect("our frames are small");
    out[start..start + 3].copy_from_slice(&length.to_be_bytes()[1..]);
}

fn window_update(out: &mut Vec<u8>, stream: u32, more: u32) {
    frame(out, kind::WINDOW_UPDATE, 0, stream, |out| out.extend(more.to_be_bytes()));
}

/// The header block of a GET: indexed fields and literals that enter no table (RFC 7541 §6).
fn request(out: &mut Vec<u8>, host: &str, target: &str) {
    const METHOD_GET: u8 = 0x82;
    const SCHEME_HTTPS: u8 = 0x87;
    const AUTHORITY: &[u8] = &[0x01];
    const PATH: &[u8] = &[0x04];
    const ACCEPT: &[u8] = &[0x0f, 19 - 15];
    const AGENT: &[u8] = &[0x0f, 58 - 15];
    out.extend([METHOD_GET, SCHEME_HTTPS]);
    for (name, value) in [(AUTHORITY, host), (PATH, target), (ACCEPT, "*/*"), (AGENT, USER_AGENT)] {
        out.extend(name);
        // All our values are far shorter than the 127 bytes from which a length takes more.
        out.push(u8::try_from(value.len()).expect("short") & 0x7f);
        out.extend(value.as_bytes());
    }
}

/// The payload without padding, when there is some.
fn unpadded(payload: &[u8], padded: u8) -> Result<&[u8]> {
    if padded == 0 {
        return Ok(payload);
    }
    let (&padding, rest) = payload.split_first().context("a padded frame without a length")?;
    let length = rest.len().checked_sub(padding.into()).context("more padding than frame")?;
    Ok(&rest[..length])
}

/// The status, which is the first field of an answer. All statuses that a measurement can use are
/// single entries of the static table (RFC 7541, appendix A).
fn read_status(block: &[u8]) -> Result<u16> {
    let mut bytes = block.iter().copied();
    let mut field = bytes.next();
    // Changes of the table size may stand before the first field: a prefix of five bits, and where
    // those are all set more bytes, of which the last has its highest bit clear (RFC 7541 §4.2, §5.1).
    while let Some(byte) = field.filter(|byte| byte & 0xe0 == 0x20) {
        let mut more = byte == 0x3f;
        while more {
            more = bytes.next().is_some_and(|byte| byte & 0x80 != 0);
        }
        field = bytes.next();
    }
    Ok(match field {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8a) => 206,
        Some(0x8b) => 304,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        Some(byte) => bail!("the answer begins with field {byte:#04x}, which is none of the usual statuses"),
        None => bail!("an empty header block"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that replays an answer and keeps what is sent.
    struct Replay {
        answer: std::io::Cursor<Vec<u8>>,
        sent: Vec<u8>,
    }

    impl Read for Replay {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            // One byte at a time: every boundary falls inside something.
            let length = buffer.len().min(1);
            self.answer.read(&mut buffer[..length])
        }
    }

    impl Write for Replay {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.sent.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn answer(build: impl FnOnce(&mut Vec<u8>)) -> Http2<Replay> {
        let mut answer = Vec::new();
        build(&mut answer);
        Http2::new(Replay { answer: std::io::Cursor::new(answer), sent: Vec::new() })
    }

    #[test]
    fn an_answer_between_other_frames() {
        let mut connection = answer(|out| {
            frame(out, kind::SETTINGS, 0, 0, |out| out.extend([0, 3, 0, 0, 0, 128]));
            frame(out, kind::HEADERS, flag::END_HEADERS | flag::PADDED, 1, |out| {
                out.extend([2, 0x20, 0x88, 0, 0]);
            });
            frame(out, kind::PING, 0, 0, |out| out.extend(b"12345678"));
            frame(out, kind::DATA, 0, 1, |out| out.extend(b"hel"));
            frame(out, kind::DATA, flag::END_STREAM, 1, |out| out.extend(b"lo"));
        });
        let mut body = Vec::new();
        let reply = connection.exchange("a.example", "/", &mut |bytes| body.extend(bytes)).unwrap();
        assert_eq!((reply.status, body.as_slice()), (200, b"hello".as_slice()));
        let sent = &connection.stream.sent;
        assert!(sent.starts_with(PREFACE));
        assert!(sent.ends_with(b"\x00\x00\x08\x06\x01\x00\x00\x00\x0012345678"), "the PING is answered: {sent:?}");
    }

    #[test]
    fn a_reset_is_an_error() {
        let mut connection = answer(|out| frame(out, kind::RST_STREAM, 0, 1, |out| out.extend([0, 0, 0, 7])));
        let error = connection.exchange("a.example", "/", &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "the stream was reset");
    }

    #[test]
    fn a_frame_may_be_longer_than_the_rest_of_the_buffer() {
        let body = vec![b'x'; 16_384];
        let mut connection = answer(|out| {
            frame(out, kind::HEADERS, flag::END_HEADERS, 1, |out| out.push(0x88));
            for _ in 0..9 {
                frame(out, kind::DATA, 0, 1, |out| out.extend(&body));
            }
            frame(out, kind::DATA, flag::END_STREAM, 1, |_| {});
        });
        let mut length = 0;
        connection.exchange("a.example", "/", &mut |bytes| length += bytes.len()).unwrap();
        assert_eq!(length, 9 * body.len());
    }

    #[test]
    fn statuses() {
        assert_eq!(read_status(&[0x88, 0x61]).unwrap(), 200);
        assert_eq!(read_status(&[0x20, 0x88]).unwrap(), 200, "after a change of the table size");
        assert_eq!(read_status(&[0x3f, 0xe1, 0x1f, 0x8d]).unwrap(), 404, "after a larger one");
        assert!(read_status(&[0x48, 0x82, 0x64, 0x02]).is_err());
        assert!(read_status(&[]).is_err());
    }
}
