//! A response body that is compressed as it arrives.

use super::{BoxError, Kind};
use crate::compress::Encoder;
use bytes::Bytes;
use http_body::Frame;
use std::task::{Context, Poll};

/// Takes frames of the endpoint, gives frames of the coding. Nothing is held back while the endpoint is silent, so that
/// events reach the client when they happen.
pub(super) struct Compressed {
    /// What arrives; `None` once it is over.
    inner: Option<Kind>,
    encoder: Encoder,
    /// Bytes that went in since somebody asked.
    read: usize,
    /// Something went in that need not have come out.
    unflushed: bool,
    trailers: Option<Frame<Bytes>>,
}

// === impl Compressed ===

impl Compressed {
    pub(super) fn new(inner: Kind, encoder: Encoder) -> Self {
        Self { inner: Some(inner), encoder, read: 0, unflushed: false, trailers: None }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let Some(inner) = &mut self.inner else { return Poll::Ready(self.trailers.take().map(Ok)) };
            let out = match inner.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.unflushed = true;
                        self.read += data.len();
                        self.encoder.write(&data)
                    }
                    Err(trailers) => {
                        self.trailers = Some(trailers);
                        self.inner = None;
                        self.encoder.finish()
                    }
                },
                Poll::Ready(Some(Err(error))) => {
                    self.inner = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    self.inner = None;
                    self.encoder.finish()
                }
                Poll::Pending if std::mem::take(&mut self.unflushed) => match self.encoder.flush() {
                    Ok(out) if out.is_empty() => return Poll::Pending,
                    out => out,
                },
                Poll::Pending => return Poll::Pending,
            };
            match out {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Poll::Ready(Some(Ok(Frame::data(out)))),
                Err(error) => {
                    self.inner = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    /// Bytes that went in since the last time.
    pub(super) fn take_read(&mut self) -> usize {
        std::mem::take(&mut self.read)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.inner.is_none() && self.trailers.is_none()
    }
}
