use super::*;
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits { line: 100, total: 300 };

/// What the watch says when the bytes come in pieces of `piece`, and how far it let them pass.
fn seen(bytes: &[u8], piece: usize) -> (usize, Option<Verdict>) {
    passed(bytes, piece, HeadWatch::see)
}

fn passed(
    bytes: &[u8],
    piece: usize,
    see: impl Fn(&mut HeadWatch, &[u8]) -> Result<usize, (usize, Verdict)>,
) -> (usize, Option<Verdict>) {
    let mut watch = HeadWatch::new(LIMITS, USUAL_FIELDS);
    let mut before = 0;
    for mut part in bytes.chunks(piece) {
        while !part.is_empty() {
            match see(&mut watch, part) {
                Ok(passed) => {
                    assert!(passed == part.len() || watch.is_complete(), "it stops behind a request, and nowhere else");
                    before += passed;
                    part = &part[passed..];
                }
                Err((at, verdict)) => return (before + at, Some(verdict)),
            }
        }
    }
    (before, None)
}

/// The short way says the same as the long one.
fn followed(bytes: &[u8]) -> Option<Verdict> {
    passed(bytes, bytes.len().max(1), HeadWatch::follow).1
}

/// The same verdict in one piece, byte by byte, and in between.
fn verdict(bytes: impl AsRef<[u8]>) -> Option<Verdict> {
    let bytes = bytes.as_ref();
    let (_, whole) = seen(bytes, bytes.len().max(1));
    assert_eq!(followed(bytes), whole, "{:?}", String::from_utf8_lossy(bytes));
    for piece in 1..bytes.len().min(60) {
        assert_eq!(seen(bytes, piece).1, whole, "in pieces of {piece}: {:?}", String::from_utf8_lossy(bytes));
    }
    whole
}

#[test]
fn ordinary_requests_pass() {
    for requests in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab\ncdGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nX-Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        assert_eq!(verdict(requests), None, "{requests}");
    }
}

#[test]
fn two_framings_are_one_too_many() {
    for head in [
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\ncONTENT-lENGTH:0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\nTransfer-Encoding: identity\nContent-Length:\t5 \n\n",
    ] {
        assert_eq!(verdict(head), Some(Verdict::Framing), "{head}");
        for before in [
            "GET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 8\r\n\r\n\r\n\r\n\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;\"\r\n\n\r\n0\r\n\r\n",
        ] {
            assert_eq!(verdict(format!("{before}{head}")), Some(Verdict::Framing), "{before}{head}");
        }
    }
}

/// Found by `any_bytes`.
#[test]
fn a_request_line_is_no_field() {
    assert_eq!(verdict("content-length:content-length:content-length:\r\n"), None);
}

#[test]
fn a_body_is_not_a_head() {
    let trap = "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    let length = trap.len();
    let sized = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{trap}");
    let chunked = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{trap}\r\n0\r\n\r\n");
    assert_eq!(verdict(&sized), None);
    assert_eq!(verdict(&chunked), None);
    assert_eq!(verdict(format!("{sized}{chunked}{sized}{trap}")), Some(Verdict::Framing));
}

#[test]
fn lengths_are_digits() {
    for value in ["", "+5", "-1", "0x5", "5, 5", "5 5", "99999999999999999999", "5\r\n\u{b}"] {
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {value}\r\n\r\n");
        if !value.contains('\r') {
            assert_eq!(verdict(&head), Some(Verdict::Framing), "{head}");
        }
    }
}

#[test]
fn lines_and_heads_have_a_size() {
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(length - 16));
    let field = |length: usize| format!("A: {}\r\n", "x".repeat(length - 5));
    assert_eq!(verdict(format!("{}\r\n", line(100))), None);
    assert_eq!(verdict(format!("{}\r\n", line(101))), Some(Verdict::LongLine));
    assert_eq!(verdict("x".repeat(101)), Some(Verdict::LongLine));
    assert_eq!(verdict(format!("{}{}\r\n", line(20), field(100))), None);
    assert_eq!(verdict(format!("{}{}\r\n", line(20), field(101))), Some(Verdict::LargeHead));
    // The last line is part of it.
    assert_eq!(verdict(format!("{}{}{}{}\r\n", line(98), field(100), field(50), field(50))), None);
    assert_eq!(verdict(format!("{}{}{}{}\r\n", line(99), field(100), field(50), field(50))), Some(Verdict::LargeHead));
    // Every head anew, and what is between them does not count.
    let request = format!("{}{}{}\r\n", line(98), field(100), field(98));
    assert_eq!(verdict(request.repeat(5)), None);
    let large = format!("POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n{}", "x".repeat(5000));
    assert_eq!(seen(large.as_bytes(), 512).1, None);
}

