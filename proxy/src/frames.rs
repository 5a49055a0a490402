//! The frames of an HTTP/2 connection as they are read (RFC 9113 §4.1): counts those that make work and ask for nothing,
//! of clients and of endpoints.
//!
//! hyper and h2 limit header lists, CONTINUATION, streams that are reset before anybody saw them and streams that we
//! reset. Nothing there limits PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, unknown frames, requests that are
//! taken back as soon as they are under way (CVE-2019-9511 ff., CVE-2023-44487), or interim responses. They have an
//! allowance here that refills with time and with what is worth an answer.
//!
//! Must not know: sockets, clocks, what becomes of a connection whose allowance is used up.

use h2::Reason;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Frames that do nothing, at once; and how many more with every tick of the refill and every request.
const IDLE_FRAMES: u32 = 1000;
const IDLE_FRAMES_PER_TICK: u32 = 5;
const IDLE_FRAMES_PER_REQUEST: u32 = 10;

/// Requests taken back at once; every second request of a client allows for one more, and every request to an endpoint,
/// which may refuse it, or end it as soon as it has answered.
const RESETS: u32 = 500;
const RESETS_PER_TICK: u32 = 2;

/// A client may ask for more, or measure, once for so many bytes that it was sent.
const BYTES_PER_UPDATE: u64 = 64;

/// The same for an endpoint, where answers to its own frames do not count. It is less, because many requests share the
/// connection, and some servers ask for more on both levels and measure, all that with every message: one of a single
/// byte is 15 in gRPC.
const BYTES_PER_UPDATE_TO_ENDPOINT: u64 = 5;

/// What a PING and a SETTINGS frame are answered with.
const PING_ANSWER: u64 = 17;
const SETTINGS_ANSWER: u64 = 9;

/// A padded DATA frame up to this length may be padding alone (RFC 9113 §6.1).
const MOST_PADDING: u32 = 256;

const PREFACE: u8 = 24;
const FRAME_HEADER: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// More than the allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more frames that do nothing than a connection may send")]
pub(crate) struct Flood;

/// What a connection may still send. Spent by the watch, refilled by whoever has the clock.
#[derive(Debug)]
pub(crate) struct Allowance {
    idle_frames: AtomicU32,
    resets: AtomicU32,
}

/// Counts on one connection.
#[derive(Debug)]
pub(crate) struct FrameWatch {
    sender: Sender,
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
    /// Bytes with which frames were answered that ask for nothing else.
    answers: u64,
    odd: bool,
}

/// Counts streams that we reset for a mistake of the client, as they are written. h2 does that by itself: a malformed
/// request reaches nobody else.
#[derive(Debug, Default)]
pub(crate) struct ResetWatch {
    /// Bytes before the next frame.
    ahead: usize,
    /// The beginning of a frame came in pieces: nobody knows any more where the next one is.
    lost: bool,
}

/// Whose frames are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Client,
    Endpoint,
}

// === impl Allowance ===

impl Default for Allowance {
    fn default() -> Self {
        Self { idle_frames: AtomicU32::new(IDLE_FRAMES), resets: AtomicU32::new(RESETS) }
    }
}

impl Allowance {
    /// True when there is something to refill.
    pub(crate) fn is_spent(&self) -> bool {
        self.idle_frames.load(Relaxed) < IDLE_FRAMES || self.resets.load(Relaxed) < RESETS
    }

    /// So many ticks have passed.
    pub(crate) fn refill(&self, ticks: u32) {
        Self::add(&self.idle_frames, ticks.saturating_mul(IDLE_FRAMES_PER_TICK), IDLE_FRAMES);
        Self::add(&self.resets, ticks.saturating_mul(RESETS_PER_TICK), RESETS);
    }

    /// An endpoint was asked for something: that takes frames, and it may refuse.
    pub(crate) fn asked(&self) {
        Self::add(&self.idle_frames, IDLE_FRAMES_PER_REQUEST, IDLE_FRAMES);
        Self::add(&self.resets, 1, RESETS);
    }

    fn add(cell: &AtomicU32, by: u32, most: u32) {
        let now = cell.load(Relaxed);
        if now < most {
            cell.store(now.saturating_add(by).min(most), Relaxed);
        }
    }

    /// One less, or none left.
    fn spend(cell: &AtomicU32) -> Result<(), Flood> {
        let left = cell.load(Relaxed).checked_sub(1).ok_or(Flood)?;
        cell.store(left, Relaxed);
        Ok(())
    }
}

// === impl FrameWatch ===

impl FrameWatch {
    /// Watches a client, from its preface on.
    pub(crate) fn of_client() -> Self {
        Self::new(Sender::Client, PREFACE)
    }

    /// Watches an endpoint, which begins with a frame. What it is asked for is told to the allowance.
    pub(crate) fn of_endpoint() -> Self {
        Self::new(Sender::Endpoint, 0)
    }

