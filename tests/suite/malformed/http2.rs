//! Cases of HTTP/2: fields and frames, what must come of them, and the rule.

use super::frames::{HEADERS, block, frame};

/// One case.
pub(super) struct Case {
    /// What is wrong, or odd.
    pub(super) name: &'static str,
    /// Whose rule it is.
    pub(super) clause: &'static str,
    /// What the client sends after its preface.
    pub(super) bytes: Vec<u8>,
    /// What must come of it.
    pub(super) ending: Ending,
}

/// How the first stream ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// With 200; the pod has seen exactly this, as `METHOD TARGET BODY`.
    Passed(&'static [&'static str]),
    /// With one of these statuses.
    Status(&'static [u16]),
    /// With an error of the stream, or of the connection.
    Reset,
    /// With an error of the connection.
    Gone,
}

type Fields = &'static [(&'static [u8], &'static [u8])];

const GET: Ending = Ending::Passed(&["GET /x"]);
const BAD: Ending = Ending::Status(&[400]);
const RESET: Ending = Ending::Reset;
const GONE: Ending = Ending::Gone;

const METHOD: (&[u8], &[u8]) = (b":method", b"GET");
const SCHEME: (&[u8], &[u8]) = (b":scheme", b"http");
const PATH: (&[u8], &[u8]) = (b":path", b"/x");
const AUTHORITY: (&[u8], &[u8]) = (b":authority", b"a.test");

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

// === impl Ending ===

impl Ending {
    /// What the pod sees.
    pub(super) fn seen(self) -> &'static [&'static str] {
        match self {
            Self::Passed(seen) => seen,
            Self::Status(_) | Self::Reset | Self::Gone => &[],
        }
    }
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let of_fields = FIELDS.iter().map(|(name, clause, fields, ending)| Case {
        name,
        clause,
        bytes: frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields)),
        ending: *ending,
    });
    of_fields.chain(of_frames()).collect()
}

