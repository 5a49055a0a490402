//! Responses that are compressed on their way.

use crate::harness::{Client, Message, Origin, Running, table};
use rust_nginx_proxy::table::{CodingSettings, Compression, Policy, Settings};
use std::{
    io::{Read as _, Write as _},
    sync::{Arc, Mutex, mpsc},
};

fn settings() -> Settings {
    let coding = |level, min_length| {
        let types = ["text/plain".into(), "text/event-stream".into()].into();
        Some(CodingSettings { level, min_length, types })
    };
    let compression = Compression { gzip: coding(1, 256), brotli: coding(4, 20), zstd: coding(3, 20), not_for: None };
    Settings { compression, ..Settings::default() }
}

fn running(origin: &Origin) -> Running {
    Running::of(table(&[origin.address], Policy::default(), settings()))
}

fn decoded(response: &Message) -> String {
    let mut text = String::new();
    match response.header("content-encoding").unwrap_or("identity") {
        "gzip" => flate2::read::GzDecoder::new(&response.body[..]).read_to_string(&mut text).unwrap(),
        "br" => brotli::Decompressor::new(&response.body[..], 4096).read_to_string(&mut text).unwrap(),
        "zstd" => zstd::stream::read::Decoder::new(&response.body[..]).unwrap().read_to_string(&mut text).unwrap(),
        _ => return response.text(),
    };
    text
}

fn ask(proxy: &Running, method: &str, accept: &str) -> Message {
    let request = format!("{method} /x HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {accept}\r\n\r\n");
    proxy.connect().send(request).read()
}

const WORDS: &str = "all work and no play makes a dull page ";

#[test]
fn bodies_of_any_framing_come_out_as_they_went_in() {
    for size in [1, 100, 20_000] {
        let text: Arc<str> = WORDS.repeat(size).into();
        for chunked in [false, true] {
            let body = Arc::clone(&text);
            let origin = Origin::http(move |_| {
                let mut out = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"e\"\r\n".to_vec();
                if chunked {
                    out.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                    for piece in body.as_bytes().chunks(3000) {
                        write!(out, "{:x}\r\n", piece.len()).unwrap();
                        out.extend([piece, b"\r\n"].concat());
                    }
                    out.extend(b"0\r\n\r\n");
                } else {
                    write!(out, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
                }
                out
            });
            let proxy = running(&origin);
            for coding in ["gzip", "br", "zstd", "identity"] {
                let response = ask(&proxy, "GET", coding);
                assert_eq!(decoded(&response), *text, "{coding}, {size}, chunked {chunked}");
                let compressed = response.header("content-encoding") == Some(coding);
                assert!(compressed || coding == "identity" || size == 1, "{coding}, {size}, chunked {chunked}");
                assert_eq!(response.header("etag"), Some(if compressed { "W/\"e\"" } else { "\"e\"" }));
                if size > 1 {
                    assert_eq!(response.header("vary"), Some("Accept-Encoding"));
                    assert!(!compressed || response.body.len() < text.len() / 4);
                }
            }
            assert_eq!(origin.accepted(), 1, "connections stay in step");
        }
    }
}

#[test]
fn heads_parts_and_coded_bodies_pass_untouched() {
    let origin = Origin::http(|request| {
        let body = WORDS.repeat(100);
        let length = body.len();
        let head = match request.start.split(' ').nth(1).unwrap() {
            "/part" => format!("206 Partial Content\r\nContent-Range: bytes 0-{}/9999\r\nETag: \"e\"", length - 1),
            "/coded" => "200 OK\r\nContent-Encoding: x-other\r\nETag: \"e\"".to_owned(),
            "/no-transform" => "200 OK\r\nCache-Control: no-transform\r\nETag: \"e\"".to_owned(),
            _ => "200 OK\r\nETag: \"e\"".to_owned(),
        };
        let head = format!("HTTP/1.1 {head}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
        if request.start.starts_with("HEAD") { head.into_bytes() } else { (head + &body).into_bytes() }
    });
    let proxy = running(&origin);
    for path in ["/part", "/coded", "/no-transform"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
        let response = proxy.connect().send(request).read();
        assert_eq!(response.text(), WORDS.repeat(100), "{path}");
        assert_eq!((response.header("etag"), response.header("vary")), (Some("\"e\""), None), "{path}");
    }
    let mut client = proxy.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    let mut head = Vec::new();
    while let Some(line) = client.line().filter(|line| !line.is_empty()) {
        head.push(line.to_ascii_lowercase());
    }
    assert!(head.contains(&format!("content-length: {}", WORDS.len() * 100)), "{head:?}");
    assert!(!head.iter().any(|line| line.starts_with("content-encoding")), "{head:?}");
    assert_eq!(ask(&proxy, "GET", "gzip").header("content-encoding"), Some("gzip"), "and the connection goes on");
}

#[test]
fn events_are_not_held_back() {
    for coding in ["gzip", "br", "zstd"] {
        let (next, events) = mpsc::channel::<&'static str>();
        let events = Mutex::new(Some(events));
        let origin = Origin::raw(move |stream| {
            let events = events.lock().unwrap().take().expect("one connection");
            let mut client = Client::new(stream);
            client.read();
            client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            for event in events {
                client.send(format!("{:x}\r\n{event}\r\n", event.len()));
            }
        });
        let proxy = running(&origin);
        let mut client = proxy.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n"));
        client.skip_head();
        let (mut body, mut expected) = (Vec::new(), String::new());
        for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
            next.send(event).unwrap();
            expected += event;
            // The next one is written only after this one has come out.
            while partly(coding, &body) != expected {
                let size = usize::from_str_radix(&client.line().unwrap(), 16).unwrap();
                body.extend(client.bytes(size + 2).unwrap().into_iter().take(size));
            }
        }
    }
}

/// What can be read of the beginning of a stream.
fn partly(coding: &str, body: &[u8]) -> String {
    let mut out = Vec::new();
    let _ = match coding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut out),
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut out),
        _ => zstd::stream::read::Decoder::new(body).unwrap().read_to_end(&mut out),
    };
    String::from_utf8(out).unwrap()
}
