use super::*;
use bytes::Bytes;
use http::{Request, Response};
use std::io::Read as _;

fn everything() -> Compression {
    let coding =
        |level| Some(CodingSettings { level, min_length: 20, types: Compression::TYPES.map(Into::into).into() });
    Compression { gzip: coding(1), brotli: coding(4), zstd: coding(3), not_for: None }
}

fn request(lines: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().uri("/");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

/// The head of a compressed or plain response of 1000 bytes with these fields.
fn applied(settings: &Compression, asked: &[(&str, &str)], status: u16, lines: &[(&str, &str)]) -> response::Parts {
    let mut response = Response::builder().status(status);
    for (name, value) in lines {
        response = response.header(*name, *value);
    }
    let mut head = response.body(()).expect("a response").into_parts().0;
    if let Some(wish) = Wish::of(settings, &request(asked)) {
        let body = wish.apply(settings, &mut head, ResponseBody::full(Bytes::from(vec![b'a'; 1000])));
        if body.known_length() != Some(1000) {
            assert_eq!(declared_length(&head.headers), body.known_length());
            assert!(body.known_length().is_some_and(|length| length < 200));
        }
    }
    head
}

fn text(head: &response::Parts, name: &str) -> String {
    let values: Vec<_> = head.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect();
    values.join("|")
}

const PLAIN: (&str, &str) = ("content-type", "Text/Plain; charset=utf-8");

#[test]
fn the_client_chooses_and_ties_are_ours() {
    for (accept, expected) in [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("br;q=0.5, gzip", "gzip"),
        ("br;q=0, *", "zstd"),
        ("*;q=0.1", "br"),
        ("identity, gzip;q=0.5", ""),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("gzip;q=0", ""),
        ("deflate", ""),
        ("", ""),
    ] {
        let head = applied(&everything(), &[("accept-encoding", accept)], 200, &[PLAIN]);
        assert_eq!(text(&head, "content-encoding"), expected, "{accept}");
        assert_eq!(text(&head, "vary"), "Accept-Encoding", "{accept}");
    }
    let none = applied(&everything(), &[], 200, &[PLAIN]);
    assert_eq!((text(&none, "content-encoding"), text(&none, "vary")), (String::new(), "Accept-Encoding".to_owned()));
}

#[test]
fn what_must_stay_as_it_is_stays() {
    let asked = [("accept-encoding", "gzip")];
    for (status, lines) in [
        (200, &[("content-type", "image/png")][..]),
        (200, &[]),
        (200, &[PLAIN, ("content-encoding", "br")]),
        (200, &[PLAIN, ("content-encoding", "identity")]),
        (200, &[PLAIN, ("cache-control", "public, No-Transform")]),
        (200, &[PLAIN, ("content-digest", "sha-256=:AA==:")]),
        (200, &[PLAIN, ("content-range", "bytes 0-999/5000")]),
        (206, &[PLAIN]),
        (201, &[PLAIN]),
        (304, &[PLAIN]),
        (500, &[PLAIN]),
    ] {
        let head = applied(&everything(), &asked, status, lines);
        assert_eq!(text(&head, "vary"), "", "{status} {lines:?}");
        assert_eq!(head.headers.len(), lines.len(), "{status} {lines:?}");
    }
    for status in [200, 403, 404] {
        assert_eq!(text(&applied(&everything(), &asked, status, &[PLAIN]), "content-encoding"), "gzip");
    }
    let mut long = everything();
    long.gzip.as_mut().expect("it is on").min_length = 1001;
    assert_eq!(text(&applied(&long, &asked, 200, &[PLAIN]), "content-encoding"), "");
    let mut any = everything();
    any.gzip.as_mut().expect("it is on").types = ["*".into()].into();
    assert_eq!(text(&applied(&any, &asked, 200, &[("content-type", "image/png")]), "content-encoding"), "gzip");
    assert_eq!(text(&applied(&any, &asked, 200, &[("content-type", "application/grpc+proto")]), "vary"), "");
    let html = [("content-type", "text/html")];
    any.gzip.as_mut().expect("it is on").types = [].into();
    assert_eq!(text(&applied(&any, &asked, 200, &html), "content-encoding"), "gzip");
}

#[test]
fn requests_that_get_nothing_compressed() {
    let head = |method: Method, version| {
        let request = Request::builder().method(method).version(version).header("accept-encoding", "gzip");
        request.body(()).expect("a request").into_parts().0
    };
    assert!(Wish::of(&everything(), &head(Method::GET, Version::HTTP_2)).is_some());
    assert!(Wish::of(&everything(), &head(Method::HEAD, Version::HTTP_11)).is_none());
    assert!(Wish::of(&everything(), &head(Method::GET, Version::HTTP_10)).is_none());
    assert!(Wish::of(&Compression::default(), &head(Method::GET, Version::HTTP_11)).is_none());
    let agents = crate::table::UserAgents::new("msie [4-6]\\.").expect("a pattern");
    let settings = Compression { not_for: Some(agents), ..everything() };
    for (agent, accept, expected) in [
        ("Mozilla/4.0 (MSIE 6.0)", "gzip", ""),
        ("Mozilla/4.0 (MSIE 6.0)", "gzip, br", "br"),
        ("Mozilla/5.0", "gzip", "gzip"),
    ] {
        let asked = [("accept-encoding", accept), ("user-agent", agent)];
        assert_eq!(text(&applied(&settings, &asked, 200, &[PLAIN]), "content-encoding"), expected, "{agent}");
    }
}

#[test]
fn the_head_says_what_has_changed() {
    let asked = [("accept-encoding", "gzip")];
    let fields = [PLAIN, ("accept-ranges", "bytes"), ("content-length", "1000")];
    for (tag, expected) in [("\"abc\"", "W/\"abc\""), ("W/\"abc\"", "W/\"abc\""), ("abc", "")] {
        let head = applied(&everything(), &asked, 200, &[&fields[..], &[("etag", tag)]].concat());
        assert_eq!(text(&head, "etag"), expected);
        assert_eq!(text(&head, "accept-ranges"), "");
    }
    for (vary, expected) in
        [("Origin", "Origin|Accept-Encoding"), ("origin, ACCEPT-encoding", "origin, ACCEPT-encoding"), ("*", "*")]
    {
        let head = applied(&everything(), &asked, 200, &[PLAIN, ("vary", vary)]);
        assert_eq!(text(&head, "vary"), expected);
    }
}

fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let result = match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
        Coding::Zstd => zstd::stream::read::Decoder::new(bytes).expect("a decoder").read_to_end(&mut out),
    };
    // The start of a stream is readable as far as it goes.
    drop(result);
    out
}

#[test]
fn everything_comes_out_on_demand_and_at_the_end() {
    let text: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_string().into_bytes()).collect();
    for coding in Coding::ALL {
        for level in [1, 4, 9] {
            let mut encoder = Encoder::new(coding, level).expect("an encoder");
            let (mut out, mut sent) = (Vec::new(), 0);
            for piece in [10, 5000, 100_000, 1, 300_000] {
                out.extend(encoder.write(&text[sent..sent + piece]).expect("memory"));
                out.extend(encoder.flush().expect("memory"));
                sent += piece;
                assert!(decoded(coding, &out) == text[..sent], "{coding:?} holds back after {sent} bytes");
            }
            out.extend(encoder.write(&text[sent..]).expect("memory"));
            out.extend(encoder.finish().expect("memory"));
            assert!(decoded(coding, &out) == text, "{coding:?}");
            assert!(out.len() < text.len() / 2);
            assert_eq!(encoder.finish().expect("memory"), Bytes::new());
        }
    }
}
