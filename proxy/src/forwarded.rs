//! What the endpoint is told about the client: the header set of ingress-nginx.

use crate::{
    listener::{Connection, Scheme},
    tls::{Judgement, Verdict},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};

pub(crate) const X_REQUEST_ID_NAME: &str = "x-request-id";

const X_REQUEST_ID: HeaderName = HeaderName::from_static(X_REQUEST_ID_NAME);
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");
const X_ORIGINAL_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-original-forwarded-for");
const X_ORIGINAL_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-original-forwarded-host");

const SSL_CLIENT_VERIFY: HeaderName = HeaderName::from_static("ssl-client-verify");
const SSL_CLIENT_SUBJECT_DN: HeaderName = HeaderName::from_static("ssl-client-subject-dn");
const SSL_CLIENT_ISSUER_DN: HeaderName = HeaderName::from_static("ssl-client-issuer-dn");
const SSL_CLIENT_CERT: HeaderName = HeaderName::from_static("ssl-client-cert");

const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// Most fields that [`Told::add_to`] adds, for sizing the map once.
pub(crate) const MOST_FIELDS: usize = 12;

/// What is said about a client and its request.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) connection: &'a Connection,
    /// The value of the `Host` that the endpoint gets; may be empty.
    pub(crate) host: &'a HeaderValue,
    pub(crate) request_id: Option<&'a HeaderValue>,
    /// The client's own `X-Forwarded-For` and `X-Forwarded-Host`, which go on under other names.
    pub(crate) forwarded_for: Option<&'a HeaderValue>,
    pub(crate) forwarded_host: Option<&'a HeaderValue>,
    /// What is thought of the client's certificate, where the host asks for one.
    pub(crate) client: Option<&'a Judgement>,
}

// === impl Told ===

impl Told<'_> {
    /// Adds the fields to a map that has none of them yet.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        let scheme = match self.connection.scheme() {
            Scheme::Http => HTTP,
            Scheme::Https => HTTPS,
        };
        headers.append(header::HOST, self.host.clone());
        if let Some(id) = self.request_id {
            headers.append(X_REQUEST_ID, id.clone());
        }
        headers.append(X_REAL_IP, self.connection.peer_header().clone());
        headers.append(X_FORWARDED_FOR, self.connection.peer_header().clone());
        if !self.host.is_empty() {
            headers.append(X_FORWARDED_HOST, self.host.clone());
        }
        headers.append(X_FORWARDED_PORT, self.connection.port_header().clone());
        headers.append(X_FORWARDED_PROTO, scheme.clone());
        headers.append(X_FORWARDED_SCHEME, scheme.clone());
        headers.append(X_SCHEME, scheme);
        if let Some(value) = self.forwarded_for {
            headers.append(X_ORIGINAL_FORWARDED_FOR, value.clone());
        }
        if let Some(value) = self.forwarded_host {
            headers.append(X_ORIGINAL_FORWARDED_HOST, value.clone());
        }
        if let Some(client) = self.client {
            add_client(client, headers);
        }
    }
}

/// As nginx: what is empty is not sent.
fn add_client(client: &Judgement, headers: &mut HeaderMap) {
    let verify = match client.verdict {
        Verdict::Success => HeaderValue::from_static("SUCCESS"),
        Verdict::Missing => HeaderValue::from_static("NONE"),
        Verdict::Failed(reason) => {
            HeaderValue::try_from(format!("FAILED:{reason}")).unwrap_or(HeaderValue::from_static("FAILED"))
        }
    };
    headers.append(SSL_CLIENT_VERIFY, verify);
    for (name, text) in [(SSL_CLIENT_SUBJECT_DN, &client.subject), (SSL_CLIENT_ISSUER_DN, &client.issuer)] {
        // The text form of a name is ASCII.
        if let Some(value) = HeaderValue::try_from(&**text).ok().filter(|value| !value.is_empty()) {
            headers.append(name, value);
        }
    }
    if let Some(certificate) = &client.certificate {
        headers.append(SSL_CLIENT_CERT, certificate.clone());
    }
}

/// Fields that are set only where client certificates are checked; a backend would believe a client's own.
pub(crate) fn is_client_certificate_field(name: &str) -> bool {
    matches!(name, "ssl-client-verify" | "ssl-client-subject-dn" | "ssl-client-issuer-dn" | "ssl-client-cert")
}

/// A new request identifier: 128 random bits in hexadecimal, as nginx's `$request_id`.
pub(crate) fn request_id(random: [u8; 16]) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(random) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    HeaderValue::from_bytes(&text).expect("hexadecimal digits are a valid header value")
}
