//! The fields of a request in one pass: what they say about routing, and which of them go on.
//!
//! A header map hashes a name for every look-up. A request is looked at here by walking its fields twice, once to learn
//! and once to build the outbound head, which costs a fraction of asking for each name.

use crate::{
    forwarded::{self, Claims},
    head::Head,
    hop,
    table::Names,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request::Parts};

/// What the proxy does with a field of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Goes on as it is.
    Pass,
    /// Ends here: hop-by-hop, replaced by our own value, or not to be believed from a client.
    Drop,
    Host,
    Connection,
    Upgrade,
    ContentLength,
    Cookie,
    TransferEncoding,
    RequestId,
    ForwardedFor,
    ForwardedHost,
    ForwardedPort,
    ForwardedProto,
    Forwarded,
}

/// What the fields of a request say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) host: Option<&'a HeaderValue>,
    pub(super) hosts: usize,
    pub(super) upgrade: Option<&'a HeaderValue>,
    pub(super) request_id: Option<&'a HeaderValue>,
    pub(super) content_length: Option<&'a HeaderValue>,
    /// What proxies say about the client, or the client about itself.
    pub(super) claims: Claims<'a>,
    /// The body has a transfer coding besides `chunked`, which we could neither decode nor pass on.
    pub(super) unknown_coding: bool,
    /// `chunked` is applied more than once, which nobody may do (RFC 9112 §6.1).
    pub(super) chunked_twice: bool,
    /// `Connection` names further fields that end here.
    names_fields: bool,
    cookies: usize,
    names: Names,
    /// Bytes of the largest value, and of all.
    pub(super) longest: usize,
    pub(super) bytes: usize,
    /// Bytes of all lines, with their names, as HTTP/1.1 usually has them.
    pub(super) size: usize,
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// Learns from the fields.
    pub(super) fn of(headers: &'a HeaderMap, names: Names) -> Self {
        let mut fields = Self { names, ..Self::default() };
        let claims = &mut fields.claims;
        for (name, value) in headers {
            fields.longest = fields.longest.max(value.len());
            fields.bytes += value.len();
            fields.size += name.as_str().len() + value.len() + ": \r\n".len();
            match Role::of(name, names) {
                Role::Pass | Role::Drop => {}
                Role::Host => {
                    fields.host.get_or_insert(value);
                    fields.hosts += 1;
                }
                Role::Connection => fields.names_fields |= hop::names_fields(value),
                Role::Upgrade => fields.upgrade = Some(value),
                Role::ContentLength => fields.content_length = Some(value),
                Role::Cookie => fields.cookies += 1,
                Role::TransferEncoding => {
                    if !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
                        fields.unknown_coding = true;
                        fields.chunked_twice |= is_chunked_twice(value.as_bytes());
                    }
                }
                Role::RequestId => fields.request_id = Some(value).filter(|value| !value.is_empty()),
                Role::ForwardedFor => {
                    claims.chain = Some(value).filter(|value| !value.is_empty());
                    claims.chains += 1;
                }
                Role::ForwardedHost => claims.host = Some(value).filter(|value| !value.is_empty()),
                Role::ForwardedPort => claims.port = Some(value).filter(|value| !value.is_empty()),
                Role::ForwardedProto => claims.proto = Some(value).filter(|value| !value.is_empty()),
                Role::Forwarded => claims.forwarded = true,
            }
        }
        if fields.names_fields && hop::named_fields(headers).contains(&forwarded::X_REQUEST_ID) {
            fields.request_id = None;
        }
        fields
    }

    /// The length of the body, where the head says it.
    pub(super) fn declared_length(&self) -> Option<u64> {
        self.content_length?.to_str().ok()?.parse().ok()
    }

    /// Bytes of a whole head in the usual form of HTTP/1.1, whichever form it came in.
    pub(super) fn head_length(&self, head: &Parts) -> usize {
        let uri = &head.uri;
        let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
        let authority = match uri.authority() {
            None => 0,
            // It stands for Host there.
            Some(authority) if head.version == Version::HTTP_2 => "host: \r\n".len() + authority.as_str().len(),
            Some(authority) => {
                uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len()) + authority.as_str().len()
            }
        };
        head.method.as_str().len() + target + authority + "  HTTP/1.1\r\n\r\n".len() + self.size
    }

    /// Adds the fields that go on to `out`; `Forwarded` only from those whom we believe.
    pub(super) fn pass(&self, headers: &HeaderMap, keeps_forwarded: bool, out: &mut impl Head) {
        let named = if self.names_fields { hop::named_fields(headers) } else { Vec::new() };
        for (name, value) in headers {
            match Role::of(name, self.names) {
                Role::Pass | Role::ContentLength if !named.contains(name) => {
                    out.add(name, value);
                }
                Role::Forwarded if keeps_forwarded && !named.contains(name) => {
                    out.add(name, value);
                }
                Role::Cookie if self.cookies == 1 && !named.contains(name) => {
                    out.add(name, value);
                }
                _ => {}
            }
        }
        if self.cookies > 1 && !named.contains(&header::COOKIE) {
            join_cookies(headers, out);
        }
    }
}

fn is_chunked_twice(codings: &[u8]) -> bool {
    let chunked = |coding: &&[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    codings.split(|byte| *byte == b',').filter(chunked).count() > 1
}

/// HTTP/2 clients may send a field per cookie; HTTP/1.1 wants one line (RFC 9113 §8.2.3).
fn join_cookies(headers: &HeaderMap, out: &mut impl Head) {
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        out.add(&header::COOKIE, &joined);
    }
}

// === impl Role ===

