//! Bodies in both directions: streamed with back-pressure, counted, bounded.

mod compressed;
mod http2;
mod stored;

pub(crate) use self::stored::Stored;
use self::{compressed::Compressed, http2::Http2Body, stored::StoredBody};
use crate::{
    compress::Encoder,
    error::ProxyError,
    exchange::Exchange,
    table::Policy,
    timeout::Deadline,
    upstream::{self, Connection},
    worker::Worker,
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
    incoming: Incoming,
    progress: Rc<Progress>,
    /// Whether trailers pass: HTTP/1.1 endpoints get none, as from nginx.
    trailers: bool,
}

/// What is known about a client's body while it is streamed; shared with the future that waits for the response.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Bytes passed on so far.
    bytes: Cell<u64>,
    limit: u64,
    state: Cell<ProgressState>,
    failure: RefCell<Option<ProxyError>>,
    deadline: Rc<Deadline>,
    client_timeout: Duration,
    send_timeout: Duration,
    read_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProgressState {
    WaitingForClient,
    Sending,
    Complete,
    /// The endpoint has answered while the body was still under way.
    Answered,
}

/// The body of a response on its way to the client. Owns the accounting of its exchange: when the body is dropped,
/// complete or not, the request is over.
pub(crate) struct ResponseBody {
    kind: Kind,
    exchange: Option<Box<Exchange>>,
}

enum Kind {
    Full(Bytes),
    Streamed(Box<UpstreamBody>),
    Http2(Box<Http2Body>),
    Compressed(Box<Compressed>),
}

/// A response body that is still arriving over HTTP/1.1.
pub(crate) struct UpstreamBody {
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

// === impl RequestBody ===

impl RequestBody {
    /// What a client sends, as it comes; `trailers` go on.
    pub(crate) fn client(
        incoming: Incoming,
        policy: &Policy,
        deadline: &Rc<Deadline>,
        client_timeout: Duration,
        trailers: bool,
    ) -> (Self, Rc<Progress>) {
        let progress = Progress::new(policy, deadline, client_timeout);
        (Self::Client(ClientBody { incoming, progress: Rc::clone(&progress), trailers }), progress)
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
            progress.state.set(ProgressState::Answered);
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
                if let Some(data) = frame.data_ref() {
                    progress.bytes.set(progress.bytes.get() + data.len() as u64);
                    if progress.bytes.get() > progress.limit {
                        return Poll::Ready(Some(Err(progress.fail(ProxyError::BodyTooLarge))));
                    }
                }
                progress.enter(ProgressState::Sending);
                if self.incoming.is_end_stream() {
                    progress.enter(ProgressState::Complete);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(progress.fail(ProxyError::ClientBody(error))))),
            Poll::Ready(None) => {
                progress.enter(ProgressState::Complete);
                Poll::Ready(None)
            }
        }
    }
}

// === impl Progress ===

impl Progress {
    pub(crate) fn new(policy: &Policy, deadline: &Rc<Deadline>, client_timeout: Duration) -> Rc<Self> {
        Rc::new(Self {
            bytes: Cell::new(0),
            limit: policy.max_body.unwrap_or(u64::MAX),
            state: Cell::new(ProgressState::Sending),
            failure: RefCell::new(None),
            deadline: Rc::clone(deadline),
            client_timeout,
            send_timeout: policy.send_timeout,
            read_timeout: policy.read_timeout,
        })
    }

    /// The body will be sent from its beginning.
    fn restart(&self) {
        self.state.set(ProgressState::Sending);
    }

    /// Moves the deadline to what the new state waits for.
    fn enter(&self, state: ProgressState) {
        if state == ProgressState::WaitingForClient && self.state.get() == state {
            // Still waiting for the same bytes: the clock goes on.
            return;
        }
        if self.state.get() == ProgressState::Answered {
            // Silence of the client is no fault any more, and anything else counts like a word of the endpoint.
            if state == ProgressState::Sending {
                self.deadline.set(self.read_timeout);
            }
            return;
        }
        self.state.set(state);
        self.deadline.set(match state {
            ProgressState::WaitingForClient => self.client_timeout,
            ProgressState::Sending => self.send_timeout,
            ProgressState::Complete | ProgressState::Answered => self.read_timeout,
        });
    }

    /// A part of what was read has gone to the endpoint.
    fn moved(&self) {
        match self.state.get() {
            ProgressState::Sending => self.deadline.set(self.send_timeout),
            ProgressState::Complete | ProgressState::Answered => self.deadline.set(self.read_timeout),
            ProgressState::WaitingForClient => {}
        }
    }

