//! HTTP/2 clients that make work and want nothing, or want all and take nothing.

use crate::{
    harness::{Origin, PATIENCE, Running, ok, wait_until},
    http2::{self, frame, patient},
    limits::{await_refused, refused},
};
use bytes::Bytes;
use http::Request;
use rust_nginx_proxy::table::{Policy, Settings};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const NO_ERROR: u32 = 0x0;
const REFUSED_STREAM: u32 = 0x7;
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// A client that writes frames by hand.
struct Frames(TcpStream);

// === impl Frames ===

impl Frames {
    fn open(proxy: &Running) -> Self {
        let mut stream = TcpStream::connect(proxy.http()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(PREFACE).unwrap();
        stream.write_all(&frame(4, 0, 0, &[])).unwrap();
        Self(stream)
    }

    /// Writes until it is done or the other side has had enough.
    fn flood(&mut self, bytes: &[u8], times: u32) {
        let batch = bytes.repeat(100);
        for _ in 0..times.div_ceil(100) {
            if self.0.write_all(&batch).is_err() {
                return;
            }
        }
    }

    /// The next frame: kind, flags, stream, payload; `None` when the connection has ended.
    fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// The reason of the last GOAWAY before the connection ends.
    fn goodbye(mut self) -> Option<u32> {
        let mut reason = None;
        while let Some((kind, _, _, payload)) = self.next() {
            if kind == 7 {
                reason = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        reason
    }

    /// Waits for a frame of a kind on a stream.
    fn await_frame(&mut self, wanted: u8, on: u32) -> Vec<u8> {
        loop {
            let (kind, _, stream, payload) = self.next().expect("the connection goes on");
            if (kind, stream) == (wanted, on) {
                return payload;
            }
        }
    }
}

/// A GET in HPACK without compression (RFC 7541 §6.2.2), with more fields.
fn get(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a.example")];
    for (name, value) in fields.iter().chain(more) {
        block.push(0);
        for text in [name, value] {
            let length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).unwrap());
            } else {
                block.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128 + 128).unwrap());
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap());
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A header block in as many frames as it takes.
fn headers(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut parts = block.chunks(16_384).peekable();
    let (mut bytes, mut kind, mut flags) = (Vec::new(), 1, 1);
    while let Some(part) = parts.next() {
        flags |= if parts.peek().is_none() { 4 } else { 0 };
        bytes.extend(frame(kind, flags, stream, part));
        (kind, flags) = (9, 0);
    }
    bytes
}

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings { keep_alive_requests: 1_000_000, ..Settings::default() };
    change(&mut settings);
    settings
}

#[test]
fn frames_that_do_nothing_end_the_connection() {
    let origin = Origin::echo();
    let proxy = Running::with(&[origin.address], Policy::default(), settings(|_| {}));
    let mut count = 0;
    let mut flooded = |name: &str, before: Vec<u8>, bytes: Vec<u8>| {
        let mut client = Frames::open(&proxy);
        client.0.write_all(&before).unwrap();
        // Answers to PING and SETTINGS are taken, or it would be the flood that stops.
        let mut reader = Frames(client.0.try_clone().unwrap());
        let end = std::thread::spawn(move || {
            let mut reason = None;
            while let Some((kind, _, _, payload)) = reader.next() {
                if kind == 7 {
                    reason = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
                }
            }
            reason
        });
        client.flood(&bytes, 20_000);
        // The connection may be gone before its last frame was read.
        let end = end.join().unwrap();
        assert!(matches!(end, None | Some(ENHANCE_YOUR_CALM)), "{name}: {end:?}");
        count += 1;
        await_refused(&proxy, "flood", count);
    };
    flooded("PING", vec![], frame(6, 0, 0, b"12345678"));
    flooded("PING answers", vec![], frame(6, 1, 0, b"12345678"));
    flooded("SETTINGS", vec![], frame(4, 0, 0, b"\0\x03\0\0\0\x64"));
    flooded("PRIORITY", vec![], frame(2, 0, 1, b"\0\0\0\0\x10"));
    flooded("WINDOW_UPDATE", vec![], frame(8, 0, 0, b"\0\0\0\x01"));
    flooded("unknown", vec![], frame(0xbe, 0, 0, b"grease"));
    let post = [get("/", &[("x", "y")]), vec![]].concat();
    // Without END_STREAM: a request with a body.
    let open = frame(1, 4, 1, &post);
    flooded("empty DATA", open.clone(), frame(0, 0, 1, b""));
    flooded("padding", open, frame(0, 8, 1, b"\x03\0\0\0"));
}

