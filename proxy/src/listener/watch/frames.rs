//! The frames of an HTTP/2 client as they are read (RFC 9113 §4.1): counts those that make work and ask for nothing.
//!
//! hyper and h2 limit header lists, CONTINUATION, streams that are reset before anybody saw them and streams that we
//! reset. Nothing there limits PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, unknown frames, or requests that are
//! taken back as soon as they are under way (CVE-2019-9511 ff., CVE-2023-44487). They have an allowance here that refills
//! with time and with what is worth an answer.

use super::Verdict;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Frames that do nothing, at once; and how many more with every tick of the refill and every request.
const IDLE_FRAMES: u32 = 1000;
const IDLE_FRAMES_PER_TICK: u32 = 5;
const IDLE_FRAMES_PER_REQUEST: u32 = 10;

/// Requests taken back at once; every second request allows for one more.
const RESETS: u32 = 500;
const RESETS_PER_TICK: u32 = 2;

/// A client may ask for more, or measure, once for so many bytes that it was sent.
const BYTES_PER_UPDATE: u64 = 64;

const PREFACE: u8 = 24;
const FRAME_HEADER: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// What a connection may still send. Spent by the watch, refilled by the task of the connection, which has the clock.
#[derive(Debug)]
pub(in crate::listener) struct Allowance {
    idle_frames: AtomicU32,
    resets: AtomicU32,
}

/// Counts on one connection.
#[derive(Debug)]
pub(in crate::listener) struct FrameWatch {
    preface: u8,
    /// Bytes of the current frame's payload that are still to come.
    payload: u32,
    header: [u8; FRAME_HEADER],
    known: u8,
    /// Within a header block.
    block: bool,
    last_stream: u32,
    /// WINDOW_UPDATE and PING so far.
    updates: u64,
    odd: bool,
}

// === impl Allowance ===

impl Default for Allowance {
    fn default() -> Self {
        Self { idle_frames: AtomicU32::new(IDLE_FRAMES), resets: AtomicU32::new(RESETS) }
    }
}

impl Allowance {
    /// True when there is something to refill.
    pub(in crate::listener) fn is_spent(&self) -> bool {
        self.idle_frames.load(Relaxed) < IDLE_FRAMES || self.resets.load(Relaxed) < RESETS
    }

    /// So many ticks have passed.
    pub(in crate::listener) fn refill(&self, ticks: u32) {
        Self::add(&self.idle_frames, ticks.saturating_mul(IDLE_FRAMES_PER_TICK), IDLE_FRAMES);
        Self::add(&self.resets, ticks.saturating_mul(RESETS_PER_TICK), RESETS);
    }

    fn add(cell: &AtomicU32, by: u32, most: u32) {
        let now = cell.load(Relaxed);
        if now < most {
            cell.store(now.saturating_add(by).min(most), Relaxed);
        }
    }

    /// One less, or none left.
    fn spend(cell: &AtomicU32) -> Result<(), Verdict> {
        let left = cell.load(Relaxed).checked_sub(1).ok_or(Verdict::Flood)?;
        cell.store(left, Relaxed);
        Ok(())
    }
}

// === impl FrameWatch ===

impl FrameWatch {
    pub(in crate::listener) fn new() -> Self {
        Self {
            preface: PREFACE,
            payload: 0,
            header: [0; FRAME_HEADER],
            known: 0,
            block: false,
            last_stream: 0,
            updates: 0,
            odd: false,
        }
    }

    /// Something has begun and is not complete: the preface, a frame or a header block.
    pub(in crate::listener) fn is_inside(&self) -> bool {
        self.preface > 0 || self.payload > 0 || self.known > 0 || self.block
    }

    /// Looks at what was read; `written` is how many bytes the client has been sent so far.
    pub(in crate::listener) fn see(
        &mut self,
        mut bytes: &[u8],
        allowance: &Allowance,
        written: u64,
    ) -> Result<(), Verdict> {
        if self.preface > 0 {
            let preface = usize::from(self.preface).min(bytes.len());
            self.preface -= u8::try_from(preface).unwrap_or(self.preface);
            bytes = &bytes[preface..];
        }
        while !bytes.is_empty() {
            if self.payload > 0 {
                let payload = (self.payload as usize).min(bytes.len());
                self.payload -= u32::try_from(payload).unwrap_or(self.payload);
                bytes = &bytes[payload..];
                continue;
            }
            let known = usize::from(self.known);
            let more = (FRAME_HEADER - known).min(bytes.len());
            self.header[known..known + more].copy_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
            if known + more < FRAME_HEADER {
                self.known += u8::try_from(more).unwrap_or_default();
                return Ok(());
            }
            self.known = 0;
            self.frame(allowance, written)?;
        }
        Ok(())
    }