    fn fail(&self, error: ProxyError) -> BoxError {
        let text = error.to_string();
        self.failure.replace(Some(error));
        text.into()
    }

    /// What the body itself did wrong, if anything; the connection's error is then only its consequence.
    pub(crate) fn take_failure(&self) -> Option<ProxyError> {
        self.failure.take()
    }

    /// What it means that the deadline has passed.
    pub(crate) fn expired(&self) -> ProxyError {
        match self.state.get() {
            ProgressState::WaitingForClient => ProxyError::ClientTimeout,
            ProgressState::Sending => ProxyError::SendTimeout,
            ProgressState::Complete | ProgressState::Answered => ProxyError::ReadTimeout,
        }
    }
}

// === impl ResponseBody ===

impl ResponseBody {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// All bytes at once.
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self { kind: Kind::Full(bytes), exchange: None }
    }

    /// The body of an upstream response. Takes what has already arrived: a short body is complete here, and its
    /// connection free again before the first byte goes to the client.
    pub(crate) fn upstream(
        mut incoming: Incoming,
        connection: Box<Connection>,
        worker: &Rc<Worker>,
        deadline: &Rc<Deadline>,
        read_timeout: Duration,
    ) -> Self {
        let mut first = if incoming.is_end_stream() { None } else { connection.arrived(&mut incoming) };
        if incoming.is_end_stream() {
            match first.take().map(|frame| frame.map(Frame::into_data)) {
                None => {
                    worker.give(connection);
                    return Self::empty();
                }
                Some(Ok(Ok(data))) => {
                    worker.give(connection);
                    return Self::full(data);
                }
                // Trailers of HTTP/1.1 end here, as in nginx.
                Some(Ok(Err(_))) => {
                    worker.give(connection);
                    return Self::empty();
                }
                Some(Err(error)) => first = Some(Err(error)),
            }
        }
        Self {
            kind: Kind::Streamed(Box::new(UpstreamBody {
                incoming,
                connection: Some(connection),
                first,
                worker: Rc::clone(worker),
                deadline: Rc::clone(deadline),
                read_timeout,
                waiting: false,
                ended: false,
            })),
            exchange: None,
        }
    }

    /// The body of a response over HTTP/2.
    pub(crate) fn http2(exchange: upstream::http2::Exchange, deadline: &Rc<Deadline>, read_timeout: Duration) -> Self {
        let body = Http2Body::new(exchange, Rc::clone(deadline), read_timeout);
        Self { kind: Kind::Http2(Box::new(body)), exchange: None }
    }

    /// The same, compressed. What is complete is compressed at once; what is not, as it arrives. Itself when that cannot
    /// be done.
    pub(crate) fn compressed(self, mut encoder: Encoder) -> Result<Self, Self> {
        let Kind::Full(bytes) = &self.kind else {
            let body = Compressed::new(self.kind, encoder);
            return Ok(Self { kind: Kind::Compressed(Box::new(body)), exchange: self.exchange });
        };
        let parts = encoder.write(bytes).and_then(|start| Ok([start, encoder.finish()?]));
        match parts {
            Ok([start, rest]) if start.is_empty() => Ok(Self { kind: Kind::Full(rest), ..self }),
            Ok(parts) => Ok(Self { kind: Kind::Full(parts.concat().into()), ..self }),
            Err(_) => Err(self),
        }
    }

    /// The length of a body that is complete.
    pub(crate) fn known_length(&self) -> Option<u64> {
        match &self.kind {
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::Streamed(_) | Kind::Http2(_) | Kind::Compressed(_) => None,
        }
    }

    /// Hands the accounting over.
    pub(crate) fn with_exchange(mut self, exchange: Box<Exchange>) -> Self {
        self.exchange = Some(exchange);
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = std::task::ready!(this.kind.poll_frame(cx));
        if let Some(exchange) = &mut this.exchange {
            match &frame {
                Some(Ok(frame)) => exchange.sent(frame.data_ref().map_or(0, Bytes::len)),
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
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Streamed(body) => body.size_hint(),
            // What the head says is passed on; nothing is added to it.
            Kind::Http2(_) | Kind::Compressed(_) => SizeHint::default(),
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
        }
    }
}

// === impl UpstreamBody ===

impl UpstreamBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
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

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && (self.ended || self.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.incoming.size_hint();
        match (&self.first, hint.exact()) {
            (Some(Ok(first)), Some(rest)) => {
                SizeHint::with_exact(rest + first.data_ref().map_or(0, |data| data.len() as u64))
            }
            _ => hint,
        }
    }
}
