//! Where the body of a response ends, and what of it is in the bytes that were read (RFC 9112 §6 and §7).

use bytes::{Buf as _, Bytes, BytesMut};
use httparse::Status;

/// Most bytes of one line of chunk framing, extensions included, and of all trailers.
const MOST_FRAMING: usize = 16 << 10;

/// Most bytes of chunk extensions in one body: they cost work and mean nothing to us.
const MOST_EXTENSIONS: usize = 16 << 10;

/// Takes the body from the bytes of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decoder {
    state: State,
    /// Bytes of chunk extensions so far.
    extensions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are left.
    Length(u64),
    /// The line with the size of a chunk comes next.
    ChunkSize,
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// The end of the line after a chunk comes next.
    ChunkEnd,
    /// Trailers, or the empty line after the last chunk.
    Trailers,
    /// All that comes.
    UntilClose,
    Done,
}

/// What the bytes hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Data(Bytes),
    /// More has to be read.
    Nothing,
    End,
}

/// Why something is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadBody {
    /// A line that should have the size of a chunk.
    #[error("invalid chunk size")]
    ChunkSize,
    /// A chunk is not followed by the end of its line.
    #[error("chunk without its end")]
    ChunkEnd,
    /// Extensions beyond all reason.
    #[error("too many bytes of chunk extensions")]
    Extensions,
    /// Trailers that are none.
    #[error("invalid trailers")]
    Trailers,
    /// The connection was closed in the middle.
    #[error("connection closed before the end of the body")]
    Incomplete,
}

// === impl Decoder ===

impl Decoder {
    pub(super) fn empty() -> Self {
        Self::new(State::Done)
    }

    pub(super) fn length(length: u64) -> Self {
        Self::new(if length == 0 { State::Done } else { State::Length(length) })
    }

    pub(super) fn chunked() -> Self {
        Self::new(State::ChunkSize)
    }

    pub(super) fn until_close() -> Self {
        Self::new(State::UntilClose)
    }

    fn new(state: State) -> Self {
        Self { state, extensions: 0 }
    }

    /// The last byte of the body was taken.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes that are still to come, where that is known.
    pub(super) fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(length) => Some(length),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// So many bytes of a body of known length went another way.
    pub(super) fn pass(&mut self, length: usize) {
        if let State::Length(left) = &mut self.state {
            *left = left.saturating_sub(length as u64);
            if *left == 0 {
                self.state = State::Done;
            }
        }
    }

    /// Takes the next piece of the body, and the framing around it as far as it is here.
    pub(super) fn decode(&mut self, read: &mut BytesMut) -> Result<Decoded, BadBody> {
        self.take_framing(read)?;
        let data = match &mut self.state {
            State::Length(left) | State::Chunk(left) if !read.is_empty() => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= length as u64;
                read.split_to(length)
            }
            State::UntilClose if !read.is_empty() => read.split(),
            State::Done => return Ok(Decoded::End),
            _ => return Ok(Decoded::Nothing),
        };
        match self.state {
            State::Length(0) => self.state = State::Done,
            State::Chunk(0) => {
                self.state = State::ChunkEnd;
                // What is wrong behind this piece is said when the next one is asked for.
                let _ = self.take_framing(read);
            }
            _ => {}
        }
        Ok(Decoded::Data(data.freeze()))
    }

    /// The connection was closed. That is the end of a body that nothing else ends.
    pub(super) fn closed(&mut self) -> Result<(), BadBody> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BadBody::Incomplete),
        }
    }

    /// Takes what stands before the first chunk, between two, and after the last one.
    pub(super) fn take_framing(&mut self, read: &mut BytesMut) -> Result<(), BadBody> {
        loop {
            self.state = match self.state {
                State::ChunkEnd => match &**read {
                    [b'\r', b'\n', ..] => {
                        read.advance(2);
                        State::ChunkSize
                    }
                    [] | [b'\r'] => return Ok(()),
                    _ => return Err(BadBody::ChunkEnd),
                },
                State::ChunkSize => match self.take_size(read)? {
                    None => return Ok(()),
                    Some(0) => State::Trailers,
                    Some(size) => State::Chunk(size),
                },
                State::Trailers => {
                    if !take_trailers(read)? {
                        return Ok(());
                    }
                    State::Done
                }
                State::Length(_) | State::Chunk(_) | State::UntilClose | State::Done => return Ok(()),
            };
        }
    }

    fn take_size(&mut self, read: &mut BytesMut) -> Result<Option<u64>, BadBody> {
        match read.first() {
            None => return Ok(None),
            // A line without a digit would be a size of zero to the parser.
            Some(first) if !first.is_ascii_hexdigit() => return Err(BadBody::ChunkSize),
            Some(_) => {}
        }
        match httparse::parse_chunk_size(read) {
            Ok(Status::Complete((end, size))) => {
                let line = &read[..end];
                // Others may take a line feed within extensions for the end of the line.
                if memchr::memchr(b'\n', line) != Some(end - 1) {
                    return Err(BadBody::ChunkSize);
                }
                self.extensions += line.iter().skip_while(|byte| byte.is_ascii_hexdigit()).count() - 2;
                if self.extensions > MOST_EXTENSIONS {
                    return Err(BadBody::Extensions);
                }
                read.advance(end);
                Ok(Some(size))
            }
            Ok(Status::Partial) if read.len() < MOST_FRAMING => Ok(None),
            Ok(Status::Partial) => Err(BadBody::Extensions),
            Err(_) => Err(BadBody::ChunkSize),
        }
    }
}