    fn new(sender: Sender, preface: u8) -> Self {
        Self {
            sender,
            preface,
            payload: 0,
            header: [0; FRAME_HEADER],
            known: 0,
            block: false,
            last_stream: 0,
            updates: 0,
            answers: 0,
            odd: false,
        }
    }

    /// Something has begun and is not complete: the preface, a frame or a header block.
    pub(crate) fn is_inside(&self) -> bool {
        self.preface > 0 || self.payload > 0 || self.known > 0 || self.block
    }

    /// Looks at what was read; `written` is how many bytes the other side has been sent so far.
    pub(crate) fn see(&mut self, mut bytes: &[u8], allowance: &Allowance, written: u64) -> Result<(), Flood> {
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
    fn frame(&mut self, allowance: &Allowance, written: u64) -> Result<(), Flood> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.payload = u32::from_be_bytes([0, a, b, c]);
        let of_client = self.sender == Sender::Client;
        let most_padding = if flags & PADDED == 0 { 0 } else { MOST_PADDING };
        match kind {
            DATA if self.payload > most_padding => Ok(()),
            DATA if of_client && flags & END_STREAM != 0 => Ok(()),
            HEADERS => {
                self.block = flags & END_HEADERS == 0;
                if !of_client {
                    // A response, trailers, or one of any number of interim responses.
                    return Allowance::spend(&allowance.idle_frames);
                }
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
                if kind == PING && flags & ACK == 0 {
                    self.answers += PING_ANSWER;
                }
                if self.is_update_due(written) { Ok(()) } else { Allowance::spend(&allowance.idle_frames) }
            }
            CONTINUATION => {
                self.block = flags & END_HEADERS == 0;
                Allowance::spend(&allowance.idle_frames)
            }
            SETTINGS if flags & ACK == 0 => {
                self.answers += SETTINGS_ANSWER;
                Allowance::spend(&allowance.idle_frames)
            }
            // Empty DATA, PRIORITY, acknowledgements, GOAWAY, and what nobody knows.
            _ => Allowance::spend(&allowance.idle_frames),
        }
    }

