//! The body of a request on its way into a stream, and what is kept of it.

use crate::{body::RequestBody, hop};
use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::task::AbortHandle;

/// Most bytes that are kept for an endpoint that refuses the stream after it got a part of the body. Enough for the
/// messages of most gRPC calls; keeping them is a reference count.
const KEPT: usize = 64 * 1024;

/// A body that is being sent.
pub(super) struct Upload {
    body: RequestBody,
    stream: SendStream<Bytes>,
    /// Taken from the body, and not yet passed on.
    pending: Bytes,
    /// What was taken from the body so far, unless it is too much or the endpoint has answered.
    kept: Option<Kept>,
    done: bool,
}

#[derive(Default)]
struct Kept {
    frames: Vec<Frame<Bytes>>,
    size: usize,
}

/// An upload that goes on by itself. Dropping it ends it.
pub(super) struct Detached(AbortHandle);

/// Why a body is sent no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The client, or a limit: its progress knows why. The stream has been reset.
    ByClient,
    /// The endpoint wants no more of it; what that means its response says.
    ByEndpoint,
}

// === impl Upload ===

impl Upload {
    pub(super) fn new(body: RequestBody, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, pending: Bytes::new(), kept: Some(Kept::default()), done: false }
    }

    /// Sends as much as the client has and the endpoint takes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        while !self.done {
            // With nothing in hand this asks for room for one byte: what the endpoint has no room for stays with the
            // client.
            self.stream.reserve_capacity(self.pending.len().max(1));
            while self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return self.stopped(),
                }
            }
            if !self.pending.is_empty() {
                let part = self.pending.split_to(self.pending.len().min(self.stream.capacity()));
                self.done = self.pending.is_empty() && self.body.is_end_stream();
                self.body.moved();
                if self.stream.send_data(part, self.done).is_err() {
                    return self.stopped();
                }
                continue;
            }
            let sent = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    self.keep(&frame);
                    match frame.into_data() {
                        Ok(data) if data.is_empty() && !self.body.is_end_stream() => Ok(()),
                        Ok(data) if data.is_empty() => self.finish(),
                        Ok(data) => {
                            self.pending = data;
                            Ok(())
                        }
                        Err(frame) => self.trailers(frame),
                    }
                }
                Some(Err(_)) => {
                    self.done = true;
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(Stopped::ByClient));
                }
                None => self.finish(),
            };
            if sent.is_err() {
                return self.stopped();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn stopped(&mut self) -> Poll<Result<(), Stopped>> {
        self.done = true;
        Poll::Ready(Err(Stopped::ByEndpoint))
    }

    fn finish(&mut self) -> Result<(), h2::Error> {
        self.done = true;
        self.stream.send_data(Bytes::new(), true)
    }

    fn trailers(&mut self, frame: Frame<Bytes>) -> Result<(), h2::Error> {
        let Ok(mut trailers) = frame.into_trailers() else { return Ok(()) };
        hop::strip_trailers(&mut trailers);
        if trailers.is_empty() {
            return self.finish();
        }
        self.done = true;
        self.stream.send_trailers(trailers)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(kept) = &mut self.kept else { return };
        kept.size += frame.data_ref().map_or(0, Bytes::len);
        if kept.size > KEPT {
            self.kept = None;
            return;
        }
        kept.frames.push(match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Frame::data(data.clone()),
            (None, Some(trailers)) => Frame::trailers(trailers.clone()),
            (None, None) => return,
        });
    }

    /// The endpoint has answered: the request will not be sent again, and what is left of it goes on by itself.
    pub(super) fn detach(mut self) -> Option<Detached> {
        self.kept = None;
        self.body.answered();
        if self.done {
            return None;
        }
        let task = tokio::task::spawn_local(async move {
            // However it ends, the response tells.
            let _ = std::future::poll_fn(|cx| self.poll(cx)).await;
        });
        Some(Detached(task.abort_handle()))
    }

    /// The body as it was before; `None` when too much of it is gone.
    pub(super) fn into_body(self) -> Option<RequestBody> {
        self.kept.map(|kept| self.body.again(kept.frames))
    }
}

// === impl Detached ===

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.abort();
    }
}
