//! Everything that can go wrong with one request, where it came from, and whether another endpoint may be tried.

use crate::upstream;
use http::StatusCode;
use std::{error::Error as _, io};

/// Why a request could not be answered by its backend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// The request breaks a rule of HTTP that hyper does not check.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// The path has no normal form.
    #[error("bad path: {0}")]
    BadPath(crate::table::BadPath),
    /// A field, or all of them, beyond the limit (RFC 6585 §5).
    #[error("request header fields too large")]
    HeadTooLarge,
    /// The target is beyond the limit for a line.
    #[error("target too long")]
    TargetTooLong,
    /// Nobody can say for sure where the body ends.
    #[error("ambiguous framing")]
    BadFraming,
    /// A transfer coding that we do not speak (RFC 9112 §6.1).
    #[error("transfer coding not implemented")]
    UnknownCoding,
    /// The host wants a client certificate, and the handshake was for another host, or asked for none (RFC 9110 §15.5.20).
    #[error("the connection is not one for this host")]
    Misdirected,
    /// The host wants a client certificate, and the client has shown none.
    #[error("no client certificate")]
    NoClientCertificate,
    /// The client certificate is not valid; why, in OpenSSL's words.
    #[error("client certificate refused: {0}")]
    BadClientCertificate(&'static str),
    /// The subject of the client certificate is not the one that the host wants.
    #[error("the subject of the client certificate does not match")]
    ClientSubject,
    /// CONNECT and TRACE make no sense for a reverse proxy.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The endpoint switched protocols though nobody asked.
    #[error("endpoint switched protocols unasked")]
    UnaskedSwitch,
    /// The request body is larger than the route allows.
    #[error("request body larger than the limit")]
    BodyTooLarge,
    /// The client stopped sending its body.
    #[error("client stopped sending its request body")]
    ClientTimeout,
    /// What the client sends is not the body that its head announces.
    #[error("malformed request body: {0}")]
    ClientBody(hyper::Error),
    /// The connection ended in the middle of the client's body.
    #[error("client broke off its request body: {0}")]
    ClientBroke(hyper::Error),
    /// The client took its request back in the middle of the body: with its stream, or with all streams at once.
    #[error("client took its request back: {0}")]
    ClientGone(hyper::Error),
    /// A request body could not be kept on disk.
    #[error("cannot keep the request body in a temporary file: {0}")]
    TemporaryFile(io::Error),
    /// The backend has no ready endpoint; the status is the route's.
    #[error("no ready endpoint")]
    NoEndpoints(StatusCode),
    /// No connection to the endpoint.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// No connection to the endpoint in time.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// No TLS with the endpoint: it speaks none, or its certificate is not accepted.
    #[error("TLS handshake with the endpoint failed: {0}")]
    Tls(io::Error),
    /// The endpoint speaks TLS, but did not agree to HTTP/2 by ALPN (RFC 9113 §3.2).
    #[error("endpoint does not speak HTTP/2 over TLS: it chose {}", chosen(.0.as_deref()))]
    NoHttp2(Option<Vec<u8>>),
    /// The HTTP/2 connection to the endpoint, or the stream on it, failed before the endpoint answered.
    #[error("endpoint failed before answering: {0}")]
    Http2(h2::Error),
    /// The endpoint closed the connection, or broke HTTP, before it answered.
    #[error("endpoint failed before answering: {0}")]
    Upstream(upstream::http1::Error),
    /// The endpoint took too long to accept the request.
    #[error("sending to the endpoint took too long")]
    SendTimeout,
    /// The endpoint took too long to answer.
    #[error("waiting for the endpoint took too long")]
    ReadTimeout,
}

/// What nginx's `proxy_next_upstream` calls the outcome of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// `error`
    Error,
    /// `timeout`
    Timeout,
    /// `invalid_header`
    InvalidHeader,
    /// Nothing that another endpoint would change.
    Final,
}

// === impl ProxyError ===

