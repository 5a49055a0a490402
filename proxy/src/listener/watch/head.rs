//! The heads of HTTP/1 requests as they are read: how large they are, and whether their framing is beyond doubt.
//!
//! Follows lines and body framing far enough to know where the next head begins, and nothing else. Whatever it lets
//! through is parsed, and may be refused, by hyper; where the two disagree, hyper's strictness decides.

use super::Verdict;
use crate::{access_log::REFUSED_LINE, table::HeadLimits};
use memchr::{memchr, memchr_iter};

/// Fields that hyper parses without allocating.
pub(in crate::listener) const USUAL_FIELDS: u32 = 100;

/// Bytes kept of a line that did not arrive in one piece: enough for the name of a field of interest and a length.
const KEPT: usize = 40;

/// Bytes that cannot hold more fields than usual: `a:` and a bare LF are the shortest.
const SHORT: usize = 3 * USUAL_FIELDS as usize;

const CONTENT_LENGTH: &[u8] = b"content-length:";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding:";

/// Counts on one connection.
#[derive(Debug)]
pub(in crate::listener) struct HeadWatch {
    limits: HeadLimits,
    most_fields: u32,
    state: State,
    /// Bytes of the current head before the current line.
    head: u32,
    /// Bytes of the current line so far.
    line: u32,
    fields: u32,
    /// The current head has its request line.
    begun: bool,
    has_length: bool,
    has_coding: bool,
    /// The last byte that was seen is the last one of a request.
    complete: bool,
    length: u64,
    kept: [u8; KEPT],
    /// The current head, or the last one, from its beginning: as much of the request line as the log shows, and what may
    /// follow it.
    start: Vec<u8>,
    /// Bytes of the last head that was complete.
    last_head: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// In a body, so many bytes before its end.
    Sized(u64),
    Chunked(Chunk),
    /// hyper will not go on after this.
    Over,
}

/// Place in a chunked body (RFC 9112 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size(u64),
    /// Between the digits and the end of their line.
    Extension(u64),
    Data(u64),
    /// Between the data and the next line.
    DataEnd,
    /// In a line of trailers; whether it has any character yet.
    Trailer(bool),
}

// === impl HeadWatch ===

impl HeadWatch {
    pub(in crate::listener) fn new(limits: HeadLimits, most_fields: u32) -> Self {
        Self {
            limits,
            most_fields,
            state: State::Head,
            head: 0,
            line: 0,
            fields: 0,
            begun: false,
            has_length: false,
            has_coding: false,
            complete: false,
            length: 0,
            kept: [0; KEPT],
            start: Vec::new(),
            last_head: 0,
        }
    }

    /// Part of a head is here, and the rest is not.
    pub(in crate::listener) fn is_inside_head(&self) -> bool {
        self.state == State::Head && (self.begun || self.line > 0)
    }

    /// Part of a body is here, and the rest is not, or nobody can tell.
    pub(in crate::listener) fn is_inside_body(&self) -> bool {
        self.state != State::Head
    }

    /// The last byte that was seen is the last one of a request.
    pub(in crate::listener) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The request line of the head that was seen last as a whole, and the bytes of that head; `None` while one has begun.
    pub(in crate::listener) fn last_head(&self) -> Option<(&[u8], usize)> {
        let line = self.start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        (!self.is_inside_head() && self.last_head > 0).then_some((trim_end(line), self.last_head))
    }

    /// Looks at what was read, up to the end of a request: says how much of it that is. The rest is to be shown when its
    /// time has come. On an objection, says from which byte on the rest is to be held back.
    #[inline]
    pub(in crate::listener) fn see(&mut self, bytes: &[u8]) -> Result<usize, (usize, Verdict)> {
        self.complete = self.is_between_heads() && self.is_plain(bytes);
        if self.complete {
            self.start.clear();
            self.start.extend_from_slice(&bytes[..bytes.len().min(REFUSED_LINE)]);
            self.last_head = bytes.len();
            return Ok(bytes.len());
        }
        self.follow(bytes)
    }

    #[inline]
    fn is_between_heads(&self) -> bool {
        self.state == State::Head && self.head == 0 && self.line == 0
    }

