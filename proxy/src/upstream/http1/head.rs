//! The head of a response (RFC 9112 §4), and what it says about the body that follows and about the connection.

use super::decoder::Decoder;
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;
use std::{mem::MaybeUninit, ops::Range};

/// Fields that are read without asking for memory, and the most that are read at all.
const USUAL_FIELDS: usize = 64;
const MOST_FIELDS: usize = 4096;

/// A head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) decoder: Decoder,
    /// Whether the connection may be used again after the body.
    pub(super) keeps_alive: bool,
}

/// Why something is no head.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadHead {
    /// nginx's "upstream sent too big header" (`proxy_buffer_size`).
    #[error("response head larger than the limit of {0} bytes")]
    TooLarge(usize),
    /// No end of 1xx in sight.
    #[error("too many interim responses, or too large ones")]
    Interim,
    /// It breaks the grammar.
    #[error("{0}")]
    Syntax(#[from] httparse::Error),
    /// No name or value of a field, or no status.
    #[error("{0}")]
    Invalid(#[from] http::Error),
    /// Nobody can say for sure where the body ends.
    #[error("{0}")]
    Framing(&'static str),
}

/// What the fields say that matter to us, collected while they are read.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    lengths: u32,
    codings: u32,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

/// Where the parts of a head are.
struct Shape {
    end: usize,
    status: StatusCode,
    is_http11: bool,
    reason: Option<Range<usize>>,
    fields: usize,
}

/// Where a name and a value are.
type Place = (Range<usize>, Range<usize>);

/// Whether a head may end in what was read from `from` on: an empty line does, of which some may be older.
pub(super) fn ends_within(read: &[u8], from: usize) -> bool {
    let recent = &read[from.saturating_sub(3)..];
    let after =
        |end: usize| recent.get(end + 1..).is_some_and(|rest| rest.starts_with(b"\n") || rest.starts_with(b"\r\n"));
    memchr::memchr_iter(b'\n', recent).any(after)
}

/// Takes a head from the beginning of what was read; `None` when it is not complete. After HEAD there is no body.
pub(super) fn take(read: &mut BytesMut, limit: usize, after_head: bool) -> Result<Option<Head>, BadHead> {
    let mut places = [const { (0..0, 0..0) }; USUAL_FIELDS];
    match parse(read, &mut [const { MaybeUninit::uninit() }; USUAL_FIELDS], &mut places, limit) {
        Err(BadHead::Syntax(httparse::Error::TooManyHeaders)) => {
            let mut places = vec![(0..0, 0..0); MOST_FIELDS];
            let shape = parse(read, &mut vec![MaybeUninit::uninit(); MOST_FIELDS], &mut places, limit)?;
            shape.map(|shape| build(read, &shape, &places, after_head)).transpose()
        }
        parsed => parsed?.map(|shape| build(read, &shape, &places, after_head)).transpose(),
    }
}

fn parse<'a>(
    read: &'a [u8],
    fields: &mut [MaybeUninit<httparse::Header<'a>>],
    places: &mut [Place],
    limit: usize,
) -> Result<Option<Shape>, BadHead> {
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, read, fields)?;
    let end = match parsed {
        Status::Complete(end) if end <= limit => end,
        Status::Partial if read.len() < limit => return Ok(None),
        Status::Complete(_) | Status::Partial => return Err(BadHead::TooLarge(limit)),
    };
    let place = |part: &[u8]| {
        let start = part.as_ptr().addr() - read.as_ptr().addr();
        start..start + part.len()
    };
    for (field, into) in response.headers.iter().zip(places) {
        *into = (place(field.name.as_bytes()), place(field.value));
    }
    let status = StatusCode::from_u16(response.code.unwrap_or_default()).map_err(http::Error::from)?;
    let reason = response.reason.filter(|reason| Some(*reason) != status.canonical_reason() && !reason.is_empty());
    Ok(Some(Shape {
        end,
        status,
        is_http11: response.version == Some(1),
        // What is not text was left empty by the parser, and has no place.
        reason: reason.map(|reason| place(reason.as_bytes())),
        fields: response.headers.len(),
    }))
}

fn build(read: &mut BytesMut, shape: &Shape, places: &[Place], after_head: bool) -> Result<Head, BadHead> {
    let bytes = read.split_to(shape.end).freeze();
    let mut framing = Framing::default();
    // Room for what is added on the way to the client.
    let mut headers = HeaderMap::with_capacity(shape.fields + 2);
    for (name, value) in &places[..shape.fields] {
        let name = HeaderName::from_bytes(&bytes[name.clone()]).map_err(http::Error::from)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.clone())).map_err(http::Error::from)?;
        framing.see(&name, &value)?;
        headers.append(name, value);
    }
    if framing.lengths > 1
        && let Some(length) = framing.length
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let decoder = framing.decoder(shape, after_head)?;
    let keeps_alive = framing.keeps_alive(shape.is_http11);
    let mut response = Response::new(());
    *response.status_mut() = shape.status;
    *response.headers_mut() = headers;
    if let Some(reason) = &shape.reason
        && let Ok(reason) = ReasonPhrase::try_from(bytes.slice(reason.clone()))
    {
        response.extensions_mut().insert(reason);
    }
    Ok(Head { response, decoder, keeps_alive })
}

// === impl Framing ===