/// Trailers of HTTP/1.1 end here, as in nginx; yet they have to be some. Returns whether they are complete.
fn take_trailers(read: &mut BytesMut) -> Result<bool, BadBody> {
    let end = match &**read {
        [b'\r', b'\n', ..] => 2,
        text => match memchr::memmem::find(text, b"\r\n\r\n") {
            Some(at) if at + 4 <= MOST_FRAMING => at + 4,
            None if text.len() < MOST_FRAMING => return Ok(false),
            _ => return Err(BadBody::Trailers),
        },
    };
    let mut fields = [httparse::EMPTY_HEADER; 64];
    match httparse::parse_headers(&read[..end], &mut fields) {
        Ok(Status::Complete((length, _))) if length == end => {
            read.advance(end);
            Ok(true)
        }
        _ => Err(BadBody::Trailers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a body comes to when it arrives in pieces of a size: its bytes, whether it ended, and what was left over.
    fn decoded(mut decoder: Decoder, wire: &[u8], piece: usize) -> Result<(Vec<u8>, bool, Vec<u8>), BadBody> {
        let (mut read, mut body) = (BytesMut::new(), Vec::new());
        for part in wire.chunks(piece) {
            read.extend_from_slice(part);
            while let Decoded::Data(data) = decoder.decode(&mut read)? {
                assert!(!data.is_empty());
                body.extend_from_slice(&data);
            }
        }
        Ok((body, decoder.is_done(), read.to_vec()))
    }

    #[test]
    fn bodies_are_the_same_however_they_are_cut() {
        let chunked = "5\r\nhello\r\n1;a=b\r\n \r\n0005 \t;x\r\nworld\r\n0\r\nA: 1\r\nb: 2\r\n\r\nrest";
        for piece in 1..=chunked.len() {
            let (body, done, rest) = decoded(Decoder::chunked(), chunked.as_bytes(), piece).expect("a body");
            assert_eq!((&*body, done), (&b"hello world"[..], true), "{piece}");
            assert_eq!(rest, b"rest");
            let sized = decoded(Decoder::length(5), b"hello, and more", piece).expect("a body");
            assert_eq!(sized, (b"hello".to_vec(), true, b", and more".to_vec()));
            let open = decoded(Decoder::until_close(), b"hello", piece).expect("a body");
            assert_eq!(open, (b"hello".to_vec(), false, Vec::new()));
        }
    }

    #[test]
    fn framing_that_is_none_is_refused() {
        for (wire, expected) in [
            ("\r\n", BadBody::ChunkSize),
            (";a\r\n", BadBody::ChunkSize),
            ("5\nhello", BadBody::ChunkSize),
            ("5\rhello", BadBody::ChunkSize),
            ("-1\r\n", BadBody::ChunkSize),
            ("0x5\r\nhello", BadBody::ChunkSize),
            ("5 5\r\n", BadBody::ChunkSize),
            ("5;a\nb\r\nhello", BadBody::ChunkSize),
            ("11112222333344445\r\n", BadBody::ChunkSize),
            ("1\r\nabc\r\n", BadBody::ChunkEnd),
            ("1\r\na\n", BadBody::ChunkEnd),
            ("1\r\na\rb", BadBody::ChunkEnd),
            ("0\r\nno colon\r\n\r\n", BadBody::Trailers),
            ("0\r\na: 1\r\n b\r\n\r\n", BadBody::Trailers),
        ] {
            for piece in 1..=wire.len() {
                assert_eq!(decoded(Decoder::chunked(), wire.as_bytes(), piece), Err(expected), "{wire:?} by {piece}");
            }
        }
    }

    #[test]
    fn a_piece_is_not_lost_with_what_is_wrong_behind_it() {
        let (mut decoder, mut read) = (Decoder::chunked(), BytesMut::from("5\r\nhelloXX"));
        assert_eq!(decoder.decode(&mut read), Ok(Decoded::Data("hello".into())));
        assert!(!decoder.is_done());
        assert_eq!(decoder.decode(&mut read), Err(BadBody::ChunkEnd));
    }

    #[test]
    fn framing_is_bounded() {
        let line = format!("1;{}\r\na\r\n", "x".repeat(1000));
        assert_eq!(decoded(Decoder::chunked(), line.repeat(17).as_bytes(), 4096), Err(BadBody::Extensions));
        assert!(decoded(Decoder::chunked(), line.repeat(16).as_bytes(), 4096).is_ok());
        let endless = format!("1;{}", "x".repeat(MOST_FRAMING));
        assert_eq!(decoded(Decoder::chunked(), endless.as_bytes(), 4096), Err(BadBody::Extensions));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(MOST_FRAMING));
        assert_eq!(decoded(Decoder::chunked(), trailers.as_bytes(), 4096), Err(BadBody::Trailers));
    }

    #[test]
    fn a_closed_connection_ends_only_what_nothing_else_ends() {
        assert_eq!(Decoder::until_close().closed(), Ok(()));
        assert_eq!(Decoder::empty().closed(), Ok(()));
        assert_eq!(Decoder::length(1).closed(), Err(BadBody::Incomplete));
        assert_eq!(Decoder::chunked().closed(), Err(BadBody::Incomplete));
    }
}
