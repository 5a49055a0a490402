//! One request and its response on a stream. Dropping it before its end resets the stream.

use super::{
    super::{Clock, Unanswered},
    Lease,
    upload::{Detached, Stopped, Upload},
};
use crate::{body::RequestBody, error::ProxyError, timeout::Deadline};
use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use http_body::{Body, Frame};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// What follows the head of a response: its body, and the rest of the request's.
pub(crate) struct Exchange {
    /// The rest of the request goes on by itself: a client that does not read at the moment may well have more to send.
    _upload: Option<Detached>,
    download: RecvStream,
    /// Held for its end, after the stream's.
    lease: Lease,
}

/// Sends a request and waits for the head of its response. The caller sets the deadline; the request body moves it.
pub(crate) async fn send(
    lease: Lease,
    request: Request<RequestBody>,
    deadline: &Deadline,
    clock: &impl Clock,
) -> Result<(Response<()>, Exchange), Box<Unanswered>> {
    let (head, body) = request.into_parts();
    let ends = body.is_end_stream();
    let mut sender = lease.connection.sender.borrow().clone();
    let (mut response, stream) = match sender.send_request(Request::from_parts(head, ()), ends) {
        Ok(sent) => sent,
        Err(error) => {
            // Nothing was sent: the connection had come to its end, or h2 does not take the head.
            let stale = error.is_io() || error.is_go_away();
            return Err(Box::new(Unanswered { error: ProxyError::Http2(error), body: stale.then_some(body), stale }));
        }
    };
    drop(sender);
    let mut upload = (!ends).then(|| Upload::new(body, stream));
    let answer = std::future::poll_fn(|cx| {
        let sent = upload.as_mut().map(|upload| upload.poll(cx));
        match Pin::new(&mut response).poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            // The caller knows what the client did.
            Poll::Pending if sent == Some(Poll::Ready(Err(Stopped::ByClient))) => {
                Poll::Ready(Ok(Err(Reason::CANCEL.into())))
            }
            Poll::Pending => deadline.poll_expired(cx).map(|()| Err(clock.expired())),
        }
    })
    .await;
    match answer {
        Ok(Ok(response)) => {
            let upload = upload.and_then(Upload::detach);
            let (head, download) = response.into_parts();
            Ok((Response::from_parts(head, ()), Exchange { _upload: upload, download, lease }))
        }
        Ok(Err(error)) => {
            // RFC 9113 §8.7: streams that were refused, and those above the last one of a GOAWAY, were not processed.
            let refused = error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
            if refused {
                // It may refuse the next one, too.
                lease.suspect();
            }
            let stale = refused || (error.is_io() && lease.connection.is_reused());
            let body = match upload {
                None if refused => Some(RequestBody::Empty),
                Some(upload) if refused => upload.into_body(),
                _ => None,
            };
            Err(Box::new(Unanswered { error: ProxyError::Http2(error), body, stale }))
        }
        Err(error) => {
            lease.suspect();
            Err(Box::new(Unanswered { error, body: None, stale: false }))
        }
    }
}

// === impl Exchange ===

impl Exchange {
    /// The next frame of the response. When the request breaks off, so does the response.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.download.poll_data(cx)) {
            Some(Ok(data)) => {
                // Room for as much again, now that this goes to the client.
                self.download.flow_control().release_capacity(data.len())?;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // RFC 9113 §8.1: after a complete response, the end of interest in the rest of the request.
            Some(Err(error)) if is_early_end(&error) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => match ready!(self.download.poll_trailers(cx)) {
                Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
                Err(error) if is_early_end(&error) => Poll::Ready(None),
                Err(error) => Poll::Ready(Some(Err(error))),
            },
        }
    }

    /// True when the response is complete.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.download.is_end_stream()
    }

    /// The endpoint was silent for too long: no further request goes on its connection.
    pub(crate) fn suspect(&self) {
        self.lease.suspect();
    }
}

fn is_early_end(error: &h2::Error) -> bool {
    error.is_remote() && error.is_reset() && error.reason() == Some(Reason::NO_ERROR)
}