impl Framing {
    fn see(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), BadHead> {
        match *name {
            header::CONTENT_LENGTH => self.see_length(value),
            header::TRANSFER_ENCODING => {
                self.codings += 1;
                self.chunked = value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
                Ok(())
            }
            header::CONNECTION => {
                for word in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= word.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The same length may stand there several times (RFC 9110 §8.6).
    fn see_length(&mut self, value: &HeaderValue) -> Result<(), BadHead> {
        for word in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let length = digits(word).ok_or(BadHead::Framing("invalid content-length"))?;
            if self.length.is_some_and(|known| known != length) {
                return Err(BadHead::Framing("two values of content-length"));
            }
            self.length = Some(length);
            self.lengths += 1;
        }
        Ok(())
    }

    /// RFC 9112 §6.3.
    fn decoder(&self, shape: &Shape, after_head: bool) -> Result<Decoder, BadHead> {
        if self.codings > 0 && self.lengths > 0 {
            // What smuggling looks like; as nginx since 1.23.
            return Err(BadHead::Framing("content-length beside transfer-encoding"));
        }
        let status = shape.status;
        if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Decoder::empty());
        }
        if after_head {
            return Ok(Decoder::empty());
        }
        match (self.codings, self.length) {
            (0, Some(length)) => Ok(Decoder::length(length)),
            (0, None) => Ok(Decoder::until_close()),
            (_, _) if !shape.is_http11 => Err(BadHead::Framing("transfer-encoding in HTTP/1.0")),
            (1, _) if self.chunked => Ok(Decoder::chunked()),
            // We offer none (RFC 9112 §7.4) and could not pass it on.
            (_, _) => Err(BadHead::Framing("unknown transfer-encoding")),
        }
    }

    /// RFC 9112 §9.3.
    fn keeps_alive(&self, is_http11: bool) -> bool {
        !self.close && (is_http11 || self.keep_alive)
    }
}

/// Digits alone: `u64::from_str` would take a sign.
fn digits(text: &[u8]) -> Option<u64> {
    let valid = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    valid.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4096;

    fn taken(text: &str) -> Result<Option<Head>, BadHead> {
        take(&mut BytesMut::from(text), LIMIT, false)
    }

    fn framing(text: &str) -> Result<(Decoder, bool), String> {
        let head = taken(text).map_err(|error| error.to_string())?.ok_or("incomplete")?;
        Ok((head.decoder, head.keeps_alive))
    }

    #[test]
    fn a_head_ends_where_it_ends_and_not_before() {
        let text = "HTTP/1.1 404 Gone Fishing\r\nX-A: 1\r\nx-a:2 \r\nContent-Length: 5\r\n\r\nhello";
        let end = text.len() - 5;
        for partial in 0..end {
            assert!(matches!(taken(&text[..partial]), Ok(None)), "{partial}");
        }
        let mut read = BytesMut::from(text);
        let head = take(&mut read, LIMIT, false).expect("a head").expect("complete");
        assert_eq!(&read[..], b"hello");
        assert_eq!(head.response.status(), 404);
        let values: Vec<_> = head.response.headers().get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(
            head.response.extensions().get::<ReasonPhrase>().map(ReasonPhrase::as_bytes),
            Some(&b"Gone Fishing"[..])
        );
    }

    #[test]
    fn the_end_of_a_head_is_seen_however_it_is_cut() {
        for text in ["HTTP/1.1 200 OK\r\na: 1\r\n\r\n", "HTTP/1.1 200 OK\na: 1\n\n", "HTTP/1.1 200 OK\r\na: 1\n\r\n"] {
            let bytes = text.as_bytes();
            for from in 0..bytes.len() {
                assert!(ends_within(bytes, from), "{text:?} from {from}");
                assert!(!ends_within(&bytes[..bytes.len() - 1], from.min(bytes.len() - 1)), "{text:?} from {from}");
            }
        }
    }

    #[test]
    fn the_body_ends_where_rfc_9112_says() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", (Decoder::length(5), true)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\ncontent-length: 5\r\n\r\n", (Decoder::length(5), true)),
            ("HTTP/1.1 200\r\ntransfer-encoding: Chunked\r\n\r\n", (Decoder::chunked(), true)),
            ("HTTP/1.1 200 OK\r\n\r\n", (Decoder::until_close(), true)),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", (Decoder::empty(), true)),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", (Decoder::empty(), true)),
            ("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n", (Decoder::length(0), false)),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", (Decoder::length(1), false)),
            ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n", (Decoder::length(1), true)),
        ] {
            assert_eq!(framing(text).as_ref(), Ok(&expected), "{text}");
        }
        let after_head = take(&mut BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), LIMIT, true);
        assert_eq!(after_head.expect("a head").expect("complete").decoder, Decoder::empty());
    }

    #[test]
    fn what_is_ambiguous_or_malformed_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: 1\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: 1\u{0}\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: 1\rb: 2\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 99 OK\r\n\r\n",
            "nonsense that has no end in sight\r\n",
        ] {
            assert!(taken(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_limit_is_for_the_whole_head() {
        let text = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(100));
        let with = |limit| take(&mut BytesMut::from(&*text), limit, false);
        assert!(matches!(with(text.len()), Ok(Some(_))));
        assert!(matches!(with(text.len() - 1), Err(BadHead::TooLarge(_))));
        // One that goes on and on.
        assert!(matches!(take(&mut BytesMut::from(&text[..100]), 100, false), Err(BadHead::TooLarge(100))));
        assert!(matches!(take(&mut BytesMut::from(&text[..100]), 101, false), Ok(None)));
    }

    #[test]
    fn many_fields_are_read_too() {
        let head = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a:b\r\n".repeat(count));
        for count in [USUAL_FIELDS, USUAL_FIELDS + 1, MOST_FIELDS] {
            let taken = take(&mut BytesMut::from(&*head(count)), 1 << 20, false).expect("a head").expect("complete");
            assert_eq!(taken.response.headers().len(), count);
        }
        assert!(take(&mut BytesMut::from(&*head(MOST_FIELDS + 1)), 1 << 20, false).is_err());
    }
}