#[test]
fn what_is_held_back_is_never_a_whole_head() {
    let first = "GET / HTTP/1.1\r\n\r\n";
    let second = "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nrest";
    let (passed, verdict) = seen(format!("{first}{second}").as_bytes(), 1000);
    assert_eq!(verdict, Some(Verdict::Framing));
    assert_eq!(passed, first.len() + second.len() - "\r\nrest".len());
    let fields: String = (0..=USUAL_FIELDS).map(|_| "A:\n").collect();
    let limits = HeadLimits { line: 100, total: 1000 };
    let mut watch = HeadWatch::new(limits, USUAL_FIELDS);
    let head = format!("GET / HTTP/1.1\n{fields}\n");
    assert_eq!(watch.see(head.as_bytes()), Err((head.len() - 4, Verdict::ManyFields)));
    assert_eq!(HeadWatch::new(limits, USUAL_FIELDS + 1).see(head.as_bytes()), Ok(head.len()));
}

/// Where requests end, one by one, and what is known of their heads.
#[test]
fn a_request_is_shown_to_its_end_and_no_further() {
    for (requests, ends) in [
        ("GET /a HTTP/1.1\r\nHost: a\r\n\r\n|GET /b HTTP/1.1\r\nHost: a\r\n\r\n|", true),
        ("GET /a HTTP/1.1\nHost: a\n\n|GET /b HTTP/1.1\n\n|\r\n", false),
        ("GET /a HTTP/1.1\r\n\n|\r\n\r\nGET /b HTTP/1.1\r\n\r\n|", true),
        ("\r\nPOST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n12\r\n3|\r\n\r\n", false),
        (
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: b\r\n\r\n|GET /b HTTP/1.1\r\n\r\n|",
            true,
        ),
        ("POST /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n|GET", false),
    ] {
        let parts: Vec<&str> = requests.split('|').collect();
        let whole = parts.concat();
        for piece in 1..=whole.len() {
            let mut watch = HeadWatch::new(LIMITS, USUAL_FIELDS);
            let (mut found, mut lines) = (vec![String::new()], Vec::new());
            for mut part in whole.as_bytes().chunks(piece) {
                while !part.is_empty() {
                    let passed = watch.see(part).expect("no objection");
                    found.last_mut().expect("one").push_str(&String::from_utf8_lossy(&part[..passed]));
                    if watch.is_complete() {
                        found.push(String::new());
                        let (line, length) = watch.last_head().expect("a head");
                        lines.push((String::from_utf8_lossy(line).into_owned(), length));
                    }
                    part = &part[passed..];
                }
            }
            assert_eq!(found, parts, "in pieces of {piece}");
            assert!(lines[0].0.ends_with(" /a HTTP/1.1") && lines[0].1 >= 18, "in pieces of {piece}: {lines:?}");
            assert_eq!(lines.get(1).is_some_and(|line| line.0 == "GET /b HTTP/1.1"), parts.len() > 2, "{lines:?}");
            assert_eq!(watch.is_complete(), ends, "in pieces of {piece}: {whole:?}");
        }
    }
}

proptest! {
    /// It never panics, and pieces make no difference.
    #[test]
    fn any_bytes(bytes in "([cCtT]ontent-[lL]ength:|[tT]ransfer-[eE]ncoding:|[0-9a-f;:. ]|\r\n|\n|\r|GET|[a-z]){0,60}", piece in 1usize..40) {
        let bytes = bytes.as_bytes();
        prop_assert_eq!(seen(bytes, piece).1, seen(bytes, 10_000).1);
        prop_assert_eq!(followed(bytes), seen(bytes, 10_000).1);
    }
}
