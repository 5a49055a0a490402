//! The body of a response that arrives over HTTP/1.1, and the connection that it arrives on: back in the pool with the
//! last byte, gone with an error.

use super::BoxError;
use crate::{error::ProxyError, timeout::Deadline, upstream::Connection, worker::Worker};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// A response body that is still arriving over HTTP/1.1.
pub(super) struct UpstreamBody {
    incoming: Incoming,
    /// `None` once it went back to the pool.
    connection: Option<Box<Connection>>,
    /// A frame that was already there when the head arrived.
    first: Option<Result<Frame<Bytes>, hyper::Error>>,
    worker: Rc<Worker>,
    deadline: Rc<Deadline>,
    read_timeout: Duration,
    waiting: bool,
    ended: bool,
}

// === impl UpstreamBody ===

impl UpstreamBody {
    pub(super) fn new(
        incoming: Incoming,
        connection: Box<Connection>,
        first: Option<Result<Frame<Bytes>, hyper::Error>>,
        worker: &Rc<Worker>,
        deadline: &Rc<Deadline>,
        read_timeout: Duration,
    ) -> Self {
        Self {
            incoming,
            connection: Some(connection),
            first,
            worker: Rc::clone(worker),
            deadline: Rc::clone(deadline),
            read_timeout,
            waiting: false,
            ended: false,
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(first) = self.first.take() {
            if first.is_ok() {
                self.finish_if_ended();
            } else {
                self.connection = None;
            }
            return Poll::Ready(Some(first.map_err(Into::into)));
        }
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        match connection.poll_body(Pin::new(&mut self.incoming), cx) {
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                self.waiting = false;
                self.finish_if_ended();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.connection = None;
                Poll::Ready(Some(Err(error.into())))
            }
            // Trailers of HTTP/1.1 end here, as in nginx.
            Poll::Ready(Some(Ok(_)) | None) => {
                self.ended = true;
                self.finish_if_ended();
                Poll::Ready(None)
            }
            Poll::Pending => {
                // The clock runs only while we wait for the endpoint, not while a slow client holds us up.
                if !self.waiting {
                    self.waiting = true;
                    self.deadline.set(self.read_timeout);
                }
                self.deadline.poll_expired(cx).map(|()| {
                    self.connection = None;
                    Some(Err(ProxyError::ReadTimeout.to_string().into()))
                })
            }
        }
    }

    /// Frees the connection as soon as the last byte is here.
    fn finish_if_ended(&mut self) {
        if (self.ended || self.incoming.is_end_stream())
            && let Some(connection) = self.connection.take()
        {
            self.ended = true;
            self.deadline.clear();
            self.worker.give(connection);
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.first.is_none() && (self.ended || self.incoming.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let hint = self.incoming.size_hint();
        match (&self.first, hint.exact()) {
            (Some(Ok(first)), Some(rest)) => {
                SizeHint::with_exact(rest + first.data_ref().map_or(0, |data| data.len() as u64))
            }
            _ => hint,
        }
    }
}