#[test]
fn ordinary_clients_are_no_flood() {
    let origin = Origin::http(|_| ok(&vec![b'x'; 100_000]));
    let proxy = Running::with(&[origin.address], Policy::default(), settings(|_| {}));
    proxy.runtime.block_on(async {
        let sender = http2::connect(proxy.http()).await;
        for _ in 0..200 {
            let (response, _) = http2::exchange(&sender, http2::head("GET", "/"), Bytes::new()).await.unwrap();
            assert_eq!(response.body().len(), 100_000);
        }
    });
    let mut client = Frames::open(&proxy);
    for _ in 0..500 {
        client.0.write_all(&frame(6, 0, 0, b"12345678")).unwrap();
        client.await_frame(6, 0);
    }
    assert_eq!(refused(&proxy, "flood"), 0);
}

#[test]
fn requests_taken_back_at_once_end_the_connection() {
    let origin = Origin::echo();
    let proxy = Running::with(&[origin.address], Policy::default(), settings(|_| {}));
    let mut client = Frames::open(&proxy);
    for stream in (1..20_000).step_by(2) {
        let mut both = headers(stream, &get("/", &[]));
        both.extend(frame(3, 0, stream, b"\0\0\0\x08"));
        if client.0.write_all(&both).is_err() {
            break;
        }
    }
    assert!(matches!(client.goodbye(), None | Some(ENHANCE_YOUR_CALM)));
    await_refused(&proxy, "flood", 1);
}

