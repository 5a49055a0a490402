//! One client: its pace, its connections, and the way all answers are checked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rust_nginx_tests::client::{Answer, Connection, Request, tls};
use rust_nginx_tests::wait;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Scene;
use crate::site::{self, STRIDE};
use crate::work::Size;

/// Longest wait for a handshake or an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A client of one kind of traffic.
pub(in crate::soak) struct Client {
    pub(in crate::soak) scene: Arc<Scene>,
    /// Among the clients of its kind, from 0.
    pub(in crate::soak) number: usize,
    stop: watch::Receiver<bool>,
    pace: Interval,
    pair: usize,
}

/// The right answer.
#[derive(Clone, Debug)]
pub(in crate::soak) struct Expect {
    status: u16,
    /// Length and first bytes; whatever it likes where we do not know better.
    body: Option<(usize, Vec<u8>)>,
}

// === impl Client ===

impl Client {
    /// Client `number` of `count`, which take their turns at even distances.
    pub(in crate::soak) fn new(
        scene: Arc<Scene>,
        stop: watch::Receiver<bool>,
        number: usize,
        count: usize,
        every: Duration,
    ) -> Self {
        let offset = every.mul_f64((number + 1) as f64 / count as f64);
        let mut pace = interval_at(Instant::now() + offset, every);
        // A turn that was missed is not made up for: the load must not come in bursts.
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { scene, number, stop, pace, pair: number * 1_009 }
    }

    /// Waits for the next turn; `false` when there is none any more.
    pub(in crate::soak) async fn turn(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => false,
            _ = self.pace.tick() => true,
        }
    }

    /// Host and target of another pair than last time.
    pub(in crate::soak) fn next_pair(&mut self, size: Size) -> (String, String) {
        self.pair += STRIDE;
        site::target(self.pair, size)
    }

    /// A new connection, over TLS with this server name if `secure`.
    pub(in crate::soak) async fn connect(&self, host: &str, secure: bool) -> Result<Connection> {
        if secure { Ok(Connection::over(self.session(host, &[]).await?.wire)) } else { self.connect_plain().await }
    }

    async fn connect_plain(&self) -> Result<Connection> {
        Connection::open(self.scene.http).await
    }

    /// A new TLS connection, never resumed.
    pub(in crate::soak) async fn session(&self, host: &str, protocols: &[&str]) -> Result<tls::Session> {
        let handshake = tls::connect(self.scene.https, Some(host), protocols);
        within("a TLS handshake", handshake).await?.with_context(|| format!("server name {host}"))
    }

    /// Sends a request and checks the answer.
    pub(in crate::soak) async fn ask(
        &self,
        connection: &mut Connection,
        request: &Request,
        expect: &Expect,
    ) -> Result<()> {
        let answer = connection.send(request).await.with_context(|| describe(request))?;
        self.check(&answer, expect).with_context(|| describe(request))
    }

    /// The one place where answers are judged and counted.
    pub(in crate::soak) fn check(&self, answer: &Answer, expect: &Expect) -> Result<()> {
        ensure!(expect.is_met_by(answer), "expected {expect}, got {} bytes: {}", answer.body.len(), answer.summary());
        self.count();
        Ok(())
    }

    /// Counts an answer that was right.
    pub(in crate::soak) fn count(&self) {
        self.scene.counts.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends what takes longer than anything here may.
pub(in crate::soak) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    wait::at_most(LIMIT, what, future).await
}

fn describe(request: &Request) -> String {
    let host = request.headers.first().map_or("no host", |(_, host)| host.as_str());
    format!("{} {host}{}", request.method, request.target)
}

// === impl Expect ===

impl Expect {
    /// A status with any body.
    pub(in crate::soak) fn status(status: u16) -> Self {
        Self { status, body: None }
    }

    /// 200 with the body of this size that origins send.
    pub(in crate::soak) fn body(size: Size) -> Self {
        Self { status: 200, body: Some((size.bytes(), vec![b'x'; 64])) }
    }

    /// 200 with exactly this text.
    pub(in crate::soak) fn text(text: String) -> Self {
        Self { status: 200, body: Some((text.len(), text.into_bytes())) }
    }

    fn is_met_by(&self, answer: &Answer) -> bool {
        let body = &answer.body;
        answer.status == self.status
            && self.body.as_ref().is_none_or(|(length, start)| body.len() == *length && body.starts_with(start))
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "status {}", self.status)?;
        match &self.body {
            None => Ok(()),
            Some((length, start)) => {
                write!(formatter, " with {length} bytes that begin with {:?}", String::from_utf8_lossy(start))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &[u8]) -> Answer {
        Answer { status, headers: Vec::new(), body: body.to_vec(), interim: Vec::new() }
    }

    #[test]
    fn status_length_and_first_bytes_must_be_right() {
        let small = Expect::body(Size::Small);
        assert!(small.is_met_by(&answer(200, &[b'x'; 1024])));
        assert!(!small.is_met_by(&answer(502, &[b'x'; 1024])));
        assert!(!small.is_met_by(&answer(200, &[b'x'; 1023])));
        assert!(!small.is_met_by(&answer(200, &[b'y'; 1024])));
        assert!(Expect::status(400).is_met_by(&answer(400, b"whatever")));
        let text = Expect::text("5 bytes".to_owned());
        assert!(text.is_met_by(&answer(200, b"5 bytes")) && !text.is_met_by(&answer(200, b"6 bytes")));
        assert_eq!(text.to_string(), "status 200 with 7 bytes that begin with \"5 bytes\"");
    }
}
