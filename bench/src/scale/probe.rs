//! Asks until the answer is the one that a change must bring, and looks at every answer before it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rust_nginx_tests::client::tls;

/// A change that takes longer to be served is not served.
const LIMIT: Duration = Duration::from_secs(60);

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Shortest pause between two requests. Each takes processor time from what is measured.
const PAUSE: Duration = Duration::from_micros(200);

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 200, by the pod of this address.
    Pod(Ipv4Addr),
    /// Any other status.
    Status(u16),
    /// A handshake with this certificate.
    Certificate(Vec<u8>),
}

/// What a client may see of a change.
#[derive(Clone, Debug)]
pub(super) struct Expect {
    pub(super) host: String,
    pub(super) before: Answer,
    pub(super) after: Answer,
}

/// One connection that is asked for one thing after the other.
pub(super) struct Asker {
    address: SocketAddr,
    connection: Option<TcpStream>,
    buffer: Vec<u8>,
}

// === impl Expect ===

impl Expect {
    /// The moment of the first answer that the change must bring. Anything that is neither this nor what was served
    /// before is a lost request, and an error. The pause grows to a fiftieth of the time that has passed: of long
    /// times, the last digit does not matter.
    pub(super) fn first_over_http(&self, address: SocketAddr) -> Result<Instant> {
        let start = Instant::now();
        let mut asker = Asker::new(address);
        loop {
            let answer = asker.ask(&self.host, "/")?;
            if self.is_there(&answer)? {
                return Ok(Instant::now());
            }
            thread::sleep(self.pause(start)?);
        }
    }

    /// The same for the certificate that is shown.
    pub(super) async fn first_over_tls(&self, address: SocketAddr) -> Result<Instant> {
        let start = Instant::now();
        loop {
            let session = tls::connect(address, Some(&self.host), &["http/1.1"]).await?;
            if self.is_there(&Answer::Certificate(session.certificate))? {
                return Ok(Instant::now());
            }
            tokio::time::sleep(self.pause(start)?).await;
        }
    }

    fn is_there(&self, answer: &Answer) -> Result<bool> {
        if *answer == self.after {
            return Ok(true);
        }
        ensure!(*answer == self.before, "{} was answered with {answer:?}", self.host);
        Ok(false)
    }

    fn pause(&self, start: Instant) -> Result<Duration> {
        let elapsed = start.elapsed();
        ensure!(elapsed < LIMIT, "{} was still answered as before after {LIMIT:?}", self.host);
        Ok(PAUSE.max(elapsed / 50))
    }
}

// === impl Asker ===

impl Asker {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None, buffer: Vec::new() }
    }

    /// One request over the connection that is there, else over a new one.
    pub(super) fn ask(&mut self, host: &str, target: &str) -> Result<Answer> {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => connect(self.address)?,
        };
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).with_context(|| format!("asking for {host}{target}"))?;
        let (answer, keep) = self.read(&mut stream).with_context(|| format!("asking for {host}{target}"))?;
        self.connection = keep.then_some(stream);
        Ok(answer)
    }

    /// Reads one answer; whether the connection stays is part of it.
    fn read(&mut self, stream: &mut TcpStream) -> Result<(Answer, bool)> {
        self.buffer.clear();
        loop {
            let mut part = [0; 4096];
            let count = stream.read(&mut part)?;
            if count == 0 {
                bail!("the connection ended without an answer");
            }
            self.buffer.extend_from_slice(&part[..count]);
            if let Some(done) = parse(&self.buffer)? {
                return Ok(done);
            }
        }
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, ANSWER).with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    Ok(stream)
}

/// A complete answer with a Content-Length, and whether its connection stays.
fn parse(bytes: &[u8]) -> Result<Option<(Answer, bool)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = head.parse(bytes)? else { return Ok(None) };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let length: usize = header("content-length").context("no Content-Length")?.parse()?;
    let Some(body) = bytes.get(start..start + length) else { return Ok(None) };
    let keep = !header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let answer = match head.code.context("no status")? {
        200 => Answer::Pod(std::str::from_utf8(body)?.parse().context("not answered by a pod")?),
        status => Answer::Status(status),
    };
    Ok(Some((answer, keep)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_when_they_are_complete() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n10.244.1.2";
        assert!(parse(&text[..20]).unwrap().is_none());
        assert!(parse(&text[..text.len() - 1]).unwrap().is_none());
        assert_eq!(parse(text).unwrap(), Some((Answer::Pod(Ipv4Addr::new(10, 244, 1, 2)), true)));
        let text = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(parse(text).unwrap(), Some((Answer::Status(404), false)));
    }

    #[test]
    fn an_answer_that_is_neither_old_nor_new_is_a_lost_request() {
        let expect = Expect { host: "a.test".to_owned(), before: Answer::Status(404), after: Answer::Status(200) };
        assert!(!expect.is_there(&Answer::Status(404)).unwrap());
        assert!(expect.is_there(&Answer::Status(200)).unwrap());
        assert!(expect.is_there(&Answer::Status(503)).is_err());
    }
}