impl Role {
    fn of(name: &HeaderName, names: Names) -> Self {
        match *name {
            header::ACCEPT | header::ACCEPT_ENCODING | header::USER_AGENT => Self::Pass,
            header::HOST => Self::Host,
            header::CONNECTION => Self::Connection,
            header::CONTENT_LENGTH => Self::ContentLength,
            header::COOKIE => Self::Cookie,
            header::UPGRADE => Self::Upgrade,
            header::TRANSFER_ENCODING => Self::TransferEncoding,
            header::TE | header::EXPECT => Self::Drop,
            header::FORWARDED => Self::Forwarded,
            _ => Self::of_text(name.as_str(), names),
        }
    }

    fn of_text(name: &str, names: Names) -> Self {
        match name.as_bytes().first() {
            Some(b'x') => match name {
                forwarded::X_REQUEST_ID_NAME => return Self::RequestId,
                "x-forwarded-for" => return Self::ForwardedFor,
                "x-forwarded-host" => return Self::ForwardedHost,
                "x-forwarded-port" => return Self::ForwardedPort,
                "x-forwarded-proto" => return Self::ForwardedProto,
                "x-real-ip"
                | "x-forwarded-scheme"
                | "x-scheme"
                | "x-original-forwarded-for"
                | "x-original-forwarded-host" => return Self::Drop,
                _ => {}
            },
            Some(b's') if forwarded::is_client_certificate_field(name) => return Self::Drop,
            // `Proxy` becomes HTTP_PROXY in CGI programs ("httpoxy").
            Some(b'p') if matches!(name, "proxy" | "proxy-connection") => return Self::Drop,
            Some(b'k') if name == "keep-alive" => return Self::Drop,
            Some(b'h') if name == "http2-settings" => return Self::Drop,
            _ => {}
        }
        if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            Self::Pass
        } else {
            Self::of_odd(name, names)
        }
    }

    /// nginx's `underscores_in_headers` and `ignore_invalid_headers`. CGI programs cannot tell `_` from `-`, so a name
    /// that reads like one that ends here ends here, too.
    fn of_odd(name: &str, names: Names) -> Self {
        let passes = |byte| match byte {
            b'_' => names.underscores,
            b'-' => true,
            other => names.odd || other.is_ascii_alphanumeric(),
        };
        if !name.bytes().all(passes) {
            return Self::Drop;
        }
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        match HeaderName::try_from(plain).map(|plain| Self::of(&plain, Names::default())) {
            Ok(Self::Pass) => Self::Pass,
            _ => Self::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(lines: &[(&'static str, &'static str)]) -> Vec<String> {
        passed_with(lines, Names::default())
    }

    fn passed_with(lines: &[(&'static str, &'static str)], names: Names) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut out = HeaderMap::new();
        Fields::of(&headers, names).pass(&headers, false, &mut out);
        out.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect()
    }

    #[test]
    fn fields_named_in_connection_end_here_but_the_message_stays_intact() {
        let lines = [
            ("connection", "close, X-Secret, host, content-length, Cookie, content-type, x-request-id"),
            ("connection", "x-other"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("host", "a"),
            ("content-length", "3"),
            ("content-type", "text/plain"),
            ("cookie", "a=1"),
            ("x-request-id", "mine"),
            ("accept", "*/*"),
        ];
        assert_eq!(passed(&lines), ["content-length: 3", "content-type: text/plain", "accept: */*"]);
    }

    #[test]
    fn what_a_client_says_about_itself_ends_here() {
        let lines = [
            ("x-real-ip", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-original-forwarded-for", "1.1.1.1"),
            ("ssl-client-verify", "SUCCESS"),
            ("ssl-client-subject-dn", "CN=admin"),
            ("proxy", "http://evil"),
            ("te", "trailers"),
            ("keep-alive", "300"),
            ("x-forwarded-prefix", "/p"),
            ("proxy-authorization", "Basic x"),
        ];
        assert_eq!(passed(&lines), ["x-forwarded-prefix: /p", "proxy-authorization: Basic x"]);
    }

    #[test]
    fn names_with_underscore_or_dot_are_dropped() {
        let lines = [("x_real_ip", "1"), ("x_y", "1"), ("x.y", "1"), ("x-fine-2", "1"), ("ssl_client_verify", "1")];
        assert_eq!(passed(&lines), ["x-fine-2: 1"]);
        let underscores = Names { underscores: true, odd: false };
        assert_eq!(passed_with(&lines, underscores), ["x_y: 1", "x-fine-2: 1"]);
        assert_eq!(passed_with(&lines, Names { odd: true, ..underscores }), ["x_y: 1", "x.y: 1", "x-fine-2: 1"]);
        assert_eq!(passed_with(&lines, Names { odd: true, underscores: false }), ["x.y: 1", "x-fine-2: 1"]);
    }

    #[test]
    fn forwarded_goes_on_only_from_those_whom_we_believe() {
        let mut headers = HeaderMap::new();
        headers.append(header::FORWARDED, HeaderValue::from_static("for=1.1.1.1"));
        let fields = Fields::of(&headers, Names::default());
        let mut out = HeaderMap::new();
        fields.pass(&headers, false, &mut out);
        assert!(out.is_empty());
        fields.pass(&headers, true, &mut out);
        assert_eq!(out[header::FORWARDED], "for=1.1.1.1");
    }

    #[test]
    fn repeated_fields_keep_their_order_and_cookies_become_one_line() {
        let lines = [("x-a", "1"), ("cookie", "a=1"), ("x-a", "2"), ("cookie", "b=2")];
        assert_eq!(passed(&lines), ["x-a: 1", "x-a: 2", "cookie: a=1; b=2"]);
    }
}