/// One header block that ends its stream.
const FIELDS: &[(&str, &str, Fields, Ending)] = &[
    ("h2: a request", "RFC 9113 §8.3.1", &[METHOD, SCHEME, PATH, AUTHORITY], GET),
    ("h2: pseudo-fields in another order", "RFC 9113 §8.3", &[AUTHORITY, PATH, SCHEME, METHOD], GET),
    ("h2: a Host and no authority", "RFC 9113 §8.3.1", &[METHOD, SCHEME, PATH, (b"host", b"a.test")], GET),
    (
        "h2: a Host that is the authority",
        "RFC 9113 §8.3.1",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"host", b"A.test")],
        GET,
    ),
    (
        "h2: a Host that is not the authority",
        "RFC 9113 §8.3.1",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"host", b"b.test")],
        BAD,
    ),
    ("h2: two Hosts", "RFC 9113 §8.3.1", &[METHOD, SCHEME, PATH, (b"host", b"a.test"), (b"host", b"a.test")], BAD),
    ("h2: neither Host nor authority", "RFC 9113 §8.3.1", &[METHOD, SCHEME, PATH], BAD),
    (
        "h2: an authority with a user",
        "RFC 9113 §8.3.1",
        &[METHOD, SCHEME, PATH, (b":authority", b"u@a.test")],
        Ending::Status(&[400]),
    ),
    ("h2: an authority with a path", "RFC 9113 §8.3.1", &[METHOD, SCHEME, PATH, (b":authority", b"a.test/y")], RESET),
    (
        "h2: an authority with a line end",
        "RFC 9113 §8.2.1",
        &[METHOD, SCHEME, PATH, (b":authority", b"a.test\r\nX: y")],
        RESET,
    ),
    ("h2: an authority with a blank", "RFC 9113 §8.3.1", &[METHOD, SCHEME, PATH, (b":authority", b"a.test b")], RESET),
    ("h2: an empty authority", "RFC 9113 §8.3.1", &[METHOD, SCHEME, PATH, (b":authority", b"")], RESET),
    ("h2: two authorities", "RFC 9113 §8.3", &[METHOD, SCHEME, PATH, AUTHORITY, (b":authority", b"b.test")], RESET),
    ("h2: no method", "RFC 9113 §8.3.1", &[SCHEME, PATH, AUTHORITY], RESET),
    ("h2: no scheme", "RFC 9113 §8.3.1", &[METHOD, PATH, AUTHORITY], RESET),
    ("h2: no path", "RFC 9113 §8.3.1", &[METHOD, SCHEME, AUTHORITY], RESET),
    ("h2: two methods", "RFC 9113 §8.3", &[METHOD, (b":method", b"POST"), SCHEME, PATH, AUTHORITY], RESET),
    ("h2: two paths", "RFC 9113 §8.3", &[METHOD, SCHEME, PATH, (b":path", b"/y"), AUTHORITY], RESET),
    ("h2: two schemes", "RFC 9113 §8.3", &[METHOD, SCHEME, (b":scheme", b"https"), PATH, AUTHORITY], RESET),
    ("h2: an empty method", "RFC 9113 §8.3.1", &[(b":method", b""), SCHEME, PATH, AUTHORITY], RESET),
    ("h2: a method with a blank", "RFC 9113 §8.3.1", &[(b":method", b"GET /y"), SCHEME, PATH, AUTHORITY], RESET),
    (
        "h2: a method with a line end",
        "RFC 9113 §8.2.1",
        &[(b":method", b"GET\r\nX: y"), SCHEME, PATH, AUTHORITY],
        RESET,
    ),
    ("h2: an empty path", "RFC 9113 §8.3.1", &[METHOD, SCHEME, (b":path", b""), AUTHORITY], RESET),
    ("h2: a path without a slash", "RFC 9113 §8.3.1", &[METHOD, SCHEME, (b":path", b"x"), AUTHORITY], RESET),
    (
        "h2: a path in absolute form",
        "RFC 9113 §8.3.1",
        &[METHOD, SCHEME, (b":path", b"http://b.test/x"), AUTHORITY],
        RESET,
    ),
    ("h2: an asterisk for GET", "RFC 9113 §8.3.1", &[METHOD, SCHEME, (b":path", b"*"), AUTHORITY], BAD),
    ("h2: a path with a blank", "RFC 9113 §8.3.1", &[METHOD, SCHEME, (b":path", b"/x HTTP/1.1"), AUTHORITY], RESET),
    (
        "h2: a path with a line end",
        "RFC 9113 §8.2.1",
        &[METHOD, SCHEME, (b":path", b"/x HTTP/1.1\r\nX: y\r\n\r\n"), AUTHORITY],
        RESET,
    ),
    ("h2: a path with a bare LF", "RFC 9113 §8.2.1", &[METHOD, SCHEME, (b":path", b"/x\ny"), AUTHORITY], RESET),
    ("h2: a path with NUL", "RFC 9113 §8.2.1", &[METHOD, SCHEME, (b":path", b"/x\0"), AUTHORITY], RESET),
    ("h2: a path with an encoded NUL", "RFC 3986 §7.3", &[METHOD, SCHEME, (b":path", b"/%00"), AUTHORITY], BAD),
    ("h2: more dots than segments", "RFC 3986 §5.2.4", &[METHOD, SCHEME, (b":path", b"/../x"), AUTHORITY], BAD),
    ("h2: a pseudo-field behind a field", "RFC 9113 §8.3", &[METHOD, SCHEME, (b"a", b"b"), PATH, AUTHORITY], RESET),
    ("h2: an unknown pseudo-field", "RFC 9113 §8.3", &[METHOD, SCHEME, PATH, AUTHORITY, (b":what", b"x")], RESET),
    ("h2: a status", "RFC 9113 §8.3", &[METHOD, SCHEME, PATH, AUTHORITY, (b":status", b"200")], RESET),
    (
        "h2: a protocol",
        "RFC 8441 §4",
        &[(b":method", b"CONNECT"), SCHEME, PATH, AUTHORITY, (b":protocol", b"websocket")],
        RESET,
    ),
    ("h2: CONNECT", "RFC 9113 §8.5", &[(b":method", b"CONNECT"), AUTHORITY], Ending::Status(&[400, 405])),
    ("h2: CONNECT with a path", "RFC 9113 §8.5", &[(b":method", b"CONNECT"), SCHEME, PATH, AUTHORITY], Ending::Reset),
    ("h2: TRACE", "RFC 9110 §9.3.8", &[(b":method", b"TRACE"), SCHEME, PATH, AUTHORITY], Ending::Status(&[405])),
    ("h2: a name in capitals", "RFC 9113 §8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, (b"X-A", b"b")], RESET),
    ("h2: a name with a colon", "RFC 9113 §8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a:b", b"c")], RESET),
    ("h2: a name with a blank", "RFC 9113 §8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a b", b"c")], RESET),
    ("h2: a name with a line end", "RFC 9113 §8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a\r\nb", b"c")], RESET),
    ("h2: a name with NUL", "RFC 9113 §8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a\0", b"c")], RESET),
    ("h2: no name", "RFC 9113 §8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, (b"", b"c")], RESET),
    ("h2: a value with a line end", "RFC 9113 §8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b"b\r\nX: y")], RESET),
    (
        "h2: a value with a request",
        "RFC 9113 §10.3",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b"b\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n")],
        RESET,
    ),
    ("h2: a value with a bare CR", "RFC 9113 §8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b"b\rc")], RESET),
    ("h2: a value with a bare LF", "RFC 9113 §8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b"b\nc")], RESET),
    ("h2: a value with NUL", "RFC 9113 §8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b"b\0c")], RESET),
    ("h2: Connection", "RFC 9113 §8.2.2", &[METHOD, SCHEME, PATH, AUTHORITY, (b"connection", b"close")], RESET),
    ("h2: Keep-Alive", "RFC 9113 §8.2.2", &[METHOD, SCHEME, PATH, AUTHORITY, (b"keep-alive", b"timeout=5")], RESET),
    (
        "h2: Proxy-Connection",
        "RFC 9113 §8.2.2",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"proxy-connection", b"close")],
        RESET,
    ),
    ("h2: Upgrade", "RFC 9113 §8.2.2", &[METHOD, SCHEME, PATH, AUTHORITY, (b"upgrade", b"websocket")], RESET),
    (
        "h2: Transfer-Encoding",
        "RFC 9113 §8.2.2",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"transfer-encoding", b"chunked")],
        RESET,
    ),
    ("h2: TE of trailers", "RFC 9113 §8.2.2", &[METHOD, SCHEME, PATH, AUTHORITY, (b"te", b"trailers")], GET),
    ("h2: TE of something else", "RFC 9113 §8.2.2", &[METHOD, SCHEME, PATH, AUTHORITY, (b"te", b"gzip")], RESET),
    (
        "h2: cookies in pieces",
        "RFC 9113 §8.2.3",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"cookie", b"a=1"), (b"cookie", b"b=2")],
        GET,
    ),
    (
        "h2: a length and no body",
        "RFC 9113 §8.1.1",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"content-length", b"5")],
        RESET,
    ),
    (
        "h2: a length of zero and no body",
        "RFC 9113 §8.1.1",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"content-length", b"0")],
        GET,
    ),
];