    /// Nearly all that is ever read is the whole head of one request without a body: no line of it is one of the two
    /// fields, and the empty one is the last.
    fn is_plain(&self, bytes: &[u8]) -> bool {
        // No line is longer than all of them.
        if bytes.len() > self.limits.line as usize || !bytes.ends_with(b"\n\r\n") || is_line_end(bytes[0]) {
            return false;
        }
        let lines_but_last = &bytes[..bytes.len() - "\r\n".len()];
        // Too short for many fields: a look at pairs of bytes, of which the compiler makes vectors, costs half of what
        // going from line to line does.
        if bytes.len() <= SHORT && !may_need_following(lines_but_last) {
            return true;
        }
        let mut lines = 0;
        for end in memchr_iter(b'\n', lines_but_last) {
            lines += 1;
            let next = &lines_but_last[end + 1..];
            if is_framing(next) || next.first().is_some_and(|first| is_line_end(*first)) {
                return false;
            }
        }
        lines <= self.most_fields
    }

    /// Line by line, and through the body.
    fn follow(&mut self, bytes: &[u8]) -> Result<usize, (usize, Verdict)> {
        self.complete = false;
        let mut at = 0;
        while at < bytes.len() && !self.complete {
            let rest = &bytes[at..];
            at += match self.state {
                State::Head => match memchr(b'\n', rest) {
                    Some(end) => self.line_ends(&rest[..=end]).map(|()| end + 1),
                    None => self.line_goes_on(rest).map(|()| rest.len()),
                }
                .map_err(|verdict| (at, verdict))?,
                State::Sized(left) => {
                    let passed = left.min(rest.len() as u64);
                    if passed == left {
                        self.message_ends();
                    } else {
                        self.state = State::Sized(left - passed);
                    }
                    usize::try_from(passed).unwrap_or(rest.len())
                }
                State::Chunked(chunk) => self.chunk(chunk, rest),
                State::Over => rest.len(),
            };
        }
        Ok(at)
    }

    fn message_ends(&mut self) {
        self.state = State::Head;
        self.complete = true;
    }

    /// A line whose end is not here yet.
    fn line_goes_on(&mut self, part: &[u8]) -> Result<(), Verdict> {
        self.grow(part.len())?;
        self.keep(part, part.len());
        self.note_request_line(part);
        Ok(())
    }

