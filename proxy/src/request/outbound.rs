//! The head that an endpoint gets: a recipe that borrows the client's, so that every try makes a fresh one.

use super::{
    fields::Fields,
    forward::{Destination, Switch},
};
use crate::{
    body::RequestBody,
    forwarded::{self, Told},
    head::Head,
    listener::Connection,
    table::{Protocol, Route},
    upstream::http1::{Framing, Outgoing},
    variable::Scope,
};
use http::{
    HeaderMap, HeaderValue, Method, Request, Uri, Version, header,
    request::Parts,
    uri::{Authority, Scheme},
};
use http_body::Body as _;

pub(super) const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Most bytes of a response that a stream of HTTP/2 holds back.
const STREAM_READ: usize = 64 << 10;

/// What most heads fit into.
const USUAL_HEAD: usize = 640;

/// The recipe.
pub(super) struct Outbound<'a> {
    /// The client's.
    pub(super) head: &'a Parts,
    pub(super) fields: &'a Fields<'a>,
    pub(super) told: Told<'a>,
    pub(super) switch: Option<&'a Switch>,
    pub(super) protocol: Protocol,
    /// Length of the body, where the client's head does not say it.
    pub(super) length: Option<u64>,
    /// No connection is kept, so that the endpoint may know (RFC 9112 §9.6).
    pub(super) closes: bool,
}

// === impl Outbound ===

impl<'a> Outbound<'a> {
    /// What variables stand for.
    pub(super) fn scope(&self, route: &'a Route, connection: &'a Connection) -> Scope<'a> {
        let Told { client, host, request_id, certificate, .. } = self.told;
        Scope {
            head: self.head,
            host,
            remote: client.address(),
            remote_text: client.address_header(),
            scheme: connection.scheme(),
            port: connection.port_header(),
            request_id,
            labels: &route.labels,
            client: Some(client),
            certificate,
        }
    }

    /// The request as HTTP/1.1: the target in origin form, byte for byte as the client wrote it.
    pub(super) fn http1(&self, body: RequestBody, destination: &Destination<'a>) -> Outgoing {
        let mut head = Vec::with_capacity(USUAL_HEAD);
        let target = self.head.uri.path_and_query().map_or("", |target| target.as_str());
        // RFC 9112 §3.2.1: an absolute form may go without the path, an origin form may not.
        let slash = if target.starts_with('/') || target == "*" { "" } else { "/" };
        for part in [self.head.method.as_str(), " ", slash, target, " HTTP/1.1\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        if self.told.replaces() {
            for (name, value) in &self.headers(destination) {
                head.add(name, value);
            }
        } else {
            self.add_fields(&mut head);
        }
        let framing = self.framing(&body, &mut head);
        head.extend_from_slice(b"\r\n");
        // A connection of HTTP/2 holds as many as it has streams, and sends them in frames of 16 KiB anyway.
        let largest_read = match self.head.version {
            Version::HTTP_2 => STREAM_READ,
            _ => destination.connection.worker().buffer(),
        };
        let (is_head, response_limit) = (self.head.method == Method::HEAD, destination.policy.response_head);
        Outgoing { head, body, framing, is_head, response_limit, largest_read }
    }

    /// The request as HTTP/2.
    pub(super) fn http2(&self, body: RequestBody, destination: &Destination<'a>) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.headers_mut() = self.headers(destination);
        self.address(&mut request);
        request
    }

    /// RFC 9112 §6: says where the body ends, where the fields do not say it yet.
    fn framing(&self, body: &RequestBody, head: &mut impl Head) -> Framing {
        if matches!(body, RequestBody::Empty) {
            return Framing::Length(0);
        }
        match self.fields.declared_length().or(self.length).or_else(|| body.size_hint().exact()) {
            Some(length) => {
                if self.fields.content_length.is_none() && self.length.is_none() {
                    head.add(&header::CONTENT_LENGTH, &length.into());
                }
                Framing::Length(length)
            }
            None => {
                head.add(&header::TRANSFER_ENCODING, &CHUNKED);
                Framing::Chunked
            }
        }
    }

    fn headers(&self, destination: &Destination<'a>) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.head.headers.len() + forwarded::MOST_FIELDS);
        self.add_fields(&mut headers);
        self.told.replace_in(&mut headers, || self.scope(destination.route, destination.connection));
        headers
    }

    fn add_fields(&self, out: &mut impl Head) {
        self.told.add_to(out);
        self.fields.pass(&self.head.headers, self.told.client.keeps_forwarded(), out);
        if let Some(switch) = self.switch {
            out.add(&header::CONNECTION, &UPGRADE);
            out.add(&header::UPGRADE, &switch.protocol);
        } else if self.closes && !self.protocol.is_http2() {
            out.add(&header::CONNECTION, &CLOSE);
        }
        if let Some(length) = self.length {
            out.add(&header::CONTENT_LENGTH, &length.into());
        }
    }

    /// RFC 9113 §8.3.1: `:authority` says what Host would, and `:scheme` how we reach the endpoint, as in nginx.
    fn address(&self, request: &mut Request<RequestBody>) {
        let scheme = if self.protocol.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = self.head.uri.path_and_query().cloned();
        if let Ok(authority) = Authority::try_from(self.told.host.as_bytes()) {
            (parts.scheme, parts.authority) = (Some(scheme), Some(authority));
            request.headers_mut().remove(header::HOST);
            *request.version_mut() = Version::HTTP_2;
        } else if self.told.host.is_empty() {
            request.headers_mut().remove(header::HOST);
        }
        // What is no authority by RFC 3986, and yet a Host that nginx takes, stays in Host. h2 adds the scheme.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        if self.protocol.is_grpc() || self.wants_trailers() {
            request.headers_mut().insert(header::TE, TRAILERS);
        }
    }

    /// RFC 9110 §10.1.4, and of its values the only one that HTTP/2 has.
    fn wants_trailers(&self) -> bool {
        let values = self.head.headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("trailers"))
    }
}
