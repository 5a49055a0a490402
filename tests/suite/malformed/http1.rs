//! Cases of HTTP/1: bytes, what must come of them, and the rule.
//!
//! `{H}` stands for a Host line, `{S}` for a request that must never be found inside another one's body or head.

use super::Outcome::{self, Declined, Last, Passed, Perhaps, Refused, Then};

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

/// Content-Length.
const LENGTHS: &[Row] = &[
    ("a length", "RFC 9112 §6.2", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\n\r\nhello", HELLO),
    (
        "a length with zeros in front",
        "RFC 9110 §8.6",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: 005\r\n\r\nhello",
        HELLO,
    ),
    ("a length between blanks", "RFC 9110 §5.5", b"POST /x HTTP/1.1\r\n{H}Content-Length: \t 5 \t\r\n\r\nhello", HELLO),
    (
        "the same length twice",
        "RFC 9110 §8.6",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        HELLO,
    ),
    (
        "two lengths",
        "RFC 9112 §6.3",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello{S}",
        BAD,
    ),
    (
        "two lengths, the first is zero",
        "RFC 9112 §6.3",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: 0\r\nContent-Length: 44\r\n\r\n{S}",
        BAD,
    ),
    ("a list of one length", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5, 5\r\n\r\nhello{S}", BAD),
    ("a list of two lengths", "RFC 9112 §6.3", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5, 0\r\n\r\nhello{S}", BAD),
    ("a length with a sign", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length: +5\r\n\r\nhello{S}", BAD),
    ("a negative length", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length: -5\r\n\r\nhello{S}", BAD),
    ("a negative zero", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length: -0\r\n\r\n{S}", BAD),
    ("a hexadecimal length", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length: 0x5\r\n\r\nhello{S}", BAD),
    ("a length in hexadecimal digits", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length: 2c\r\n\r\n{S}", BAD),
    ("a length with an exponent", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5e0\r\n\r\nhello{S}", BAD),
    ("a length with a fraction", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5.0\r\n\r\nhello{S}", BAD),
    ("a length in quotes", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length: \"5\"\r\n\r\nhello{S}", BAD),
    (
        "a length with a parameter",
        "RFC 9110 §8.6",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: 5;q=1\r\n\r\nhello{S}",
        BAD,
    ),
    ("a length with a blank inside", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length: 4 4\r\n\r\n{S}", BAD),
    (
        "a length with an underscore inside",
        "RFC 9110 §8.6",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: 4_4\r\n\r\n{S}",
        BAD,
    ),
    ("a length of nothing", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length:\r\n\r\n{S}", BAD),
    ("a length of blanks", "RFC 9110 §8.6", b"POST /x HTTP/1.1\r\n{H}Content-Length: \t \r\n\r\n{S}", BAD),
    (
        "a length in other digits",
        "RFC 9110 §8.6",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: \xd9\xa5\r\n\r\nhello{S}",
        BAD,
    ),
    ("a length with NUL", "RFC 9110 §5.5", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\0\r\n\r\nhello{S}", BAD),
    (
        "a length with a vertical tab",
        "RFC 9110 §5.5",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: \x0b5\r\n\r\nhello{S}",
        BAD,
    ),
    (
        "a length beyond 64 bits",
        "RFC 9110 §8.6",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: 18446744073709551621\r\n\r\nhello{S}",
        BAD,
    ),
    (
        "a length of many digits",
        "RFC 9110 §8.6",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: 99999999999999999999999999999999\r\n\r\nhello{S}",
        BAD,
    ),
    (
        "the largest length",
        "RFC 9110 §8.6",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: 18446744073709551615\r\n\r\nhello",
        Refused(&[400, 413, 431]),
    ),
    (
        "a length that no route allows",
        "RFC 9110 §15.5.14",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: 9223372036854775807\r\n\r\nhello",
        Refused(&[413]),
    ),
    (
        "a length and a blank before the colon",
        "RFC 9112 §5.1",
        b"POST /x HTTP/1.1\r\n{H}Content-Length : 5\r\n\r\nhello{S}",
        BAD,
    ),
    (
        "a length and a tab before the colon",
        "RFC 9112 §5.1",
        b"POST /x HTTP/1.1\r\n{H}Content-Length\t: 5\r\n\r\nhello{S}",
        BAD,
    ),
    ("a folded length", "RFC 9112 §5.2", b"POST /x HTTP/1.1\r\n{H}Content-Length:\r\n 5\r\n\r\nhello{S}", BAD),
    (
        "a length that goes on in the next line",
        "RFC 9112 §5.2",
        b"POST /x HTTP/1.1\r\n{H}Content-Length: 4\r\n 4\r\n\r\n{S}",
        BAD,
    ),
    (
        "a length hidden behind a bare CR",
        "RFC 9112 §2.2",
        b"POST /x HTTP/1.1\r\n{H}X: y\rContent-Length: 44\r\n\r\n{S}",
        BAD,
    ),
    (
        "a length with an underscore in its name",
        "RFC 9112 §6.3",
        b"POST /x HTTP/1.1\r\n{H}Content_Length: 44\r\n\r\n",
        Passed(&["POST /x"]),
    ),
    (
        "a length of a GET",
        "RFC 9110 §9.3.1",
        b"GET /x HTTP/1.1\r\n{H}Content-Length: 5\r\n\r\nhello",
        Passed(&["GET /x hello"]),
    ),
    (
        "a body that looks like a request",
        "RFC 9112 §6.2",
        b"GET /x HTTP/1.1\r\n{H}Content-Length: 42\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n..",
        Passed(&["GET /x GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n.."]),
    ),
    (
        "a length named in Connection",
        "RFC 9110 §7.6.1",
        b"POST /x HTTP/1.1\r\n{H}Connection: Content-Length\r\nContent-Length: 5\r\n\r\nhello",
        HELLO,
    ),
];

/// Transfer-Encoding, alone and beside Content-Length.
const CODINGS: &[Row] = &[
    ("chunked", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", HELLO),
    ("chunked in another case", "RFC 9112 §7", b"POST /x HTTP/1.1\r\n{H}tRANSFER-eNCODING:ChunkeD\r\n\r\n5\r\nhello\r\n0\r\n\r\n", HELLO),
    ("chunked between blanks", "RFC 9110 §5.5", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: \tchunked\t \r\n\r\n5\r\nhello\r\n0\r\n\r\n", HELLO),
    ("a length, then chunked (CL.TE)", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked, then a length (TE.CL)", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2a\r\n{S}\r\n0\r\n\r\n", BAD),
    ("chunked and a length of zero", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked and two lengths", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked and a bad length", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked and a length, both in other cases", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}TRANSFER-ENCODING: CHUNKED\r\ncontent-length: 6\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked and a length, with bare LF", "RFC 9112 §6.1", b"POST /x HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nContent-Length: 6\n\n0\r\n\r\n{S}", BAD),
    ("a length, and chunked behind a bare LF", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Content-Length: 6\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("a length, and chunked behind a bare CR", "RFC 9112 §2.2", b"POST /x HTTP/1.1\r\n{H}Content-Length: 6\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("a length, and another coding", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello{S}", BAD),
    ("a length, and a coding of nothing", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\nTransfer-Encoding:\r\n\r\nhello{S}", BAD),
    ("a length, and a coding with an underscore in its name", "RFC 9112 §6.3", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\nhello", HELLO),
    ("a length, and a coding with a dot in its name", "RFC 9112 §6.3", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\nTransfer.Encoding: chunked\r\n\r\nhello", HELLO),
    ("a length, and a name that begins like a coding", "RFC 9112 §6.3", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\nTransfer-Encoding-X: chunked\r\n\r\nhello", HELLO),
    ("a length, and a coding with a blank before the colon", "RFC 9112 §5.1", b"POST /x HTTP/1.1\r\n{H}Content-Length: 6\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("a length, and a coding with a blank in front", "RFC 9112 §5.2", b"POST /x HTTP/1.1\r\n{H}Content-Length: 6\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("a folded coding", "RFC 9112 §5.2", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked in two lines", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked and another coding in two lines", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n{S}", BAD),
    ("another coding and chunked in two lines", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked twice in a line", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("gzip, then chunked", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{S}", Refused(&[501])),
    ("chunked, then gzip", "RFC 9112 §6.3", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n{S}", BAD),
    ("gzip alone", "RFC 9112 §6.3", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n{S}", BAD),
    ("identity", "RFC 9112 §7", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: identity\r\n\r\n{S}", BAD),
    ("a coding of nothing", "RFC 9112 §6.3", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding:\r\n\r\n{S}", BAD),
    ("an unknown coding", "RFC 9112 §6.3", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked with something behind", "RFC 9112 §6.3", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked with a parameter", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked;q=0\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked in quotes", "RFC 9112 §6.3", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked with a vertical tab", "RFC 9110 §5.5", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked with a form feed", "RFC 9110 §5.5", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked with NUL", "RFC 9110 §5.5", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked with a byte of UTF-8", "RFC 9112 §6.3", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked with a comma in front", "RFC 9110 §5.6.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n{S}", Refused(&[400, 501])),
    ("chunked with a comma behind", "RFC 9110 §5.6.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n{S}", Refused(&[400, 501])),
    ("chunked in HTTP/1.0", "RFC 9112 §6.1", b"POST /x HTTP/1.0\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked and a length in HTTP/1.0", "RFC 9112 §6.1", b"POST /x HTTP/1.0\r\n{H}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("chunked and kept alive in HTTP/1.0", "RFC 9112 §6.1", b"POST /x HTTP/1.0\r\n{H}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", BAD),
    ("a chunked GET", "RFC 9110 §9.3.1", b"GET /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Passed(&["GET /x hello"])),
    ("a coding named in Connection", "RFC 9110 §7.6.1", b"POST /x HTTP/1.1\r\n{H}Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", HELLO),
];

const fn bad_chunks(name: &'static str, clause: &'static str, bytes: &'static [u8]) -> Row {
    (name, clause, bytes, Refused(&[400]))
}

/// The chunked coding.
const CHUNKS: &[Row] = &[
    ("chunks of several sizes", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n2\r\nel\r\n2\r\nlo\r\n0\r\n\r\n", HELLO),
    ("a size in capitals", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", Passed(&["POST /x 0123456789"])),
    ("a size with zeros in front", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n00000005\r\nhello\r\n000\r\n\r\n", HELLO),
    ("an extension", "RFC 9112 §7.1.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5;a=b;c\r\nhello\r\n0;d\r\n\r\n", HELLO),
    ("an extension in quotes", "RFC 9112 §7.1.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5;a=\"0;\"\r\nhello\r\n0\r\n\r\n", HELLO),
    ("a blank behind a size", "RFC 9112 §7.1.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5 ;a\r\nhello\r\n0\r\n\r\n", HELLO),
    ("trailers", "RFC 9112 §7.1.2", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n", HELLO),
    ("trailers that would be framing", "RFC 9110 §6.5.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 9\r\nHost: b\r\n\r\n", HELLO),
    bad_chunks("a chunk of no size", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a size that is none", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\ng\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a negative size", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a size with a sign", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a size with a prefix", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a size with a blank in front", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a size with a blank inside", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0 5\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a size with NUL", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\0\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a size with an underscore", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0_5\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a size beyond 64 bits", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a size far beyond 64 bits", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffffff5\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a bare LF behind a size", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a bare CR behind a size", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\rhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a bare LF behind the data", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n{S}"),
    bad_chunks("a bare CR behind the data", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r0\r\n\r\n{S}"),
    bad_chunks("nothing behind the data", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n{S}"),
    bad_chunks("more data than its size", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello, and more\r\n0\r\n\r\n{S}"),
    bad_chunks("less data than its size", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n6\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a bare LF in an extension", "RFC 9112 §7.1.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a bare LF in an extension in quotes", "RFC 9112 §7.1.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5;a=\"\n\"\r\nhello\r\n0\r\n\r\n{S}"),
    bad_chunks("a bare LF behind the last size", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\n\r\n{S}"),
    bad_chunks("a bare CR at the end", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\rX{S}"),
    bad_chunks("a trailer without a colon", "RFC 9112 §7.1.2", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nno colon\r\n\r\n{S}"),
    bad_chunks("a trailer with NUL", "RFC 9110 §5.5", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: \0\r\n\r\n{S}"),
    bad_chunks("a length where a size should be", "RFC 9112 §7.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n{S}"),
];

/// The request line.
const REQUEST_LINES: &[Row] = &[
    ("a method in lower case", "RFC 9110 §9.1", b"get /x HTTP/1.1\r\n{H}\r\n", Passed(&["get /x"])),
    (
        "a method of odd characters",
        "RFC 9110 §5.6.2",
        b"!#$%&'*+-.^_`|~ /x HTTP/1.1\r\n{H}\r\n",
        Passed(&["!#$%&'*+-.^_`|~ /x"]),
    ),
    ("no method", "RFC 9112 §3.1", b" /x HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("a method with a parenthesis", "RFC 9112 §3.1", b"G(T /x HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("a method with a colon", "RFC 9112 §3.1", b"GET: /x HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("a method with NUL", "RFC 9112 §3.1", b"GE\0T /x HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("a method with a byte of UTF-8", "RFC 9112 §3.1", b"GE\xc3\xa9 /x HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("a tab behind the method", "RFC 9112 §3", b"GET\t/x HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("two blanks behind the method", "RFC 9112 §3", b"GET  /x HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("a tab behind the target", "RFC 9112 §3", b"GET /x\tHTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("two blanks behind the target", "RFC 9112 §3", b"GET /x  HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("a blank in the target", "RFC 9112 §3.2", b"GET /x y HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("a blank behind the version", "RFC 9112 §3", b"GET /x HTTP/1.1 \r\n{H}\r\n{S}", BAD),
    ("a bare CR in the line", "RFC 9112 §2.2", b"GET /x\rHTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("a NUL in the target", "RFC 9112 §3.2", b"GET /x\0 HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("no version", "RFC 9112 §3", b"GET /x\r\n{H}\r\n{S}", BAD),
    ("no target", "RFC 9112 §3", b"GET HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("nothing but a method", "RFC 9112 §3", b"GET\r\n{H}\r\n{S}", BAD),
    ("a version in lower case", "RFC 9112 §2.3", b"GET /x http/1.1\r\n{H}\r\n{S}", BAD),
    ("version 0.9", "RFC 9112 §2.3", b"GET /x HTTP/0.9\r\n{H}\r\n{S}", BAD),
    ("version 1.2", "RFC 9110 §6.2", b"GET /x HTTP/1.2\r\n{H}\r\n{S}", BAD),
    ("version 1.10", "RFC 9112 §2.3", b"GET /x HTTP/1.10\r\n{H}\r\n{S}", BAD),
    ("version 2.0", "RFC 9110 §6.2", b"GET /x HTTP/2.0\r\n{H}\r\n{S}", BAD),
    ("a version without its dot", "RFC 9112 §2.3", b"GET /x HTTP/11\r\n{H}\r\n{S}", BAD),
    ("a version with a comma", "RFC 9112 §2.3", b"GET /x HTTP/1,1\r\n{H}\r\n{S}", BAD),
    ("a version of another protocol", "RFC 9112 §2.3", b"GET /x HTTPS/1.1\r\n{H}\r\n{S}", BAD),
    ("a target in absolute form", "RFC 9112 §3.2.2", b"GET http://a.test/x HTTP/1.1\r\n{H}\r\n", GET),
    ("a target in absolute form, of another host", "RFC 9112 §3.2.2", b"GET http://b.test/x HTTP/1.1\r\n{H}\r\n", GET),
    ("a target in absolute form, no Host", "RFC 9112 §3.2", b"GET http://a.test/x HTTP/1.1\r\n\r\n", Declined(&[400])),
    ("a target in absolute form, two Hosts", "RFC 9112 §3.2", b"GET http://a.test/x HTTP/1.1\r\n{H}{H}\r\n", ODD),
    ("a target in absolute form without a host", "RFC 9110 §4.2.1", b"GET http:///x HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("a target in absolute form with a user", "RFC 9110 §4.2.4", b"GET http://u@a.test/x HTTP/1.1\r\n{H}\r\n", ODD),
    ("a target in authority form", "RFC 9112 §3.2.3", b"GET a.test:80 HTTP/1.1\r\n{H}\r\n", ODD),
    ("a target that is a word", "RFC 9112 §3.2", b"GET x HTTP/1.1\r\n{H}\r\n", ODD),
    ("an asterisk for GET", "RFC 9112 §3.2.4", b"GET * HTTP/1.1\r\n{H}\r\n", ODD),
    ("an asterisk for OPTIONS", "RFC 9112 §3.2.4", b"OPTIONS * HTTP/1.1\r\n{H}\r\n", ODD),
    ("CONNECT", "RFC 9110 §9.3.6", b"CONNECT a.test:443 HTTP/1.1\r\n{H}\r\n", Declined(&[400, 405])),
    ("TRACE", "RFC 9110 §9.3.8", b"TRACE /x HTTP/1.1\r\n{H}\r\n", Declined(&[405])),
    ("a percent sign alone", "RFC 3986 §2.1", b"GET /% HTTP/1.1\r\n{H}\r\n", ODD),
    ("a percent sign and no digits", "RFC 3986 §2.1", b"GET /%zz HTTP/1.1\r\n{H}\r\n", ODD),
    ("an encoded NUL", "RFC 3986 §7.3", b"GET /x%00y HTTP/1.1\r\n{H}\r\n", ODD),
    ("more dots than segments", "RFC 3986 §5.2.4", b"GET /a/../../x HTTP/1.1\r\n{H}\r\n", ODD),
    ("more encoded dots than segments", "RFC 3986 §6.2.2", b"GET /%2e%2e/x HTTP/1.1\r\n{H}\r\n", ODD),
    ("a target that is not UTF-8", "RFC 3986 §2", b"GET /\xff HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("a target with an angle bracket", "RFC 3986 §2", b"GET /<x> HTTP/1.1\r\n{H}\r\n{S}", BAD),
    (
        "encoded line ends in a target",
        "RFC 3986 §2.1",
        b"GET /x%0d%0aX:%20y HTTP/1.1\r\n{H}\r\n",
        Passed(&["GET /x%0d%0aX:%20y"]),
    ),
];

/// The host.
const HOSTS: &[Row] = &[
    ("no Host", "RFC 9112 §3.2", b"GET /x HTTP/1.1\r\n\r\n", ODD),
    ("no Host in HTTP/1.0", "RFC 9112 §3.2", b"GET /x HTTP/1.0\r\n\r\n", Last(&["GET /x"])),
    ("two Hosts", "RFC 9112 §3.2", b"GET /x HTTP/1.1\r\n{H}Host: b.test\r\n\r\n", ODD),
    ("the same Host twice", "RFC 9112 §3.2", b"GET /x HTTP/1.1\r\n{H}{H}\r\n", ODD),
    ("two Hosts in other cases", "RFC 9112 §3.2", b"GET /x HTTP/1.1\r\nhost: a.test\r\nHOST: b.test\r\n\r\n", ODD),
    (
        "two Hosts in HTTP/1.0",
        "RFC 9112 §3.2",
        b"GET /x HTTP/1.0\r\n{H}Host: b.test\r\nConnection: keep-alive\r\n\r\n",
        ODD,
    ),
    ("an empty Host", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost:\r\n\r\n", ODD),
    ("a Host of blanks", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: \t\r\n\r\n", ODD),
    ("a list of Hosts", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", ODD),
    ("two Hosts in one", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: a.test b.test\r\n\r\n", ODD),
    ("a Host with a path", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: a.test/admin\r\n\r\n", ODD),
    ("a Host with a backslash", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: a.test\\admin\r\n\r\n", ODD),
    ("a Host with a query", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: a.test?b\r\n\r\n", ODD),
    ("a Host with a fragment", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: a.test#b\r\n\r\n", ODD),
    ("a Host with a user", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: u@a.test\r\n\r\n", ODD),
    ("a Host with a scheme", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: http://a.test\r\n\r\n", ODD),
    ("a Host with an empty label", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: a..test\r\n\r\n", ODD),
    ("a Host of a dot", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: .\r\n\r\n", ODD),
    ("a port and no Host", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: :80\r\n\r\n", ODD),
    ("a bracket without an end", "RFC 3986 §3.2.2", b"GET /x HTTP/1.1\r\nHost: [::1\r\n\r\n", ODD),
    ("a Host with NUL", "RFC 9110 §5.5", b"GET /x HTTP/1.1\r\nHost: a\0.test\r\n\r\n{S}", BAD),
    ("a Host with a tab inside", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: a\ttest\r\n\r\n", ODD),
    ("a Host with a byte of UTF-8", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: \xc3\xa9.test\r\n\r\n", ODD),
    ("a Host with markup", "RFC 9110 §7.2", b"GET /x HTTP/1.1\r\nHost: <b>.test\r\n\r\n", ODD),
    ("a folded Host", "RFC 9112 §5.2", b"GET /x HTTP/1.1\r\nHost: a.test\r\n b.test\r\n\r\n{S}", BAD),
    ("a Host with a blank before the colon", "RFC 9112 §5.1", b"GET /x HTTP/1.1\r\nHost : a.test\r\n\r\n{S}", BAD),
    ("a Host behind a blank", "RFC 9112 §2.2", b"GET /x HTTP/1.1\r\n Host: a.test\r\n\r\n{S}", BAD),
    ("a second Host behind a bare LF", "RFC 9112 §2.2", b"GET /x HTTP/1.1\r\nHost: a.test\nHost: b.test\r\n\r\n", ODD),
    ("a Host in an address", "RFC 3986 §3.2.2", b"GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", GET),
    ("a Host named in Connection", "RFC 9110 §7.6.1", b"GET /x HTTP/1.1\r\n{H}Connection: Host\r\n\r\n", GET),
];

/// Ends of lines.
const LINES: &[Row] = &[
    ("bare LF all over", "RFC 9112 §2.2", b"GET /x HTTP/1.1\nHost: a.test\n\n", GET),
    ("bare LF here and there", "RFC 9112 §2.2", b"GET /x HTTP/1.1\nHost: a.test\r\nA: b\n\r\n", GET),
    ("an empty line in front", "RFC 9112 §2.2", b"\r\nGET /x HTTP/1.1\r\n{H}\r\n", GET),
    ("bare LF in front", "RFC 9112 §2.2", b"\n\nGET /x HTTP/1.1\r\n{H}\r\n", GET),
    ("a blank in front", "RFC 9112 §2.2", b" GET /x HTTP/1.1\r\n{H}\r\n{S}", BAD),
    ("bare CR all over", "RFC 9112 §2.2", b"GET /x HTTP/1.1\rHost: a.test\r\r\n\r\n{S}", BAD),
    ("CR twice", "RFC 9112 §2.2", b"GET /x HTTP/1.1\r\r\n{H}\r\n{S}", BAD),
    ("CR twice behind a field", "RFC 9112 §2.2", b"GET /x HTTP/1.1\r\nHost: a.test\r\r\n\r\n{S}", BAD),
    ("CR twice at the end", "RFC 9112 §2.2", b"GET /x HTTP/1.1\r\n{H}\r\r\n{S}", BAD),
    ("a blank line that is not empty", "RFC 9112 §2.2", b"GET /x HTTP/1.1\r\n{H} \r\n\r\n{S}", BAD),
    (
        "a preface of HTTP/2 behind a request",
        "RFC 9113 §3.4",
        b"GET /x HTTP/1.1\r\n{H}\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        Perhaps(&["GET /x"], &[400]),
    ),
    ("a record of TLS", "RFC 9112 §3", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n", BAD),
    ("the start of another protocol", "RFC 9112 §3", b"SSH-2.0-OpenSSH_9.9\r\n\r\n", BAD),
];

/// Fields.
const FIELDS: &[Row] = &[
    ("a field of nothing", "RFC 9110 §5.5", b"GET /x HTTP/1.1\r\n{H}A:\r\n\r\n", GET),
    ("bytes beyond ASCII in a value", "RFC 9110 §5.5", b"GET /x HTTP/1.1\r\n{H}A: \xe9\xff\r\n\r\n", GET),
    ("a name of odd characters", "RFC 9110 §5.1", b"GET /x HTTP/1.1\r\n{H}!#$%&'*+.^_`|~: v\r\n\r\n", GET),
    ("a line without a colon", "RFC 9112 §5", b"GET /x HTTP/1.1\r\n{H}nothing\r\n\r\n{S}", BAD),
    ("a field without a name", "RFC 9112 §5", b"GET /x HTTP/1.1\r\n{H}: v\r\n\r\n{S}", BAD),
    ("a blank in a name", "RFC 9112 §5.1", b"GET /x HTTP/1.1\r\n{H}a b: v\r\n\r\n{S}", BAD),
    ("a blank before the colon", "RFC 9112 §5.1", b"GET /x HTTP/1.1\r\n{H}a : v\r\n\r\n{S}", BAD),
    ("a tab before the colon", "RFC 9112 §5.1", b"GET /x HTTP/1.1\r\n{H}a\t: v\r\n\r\n{S}", BAD),
    ("a vertical tab before the colon", "RFC 9112 §5.1", b"GET /x HTTP/1.1\r\n{H}a\x0b: v\r\n\r\n{S}", BAD),
    ("a NUL in a name", "RFC 9110 §5.1", b"GET /x HTTP/1.1\r\n{H}a\0b: v\r\n\r\n{S}", BAD),
    ("a NUL in a value", "RFC 9110 §5.5", b"GET /x HTTP/1.1\r\n{H}a: v\0w\r\n\r\n{S}", BAD),
    ("a bare CR in a name", "RFC 9112 §2.2", b"GET /x HTTP/1.1\r\n{H}a\rb: v\r\n\r\n{S}", BAD),
    ("a bare CR in a value", "RFC 9110 §5.5", b"GET /x HTTP/1.1\r\n{H}a: v\rw\r\n\r\n{S}", BAD),
    ("an escape in a value", "RFC 9110 §5.5", b"GET /x HTTP/1.1\r\n{H}a: \x1b[0m\r\n\r\n{S}", BAD),
    ("a DEL in a value", "RFC 9110 §5.5", b"GET /x HTTP/1.1\r\n{H}a: \x7f\r\n\r\n{S}", BAD),
    ("bytes beyond ASCII in a name", "RFC 9110 §5.1", b"GET /x HTTP/1.1\r\n{H}\xc3\xa9: v\r\n\r\n{S}", BAD),
    ("a parenthesis in a name", "RFC 9110 §5.1", b"GET /x HTTP/1.1\r\n{H}a(b): v\r\n\r\n{S}", BAD),
    ("a quote in a name", "RFC 9110 §5.1", b"GET /x HTTP/1.1\r\n{H}\"a\": v\r\n\r\n{S}", BAD),
    ("a slash in a name", "RFC 9110 §5.1", b"GET /x HTTP/1.1\r\n{H}a/b: v\r\n\r\n{S}", BAD),
    ("a bracket in a name", "RFC 9110 §5.1", b"GET /x HTTP/1.1\r\n{H}a[0]: v\r\n\r\n{S}", BAD),
    ("a comma in a name", "RFC 9110 §5.1", b"GET /x HTTP/1.1\r\n{H}a,b: v\r\n\r\n{S}", BAD),
    ("a folded field", "RFC 9112 §5.2", b"GET /x HTTP/1.1\r\n{H}a: v\r\n w\r\n\r\n{S}", BAD),
    ("a field folded with a tab", "RFC 9112 §5.2", b"GET /x HTTP/1.1\r\n{H}a: v\r\n\tw: x\r\n\r\n{S}", BAD),
    ("a field folded with a bare LF", "RFC 9112 §5.2", b"GET /x HTTP/1.1\r\n{H}a: v\n w\r\n\r\n{S}", BAD),
    ("a fold before the first field", "RFC 9112 §2.2", b"GET /x HTTP/1.1\r\n \r\n{H}\r\n{S}", BAD),
    ("an expectation that nobody knows", "RFC 9110 §10.1.1", b"GET /x HTTP/1.1\r\n{H}Expect: the-moon\r\n\r\n", GET),
    ("a pseudo-field of HTTP/2", "RFC 9110 §5.1", b"GET /x HTTP/1.1\r\n{H}:path: /y\r\n\r\n{S}", BAD),
];

/// More than one request.
const SEQUENCES: &[Row] = &[
    ("two requests at once", "RFC 9112 §9.3.2", b"GET /x HTTP/1.1\r\n{H}\r\nGET /y HTTP/1.1\r\n{H}\r\n", Passed(&["GET /x", "GET /y"])),
    ("a body and the next request", "RFC 9112 §9.3.2", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\n\r\nhelloGET /y HTTP/1.1\r\n{H}\r\n", Passed(&["POST /x hello", "GET /y"])),
    ("chunks and the next request", "RFC 9112 §9.3.2", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /y HTTP/1.1\r\n{H}\r\n", Passed(&["POST /x hello", "GET /y"])),
    ("an empty line between two requests", "RFC 9112 §2.2", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\n\r\nhello\r\nGET /y HTTP/1.1\r\n{H}\r\n", Passed(&["POST /x hello", "GET /y"])),
    ("two framings behind a request", "RFC 9112 §6.1", b"GET /x HTTP/1.1\r\n{H}\r\nPOST /y HTTP/1.1\r\n{H}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", Then(&["GET /x"], &[400])),
    ("two framings behind a body", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Content-Length: 5\r\n\r\nhelloPOST /y HTTP/1.1\r\n{H}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", Then(&["POST /x hello"], &[400])),
    ("two framings behind chunks", "RFC 9112 §6.1", b"POST /x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nPOST /y HTTP/1.1\r\n{H}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}", Then(&["POST /x hello"], &[400])),
    ("nonsense behind a request", "RFC 9112 §3", b"GET /x HTTP/1.1\r\n{H}\r\n\0\r\n\r\n", Then(&["GET /x"], &[400])),
    ("a request behind the last one", "RFC 9112 §9.6", b"GET /x HTTP/1.1\r\n{H}Connection: close\r\n\r\n{S}", Last(&["GET /x"])),
    ("a request behind the last one in HTTP/1.0", "RFC 9112 §9.3", b"GET /x HTTP/1.0\r\n{H}\r\n{S}", Last(&["GET /x"])),
    ("a body of a HEAD", "RFC 9110 §9.3.2", b"HEAD /x HTTP/1.1\r\n{H}Content-Length: 5\r\n\r\nhello", Passed(&["HEAD /x hello"])),
];

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
