//! The body of a request on its way to an endpoint: as the client sends it, or from where it was kept.

use super::{
    BoxError,
    progress::{Progress, ProgressState},
    stored::{Stored, StoredBody},
    upload::Reader,
};
use crate::{error::ProxyError, table::Policy, timeout::Deadline};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// The body of a request on its way to an endpoint.
pub(crate) enum RequestBody {
    /// No body at all: the request can be sent again.
    Empty,
    /// Streamed from the client.
    Client(ClientBody),
    /// The same, after an endpoint had taken the first frames of it and refused the request.
    Again(Box<Again>),
    /// Read as a whole before.
    Stored(Box<StoredBody>),
}

/// A client's body that begins with frames that had been taken from it before.
pub(crate) struct Again {
    frames: VecDeque<Frame<Bytes>>,
    rest: ClientBody,
}

/// A client's body with its limits.
pub(crate) struct ClientBody {
    incoming: Reader,
    progress: Rc<Progress>,
    /// Whether trailers pass: HTTP/1.1 endpoints get none, as from nginx.
    trailers: bool,
}

// === impl RequestBody ===

impl RequestBody {
    /// What a client sends, as it comes. `duplex`: to an endpoint that may speak at the same time, and understands trailers.
    pub(crate) fn client(
        incoming: Reader,
        policy: &Policy,
        deadline: &Rc<Deadline>,
        client_timeout: Duration,
        duplex: bool,
    ) -> (Self, Rc<Progress>) {
        let progress = Progress::new(policy, deadline, (!duplex).then_some(client_timeout));
        (Self::Client(ClientBody { incoming, progress: Rc::clone(&progress), trailers: duplex }), progress)
    }

    /// A body that was read before, from its beginning.
    pub(crate) fn stored(stored: &Rc<Stored>, progress: &Rc<Progress>) -> Self {
        Self::Stored(Box::new(StoredBody::new(Rc::clone(stored), Rc::clone(progress))))
    }

    /// The endpoint has taken some of it.
    pub(crate) fn moved(&self) {
        if let Some(progress) = self.progress() {
            progress.moved();
        }
    }

    /// The endpoint has answered: from here on its policy's read timeout is the only one, in both directions.
    pub(crate) fn answered(&self) {
        if let Some(progress) = self.progress() {
            progress.answered();
        }
    }

    /// The body as it was before `frames` were taken from it.
    pub(crate) fn again(self, mut frames: Vec<Frame<Bytes>>) -> Self {
        let rest = match self {
            Self::Empty => return Self::Empty,
            Self::Client(rest) => rest,
            Self::Again(again) => {
                frames.extend(again.frames);
                again.rest
            }
            Self::Stored(body) => return Self::Stored(Box::new(body.again())),
        };
        Self::Again(Box::new(Again { frames: frames.into(), rest }))
    }

    fn progress(&self) -> Option<&Progress> {
        match self {
            Self::Empty => None,
            Self::Client(body) => Some(&body.progress),
            Self::Again(again) => Some(&again.rest.progress),
            Self::Stored(body) => Some(body.progress()),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client(body) => body.poll_frame(cx),
            Self::Again(again) => again.poll_frame(cx),
            Self::Stored(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => body.incoming.is_end_stream(),
            Self::Again(again) => again.frames.is_empty() && again.rest.incoming.is_end_stream(),
            Self::Stored(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body) => body.incoming.size_hint(),
            // Only HTTP/2 sends a body again, and does not ask for its size.
            Self::Again(_) => SizeHint::default(),
            Self::Stored(body) => SizeHint::with_exact(body.remaining()),
        }
    }
}

// === impl Again ===

impl Again {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // It was counted when it was taken for the first time.
        match self.frames.pop_front() {
            Some(frame) => {
                let complete = self.frames.is_empty() && self.rest.incoming.is_end_stream();
                self.rest.progress.enter(if complete { ProgressState::Complete } else { ProgressState::Sending });
                Poll::Ready(Some(Ok(frame)))
            }
            None => self.rest.poll_frame(cx),
        }
    }
}

// === impl ClientBody ===

impl ClientBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let progress = &self.progress;
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                progress.enter(ProgressState::WaitingForClient);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                if frame.is_trailers() && !self.trailers {
                    progress.enter(ProgressState::Complete);
                    return Poll::Ready(None);
                }
                if let Some(Err(error)) = frame.data_ref().map(|data| progress.received(data.len())) {
                    return Poll::Ready(Some(Err(error)));
                }
                progress.enter(ProgressState::Sending);
                if self.incoming.is_end_stream() {
                    progress.enter(ProgressState::Complete);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(progress.fail(ProxyError::of_client_body(error))))),
            Poll::Ready(None) => {
                progress.enter(ProgressState::Complete);
                Poll::Ready(None)
            }
        }
    }
}
