//! The body of a request as its client sends it: counted, and taken off the connection when nobody wants the rest of it.
//!
//! A request may be answered before its body is here. On HTTP/1 the next request stands behind that body, so that the
//! rest is read and thrown away as far as that is bounded, as in nginx. Where it is not, the answer says that the
//! connection ends. hyper alone decides where a body ends: nothing here looks for the next request.
//!
//! Must not know: what a body is for, and what an endpoint makes of it.

use crate::timeout::Tick;
use bytes::Bytes;
use http::{HeaderValue, Version, header, request::Parts};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

/// Bytes that are thrown away for the sake of a connection: as much as nginx takes for a body unless it is told otherwise. A
/// new connection costs less than more of them.
const MOST_DISCARDED: u64 = 1 << 20;

/// How long that may take behind the answer (nginx's `lingering_time`).
const LONGEST_DISCARD: Duration = Duration::from_secs(30);

/// The body of a request under way from its client.
#[derive(Debug)]
pub(crate) struct Upload {
    /// `None` once nobody needs it any more.
    incoming: RefCell<Option<Incoming>>,
    /// The client may wait for permission before it sends anything.
    expects: bool,
    received: Cell<u64>,
    /// All of it is here, or nothing more of it will come.
    complete: Cell<bool>,
    /// There is a reader.
    is_read: Cell<bool>,
    /// What the reader leaves is of no interest: no request follows it.
    let_go: Cell<bool>,
    discarded: Cell<u64>,
    /// When there was nothing to do for the connection but to throw it away.
    behind_answer: Cell<Option<Tick>>,
}

/// Whoever wants the body. What it leaves is up to [`Upload::poll_discard`].
#[derive(Debug)]
pub(crate) struct Reader(Rc<Upload>);

// === impl Upload ===

impl Upload {
    /// A body that is not empty, and its reader.
    pub(crate) fn new(incoming: Incoming, head: &Parts) -> (Rc<Self>, Reader) {
        let upload = Rc::new(Self {
            incoming: RefCell::new(Some(incoming)),
            expects: head.headers.contains_key(header::EXPECT),
            received: Cell::new(0),
            complete: Cell::new(false),
            is_read: Cell::new(true),
            let_go: Cell::new(!persists(head)),
            discarded: Cell::new(0),
            behind_answer: Cell::new(None),
        });
        (Rc::clone(&upload), Reader(upload))
    }

    /// Bytes so far, without their framing.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// The next request stands behind something that has not come yet.
    pub(crate) fn has_rest(&self) -> bool {
        !self.complete.get() && !self.let_go.get()
    }

    /// Whether an answer that goes out now is the last one of its connection: nobody is going to read all that is to come, or
    /// the client may leave it out, because it got an answer instead of permission (RFC 9110 §10.1.1).
    pub(crate) fn ends_connection(&self) -> bool {
        let may_not_come = self.expects && self.received.get() == 0;
        self.has_rest() && (may_not_come || self.left() > MOST_DISCARDED)
    }

    /// From now on nothing is read for the sake of the connection.
    pub(crate) fn let_go(&self) {
        self.let_go.set(true);
        if !self.is_read.get() {
            self.incoming.take();
        }
    }

    /// Throws away what is here and has no reader. Ready when that is over: the body is complete, or has been let go.
    pub(crate) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_read.get() {
            if self.left() > MOST_DISCARDED || self.discarded.get() > MOST_DISCARDED {
                self.let_go();
            }
            let before = self.received.get();
            match ready!(self.poll_frame(cx)) {
                Some(Ok(_)) => self.discarded.set(self.discarded.get() + self.received.get() - before),
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Whether the connection has had nothing else to do for too long. Asked while it has nothing else to do.
    pub(crate) fn is_late(&self, now: Tick) -> bool {
        let since = self.behind_answer.get().unwrap_or(now);
        self.behind_answer.set(Some(since));
        now.since(since) > LONGEST_DISCARD
    }

    /// What is known to come.
    fn left(&self) -> u64 {
        self.incoming.borrow().as_ref().map_or(0, |incoming| incoming.size_hint().lower())
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut incoming = self.incoming.borrow_mut();
        let Some(body) = &mut *incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.received.set(self.received.get() + length as u64);
                self.complete.set(frame.is_trailers() || body.is_end_stream());
            }
            Some(Err(_)) | None => {
                self.complete.set(true);
                *incoming = None;
            }
        }
        Poll::Ready(frame)
    }
}

/// Whether the client may send another request behind this one (RFC 9112 §9.3). Streams of HTTP/2 follow nothing.
fn persists(head: &Parts) -> bool {
    let says = |option: &str| {
        let words = |value: &HeaderValue| {
            value
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|word| word.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
        };
        head.headers.get_all(header::CONNECTION).iter().any(words)
    };
    match head.version {
        Version::HTTP_11 => !says("close"),
        Version::HTTP_10 => says("keep-alive"),
        _ => false,
    }
}

// === impl Reader ===

impl Body for Reader {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.incoming.borrow().as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.incoming.borrow().as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.is_read.set(false);
        if self.0.let_go.get() || self.0.complete.get() {
            self.0.incoming.take();
        }
    }
}
