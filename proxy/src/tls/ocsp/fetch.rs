//! Asks a responder over HTTP (RFC 6960 appendix A.1).
//!
//! The address comes from a certificate, whose author need not be the operator's friend: nothing near is asked, and an
//! answer is bounded in size and time.

use super::message::{Answer, OcspError, Question};
use crate::near::is_near;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{pki_types::UnixTime, sign::CertifiedKey};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// As in ingress-nginx.
const CONNECT: Duration = Duration::from_secs(1);

/// For everything.
const WHOLE: Duration = Duration::from_secs(10);

/// Answers have one or two kilobytes, and a few more with certificates.
const LARGEST: usize = 64 * 1024;

/// What the responder at `url` says about a certificate, verified.
pub(super) async fn fetch(key: &CertifiedKey, url: &str) -> Result<Answer, OcspError> {
    let question = Question::about(&key.cert)?;
    let bytes = timeout(WHOLE, ask(url, question.bytes())).await.map_err(|_| OcspError::Timeout)??;
    question.verify(bytes, UnixTime::now())
}

async fn ask(url: &str, question: Vec<u8>) -> Result<Vec<u8>, OcspError> {
    let url: Uri = url.parse().map_err(|_| OcspError::Url)?;
    let authority = url.authority().filter(|_| url.scheme_str() == Some("http")).ok_or(OcspError::Url)?;
    let stream = connect(authority.host(), authority.port_u16().unwrap_or(80)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::builder()
        .method(Method::POST)
        .uri(if target.is_empty() { "/" } else { target })
        .header(header::HOST, authority.as_str())
        .header(header::CONTENT_TYPE, "application/ocsp-request")
        .body(Full::new(Bytes::from(question)))
        .map_err(|_| OcspError::Url)?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(OcspError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        body.map(|body| body.to_bytes().to_vec()).map_err(|_| OcspError::Body)
    };
    // The connection is driven beside the exchange and ends with it.
    tokio::select! {
        answer = exchange => answer,
        Err(error) = connection => Err(error.into()),
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, OcspError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = timeout(CONNECT, tokio::net::lookup_host((host, port))).await.map_err(|_| OcspError::Timeout)?;
    let found: Vec<SocketAddr> = found.map_err(OcspError::Connect)?.collect();
    let mut last = OcspError::Forbidden;
    for address in found.into_iter().filter(|address| !is_near(address.ip())) {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = OcspError::Connect(error),
            Err(_) => last = OcspError::Timeout,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_http_elsewhere_is_a_responder() {
        for url in ["https://192.0.2.1/", "ldap://192.0.2.1/", "/", "", "no url"] {
            assert!(matches!(ask(url, Vec::new()).await, Err(OcspError::Url)), "{url}");
        }
    }

    #[tokio::test]
    async fn nothing_near_is_asked() {
        for host in [
            "127.0.0.1",
            "[::1]",
            "0.0.0.0",
            "[::]",
            "169.254.169.254",
            "[fe80::1]",
            "224.0.0.1",
            "[::ffff:127.0.0.1]",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "[::ffff:100.100.100.200]",
        ] {
            let asked = ask(&format!("http://{host}:1/"), Vec::new()).await;
            assert!(matches!(asked, Err(OcspError::Forbidden)), "{host}: {asked:?}");
        }
    }
}