#[test]
fn streams_that_we_must_reset_end_the_connection() {
    let origin = Origin::raw(|stream| {
        // Never answers: the streams stay open.
        let mut stream = stream;
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let proxy = Running::with(&[origin.address], Policy::default(), settings(|_| {}));
    let mut client = Frames::open(&proxy);
    for stream in (1..20_000).step_by(2) {
        let mut both = headers(stream, &get("/", &[]));
        // A window beyond all bounds is an error of the stream (RFC 9113 §6.9.1): "MadeYouReset".
        both.extend(frame(8, 0, stream, b"\x7f\xff\xff\xff"));
        if client.0.write_all(&both).is_err() {
            break;
        }
    }
    assert!(matches!(client.goodbye(), None | Some(ENHANCE_YOUR_CALM)));
    await_refused(&proxy, "flood", 1);
}

/// What is no request reaches nobody but h2: it is counted nevertheless.
#[test]
fn malformed_streams_are_counted() {
    let origin = Origin::echo();
    let proxy = Running::with(&[origin.address], Policy::default(), settings(|_| {}));
    let mut client = Frames::open(&proxy);
    for (stream, field) in [(1, ("connection", "close")), (3, ("transfer-encoding", "chunked")), (5, ("te", "gzip"))] {
        client.0.write_all(&headers(stream, &get("/", &[field]))).unwrap();
        assert_eq!(client.await_frame(3, stream), 1u32.to_be_bytes(), "{field:?}");
    }
    client.0.write_all(&headers(7, &get("/", &[]))).unwrap();
    client.await_frame(1, 7);
    await_refused(&proxy, "protocol_error", 3);
}

/// However short each of them is.
#[test]
fn a_connection_with_requests_is_not_idle() {
    let origin = Origin::echo();
    let settings = settings(|s| s.keep_alive = Duration::from_secs(1));
    let proxy = Running::with(&[origin.address], Policy::default(), settings);
    let mut client = Frames::open(&proxy);
    for stream in (1..81).step_by(2) {
        client.0.write_all(&headers(stream, &get("/", &[]))).unwrap();
        loop {
            let (kind, flags, id, _) = client.next().expect("the connection goes on");
            assert_ne!(kind, 7, "GOAWAY");
            if (kind, flags & 1, id) == (0, 1, stream) {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    client.await_frame(7, 0);
}

/// Asks on and on, without an answer to any PING, and therefore gets no second GOAWAY: it is refused in the end, and the
/// connection ends with it. `first` is what happens after the first answer.
fn goes_on_after_a_goodbye(settings: Settings, first: impl Fn(&mut Frames)) {
    let origin = Origin::echo();
    let proxy = Running::with(&[origin.address], Policy::default(), settings);
    let mut client = Frames::open(&proxy);
    let mut served = 0;
    let refused = (1u32..).step_by(2).find(|stream| {
        client.0.write_all(&headers(*stream, &get("/", &[]))).unwrap();
        loop {
            match client.next().expect("the connection goes on") {
                (1, _, id, _) if id == *stream => break,
                (3, _, id, reason) if id == *stream => {
                    assert_eq!(reason, REFUSED_STREAM.to_be_bytes());
                    return true;
                }
                _ => {}
            }
        }
        served += 1;
        if served == 1 {
            first(&mut client);
        }
        std::thread::sleep(Duration::from_millis(50));
        false
    });
    assert!(served > 2 && refused.is_some(), "{served}");
    assert!(client.goodbye().is_none_or(|reason| reason == NO_ERROR));
}

#[test]
fn a_goodbye_after_the_last_request_has_an_end() {
    goes_on_after_a_goodbye(settings(|s| s.keep_alive_requests = 2), |_| ());
}

#[test]
fn a_goodbye_after_an_idle_time_has_an_end() {
    let settings = settings(|s| s.keep_alive = Duration::from_secs(1));
    goes_on_after_a_goodbye(settings, |client| _ = client.await_frame(7, 0));
}

/// A client may send requests before it knows how many it may (RFC 9113 §5.1.2).
#[test]
fn streams_beyond_the_limit_are_refused_and_the_others_go_on() {
    let origin = Origin::raw(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let proxy = Running::with(&[origin.address], Policy::default(), settings(|s| s.http2_max_concurrent_streams = 10));
    let mut client = Frames::open(&proxy);
    let all: Vec<_> = (1..600).step_by(2).flat_map(|stream| headers(stream, &get("/", &[]))).collect();
    client.0.write_all(&all).unwrap();
    client.0.write_all(&frame(6, 0, 0, b"12345678")).unwrap();
    let mut refused = 0;
    loop {
        match client.next().expect("the connection goes on") {
            (3, _, _, reason) => {
                assert_eq!(reason, REFUSED_STREAM.to_be_bytes());
                refused += 1;
            }
            (6, ..) => break,
            (kind, ..) => assert_ne!(kind, 7, "GOAWAY"),
        }
    }
    assert_eq!(refused, 290);
}

#[test]
fn header_lists_have_a_size() {
    let origin = Origin::echo();
    let proxy = Running::with(&[origin.address], Policy::default(), settings(|_| {}));
    let long = |length: usize| "x".repeat(length);
    // A connection each: the second time a status is an index into a table.
    let head = |path: &str, fields: &[(&str, String)]| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut client = Frames::open(&proxy);
        client.0.write_all(&headers(1, &get(path, &fields))).unwrap();
        client.await_frame(1, 1)
    };
    // `:status: 200` is the one byte 0x88 (RFC 7541 §6.1); others are written out.
    assert_eq!(head("/", &[("a", long(8000))])[0], 0x88);
    assert!(contains_status(&head("/", &[("a", long(9000))]), "431"));
    assert!(contains_status(&head("/", &vec![("a", long(8000)); 5]), "431"));
    assert!(contains_status(&head(&format!("/{}", long(9000)), &[]), "414"));
    // Beyond what we look at ourselves, h2 refuses on the stream.
    assert!(contains_status(&head("/", &vec![("a", long(8000)); 12]), "431"));
    // And far beyond, on the connection.
    let mut client = Frames::open(&proxy);
    let most: Vec<_> = std::iter::repeat_n(("a", long(8000)), 400).collect();
    let most: Vec<_> = most.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let _ = client.0.write_all(&headers(11, &get("/", &most)));
    assert!(matches!(client.goodbye(), None | Some(ENHANCE_YOUR_CALM)));
    await_refused(&proxy, "flood", 1);
}

/// The status as a literal in a response's header block, plain or in Huffman's code (RFC 7541 appendix B).
fn contains_status(block: &[u8], status: &str) -> bool {
    // Digits have codes of 5 or 6 bits: 0-2 are 0x0-0x2 in 5, the others 0x19-0x1f in 6.
    let (mut bits, mut length) = (0u32, 0);
    for digit in status.bytes() {
        let (code, size) = if digit < b'3' { (digit - b'0', 5) } else { (digit - b'3' + 0x19, 6) };
        bits = bits << size | u32::from(code);
        length += size;
    }
    let padding = (8 - length % 8) % 8;
    let bits = (bits << padding) | ((1 << padding) - 1);
    let bytes = usize::try_from((length + padding) / 8).unwrap();
    let huffman = &bits.to_be_bytes()[4 - bytes..];
    block.windows(bytes).any(|part| part == huffman) || block.windows(3).any(|part| part == status.as_bytes())
}

#[test]
fn a_header_block_has_an_end() {
    let origin = Origin::echo();
    let proxy = Running::with(&[origin.address], Policy::default(), settings(|_| {}));
    let mut client = Frames::open(&proxy);
    client.0.write_all(&frame(1, 1, 1, &get("/", &[]))).unwrap();
    client.flood(&frame(9, 0, 1, b""), 20_000);
    assert!(matches!(client.goodbye(), None | Some(ENHANCE_YOUR_CALM)));
    await_refused(&proxy, "flood", 1);
}

#[test]
fn a_slow_or_silent_client_is_closed_in_time() {
    let origin = Origin::echo();
    let short = Duration::from_millis(300);
    let proxy = Running::with(
        &[origin.address],
        Policy::default(),
        settings(|settings| (settings.client_header_timeout, settings.keep_alive) = (short, short)),
    );
    // Half a preface; a preface and nothing; half a frame; a block without an end; served, and then half a frame.
    let mut half = TcpStream::connect(proxy.http()).unwrap();
    half.write_all(&PREFACE[..20]).unwrap();
    let silent = Frames::open(&proxy);
    let mut partial = Frames::open(&proxy);
    partial.0.write_all(&headers(1, &get("/", &[]))[..12]).unwrap();
    let mut open = Frames::open(&proxy);
    open.0.write_all(&frame(1, 1, 1, &get("/", &[]))).unwrap();
    let mut served = Frames::open(&proxy);
    served.0.write_all(&headers(1, &get("/", &[]))).unwrap();
    served.await_frame(0, 1);
    served.0.write_all(&headers(3, &get("/", &[]))[..5]).unwrap();
    half.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(half.read_to_end(&mut Vec::new()).unwrap_or_default(), 0);
    for client in [silent, partial, open, served] {
        client.goodbye();
    }
    await_refused(&proxy, "slow_head", 4);
    // One that was served and wants nothing more is told so.
    let mut idle = Frames::open(&proxy);
    idle.0.write_all(&headers(1, &get("/", &[]))).unwrap();
    idle.await_frame(0, 1);
    assert_eq!(idle.goodbye(), Some(NO_ERROR));
}

#[test]
fn a_stream_that_its_client_stalls_is_reset_and_others_go_on() {
    let origin = Origin::http(|request| ok(&vec![b'x'; if request.start.contains("/large") { 1 << 20 } else { 10 }]));
    let short = Duration::from_millis(500);
    let proxy = Running::with(&[origin.address], Policy::default(), settings(|s| s.limits.send_timeout = short));
    proxy.runtime.block_on(async {
        // A stream of its own has no window left; the connection has.
        let socket = tokio::net::TcpStream::connect(proxy.http()).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_connection_window_size(1 << 20);
        let (sender, connection) = builder.handshake::<_, Bytes>(socket).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let request = |path: &str| Request::get(format!("http://a.example{path}")).body(()).unwrap();
        let (stalled, _) = sender.clone().ready().await.unwrap().send_request(request("/large"), true).unwrap();
        let stalled = patient(stalled).await.unwrap();
        let mut body = stalled.into_body();
        // The window is taken, and never given back.
        let reset = async {
            while let Some(data) = body.data().await {
                if let Err(error) = data {
                    return error;
                }
            }
            panic!("the body is complete");
        };
        let mut reset = std::pin::pin!(reset);
        let start = tokio::time::Instant::now();
        let error = loop {
            let (response, _) = http2::exchange(&sender, request("/"), Bytes::new()).await.unwrap();
            assert_eq!(response.body().len(), 10);
            if let Ok(error) = tokio::time::timeout(Duration::from_millis(20), &mut reset).await {
                break error;
            }
            assert!(start.elapsed() < PATIENCE, "the stream is not reset");
        };
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
        let (response, _) = http2::exchange(&sender, request("/"), Bytes::new()).await.unwrap();
        assert_eq!(response.status(), 200);
    });
    await_refused(&proxy, "stalled", 1);
}

/// The same for whole connections, HTTP/1 and HTTP/2: the client reads nothing at all.
#[test]
fn a_client_that_reads_nothing_is_cut() {
    let origin = Origin::http(|_| ok(&vec![b'x'; 32 << 20]));
    let short = Duration::from_millis(500);
    let proxy = Running::with(&[origin.address], Policy::default(), settings(|s| s.limits.send_timeout = short));
    let mut http1 = proxy.connect();
    http1.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await_refused(&proxy, "stalled", 1);
    let mut http2 = Frames::open(&proxy);
    // A window for all of it, on the stream and on the connection.
    http2.0.write_all(&frame(4, 0, 0, b"\0\x04\x7f\xff\xff\xff")).unwrap();
    http2.0.write_all(&frame(8, 0, 0, b"\x7f\0\0\0")).unwrap();
    http2.0.write_all(&headers(1, &get("/", &[]))).unwrap();
    // What the kernel has for a client that takes nothing goes with its connection.
    for client in [&http1.stream, &http2.0] {
        let error = wait_until("the connection is cut", || client.take_error().unwrap());
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert!(refused(&proxy, "stalled") >= 2);
}
