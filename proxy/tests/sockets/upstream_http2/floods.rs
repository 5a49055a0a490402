//! Endpoints that make work and deliver nothing.

use super::one_try;
use crate::{
    harness::{Origin, PATIENCE, Running},
    http2::{await_frame, frame, greet},
};
use rust_nginx_proxy::table::{Protocol, Settings};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    sync::{Arc, Barrier, mpsc},
    thread,
};

/// Of a response: only a status.
const OK: &[u8] = b"\x88";
const EARLY_HINTS: &[u8] = b"\x08\x03103";

/// Answers with `answer`, sends `flood` over and over once it may, takes what it gets for it, and tells whether its
/// connection was ended.
fn flooding(answer: Vec<u8>, flood: &[u8], may: &Arc<Barrier>) -> (Origin, mpsc::Receiver<bool>) {
    let may = Arc::clone(may);
    let (told, ended) = mpsc::channel();
    let flood = flood.repeat(100);
    let origin = Origin::raw(move |mut stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        greet(&mut stream);
        await_frame(&mut stream, 1).unwrap();
        stream.write_all(&answer).unwrap();
        may.wait();
        let mut reader = stream.try_clone().unwrap();
        let reader = thread::spawn(move || {
            loop {
                match reader.read(&mut [0; 65_536]) {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                }
            }
        });
        for _ in 0..200 {
            if stream.write_all(&flood).is_err() {
                break;
            }
        }
        // The test may have failed before.
        let _ = told.send(reader.join().unwrap());
    });
    (origin, ended)
}

#[test]
fn frames_that_do_nothing_end_the_connection() {
    let answered = frame(1, 5, 1, OK);
    let answering = frame(1, 4, 1, OK);
    for (name, answer, flood) in [
        ("PING", vec![], frame(6, 0, 0, b"12345678")),
        ("SETTINGS", vec![], frame(4, 0, 0, &[])),
        ("PRIORITY", vec![], frame(2, 0, 1, b"\0\0\0\0\x10")),
        ("unknown frames", vec![], frame(0x77, 0, 0, &[])),
        ("interim responses", vec![], frame(1, 4, 1, EARLY_HINTS)),
        ("empty DATA", answering, frame(0, 0, 1, &[])),
        // No request is under way: the connection waits for the next one.
        ("PING on an idle connection", answered.clone(), frame(6, 0, 0, b"12345678")),
        ("SETTINGS on an idle connection", answered.clone(), frame(4, 0, 0, &[])),
        ("WINDOW_UPDATE on an idle connection", answered.clone(), frame(8, 0, 0, b"\0\0\0\x01")),
        ("RST_STREAM on an idle connection", answered.clone(), frame(3, 0, 1, b"\0\0\0\x08")),
    ] {
        let (may, idle, unanswered) = (Arc::new(Barrier::new(2)), answer == answered, answer.is_empty());
        let (origin, ended) = flooding(answer, &flood, &may);
        let proxy = Running::with(&[origin.address], one_try(Protocol::H2c), Settings::default());
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        if idle {
            assert_eq!(client.read().status(), 200, "{name}");
        }
        may.wait();
        if unanswered {
            assert_eq!(client.read().status(), 502, "{name}");
        }
        assert_eq!(ended.recv_timeout(2 * PATIENCE), Ok(true), "{name}: the connection goes on");
    }
}