    /// A frame begins.
    fn frame(&mut self, allowance: &Allowance, written: u64) -> Result<(), Verdict> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.payload = u32::from_be_bytes([0, a, b, c]);
        match kind {
            DATA if self.payload > 0 && flags & PADDED == 0 => Ok(()),
            DATA if flags & END_STREAM != 0 => Ok(()),
            HEADERS => {
                self.block = flags & END_HEADERS == 0;
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                if stream > self.last_stream {
                    self.last_stream = stream;
                    self.request(allowance);
                }
                Ok(())
            }
            RST_STREAM => Allowance::spend(&allowance.resets),
            PING | WINDOW_UPDATE => {
                self.updates += 1;
                if self.updates.saturating_mul(BYTES_PER_UPDATE) <= written {
                    return Ok(());
                }
                Allowance::spend(&allowance.idle_frames)
            }
            CONTINUATION => {
                self.block = flags & END_HEADERS == 0;
                Allowance::spend(&allowance.idle_frames)
            }
            // Empty or padded DATA, PRIORITY, SETTINGS, GOAWAY, and what nobody knows.
            _ => Allowance::spend(&allowance.idle_frames),
        }
    }

    fn request(&mut self, allowance: &Allowance) {
        Allowance::add(&allowance.idle_frames, IDLE_FRAMES_PER_REQUEST, IDLE_FRAMES);
        self.odd = !self.odd;
        if self.odd {
            Allowance::add(&allowance.resets, 1, RESETS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// How many times `frames` pass after the preface.
    fn passes(frames: &[u8], most: u32, written: u64) -> u32 {
        let (mut watch, allowance) = (FrameWatch::new(), Allowance::default());
        watch.see(&[0; 24], &allowance, 0).expect("the preface passes");
        (0..most).take_while(|_| watch.see(frames, &allowance, written).is_ok()).count().try_into().expect("few")
    }

    #[test]
    fn frames_that_do_nothing_run_out() {
        for (kind, flags, payload) in [
            (DATA, 0, &b""[..]),
            (DATA, PADDED, b"\x02\0\0"),
            (0x2, 0, b"\0\0\0\0\0"),
            (0x4, 0, b""),
            (0x4, 1, b""),
            (PING, 0, b"12345678"),
            (PING, 1, b"12345678"),
            (WINDOW_UPDATE, 0, b"\0\0\0\x01"),
            (CONTINUATION, 0, b"x"),
            (0xbb, 0, b"unknown"),
        ] {
            assert_eq!(passes(&frame(kind, flags, 1, payload), 5000, 0), IDLE_FRAMES, "{kind:x} {flags:x}");
        }
        assert_eq!(passes(&frame(RST_STREAM, 0, 1, b"\0\0\0\0"), 5000, 0), RESETS);
    }

    #[test]
    fn what_is_worth_something_does_not() {
        assert_eq!(passes(&frame(DATA, 0, 1, b"x"), 5000, 0), 5000);
        assert_eq!(passes(&frame(DATA, END_STREAM, 1, b""), 5000, 0), 5000);
        assert_eq!(passes(&frame(HEADERS, END_HEADERS | END_STREAM, 1, b"x"), 5000, 0), 5000);
        assert_eq!(passes(&frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"), 5000, 5000 * BYTES_PER_UPDATE), 5000);
    }

    #[test]
    fn every_second_request_may_be_taken_back() {
        let (mut watch, allowance) = (FrameWatch::new(), Allowance::default());
        watch.see(&[0; 24], &allowance, 0).expect("the preface passes");
        let mut taken_back = 0;
        for stream in (1..).step_by(2) {
            let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, b"x");
            both.extend(frame(RST_STREAM, 0, stream, b"\0\0\0\x08"));
            if watch.see(&both, &allowance, 0).is_err() {
                break;
            }
            taken_back += 1;
        }
        assert!((2 * RESETS - 2..=2 * RESETS + 2).contains(&taken_back), "{taken_back}");
        allowance.refill(10);
        // Nobody goes on with a watch that has objected.
        let mut watch = FrameWatch::new();
        watch.see(&[0; 24], &allowance, 0).expect("the preface passes");
        assert!((0..10 * RESETS_PER_TICK).all(|_| watch.see(&frame(RST_STREAM, 0, 1, b"1234"), &allowance, 0).is_ok()));
        assert!(watch.see(&frame(RST_STREAM, 0, 1, b"1234"), &allowance, 0).is_err());
    }

    #[test]
    fn pieces_make_no_difference_and_nothing_is_left_open() {
        let mut bytes = vec![0; 24];
        bytes.extend(frame(0x4, 0, 0, b"123456"));
        bytes.extend(frame(HEADERS, END_STREAM, 1, b"123"));
        let block = bytes.len();
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, b""));
        bytes.extend(frame(PING, 0, 0, b"12345678"));
        for piece in 1..bytes.len() {
            let (mut watch, allowance) = (FrameWatch::new(), Allowance::default());
            let mut seen = 0;
            for part in bytes.chunks(piece) {
                watch.see(part, &allowance, 0).expect("few frames pass");
                seen += part.len();
                assert!(seen != block || watch.is_inside());
            }
            assert!(!watch.is_inside());
            assert_eq!(allowance.idle_frames.load(Relaxed), IDLE_FRAMES - 2, "in pieces of {piece}");
        }
    }
}
