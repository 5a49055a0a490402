//! HTTP/1.1 connections to endpoints (RFC 9112).
//!
//! A connection carries one request at a time and has no task of its own: whoever uses it polls it in place
//! ([`Connection::send`], then the response body does), so a request needs no wake-up between tasks; while it is idle
//! nobody polls it and the pool's sweep finds the dead ones. The head of a request is written as bytes and never becomes
//! a map; hyper's client, made for a task of its own and for maps, took a third of all instructions of a request
//! (docs/performance.md).

mod decoder;
#[cfg(feature = "fuzzing")]
mod fuzzed;
mod head;
mod sending;

#[cfg(feature = "fuzzing")]
pub use self::fuzzed::FuzzedResponse;
#[cfg(feature = "fuzzing")]
pub(crate) use self::fuzzed::respond;
pub(crate) use self::sending::{Framing, Outgoing};
use self::{
    decoder::{BadBody, Decoded, Decoder},
    head::{BadHead, Head},
    sending::Sending,
};
use super::{Clock, Key, Unanswered, UpstreamIo};
use crate::{
    error::ProxyError,
    splice::Lane,
    timeout::{Deadline, Tick},
};
use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use socket2::SockRef;
use std::{
    io::{self, ErrorKind},
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, ReadBuf};

/// How much is read at once at first: what most responses fit into.
const FIRST_READ: usize = 8 << 10;

/// Most heads before the one of the response (RFC 9110 §15.2). Programs that say every few seconds that they are still at
/// work (102) need some; together they must fit into what one head may have.
const MOST_INTERIM: u32 = 100;

/// An HTTP/1.1 connection to an endpoint.
pub(crate) struct Connection {
    pub(super) key: Key,
    io: UpstreamIo,
    /// Read and not used yet.
    read: BytesMut,
    /// How much of it was looked at for the end of a head, and has none.
    scanned: usize,
    /// There is an answer to the current request, or an interim one.
    heard: bool,
    /// Interim responses to the current request, and their bytes.
    interim: u32,
    interim_bytes: usize,
    next_read: usize,
    /// How much it may become when much is coming.
    largest_read: usize,
    sending: Sending,
    decoder: Decoder,
    /// No further request may follow: the endpoint said so, or something went wrong.
    closes: bool,
    pub(super) created: Tick,
    pub(super) requests: u32,
    /// Number of the table under which it was taken for its request.
    pub(super) table: u32,
}