    /// Keeps the request line, for the log: hyper takes the head out of its buffer before it looks at most of it.
    fn note_request_line(&mut self, part: &[u8]) {
        if self.begun {
            return;
        }
        if self.line as usize == part.len() {
            self.start.clear();
        }
        let room = REFUSED_LINE - self.start.len();
        self.start.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// The rest of a line, or all of it, with its end.
    #[inline]
    fn line_ends(&mut self, part: &[u8]) -> Result<(), Verdict> {
        self.grow(part.len())?;
        self.note_request_line(part);
        let line = std::mem::take(&mut self.line);
        self.head += line;
        if line as usize == part.len() {
            return self.whole_line(trim_end(part), line as usize <= KEPT);
        }
        self.line = line;
        self.keep(part, part.len());
        self.line = 0;
        let kept = self.kept;
        self.whole_line(trim_end(&kept[..KEPT.min(line as usize)]), line as usize <= KEPT)
    }

    /// Counts bytes of the current line.
    #[inline]
    fn grow(&mut self, by: usize) -> Result<(), Verdict> {
        let line = u32::try_from(by).ok().and_then(|by| self.line.checked_add(by)).unwrap_or(u32::MAX);
        if line > self.limits.line || self.head.saturating_add(line) > self.limits.total {
            return Err(if self.begun { Verdict::LargeHead } else { Verdict::LongLine });
        }
        self.line = line;
        Ok(())
    }

    /// Keeps the beginning of a line in pieces; `part` has been counted already.
    fn keep(&mut self, part: &[u8], length: usize) {
        let before = self.line as usize - length;
        if before < KEPT {
            let take = length.min(KEPT - before);
            self.kept[before..before + take].copy_from_slice(&part[..take]);
        }
    }

    /// A line without its end; of one that came in pieces only the beginning, unless it is short.
    #[inline]
    fn whole_line(&mut self, line: &[u8], short: bool) -> Result<(), Verdict> {
        let Some(first) = line.first() else { return self.empty_line() };
        if !self.begun {
            self.begun = true;
            return Ok(());
        }
        self.fields += 1;
        if self.fields > self.most_fields {
            return Err(Verdict::ManyFields);
        }
        match first | 0x20 {
            // Nobody writes a long one, and in pieces it could not be read.
            b'c' if !short && is_field(line, CONTENT_LENGTH) => return Err(Verdict::Framing),
            b'c' if is_field(line, CONTENT_LENGTH) => {
                let length = length(&line[CONTENT_LENGTH.len()..]).ok_or(Verdict::Framing)?;
                self.has_length = true;
                self.length = length;
            }
            // Once is enough; twice is somebody who wants to be read in two ways.
            b't' if is_field(line, TRANSFER_ENCODING) && self.has_coding => return Err(Verdict::Framing),
            b't' if is_field(line, TRANSFER_ENCODING) => self.has_coding = true,
            _ => {}
        }
        Ok(())
    }

    /// The end of a head, unless it has not begun (RFC 9112 §2.2: empty lines before it are ignored).
    fn empty_line(&mut self) -> Result<(), Verdict> {
        if !self.begun {
            return Ok(());
        }
        if self.has_length && self.has_coding {
            return Err(Verdict::Framing);
        }
        match self.length {
            _ if self.has_coding => self.state = State::Chunked(Chunk::Size(0)),
            0 => self.message_ends(),
            length => self.state = State::Sized(length),
        }
        self.last_head = self.head as usize;
        (self.head, self.fields, self.length) = (0, 0, 0);
        (self.begun, self.has_length, self.has_coding) = (false, false, false);
        Ok(())
    }

    /// Moves on within a chunked body; says by how much.
    fn chunk(&mut self, chunk: Chunk, rest: &[u8]) -> usize {
        let line_end = |rest: &[u8]| memchr(b'\n', rest).map(|end| end + 1);
        let (next, passed) = match chunk {
            Chunk::Size(size) => match char::from(rest[0]).to_digit(16) {
                Some(digit) => match size.checked_mul(16) {
                    Some(size) => (Chunk::Size(size + u64::from(digit)), 1),
                    None => return self.give_up(rest),
                },
                None => (Chunk::Extension(size), 0),
            },
            Chunk::Extension(size) => match line_end(rest) {
                Some(passed) if size == 0 => (Chunk::Trailer(false), passed),
                Some(passed) => (Chunk::Data(size), passed),
                None => (chunk, rest.len()),
            },
            Chunk::Data(left) => {
                let passed = left.min(rest.len() as u64);
                let next = if passed == left { Chunk::DataEnd } else { Chunk::Data(left - passed) };
                (next, usize::try_from(passed).unwrap_or(rest.len()))
            }
            Chunk::DataEnd => match rest[0] {
                b'\r' => (chunk, 1),
                b'\n' => (Chunk::Size(0), 1),
                _ => return self.give_up(rest),
            },
            Chunk::Trailer(begun) => match rest[0] {
                b'\n' if !begun => {
                    self.message_ends();
                    return 1;
                }
                b'\r' if !begun => (chunk, 1),
                _ => match line_end(rest) {
                    Some(passed) => (Chunk::Trailer(false), passed),
                    None => (Chunk::Trailer(true), rest.len()),
                },
            },
        };
        self.state = State::Chunked(next);
        passed
    }

    fn give_up(&mut self, rest: &[u8]) -> usize {
        self.state = State::Over;
        rest.len()
    }
}

/// Whether a line begins with the first letter of one of the two fields, or is empty.
fn may_need_following(bytes: &[u8]) -> bool {
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    pairs.fold(0u8, |found, (end, first)| {
        let letter = first | 0x20;
        // No field begins with a control character: that is the end of a line, or something to look at.
        let other = u8::from(letter == b'c') | u8::from(letter == b't') | u8::from(*first < b' ');
        found | (u8::from(*end == b'\n') & other)
    }) != 0
}

#[inline]
fn is_line_end(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n'
}

#[inline]
fn is_framing(line: &[u8]) -> bool {
    match line.first().map(|first| first | 0x20) {
        Some(b'c') => is_field(line, CONTENT_LENGTH),
        Some(b't') => is_field(line, TRANSFER_ENCODING),
        _ => false,
    }
}

#[inline]
fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[inline]
fn is_field(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

/// RFC 9112 §6.2: digits, and nothing else. As in nginx no more than a file may have: hyper has its own, odd limit.
fn length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value.trim_ascii()).ok()?;
    let length = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok();
    length.filter(|length| i64::try_from(*length).is_ok())
}

#[cfg(test)]
mod tests;
