//! The body of a response that arrives over HTTP/2, with the rest of its request.

use super::BoxError;
use crate::{error::ProxyError, hop, timeout::Deadline, upstream::http2::Exchange};
use bytes::Bytes;
use http_body::Frame;
use std::{
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// A response body that is still arriving over HTTP/2.
pub(super) struct Http2Body {
    /// `None` once the response is complete or broken: the stream has ended, its place is free.
    exchange: Option<Exchange>,
    deadline: Rc<Deadline>,
    read_timeout: Duration,
    waiting: bool,
}

// === impl Http2Body ===

impl Http2Body {
    pub(super) fn new(exchange: Exchange, deadline: Rc<Deadline>, read_timeout: Duration) -> Self {
        let mut body = Self { exchange: Some(exchange), deadline, read_timeout, waiting: false };
        body.finish_if_ended();
        body
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
            match exchange.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.waiting = false;
                    match frame.into_trailers() {
                        Ok(mut trailers) => {
                            self.finish();
                            hop::strip_trailers(&mut trailers);
                            return Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))));
                        }
                        Err(frame) => {
                            self.finish_if_ended();
                            // An empty DATA frame says nothing, unless it ends the stream.
                            if frame.data_ref().is_some_and(|data| !data.is_empty()) {
                                return Poll::Ready(Some(Ok(frame)));
                            }
                        }
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.finish();
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(None) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    // The clock runs only while we wait for the endpoint, not while a slow client holds us up.
                    if !self.waiting {
                        self.waiting = true;
                        self.deadline.set(self.read_timeout);
                    }
                    std::task::ready!(self.deadline.poll_expired(cx));
                    exchange.suspect();
                    self.finish();
                    return Poll::Ready(Some(Err(ProxyError::ReadTimeout.to_string().into())));
                }
            }
        }
    }

    /// Frees the stream as soon as the last byte is here.
    fn finish_if_ended(&mut self) {
        if self.exchange.as_ref().is_some_and(Exchange::is_end_stream) {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.exchange = None;
        self.deadline.clear();
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.exchange.is_none()
    }
}
