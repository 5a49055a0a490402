//! Cases of HTTP/1: bytes, what must come of them, and the rule.
//!
//! `{H}` stands for a Host line, `{S}` for a request that must never be found inside another one's body or head.

mod framing;
mod heads;

use super::Outcome::{self, Declined, Passed, Refused};
use framing::{CHUNKS, CODINGS, LENGTHS, SEQUENCES};
use heads::{FIELDS, HOSTS, LINES, REQUEST_LINES};

/// One case.
pub(super) struct Case {
    /// What is wrong, or odd.
    pub(super) name: &'static str,
    /// Whose rule it is.
    pub(super) clause: &'static str,
    /// What the client sends.
    pub(super) bytes: Vec<u8>,
    /// What must come of it.
    pub(super) outcome: Outcome,
}

type Row = (&'static str, &'static str, &'static [u8], Outcome);

const BAD: Outcome = Refused(&[400]);
/// Bad to us, while hyper could go on.
const ODD: Outcome = Declined(&[400]);
const HELLO: Outcome = Passed(&["POST /x hello"]);
const GET: Outcome = Passed(&["GET /x"]);

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let rows = [LENGTHS, CODINGS, CHUNKS, REQUEST_LINES, HOSTS, LINES, FIELDS, SEQUENCES].into_iter().flatten();
    let written = rows.map(|(name, clause, bytes, outcome)| (*name, *clause, expand(bytes), *outcome));
    let made = made().into_iter().map(|(name, clause, bytes, outcome)| (name, clause, expand(&bytes), outcome));
    written.chain(made).map(|(name, clause, bytes, outcome)| Case { name, clause, bytes, outcome }).collect()
}

fn expand(bytes: &[u8]) -> Vec<u8> {
    let marks: [(&[u8], &[u8]); 2] =
        [(b"{H}", b"Host: a.test\r\n"), (b"{S}", b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n")];
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let Some((first, tail)) = rest.split_first() {
        match marks.iter().find(|(mark, _)| rest.starts_with(mark)) {
            Some((mark, text)) => {
                out.extend_from_slice(text);
                rest = &rest[mark.len()..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// The pod sees this one, which is made at run time. Lives as long as the tests.
fn passes(request: String) -> Outcome {
    Passed(Box::leak(Box::new([&*request.leak()])))
}

/// Those that are too long to write down.
fn made() -> Vec<(&'static str, &'static str, Vec<u8>, Outcome)> {
    let repeat = |before: &str, middle: &str, count: usize, after: &str| {
        format!("{before}{}{after}", middle.repeat(count)).into_bytes()
    };
    let chunked = "POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n";
    vec![
        (
            "a target that fits",
            "RFC 9112 §3",
            repeat("GET /x?", "y", 8000, " HTTP/1.1\r\n{H}\r\n"),
            passes(format!("GET /x?{}", "y".repeat(8000))),
        ),
        (
            "a target that does not fit",
            "RFC 9110 §15.5.15",
            repeat("GET /", "x", 9000, " HTTP/1.1\r\n{H}\r\n{S}"),
            Refused(&[414]),
        ),
        ("a method without an end", "RFC 9110 §15.5.15", repeat("", "X", 9000, ""), Refused(&[414])),
        ("a field that fits", "RFC 6585 §5", repeat("GET /x HTTP/1.1\r\n{H}a: ", "v", 8000, "\r\n\r\n"), GET),
        (
            "a field that does not fit",
            "RFC 6585 §5",
            repeat("GET /x HTTP/1.1\r\n{H}a: ", "v", 9000, "\r\n\r\n{S}"),
            Refused(&[400, 431]),
        ),
        (
            "a name that does not fit",
            "RFC 6585 §5",
            repeat("GET /x HTTP/1.1\r\n{H}", "n", 9000, ": v\r\n\r\n{S}"),
            Refused(&[400, 431]),
        ),
        (
            "fields that do not fit",
            "RFC 6585 §5",
            repeat("GET /x HTTP/1.1\r\n{H}", "a: 0123456789\r\n", 3000, "\r\n{S}"),
            Refused(&[400, 431]),
        ),
        ("two hundred fields", "RFC 6585 §5", repeat("GET /x HTTP/1.1\r\n{H}", "a: b\r\n", 200, "\r\n"), GET),
        (
            "two framings behind many fields",
            "RFC 9112 §6.1",
            repeat(
                "POST /x HTTP/1.1\r\n{H}Content-Length: 6\r\n",
                "a: b\r\n",
                200,
                "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
            ),
            BAD,
        ),
        (
            "two framings far from each other",
            "RFC 9112 §6.1",
            repeat(
                "POST /x HTTP/1.1\r\n{H}Content-Length: 6\r\na: ",
                "v",
                8000,
                "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
            ),
            BAD,
        ),
        (
            "an extension without an end",
            "RFC 9112 §7.1.1",
            repeat(&format!("{chunked}5;"), "e", 50_000, "\r\nhello\r\n0\r\n\r\n{S}"),
            Refused(&[400]),
        ),
        (
            "extensions without an end",
            "RFC 9112 §7.1.1",
            repeat(chunked, "1;eeeeeeeeeeeeeeeeeeeeeeeeeee\r\nx\r\n", 3000, "0\r\n\r\n{S}"),
            Refused(&[400]),
        ),
        (
            "trailers without an end",
            "RFC 9112 §7.1.2",
            repeat(&format!("{chunked}0\r\n"), "a: 0123456789\r\n", 5000, "\r\n{S}"),
            Refused(&[400]),
        ),
        (
            "a size with many zeros in front",
            "RFC 9112 §7.1",
            repeat(chunked, "0", 100_000, "5\r\nhello\r\n0\r\n\r\n"),
            HELLO,
        ),
        ("empty lines without an end", "RFC 9112 §2.2", repeat("", "\r\n", 50_000, ""), Refused(&[400, 414, 431])),
    ]
}