/// What went wrong on a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The endpoint closed the connection before there was a whole head.
    #[error("connection closed before message completed")]
    Closed,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(io::Error),
    /// What the endpoint sent is no response.
    #[error("malformed response: {0}")]
    Head(#[from] BadHead),
    /// The body of the response is none.
    #[error("malformed response: {0}")]
    Body(#[from] BadBody),
    /// The client's body failed, or is not as long as its head says; whoever reads it knows why.
    #[error("request body failed")]
    RequestBody,
}

// === impl Error ===

impl Error {
    /// The endpoint answered, and not in HTTP.
    pub(crate) fn is_parse(&self) -> bool {
        matches!(self, Self::Head(_) | Self::Body(_))
    }

    /// What it looks like when an endpoint has closed an idle connection.
    fn is_closed(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Io(error) => matches!(
                error.kind(),
                ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::NotConnected
                    | ErrorKind::UnexpectedEof
            ),
            Self::Head(_) | Self::Body(_) | Self::RequestBody => false,
        }
    }
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(key: Key, io: UpstreamIo, now: Tick, table: u32) -> Self {
        Self {
            key,
            io,
            read: BytesMut::new(),
            scanned: 0,
            heard: false,
            interim: 0,
            interim_bytes: 0,
            next_read: FIRST_READ,
            largest_read: FIRST_READ,
            sending: Sending::nothing(),
            decoder: Decoder::empty(),
            closes: false,
            created: now,
            requests: 0,
            table,
        }
    }

    /// True after the first request: a failure may then only mean that the endpoint closed an idle connection.
    fn is_reused(&self) -> bool {
        self.requests > 1
    }

    /// Sends a request and waits for the head of its response, while the request body is still being sent. The caller
    /// sets the deadline; the request body moves it, and so does the caller when he is told that part of an answer came.
    pub(crate) async fn send(
        &mut self,
        request: Outgoing,
        deadline: &Deadline,
        clock: &impl Clock,
    ) -> Result<Response<()>, Box<Unanswered>> {
        let Outgoing { head, body, framing, is_head, response_limit, largest_read } = request;
        self.requests += 1;
        self.largest_read = largest_read;
        (self.heard, self.interim, self.interim_bytes) = (false, 0, 0);
        self.sending = Sending::new(head, body, framing);
        let mut before = (0, 0);
        std::future::poll_fn(|cx| match self.poll_response(cx, response_limit, is_head) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(error)) => {
                let stale = self.is_reused() && !self.heard && self.read.is_empty() && error.is_closed();
                let body = if error.is_closed() { self.sending.take_back() } else { None };
                Poll::Ready(Err(Box::new(Unanswered { error: ProxyError::Upstream(error), body, stale })))
            }
            Poll::Pending => {
                let now = (self.interim, self.read.len());
                if std::mem::replace(&mut before, now) != now {
                    clock.heard();
                }
                deadline
                    .poll_expired(cx)
                    .map(|()| Err(Box::new(Unanswered { error: clock.expired(), body: None, stale: false })))
            }
        })
        .await
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
        after_head: bool,
    ) -> Poll<Result<Response<()>, Error>> {
        let unsent = self.poll_sending(cx)?;
        loop {
            let before = self.read.len();
            if let Some(head) = self.take_head(limit, after_head)? {
                self.heard = true;
                let status = head.response.status();
                if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                    // Nothing here waits between two of them: without a bound a worker would do nothing else.
                    self.interim += 1;
                    self.interim_bytes += before - self.read.len();
                    if self.interim > MOST_INTERIM || self.interim_bytes > limit {
                        return Poll::Ready(Err(BadHead::Interim.into()));
                    }
                    continue;
                }
                self.decoder = head.decoder;
                self.closes = !head.keeps_alive || status == StatusCode::SWITCHING_PROTOCOLS;
                self.begin_body(cx)?;
                return Poll::Ready(Ok(head.response));
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) => return Poll::Ready(Err(unsent.unwrap_or(Error::Closed))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(unsent.unwrap_or(Error::Io(error)))),
            }
        }
    }

    /// Looks at the first of the body, as far as it is here: what fails before there is any of it fails as a whole, while the
    /// client can still be told. Where nothing of it came with the head this asks the socket as the body would next, and
    /// the answer that there is nothing yet costs no system call.
    fn begin_body(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        loop {
            self.decoder.take_framing(&mut self.read)?;
            if self.decoder.is_done() || !self.read.is_empty() {
                return Ok(());
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => return self.read_to_end(),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(Error::Io(error)),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// The endpoint has closed.
    fn read_to_end(&mut self) -> Result<(), Error> {
        self.closes = true;
        Ok(self.decoder.closed()?)
    }

    /// A head that is complete. What comes bit by bit is not parsed from its beginning each time: an endpoint could have a
    /// worker do nothing else.
    fn take_head(&mut self, limit: usize, after_head: bool) -> Result<Option<Head>, BadHead> {
        let scanned = std::mem::replace(&mut self.scanned, self.read.len());
        let due = scanned == 0 || self.read.len() >= limit || head::ends_within(&self.read, scanned);
        if self.read.is_empty() || !due {
            return Ok(None);
        }
        let head = head::take(&mut self.read, limit, after_head)?;
        if head.is_some() {
            self.scanned = 0;
        }
        Ok(head)
    }

    /// Sends on. An endpoint that answers before it has read everything, and closes, resets the connection under our
    /// hands; its answer is there to be read nevertheless, so that a write that fails for this reason is only noted.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Result<Option<Error>, Error> {
        if self.sending.is_done() {
            return Ok(None);
        }
        match self.sending.poll(&mut self.io, cx) {
            Poll::Ready(Err(error)) if error.is_closed() => {
                self.closes = true;
                Ok(Some(error))
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(None),
        }
    }

    /// Reads into the buffer; 0 is the end.
    ///
    /// Many endpoints end TLS by closing the connection, without the alert that RFC 8446 §6.1 wants. That is an end here, as
    /// for nginx: only a body that nothing else ends is believed to be complete then, and the pods are within the cluster.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.next_read);
        let room = self.read.capacity() - self.read.len();
        let read = match ready!(pin!(self.io.read_buf(&mut self.read)).poll(cx)) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
            read => read?,
        };
        if read >= room {
            self.next_read = (self.next_read * 2).min(self.largest_read);
        } else if read < self.next_read / 4 {
            self.next_read = (self.next_read / 2).max(FIRST_READ);
        }
        Poll::Ready(Ok(read))
    }

    /// The piece of the body that has arrived already, without asking the socket for more.
    pub(crate) fn arrived(&mut self) -> Option<Bytes> {
        match self.decoder.decode(&mut self.read) {
            Ok(Decoded::Data(data)) => Some(data),
            // What is wrong is wrong again when more is asked for.
            Ok(Decoded::Nothing | Decoded::End) | Err(_) => None,
        }
    }

    /// The next piece of the body of the response.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        self.poll_sending(cx)?;
        loop {
            match self.decoder.decode(&mut self.read)? {
                Decoded::Data(data) => return Poll::Ready(Some(Ok(data))),
                Decoded::End => return Poll::Ready(None),
                Decoded::Nothing => {}
            }
            if ready!(self.poll_read(cx)).map_err(Error::Io)? == 0 {
                self.read_to_end()?;
            }
        }
    }

    /// The same, but that it stays in the kernel where it can: then what comes back stands for it.
    pub(crate) fn poll_body_over(&mut self, cx: &mut Context<'_>, lane: &Lane) -> Poll<Option<Result<Bytes, Error>>> {
        self.poll_sending(cx)?;
        let left = self.remaining().filter(|left| *left > 0 && self.read.is_empty());
        let (Some(left), UpstreamIo::Plain(stream)) = (left, &self.io) else { return self.poll_body(cx) };
        let piece = match ready!(lane.poll_fill(cx, stream, left)) {
            Err(error) if error.kind() == ErrorKind::Unsupported => return self.poll_body(cx),
            piece => piece.map_err(Error::Io)?,
        };
        if piece.is_empty() {
            self.read_to_end()?;
        }
        self.decoder.pass(piece.len());
        Poll::Ready(Some(Ok(Bytes::from_static(piece))))
    }

    /// The body of the response is here to its last byte.
    pub(crate) fn is_complete(&self) -> bool {
        self.decoder.is_done()
    }

    /// There is no TLS.
    pub(crate) fn is_cleartext(&self) -> bool {
        matches!(self.io, UpstreamIo::Plain(_))
    }

    /// Bytes of the body that are still to come, where that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    /// True when the connection can carry another request.
    pub(super) fn is_reusable(&self) -> bool {
        !self.closes && self.decoder.is_done() && self.sending.is_done() && self.read.is_empty()
    }

    /// True when the endpoint has closed the connection while it was idle, or says something that nobody asked for.
    pub(super) fn is_dead(&mut self) -> bool {
        // Costs a system call only where something has happened.
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_ready()
    }

    /// Asks the kernel whether the endpoint has closed: the reactor's word of it may be on its way. For requests that cannot be
    /// sent a second time.
    pub(super) fn has_closed(&self) -> bool {
        let (stream, is_tls) = match &self.io {
            UpstreamIo::Plain(stream) => (stream, false),
            UpstreamIo::Tls(stream) => (stream.get_ref().0, true),
        };
        match SockRef::from(stream).peek(&mut [MaybeUninit::uninit(); 1]) {
            // What TLS has to say between two requests is not for us to judge.
            Ok(read) => read == 0 || !is_tls,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Prepares for a time in the pool, where memory counts.
    pub(super) fn rest(&mut self) {
        self.sending = Sending::nothing();
        (self.read, self.next_read) = (BytesMut::new(), FIRST_READ);
    }

    /// Takes the bare connection after a 101 response, with what was read beyond the response.
    pub(crate) fn into_upgraded(self) -> (UpstreamIo, Bytes) {
        (self.io, self.read.freeze())
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("key", &self.key)
            .field("requests", &self.requests)
            .field("closes", &self.closes)
            .finish_non_exhaustive()
    }
}