/// What takes more than one frame, or a broken one.
fn of_frames() -> Vec<Case> {
    let get = || block(&[METHOD, SCHEME, PATH, AUTHORITY]);
    let post = |length: Option<&'static [u8]>| {
        let mut fields = vec![(&b":method"[..], &b"POST"[..]), SCHEME, PATH, AUTHORITY];
        fields.extend(length.map(|length| (&b"content-length"[..], length)));
        block(&fields)
    };
    let headers = |flags: u8, stream: u32, block: &[u8]| frame(HEADERS, flags, stream, block);
    let whole = |stream: u32| headers(END_STREAM | END_HEADERS, stream, &get());
    let upload = |length: Option<&'static [u8]>| headers(END_HEADERS, 1, &post(length));
    let data = |flags: u8, payload: &[u8]| frame(0, flags, 1, payload);
    let hello = Ending::Passed(&["POST /x hello"]);
    let case = |name, clause, parts: &[Vec<u8>], ending| Case { name, clause, bytes: parts.concat(), ending };
    vec![
        case("h2: a body", "RFC 9113 §8.1", &[upload(None), data(END_STREAM, b"hello")], hello),
        case(
            "h2: a body of its length",
            "RFC 9113 §8.1.1",
            &[upload(Some(b"5")), data(0, b"he"), data(END_STREAM, b"llo")],
            hello,
        ),
        case(
            "h2: a body with padding",
            "RFC 9113 §6.1",
            &[upload(Some(b"5")), data(PADDED | END_STREAM, b"\x03hello\0\0\0")],
            hello,
        ),
        case(
            "h2: a body with trailers",
            "RFC 9113 §8.1",
            &[upload(None), data(0, b"hello"), headers(END_STREAM | END_HEADERS, 1, &block(&[(b"x-sum", b"1")]))],
            hello,
        ),
        case(
            "h2: a body longer than its length",
            "RFC 9113 §8.1.1",
            &[upload(Some(b"2")), data(END_STREAM, b"hello")],
            RESET,
        ),
        case(
            "h2: a body shorter than its length",
            "RFC 9113 §8.1.1",
            &[upload(Some(b"9")), data(END_STREAM, b"hello")],
            RESET,
        ),
        case("h2: a length that is none", "RFC 9113 §8.1.1", &[upload(Some(b"+5")), data(END_STREAM, b"hello")], RESET),
        case("h2: a list of lengths", "RFC 9110 §8.6", &[upload(Some(b"5, 5")), data(END_STREAM, b"hello")], RESET),
        // h2 leaves it out instead of refusing it: nobody ever sees it.
        case(
            "h2: trailers with a pseudo-field",
            "RFC 9113 §8.1",
            &[upload(None), data(0, b"hello"), headers(END_STREAM | END_HEADERS, 1, &block(&[PATH]))],
            hello,
        ),
        case(
            "h2: trailers that do not end the stream",
            "RFC 9113 §8.1",
            &[upload(None), data(0, b"hello"), headers(END_HEADERS, 1, &block(&[(b"a", b"b")]))],
            RESET,
        ),
        case(
            "h2: padding beyond the frame",
            "RFC 9113 §6.1",
            &[upload(None), data(PADDED | END_STREAM, b"\x09hello")],
            GONE,
        ),
        case(
            "h2: headers with padding beyond the frame",
            "RFC 9113 §6.2",
            &[headers(PADDED | END_STREAM | END_HEADERS, 1, b"\xff")],
            GONE,
        ),
        case(
            "h2: a block in pieces",
            "RFC 9113 §6.10",
            &[
                headers(END_STREAM, 1, &get()[..10]),
                frame(9, 0, 1, &get()[10..20]),
                frame(9, END_HEADERS, 1, &get()[20..]),
            ],
            GET,
        ),
        case(
            "h2: a block that another frame interrupts",
            "RFC 9113 §4.3",
            &[
                headers(END_STREAM, 1, &get()[..10]),
                frame(6, 0, 0, b"12345678"),
                frame(9, END_HEADERS, 1, &get()[10..]),
            ],
            GONE,
        ),
        case(
            "h2: a block that an unknown frame interrupts",
            "RFC 9113 §5.5",
            &[headers(END_STREAM, 1, &get()[..10]), frame(0xee, 0, 1, b"x"), frame(9, END_HEADERS, 1, &get()[10..])],
            GONE,
        ),
        case(
            "h2: a block that goes on on another stream",
            "RFC 9113 §6.10",
            &[headers(END_STREAM, 1, &get()[..10]), frame(9, END_HEADERS, 3, &get()[10..])],
            GONE,
        ),
        case("h2: CONTINUATION of nothing", "RFC 9113 §6.10", &[frame(9, END_HEADERS, 1, &get())], GONE),
        case(
            "h2: an index of no table",
            "RFC 7541 §2.3.3",
            &[headers(END_STREAM | END_HEADERS, 1, &[0xff, 0x80, 0x01])],
            GONE,
        ),
        case("h2: an index of zero", "RFC 7541 §6.1", &[headers(END_STREAM | END_HEADERS, 1, &[0x80])], GONE),
        case(
            "h2: an integer without an end",
            "RFC 7541 §5.1",
            &[headers(
                END_STREAM | END_HEADERS,
                1,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            )],
            GONE,
        ),
        case(
            "h2: a string beyond its block",
            "RFC 7541 §5.2",
            &[headers(END_STREAM | END_HEADERS, 1, &[0x00, 0x7f, 0x01, b'a'])],
            GONE,
        ),
        case(
            "h2: Huffman's end of string",
            "RFC 7541 §5.2",
            &[headers(END_STREAM | END_HEADERS, 1, &[0x00, 0x85, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, b'a'])],
            GONE,
        ),
        case(
            "h2: a table larger than allowed",
            "RFC 7541 §6.3",
            &[headers(END_STREAM | END_HEADERS, 1, &[&[0x3f, 0xff, 0xff, 0xff, 0x07][..], &get()].concat())],
            GONE,
        ),
        case("h2: headers on stream zero", "RFC 9113 §6.2", &[headers(END_STREAM | END_HEADERS, 0, &get())], GONE),
        case(
            "h2: headers on a stream of ours",
            "RFC 9113 §5.1.1",
            &[headers(END_STREAM | END_HEADERS, 2, &get())],
            GONE,
        ),
        case("h2: a stream below the last one", "RFC 9113 §5.1.1", &[whole(5), whole(3)], GONE),
        case(
            "h2: a stream that depends on itself",
            "RFC 9113 §5.3.1",
            &[headers(PRIORITY | END_STREAM | END_HEADERS, 1, &[&[0, 0, 0, 1, 16][..], &get()].concat())],
            RESET,
        ),
        case("h2: data on stream zero", "RFC 9113 §6.1", &[frame(0, 0, 0, b"x")], GONE),
        case("h2: data on an idle stream", "RFC 9113 §5.1", &[frame(0, 0, 1, b"x")], GONE),
        case("h2: a reset of an idle stream", "RFC 9113 §6.4", &[frame(3, 0, 1, b"\0\0\0\0")], GONE),
        case("h2: a reset of stream zero", "RFC 9113 §6.4", &[frame(3, 0, 0, b"\0\0\0\0")], GONE),
        case("h2: a reset of the wrong size", "RFC 9113 §6.4", &[upload(None), frame(3, 0, 1, b"\0\0\0")], GONE),
        case("h2: a window on an idle stream", "RFC 9113 §5.1", &[frame(8, 0, 1, b"\0\0\0\x01")], GONE),
        case("h2: a window of nothing", "RFC 9113 §6.9", &[frame(8, 0, 0, b"\0\0\0\0")], GONE),
        case(
            "h2: a window of nothing on a stream",
            "RFC 9113 §6.9",
            &[upload(None), frame(8, 0, 1, b"\0\0\0\0")],
            RESET,
        ),
        case(
            "h2: a window beyond all bounds",
            "RFC 9113 §6.9.1",
            &[frame(8, 0, 0, b"\x7f\xff\xff\xff"), frame(8, 0, 0, b"\x7f\xff\xff\xff")],
            GONE,
        ),
        case(
            "h2: a window beyond all bounds on a stream",
            "RFC 9113 §6.9.1",
            &[upload(None), frame(8, 0, 1, b"\x7f\xff\xff\xff"), frame(8, 0, 1, b"\x7f\xff\xff\xff")],
            RESET,
        ),
        case("h2: a window of the wrong size", "RFC 9113 §6.9", &[frame(8, 0, 0, b"\0\0\x01")], GONE),
        case("h2: settings of the wrong size", "RFC 9113 §6.5", &[frame(4, 0, 0, b"\0\x03\0\0\0")], GONE),
        case("h2: settings on a stream", "RFC 9113 §6.5", &[frame(4, 0, 1, b"")], GONE),
        case("h2: an answer to settings with settings", "RFC 9113 §6.5", &[frame(4, 1, 0, b"\0\x03\0\0\0\x64")], GONE),
        case("h2: push neither on nor off", "RFC 9113 §6.5.2", &[frame(4, 0, 0, b"\0\x02\0\0\0\x02")], GONE),
        case("h2: a first window beyond all bounds", "RFC 9113 §6.5.2", &[frame(4, 0, 0, b"\0\x04\x80\0\0\0")], GONE),
        case("h2: frames smaller than allowed", "RFC 9113 §6.5.2", &[frame(4, 0, 0, b"\0\x05\0\0\0\x01")], GONE),
        case("h2: a ping of the wrong size", "RFC 9113 §6.7", &[frame(6, 0, 0, b"1234567")], GONE),
        case("h2: a ping on a stream", "RFC 9113 §6.7", &[frame(6, 0, 1, b"12345678")], GONE),
        case(
            "h2: a push of a client",
            "RFC 9113 §8.4",
            &[upload(None), frame(5, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &get()].concat())],
            GONE,
        ),
        case("h2: a priority of the wrong size", "RFC 9113 §6.3", &[upload(None), frame(2, 0, 1, b"\0\0\0\0")], RESET),
        case("h2: GOAWAY on a stream", "RFC 9113 §6.8", &[frame(7, 0, 1, b"\0\0\0\0\0\0\0\0")], GONE),
        case("h2: a frame beyond the size", "RFC 9113 §4.2", &[upload(None), frame(0, 0, 1, &[b'x'; 16_385])], GONE),
        case("h2: an unknown frame", "RFC 9113 §5.5", &[frame(0xee, 0xff, 1, b"x"), whole(1)], GET),
        case("h2: unknown settings", "RFC 9113 §6.5.2", &[frame(4, 0, 0, b"\xfa\xce\0\0\0\x01"), whole(1)], GET),
        case(
            "h2: HTTP/1 in place of frames",
            "RFC 9113 §3.4",
            &[b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec()],
            GONE,
        ),
    ]
}
