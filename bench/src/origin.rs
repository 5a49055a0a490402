//! The server behind every target: answers 1 KB, 1 MB or the request head it was sent.
//!
//! A WebSocket gets back what it sends.
//!
//! Runs as a process of its own and must never be what limits a measurement, hence no HTTP library:
//! it finds the end of the request head, looks at the last path segment and writes one prepared
//! buffer. It accepts only what the measurements send (GET without a body) and answers 501 to the
//! rest, so that a target that changes requests is noticed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use crate::site::ECHO_SEGMENT;
use crate::work::Size;

/// Longest request head accepted; the targets send well under 1 KB.
const HEAD_LIMIT: usize = 16 << 10;
/// To the key of RFC 6455 §1.3, which the measurements send.
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const BACKLOG: i32 = 1024;

/// The prepared answers.
struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Small,
    Large,
    Echo,
    WebSocket,
    Unknown,
    Unsupported,
}

/// What one request head says.
struct Request {
    length: usize,
    wanted: Wanted,
    last: bool,
}

/// Serves on a free loopback port until killed. The address is the one line written to standard
/// output.
pub(crate) fn serve(threads: usize) -> Result<()> {
    let answers = Arc::new(Answers {
        small: answer("200 OK", &vec![b'x'; Size::Small.bytes()]),
        large: answer("200 OK", &vec![b'x'; Size::Large.bytes()]),
    });
    let first = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = first.local_addr().context("address of the origin")?;
    let mut listeners = vec![first];
    for _ in 1..threads {
        listeners.push(listen(address)?);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{address}").and_then(|()| out.flush()).context("print the address")?;
    thread::scope(|scope| {
        let workers: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let answers = Arc::clone(&answers);
                scope.spawn(move || accept(listener, &answers))
            })
            .collect();
        for worker in workers {
            worker.join().expect("a panic of a worker has ended the process already")?;
        }
        Ok(())
    })
}

/// A listener of its own for each thread: the kernel then spreads the connections.
fn listen(address: SocketAddr) -> Result<std::net::TcpListener> {
    let listen = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok::<_, std::io::Error>(socket.into())
    };
    listen().with_context(|| format!("listen on {address}"))
}

fn accept(listener: std::net::TcpListener, answers: &Arc<Answers>) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build().context("start the runtime of the origin")?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).context("watch the listener")?;
        loop {
            let (stream, _) = listener.accept().await.context("accept")?;
            let answers = Arc::clone(answers);
            tokio::spawn(async move {
                // A target that closes or resets a connection shows up in the client's errors.
                converse(stream, &answers).await.ok();
            });
        }
    })
}

async fn converse(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(HEAD_LIMIT);
    loop {
        while let Some(request) = parse(&buffer) {
            let head = &buffer[..request.length];
            match request.wanted {
                Wanted::Small => stream.write_all(&answers.small).await?,
                Wanted::Large => stream.write_all(&answers.large).await?,
                Wanted::Echo => stream.write_all(&answer("200 OK", head)).await?,
                Wanted::WebSocket => {
                    stream.write_all(SWITCHED).await?;
                    return reflect(stream, buffer.split_off(request.length)).await;
                }
                Wanted::Unknown => {
                    stream.write_all(&answer("404 Not Found", b"no such thing\n")).await?;
                }
                Wanted::Unsupported => {
                    stream.write_all(&answer("501 Not Implemented", b"only GET\n")).await?;
                }
            }
            if request.last {
                return Ok(());
            }
            buffer.drain(..request.length);
        }
        if buffer.len() >= HEAD_LIMIT || stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Sends back what comes, to the end.
async fn reflect(mut stream: TcpStream, mut buffer: Vec<u8>) -> std::io::Result<()> {
    loop {
        stream.write_all(&buffer).await?;
        buffer.clear();
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let mut head = String::new();
    write!(
        head,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .expect("writing to a String cannot fail");
    [head.as_bytes(), body].concat()
}

/// Reads one request head; nothing while it is incomplete.
fn parse(bytes: &[u8]) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return None,
        Err(_) => {
            return Some(Request { length: bytes.len(), wanted: Wanted::Unsupported, last: true });
        }
    };
    let header = |name: &str| {
        let mut headers = request.headers.iter();
        headers.find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    };
    let has_body = header("transfer-encoding").is_some() || header("content-length").is_some_and(|value| value != b"0");
    if request.method != Some("GET") || has_body {
        return Some(Request { length, wanted: Wanted::Unsupported, last: true });
    }
    let is_websocket = header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
    let last_segment = request.path.and_then(|path| path.rsplit('/').next());
    let wanted = match last_segment {
        _ if is_websocket => Wanted::WebSocket,
        Some(last) if last == Size::Small.segment() => Wanted::Small,
        Some(last) if last == Size::Large.segment() => Wanted::Large,
        Some(last) if last == ECHO_SEGMENT => Wanted::Echo,
        _ => Wanted::Unknown,
    };
    let last = header("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    Some(Request { length, wanted, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(head: &str) -> Wanted {
        parse(head.as_bytes()).unwrap().wanted
    }

    #[test]
    fn the_last_segment_decides() {
        assert_eq!(wanted("GET /app1/1k HTTP/1.1\r\nHost: a\r\n\r\n"), Wanted::Small);
        assert_eq!(wanted("GET /app1/1m HTTP/1.1\r\nHost: a\r\n\r\n"), Wanted::Large);
        assert_eq!(wanted("GET /app1/head HTTP/1.1\r\nHost: a\r\n\r\n"), Wanted::Echo);
        assert_eq!(wanted("GET /app1 HTTP/1.1\r\nHost: a\r\n\r\n"), Wanted::Unknown);
        assert_eq!(wanted("GET /app1/1k HTTP/1.1\r\nUpgrade: WebSocket\r\n\r\n"), Wanted::WebSocket);
    }

    #[test]
    fn requests_with_a_body_are_refused() {
        let post = "POST /app1/1k HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(wanted(post), Wanted::Unsupported);
        let chunked = "GET /app1/1k HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(wanted(chunked), Wanted::Unsupported);
        assert_eq!(wanted("\0\r\n\r\n"), Wanted::Unsupported);
        let empty = "GET /app1/1k HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(wanted(empty), Wanted::Small);
    }

    #[test]
    fn an_unfinished_head_is_waited_for() {
        assert!(parse(b"GET /app1/1k HTTP/1.1\r\nHost: a\r\n").is_none());
    }

    #[test]
    fn connection_close_is_seen_in_any_case() {
        assert!(parse(b"GET /1k HTTP/1.1\r\nconnection:  Close\r\n\r\n").unwrap().last);
        assert!(!parse(b"GET /1k HTTP/1.1\r\nconnection: keep-alive\r\n\r\n").unwrap().last);
    }
}
