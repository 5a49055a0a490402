//! HTTP/2 as a client: with prior knowledge on a plain connection, or over TLS.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::{Answer, Request, Wire};

/// One connection; requests may run side by side.
pub struct Connection {
    requests: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
}

// === impl Connection ===

impl Connection {
    /// Starts to speak HTTP/2 at once.
    ///
    /// # Errors
    /// When the other side does not.
    pub async fn over(wire: impl Wire + 'static) -> Result<Self> {
        let (requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(wire)).await?;
        Ok(Self { requests, driver: tokio::spawn(connection) })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the stream or the connection ends before.
    pub async fn send(&mut self, scheme: &str, request: &Request) -> Result<Answer> {
        let host =
            request.headers.first().map(|(_, host)| host.as_str()).context("the first header of a request is Host")?;
        let mut builder = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("{scheme}://{host}{}", request.target));
        for (name, value) in &request.headers[1..] {
            builder = builder.header(name, value);
        }
        let request = builder.body(Full::new(Bytes::from(request.body.clone())))?;
        self.requests.ready().await?;
        let response = self.requests.send_request(request).await?;
        let (head, body) = response.into_parts();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: body.collect().await?.to_bytes().to_vec(),
            interim: vec![],
        })
    }

    /// Another handle on the same connection.
    #[must_use]
    pub fn another(&self) -> SendRequest<Full<Bytes>> {
        self.requests.clone()
    }

    /// Waits for the other side to end the connection in order.
    ///
    /// # Errors
    /// When it ends in another way.
    pub async fn closed(self) -> Result<()> {
        // The connection ends by GOAWAY only while somebody could still use it.
        let requests = self.requests;
        let end = self.driver.await?;
        drop(requests);
        Ok(end?)
    }
}