impl ProxyError {
    /// What it means that a client's body cannot be read.
    pub(crate) fn of_client_body(error: hyper::Error) -> Self {
        let source = error.source();
        if let Some(h2) = source.and_then(|source| source.downcast_ref::<h2::Error>()) {
            // What h2 itself objects to is a mistake of the client (RFC 9113 §8.1.1).
            return if h2.is_library() { Self::ClientBody(error) } else { Self::ClientGone(error) };
        }
        match source.and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind) {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Self::ClientBody(error),
            _ => Self::ClientBroke(error),
        }
    }

    /// The answer for the client. The only place where an error becomes a status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::BadRequest(_)
            | Self::BadPath(_)
            | Self::BadFraming
            | Self::ClientBody(_)
            | Self::ClientBroke(_)
            | Self::NoClientCertificate
            | Self::BadClientCertificate(_) => StatusCode::BAD_REQUEST,
            // Nobody is there to get it.
            Self::ClientGone(_) => client_closed_request(),
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::ClientSubject => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TemporaryFile(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoEndpoints(status) => *status,
            Self::Connect(_)
            | Self::Tls(_)
            | Self::NoHttp2(_)
            | Self::Http2(_)
            | Self::Upstream(_)
            | Self::UnaskedSwitch => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::SendTimeout | Self::ReadTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// How a retry policy sees the error.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Upstream(error) if error.is_parse() => Outcome::InvalidHeader,
            Self::Connect(_) | Self::Tls(_) | Self::NoHttp2(_) | Self::Http2(_) | Self::Upstream(_) => Outcome::Error,
            Self::ConnectTimeout | Self::SendTimeout | Self::ReadTimeout => Outcome::Timeout,
            Self::BadRequest(_)
            | Self::BadPath(_)
            | Self::BadFraming
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::Misdirected
            | Self::NoClientCertificate
            | Self::BadClientCertificate(_)
            | Self::ClientSubject
            | Self::MethodNotAllowed
            | Self::UnknownCoding
            | Self::UnaskedSwitch
            | Self::BodyTooLarge
            | Self::ClientTimeout
            | Self::ClientBody(_)
            | Self::ClientBroke(_)
            | Self::ClientGone(_)
            | Self::TemporaryFile(_)
            | Self::NoEndpoints(_) => Outcome::Final,
        }
    }

    /// True where ingress-nginx decides for a whole host, outside of its paths: what paths add to a response is not there.
    pub(crate) fn is_of_host(&self) -> bool {
        matches!(self, Self::ClientSubject)
    }

    /// True when the client's connection cannot be used for another request, because part of this one is still on it, or
    /// because only another handshake can bring a better certificate.
    pub(crate) fn closes_connection(&self) -> bool {
        matches!(
            self,
            Self::BadFraming
                | Self::UnknownCoding
                | Self::BodyTooLarge
                | Self::ClientTimeout
                | Self::ClientBody(_)
                | Self::ClientBroke(_)
                | Self::ClientGone(_)
                | Self::TemporaryFile(_)
                | Self::NoClientCertificate
                | Self::BadClientCertificate(_)
        )
    }

    /// Whether there may be somebody who reads a page.
    pub(crate) fn has_page(&self) -> bool {
        !matches!(self, Self::ClientBroke(_) | Self::ClientGone(_))
    }

    /// What nginx's page says besides the status.
    pub(crate) fn remark(&self) -> Option<&'static str> {
        match self {
            Self::NoClientCertificate => Some("No required SSL certificate was sent"),
            Self::BadClientCertificate(_) => Some("The SSL certificate error"),
            _ => None,
        }
    }
}

/// What nginx logs when the client closes before there is an answer.
pub(crate) fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).expect("a number of three digits")
}

/// For the log: what an endpoint chose by ALPN.
fn chosen(protocol: Option<&[u8]>) -> String {
    protocol.map_or_else(|| "no protocol by ALPN".to_owned(), |name| format!("{:?}", String::from_utf8_lossy(name)))
}
