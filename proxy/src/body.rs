//! Bodies in both directions: streamed with back-pressure, counted, bounded.

mod compressed;
mod http2;
mod progress;
mod request;
mod stored;
mod upload;
mod upstream;

use self::{compressed::Compressed, http2::Http2Body, upstream::UpstreamBody};
pub(crate) use self::{
    progress::Progress,
    request::RequestBody,
    stored::Stored,
    upload::{Reader, Upload},
};
use crate::{
    compress::Encoder,
    exchange::Exchange,
    splice::Lane,
    timeout::Deadline,
    upstream::{http1::Connection, http2::Exchange as Http2Exchange},
    worker::Worker,
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response on its way to the client. Owns the accounting of its exchange: when the body is dropped,
/// complete or not, the request is over.
pub(crate) struct ResponseBody {
    kind: Kind,
    /// Bytes that came from an endpoint and are not in its account yet.
    delivered: usize,
    exchange: Option<Box<Exchange>>,
}

enum Kind {
    Full(Bytes),
    Streamed(Box<UpstreamBody>),
    Http2(Box<Http2Body>),
    Compressed(Box<Compressed>),
    /// It broke off; the error is still to be said.
    Broken(Option<BoxError>),
}

// === impl ResponseBody ===

impl ResponseBody {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// All bytes at once.
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self { kind: Kind::Full(bytes), delivered: 0, exchange: None }
    }

    /// The body of an upstream response. Takes what has already arrived: a short body is complete here, and its
    /// connection free again before the first byte goes to the client.
    pub(crate) fn upstream(
        mut connection: Box<Connection>,
        worker: &Rc<Worker>,
        deadline: &Rc<Deadline>,
        read_timeout: Duration,
    ) -> Self {
        let first = connection.arrived();
        if connection.is_complete() {
            worker.give(connection);
            let bytes = first.unwrap_or_default();
            return Self { delivered: bytes.len(), ..Self::full(bytes) };
        }
        let body = UpstreamBody::new(connection, first, worker, deadline, read_timeout);
        Self { kind: Kind::Streamed(Box::new(body)), delivered: 0, exchange: None }
    }

    /// The body of a response over HTTP/2.
    pub(crate) fn http2(exchange: Http2Exchange, deadline: &Rc<Deadline>, read_timeout: Duration) -> Self {
        let body = Http2Body::new(exchange, Rc::clone(deadline), read_timeout);
        Self { kind: Kind::Http2(Box::new(body)), delivered: 0, exchange: None }
    }

    /// The same, compressed. What is complete is compressed at once; what is not, as it arrives. Itself when that cannot
    /// be done.
    pub(crate) fn compressed(self, mut encoder: Encoder) -> Result<Self, Self> {
        let Kind::Full(bytes) = &self.kind else {
            let body = Compressed::new(self.kind, encoder);
            return Ok(Self { kind: Kind::Compressed(Box::new(body)), delivered: 0, exchange: self.exchange });
        };
        let parts = encoder.write(bytes).and_then(|start| Ok([start, encoder.finish()?]));
        match parts {
            Ok([start, rest]) if start.is_empty() => Ok(Self { kind: Kind::Full(rest), ..self }),
            Ok(parts) => Ok(Self { kind: Kind::Full(parts.concat().into()), ..self }),
            Err(_) => Err(self),
        }
    }

    /// Has what is still to come go past our memory, if somebody has a way.
    pub(crate) fn spliced(mut self, open: impl FnOnce() -> Option<Arc<Lane>>) -> Self {
        if let Kind::Streamed(body) = &mut self.kind {
            body.splice(open);
        }
        self
    }

    /// The length of a body that is complete.
    pub(crate) fn known_length(&self) -> Option<u64> {
        match &self.kind {
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::Streamed(_) | Kind::Http2(_) | Kind::Compressed(_) | Kind::Broken(_) => None,
        }
    }

    /// Hands the accounting over.
    pub(crate) fn with_exchange(mut self, mut exchange: Box<Exchange>) -> Self {
        exchange.delivered(std::mem::take(&mut self.delivered));
        self.exchange = Some(exchange);
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match std::task::ready!(this.kind.poll_frame(cx)) {
            // hyper throws away what it has not written yet when a body fails. It writes while the body has nothing for it,
            // so that the client gets what came before, the head at least.
            Some(Err(error)) if !matches!(this.kind, Kind::Broken(_)) => {
                this.kind = Kind::Broken(Some(error));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            frame => frame,
        };
        if let Some(exchange) = &mut this.exchange {
            match &frame {
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    exchange.sent(length);
                    exchange.delivered(this.kind.delivered(length));
                }
                Some(Err(_)) => exchange.broken(),
                None => {}
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Streamed(body) => body.is_end_stream(),
            Kind::Http2(body) => body.is_end_stream(),
            Kind::Compressed(body) => body.is_end_stream(),
            Kind::Broken(error) => error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Streamed(body) => body.size_hint(),
            // What the head says is passed on; nothing is added to it.
            Kind::Http2(_) | Kind::Compressed(_) | Kind::Broken(_) => SizeHint::default(),
        }
    }
}

// === impl Kind ===

impl Kind {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Streamed(body) => body.poll_frame(cx),
            Self::Http2(body) => body.poll_frame(cx),
            Self::Compressed(body) => body.poll_frame(cx),
            Self::Broken(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    /// What an endpoint sent for the `length` bytes that were just taken.
    fn delivered(&mut self, length: usize) -> usize {
        match self {
            Self::Full(_) | Self::Broken(_) => 0,
            Self::Streamed(_) | Self::Http2(_) => length,
            Self::Compressed(body) => body.take_read(),
        }
    }
}
