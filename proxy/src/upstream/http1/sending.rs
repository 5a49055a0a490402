//! A request on its way to an endpoint: its head, and its body as it comes.

use super::Error;
use crate::{body::RequestBody, upstream::UpstreamIo};
use bytes::{Buf as _, Bytes};
use http_body::{Body as _, Frame};
use std::{
    io::{IoSlice, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncWrite as _;

/// A request as it goes over the wire.
pub(crate) struct Outgoing {
    /// The head, with its empty line.
    pub(crate) head: Vec<u8>,
    pub(crate) body: RequestBody,
    pub(crate) framing: Framing,
    /// The method is HEAD: the response has no body, whatever it says.
    pub(crate) is_head: bool,
    /// Largest head that the response may have, in bytes.
    pub(crate) response_limit: usize,
    /// Most bytes of the response that are read at once, and held while the client does not take them.
    pub(crate) largest_read: usize,
}

/// How the head says where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes of it are still to come.
    Length(u64),
    Chunked,
}

/// What is being sent.
pub(super) struct Sending {
    /// What precedes the data: the head at first, then chunk framing.
    front: Vec<u8>,
    /// How much of it is written.
    gone: usize,
    data: Bytes,
    /// What follows the data.
    back: &'static [u8],
    /// Until something of the request was written it may be wanted back.
    body: Option<RequestBody>,
    framing: Framing,
    /// The whole body has been taken.
    complete: bool,
    /// Something was written.
    begun: bool,
    /// What was written may be waiting in a TLS session.
    unflushed: bool,
}

const CHUNK_END: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const CHUNK_END_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";

// === impl Sending ===

impl Sending {
    /// Nothing to send.
    pub(super) fn nothing() -> Self {
        Self {
            front: Vec::new(),
            gone: 0,
            data: Bytes::new(),
            back: &[],
            body: None,
            framing: Framing::Length(0),
            complete: true,
            begun: false,
            unflushed: false,
        }
    }

    pub(super) fn new(head: Vec<u8>, body: RequestBody, framing: Framing) -> Self {
        Self { front: head, body: Some(body), framing, complete: false, ..Self::nothing() }
    }

    /// Everything is written.
    pub(super) fn is_done(&self) -> bool {
        self.complete && !self.has_bytes() && !self.unflushed
    }

    /// The body, as long as the endpoint has seen nothing of the request.
    pub(super) fn take_back(&mut self) -> Option<RequestBody> {
        let body = self.body.take().filter(|_| !self.begun)?;
        if self.data.is_empty() {
            return Some(body);
        }
        Some(body.again(vec![Frame::data(std::mem::take(&mut self.data))]))
    }

    /// Writes as much as the connection takes and the body gives.
    pub(super) fn poll(&mut self, io: &mut UpstreamIo, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            let waits = !self.complete && self.data.is_empty() && self.back.is_empty() && self.fill(cx)?.is_pending();
            if self.has_bytes() {
                let written = ready!(self.poll_write(io, cx)).map_err(Error::Io)?;
                if written == 0 {
                    return Poll::Ready(Err(Error::Io(std::io::ErrorKind::WriteZero.into())));
                }
                self.wrote(written);
            } else if self.unflushed && (waits || self.complete) {
                ready!(Pin::new(&mut *io).poll_flush(cx)).map_err(Error::Io)?;
                self.unflushed = false;
            } else if self.complete {
                return Poll::Ready(Ok(()));
            } else if waits {
                return Poll::Pending;
            }
        }
    }

    fn has_bytes(&self) -> bool {
        self.gone < self.front.len() || !self.data.is_empty() || !self.back.is_empty()
    }

    /// Takes the next frame of the body.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Error> {
        let Some(body) = &mut self.body else {
            self.complete = true;
            return Ok(Poll::Ready(()));
        };
        let frame = match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => return Ok(Poll::Pending),
        };
        match frame.transpose().map_err(|_| Error::RequestBody)? {
            // Trailers end here: endpoints of HTTP/1.1 get none, as from nginx.
            Some(frame) => {
                let ends = body.is_end_stream();
                if let Ok(data) = frame.into_data() {
                    self.take_data(data)?;
                }
                if ends {
                    self.finish()?;
                }
            }
            None => self.finish()?,
        }
        Ok(Poll::Ready(()))
    }

    fn take_data(&mut self, data: Bytes) -> Result<(), Error> {
        if data.is_empty() {
            // In chunks it would be the end.
            return Ok(());
        }
        match &mut self.framing {
            Framing::Length(left) => *left = left.checked_sub(data.len() as u64).ok_or(Error::RequestBody)?,
            Framing::Chunked => {
                write!(self.front, "{:x}\r\n", data.len()).map_err(Error::Io)?;
                self.back = CHUNK_END;
            }
        }
        self.data = data;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.complete = true;
        match self.framing {
            Framing::Length(0) => Ok(()),
            // What the head promised does not come.
            Framing::Length(_) => Err(Error::RequestBody),
            Framing::Chunked => {
                self.back = if self.back.is_empty() { LAST_CHUNK } else { CHUNK_END_AND_LAST };
                Ok(())
            }
        }
    }

    fn poll_write(&self, io: &mut UpstreamIo, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let front = &self.front[self.gone..];
        if self.data.is_empty() && self.back.is_empty() {
            return Pin::new(io).poll_write(cx, front);
        }
        let slices = [IoSlice::new(front), IoSlice::new(&self.data), IoSlice::new(self.back)];
        Pin::new(io).poll_write_vectored(cx, &slices)
    }

    fn wrote(&mut self, written: usize) {
        let front = written.min(self.front.len() - self.gone);
        self.gone += front;
        let data = (written - front).min(self.data.len());
        self.data.advance(data);
        self.back = &self.back[written - front - data..];
        if self.gone == self.front.len() {
            self.front.clear();
            self.gone = 0;
        }
        (self.begun, self.unflushed) = (true, true);
        if let Some(body) = &self.body {
            body.moved();
        }
        if self.complete && !self.has_bytes() {
            self.body = None;
        }
    }
}
