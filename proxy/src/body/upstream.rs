//! The body of a response that arrives over HTTP/1.1, and the connection that it arrives on: back in the pool with the
//! last byte, gone with an error.

use super::BoxError;
use crate::{
    error::ProxyError,
    splice::{self, Lane},
    timeout::Deadline,
    upstream::http1::Connection,
    worker::Worker,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// A response body that is still arriving over HTTP/1.1.
pub(super) struct UpstreamBody {
    /// `None` once it went back to the pool, or is of no more use.
    connection: Option<Box<Connection>>,
    /// What was already there when the head arrived.
    first: Option<Bytes>,
    /// The rest need not come into our memory.
    lane: Option<Arc<Lane>>,
    worker: Rc<Worker>,
    deadline: Rc<Deadline>,
    read_timeout: Duration,
    waiting: bool,
}

// === impl UpstreamBody ===

impl UpstreamBody {
    pub(super) fn new(
        connection: Box<Connection>,
        first: Option<Bytes>,
        worker: &Rc<Worker>,
        deadline: &Rc<Deadline>,
        read_timeout: Duration,
    ) -> Self {
        Self {
            connection: Some(connection),
            first,
            lane: None,
            worker: Rc::clone(worker),
            deadline: Rc::clone(deadline),
            read_timeout,
            waiting: false,
        }
    }

    /// Has the rest go past our memory, if there is enough of it and somebody has a way.
    pub(super) fn splice(&mut self, open: impl FnOnce() -> Option<Arc<Lane>>) {
        let connection = self.connection.as_ref().filter(|connection| connection.is_cleartext());
        let rest = connection.and_then(|connection| connection.remaining());
        if rest.is_some_and(|rest| rest >= splice::LEAST) {
            self.lane = open();
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let polled = match (self.first.take(), &self.lane) {
            (Some(first), _) => Poll::Ready(Some(Ok(first))),
            (None, Some(lane)) => connection.poll_body_over(cx, lane),
            (None, None) => connection.poll_body(cx),
        };
        match polled {
            Poll::Ready(Some(Ok(data))) => {
                self.waiting = false;
                self.finish_if_complete();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Some(Err(error))) => {
                self.give_up();
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.finish_if_complete();
                Poll::Ready(None)
            }
            // The client has not taken the last piece yet.
            Poll::Pending if self.lane.as_ref().is_some_and(|lane| !lane.is_empty()) => Poll::Pending,
            Poll::Pending => {
                // The clock runs only while we wait for the endpoint, not while a slow client holds us up.
                if !self.waiting {
                    self.waiting = true;
                    self.deadline.set(self.read_timeout);
                }
                self.deadline.poll_expired(cx).map(|()| {
                    self.give_up();
                    Some(Err(ProxyError::ReadTimeout.to_string().into()))
                })
            }
        }
    }

    /// Frees the connection as soon as the last byte is here.
    fn finish_if_complete(&mut self) {
        if let Some(connection) = self.connection.take_if(|connection| connection.is_complete()) {
            self.deadline.clear();
            self.lane = None;
            self.worker.give(connection);
        }
    }

    /// The rest does not come; from now on nobody waits for the endpoint.
    fn give_up(&mut self) {
        self.connection = None;
        self.deadline.clear();
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    /// What is to come, where the endpoint has said it.
    pub(super) fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, |data| data.len() as u64);
        match &self.connection {
            None => SizeHint::with_exact(0),
            Some(connection) => {
                connection.remaining().map_or_else(SizeHint::default, |rest| SizeHint::with_exact(first + rest))
            }
        }
    }
}