    /// True when so many bytes were sent that one more update is no surprise.
    fn is_update_due(&self, written: u64) -> bool {
        match self.sender {
            Sender::Client => self.updates.saturating_mul(BYTES_PER_UPDATE) <= written,
            Sender::Endpoint => {
                self.updates.saturating_mul(BYTES_PER_UPDATE_TO_ENDPOINT) <= written.saturating_sub(self.answers)
            }
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

// === impl ResetWatch ===

impl ResetWatch {
    /// Looks at what was written. Frames come in one piece unless the client does not take them.
    #[inline]
    pub(crate) fn see(&mut self, mut bytes: &[u8], resets: &AtomicU32) {
        while !self.lost {
            if self.ahead >= bytes.len() {
                self.ahead -= bytes.len();
                return;
            }
            bytes = &bytes[self.ahead..];
            let Some(([a, b, c, kind, ..], payload)) = bytes.split_first_chunk::<FRAME_HEADER>() else {
                self.lost = true;
                return;
            };
            if *kind == RST_STREAM
                && let Some(reason) = payload.first_chunk()
                && is_mistake(u32::from_be_bytes(*reason).into())
            {
                resets.store(resets.load(Relaxed).saturating_add(1), Relaxed);
            }
            self.ahead = FRAME_HEADER + u32::from_be_bytes([0, *a, *b, *c]) as usize;
        }
    }
}

/// Reasons that blame the client (RFC 9113 §7).
fn is_mistake(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PROTOCOL_ERROR | Reason::FLOW_CONTROL_ERROR | Reason::STREAM_CLOSED | Reason::FRAME_SIZE_ERROR
    )
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

    /// A client whose preface is here, with all that it may send.
    fn client() -> (FrameWatch, Allowance) {
        let (mut watch, allowance) = (FrameWatch::of_client(), Allowance::default());
        watch.see(&[0; 24], &allowance, 0).expect("the preface passes");
        (watch, allowance)
    }

    fn endpoint() -> (FrameWatch, Allowance) {
        (FrameWatch::of_endpoint(), Allowance::default())
    }

    /// How many times `frames` pass after the preface.
    fn passes(frames: &[u8], most: u32, written: u64) -> u32 {
        let (mut watch, allowance) = client();
        passes_of(&mut watch, &allowance, frames, most, written)
    }

    fn passes_of(watch: &mut FrameWatch, allowance: &Allowance, frames: &[u8], most: u32, written: u64) -> u32 {
        (0..most).take_while(|_| watch.see(frames, allowance, written).is_ok()).count().try_into().expect("few")
    }

    #[test]
    fn resets_for_mistakes_of_the_client_are_counted() {
        let written = [
            frame(SETTINGS, 0, 0, b""),
            frame(RST_STREAM, 0, 1, b"\0\0\0\x01"),
            frame(HEADERS, 4, 3, b"12345"),
            frame(DATA, 0, 3, &frame(RST_STREAM, 0, 1, b"\0\0\0\x01")),
            frame(RST_STREAM, 0, 5, b"\0\0\0\x07"),
            frame(RST_STREAM, 0, 7, b"\0\0\0\x06"),
        ];
        let (mut watch, resets) = (ResetWatch::default(), AtomicU32::new(0));
        written.iter().for_each(|frame| watch.see(frame, &resets));
        watch.see(&written.concat(), &resets);
        assert_eq!(resets.load(Relaxed), 4);
        // A payload that the client takes in pieces.
        let (head, rest) = written[3].split_at(14);
        [head, &rest[..3], &rest[3..], &written[5]].iter().for_each(|part| watch.see(part, &resets));
        assert_eq!(resets.load(Relaxed), 5);
        // A frame whose beginning is in two: what follows is not guessed at.
        let (head, rest) = written[3].split_at(5);
        [head, rest, &written[5]].iter().for_each(|part| watch.see(part, &resets));
        assert_eq!(resets.load(Relaxed), 5);
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
        assert_eq!(passes(&frame(DATA, PADDED, 1, &[255; 257]), 5000, 0), 5000);
        assert_eq!(passes(&frame(DATA, END_STREAM, 1, b""), 5000, 0), 5000);
        assert_eq!(passes(&frame(HEADERS, END_HEADERS | END_STREAM, 1, b"x"), 5000, 0), 5000);
        assert_eq!(passes(&frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"), 5000, 5000 * BYTES_PER_UPDATE), 5000);
    }

    #[test]
    fn every_second_request_may_be_taken_back() {
        let (mut watch, allowance) = client();
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
        let mut watch = FrameWatch::of_client();
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
            let (mut watch, allowance) = (FrameWatch::of_client(), Allowance::default());
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

    #[test]
    fn endpoints_have_an_allowance_of_their_own_kind() {
        for (kind, flags, payload) in [
            (DATA, 0, &b""[..]),
            (DATA, END_STREAM, b""),
            (DATA, PADDED, &[255; 256]),
            (HEADERS, END_HEADERS, b"\x08\x03103"),
            (HEADERS, END_HEADERS | END_STREAM, b"\x88"),
            (0x2, 0, b"\0\0\0\0\x10"),
            (SETTINGS, 0, b""),
            (PING, 0, b"12345678"),
            (WINDOW_UPDATE, 0, b"\0\0\0\x01"),
            (CONTINUATION, 0, b"x"),
            (0x77, 0, b""),
        ] {
            let (mut watch, allowance) = endpoint();
            let passed = passes_of(&mut watch, &allowance, &frame(kind, flags, 1, payload), 5000, 0);
            assert_eq!(passed, IDLE_FRAMES, "{kind:x} {flags:x}");
        }
        let (mut watch, allowance) = endpoint();
        assert_eq!(passes_of(&mut watch, &allowance, &frame(RST_STREAM, 0, 1, b"\0\0\0\0"), 5000, 0), RESETS);
    }

    /// As gRPC servers do: a head, a message, trailers, and a reset of what the client may still want to say.
    #[test]
    fn what_was_asked_for_costs_an_endpoint_nothing() {
        let (mut watch, allowance) = endpoint();
        for stream in (1..20_000).step_by(2) {
            allowance.asked();
            let mut answer = frame(HEADERS, END_HEADERS, stream, b"\x88");
            answer.extend(frame(DATA, 0, stream, b"message"));
            answer.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x88"));
            answer.extend(frame(RST_STREAM, 0, stream, b"\0\0\0\0"));
            assert_eq!(watch.see(&answer, &allowance, 0), Ok(()), "{stream}");
        }
    }

    /// A message of one byte may be answered with two WINDOW_UPDATE and a PING, but our answers to PING with nothing.
    #[test]
    fn an_endpoint_may_measure_as_much_as_it_is_sent() {
        let (mut watch, allowance) = endpoint();
        let mut updates = frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01");
        updates.extend(frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x01"));
        updates.extend(frame(PING, 0, 0, b"12345678"));
        let mut written = 0;
        for message in 0..5000 {
            // With the prefix that gRPC has, and our answer to the PING.
            written += 9 + 5 + 1 + PING_ANSWER;
            assert_eq!(watch.see(&updates, &allowance, written), Ok(()), "{message}");
        }
        let (mut watch, allowance) = endpoint();
        let ping = frame(PING, 0, 0, b"12345678");
        let passed = (1..5000u64).take_while(|count| watch.see(&ping, &allowance, count * PING_ANSWER).is_ok()).count();
        assert_eq!(passed, usize::try_from(IDLE_FRAMES).expect("few"));
    }
}
