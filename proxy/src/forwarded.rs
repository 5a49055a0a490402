//! What the endpoint is told about the client: the header set of ingress-nginx.

use crate::listener::{Connection, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, header};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");
const X_ORIGINAL_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-original-forwarded-for");
const X_ORIGINAL_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-original-forwarded-host");
/// Set only where client certificates are checked; a client's own would be believed by the backend.
const SSL_CLIENT: [HeaderName; 4] = [
    HeaderName::from_static("ssl-client-verify"),
    HeaderName::from_static("ssl-client-subject-dn"),
    HeaderName::from_static("ssl-client-issuer-dn"),
    HeaderName::from_static("ssl-client-cert"),
];

const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// The request's identifier: the client's, else a new one where the settings ask for it.
pub(crate) fn request_id(
    headers: &mut HeaderMap,
    generate: bool,
    random: impl FnOnce() -> [u8; 16],
) -> Option<HeaderValue> {
    if let Some(known) = headers.get(X_REQUEST_ID).filter(|value| !value.is_empty()) {
        return Some(known.clone());
    }
    if !generate {
        return None;
    }
    let fresh = hexadecimal(random());
    headers.insert(X_REQUEST_ID, fresh.clone());
    Some(fresh)
}

/// Replaces what the client said about itself by what we know. `host` is the value of the `Host` that the endpoint gets.
pub(crate) fn apply(headers: &mut HeaderMap, connection: &Connection, host: &HeaderValue) {
    keep_original(headers, X_FORWARDED_FOR, X_ORIGINAL_FORWARDED_FOR);
    keep_original(headers, X_FORWARDED_HOST, X_ORIGINAL_FORWARDED_HOST);
    headers.insert(X_REAL_IP, connection.peer_header().clone());
    headers.insert(X_FORWARDED_FOR, connection.peer_header().clone());
    if host.is_empty() {
        headers.remove(X_FORWARDED_HOST);
    } else {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    headers.insert(X_FORWARDED_PORT, connection.port_header().clone());
    let scheme = match connection.scheme() {
        Scheme::Http => HTTP,
        Scheme::Https => HTTPS,
    };
    headers.insert(X_FORWARDED_PROTO, scheme.clone());
    headers.insert(X_FORWARDED_SCHEME, scheme.clone());
    headers.insert(X_SCHEME, scheme);
    for name in SSL_CLIENT {
        headers.remove(name);
    }
    headers.insert(header::HOST, host.clone());
}

/// The client's own value goes on under another name; a client cannot set that name itself.
fn keep_original(headers: &mut HeaderMap, from: HeaderName, to: HeaderName) {
    match headers.remove(from) {
        Some(value) if !value.is_empty() => {
            headers.insert(to, value);
        }
        _ => {
            headers.remove(to);
        }
    }
}

fn hexadecimal(bytes: [u8; 16]) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    HeaderValue::from_bytes(&text).expect("hexadecimal digits are a valid header value")
}
