//! A call as gRPC makes it: messages both ways at the same time, and trailers at the end.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{LIMIT, Wire};
use crate::wait;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A call on a connection of its own.
pub struct Call {
    messages: Option<mpsc::Sender<Bytes>>,
    body: Incoming,
    /// The status of the response.
    pub status: u16,
    _requests: SendRequest<Body>,
    driver: JoinHandle<hyper::Result<()>>,
}

// === impl Call ===

impl Call {
    /// Opens a call with prior knowledge or after ALPN, and waits for the head of the response.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open(wire: impl Wire + 'static, url: &str) -> Result<Self> {
        let (mut requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(wire)).await?;
        let driver = tokio::spawn(connection);
        let (messages, received) = mpsc::channel(1);
        let frames = stream::unfold(received, |mut received| async move {
            let message: Bytes = received.recv().await?;
            Some((Ok(Frame::data(message)), received))
        });
        let request = Request::post(url).header("content-type", "application/grpc").header("te", "trailers");
        let request = request.body(StreamBody::new(frames).boxed_unsync())?;
        let response = wait::at_most(LIMIT, "waiting for the head of a call", requests.send_request(request)).await??;
        let status = response.status().as_u16();
        Ok(Self { messages: Some(messages), body: response.into_body(), status, _requests: requests, driver })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the call is over.
    pub async fn send(&mut self, message: &str) -> Result<()> {
        let messages = self.messages.as_ref().context("the call was finished")?;
        Ok(messages.send(Bytes::from(message.to_owned())).await?)
    }

    /// The next message.
    ///
    /// # Errors
    /// When the call breaks off, or is over.
    pub async fn next(&mut self) -> Result<String> {
        let frame = wait::at_most(LIMIT, "waiting for a message", self.body.frame()).await?;
        let frame = frame.context("the call is over")??;
        let data = frame.into_data().map_err(|frame| anyhow::anyhow!("{frame:?} is no message"))?;
        Ok(String::from_utf8(data.to_vec())?)
    }

    /// Says that there are no more messages, and reads the trailers.
    ///
    /// # Errors
    /// When there are none.
    pub async fn finish(mut self) -> Result<HeaderMap> {
        self.messages = None;
        loop {
            let frame = wait::at_most(LIMIT, "waiting for trailers", self.body.frame()).await?;
            let frame = frame.context("the call ended without trailers")??;
            match frame.into_trailers() {
                Ok(trailers) => return Ok(trailers),
                Err(frame) => ensure!(frame.data_ref().is_some_and(Bytes::is_empty), "one more message: {frame:?}"),
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
