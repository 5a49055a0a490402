//! Fields that belong to one connection and never pass (RFC 9110 §7.6.1), and those of a response that nginx withholds.

use crate::table::Server;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Prefix of the fields with which a backend steers nginx; none of them reaches the client.
const X_ACCEL: &str = "x-accel-";

/// True when a `Connection` value may name fields: anything but the usual single word.
pub(crate) fn names_fields(connection: &HeaderValue) -> bool {
    let value = connection.as_bytes();
    ![&b"keep-alive"[..], b"close", b"upgrade"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// The fields that `Connection` names. Those that carry the meaning of the message cannot be removed this way.
pub(crate) fn named_fields(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::from_bytes(token.trim().as_bytes()).ok())
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::CONTENT_TYPE))
        .collect()
}

/// What is left of the protocols that a client would like to switch to, if anything (RFC 9110 §7.8). In some of them
/// further requests follow, which nobody here would route or guard: HTTP/2 in cleartext, under whichever name, and TLS
/// (RFC 2817) with whatever is in it.
pub(crate) fn upgrade(asked: &HeaderValue) -> Option<HeaderValue> {
    let words = || asked.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if !words().any(carries_requests) {
        return Some(asked.clone());
    }
    let left: Vec<&[u8]> = words().filter(|word| !word.is_empty() && !carries_requests(word)).collect();
    if left.is_empty() { None } else { HeaderValue::from_bytes(&left.join(&b", "[..])).ok() }
}

/// Judged by the name alone, because programs may take `h2c-14` or `h2c;q=1` for what they know.
fn carries_requests(protocol: &[u8]) -> bool {
    let end = protocol.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(protocol.len());
    [&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|name| protocol[..end].eq_ignore_ascii_case(name))
}

/// Strips the response of an endpoint. `Upgrade` is an offer for this connection (RFC 9110 §7.8); that of a 101 is taken
/// out before.
pub(crate) fn strip_response(headers: &mut HeaderMap, said: Server) {
    let (mut connection, mut named, mut date) = (false, false, false);
    let (mut server, mut upgrade, mut others) = (false, false, false);
    for (name, value) in &*headers {
        match *name {
            header::CONTENT_LENGTH | header::CONTENT_TYPE => {}
            header::CONNECTION => {
                connection = true;
                named |= names_fields(value);
            }
            header::DATE => date = true,
            header::SERVER => server = said != Server::Endpoint,
            header::UPGRADE => upgrade = true,
            _ => others |= is_withheld(name),
        }
    }
    if named {
        for name in named_fields(headers) {
            headers.remove(name);
        }
    }
    let single =
        [(header::CONNECTION, connection), (header::DATE, date), (header::SERVER, server), (header::UPGRADE, upgrade)];
    for (name, present) in single {
        if present {
            headers.remove(name);
        }
    }
    if others {
        let names: Vec<HeaderName> = headers.keys().filter(|name| is_withheld(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

fn is_withheld(name: &HeaderName) -> bool {
    *name == header::TRANSFER_ENCODING
        || match name.as_str() {
            "keep-alive" | "proxy-connection" | "x-pad" => true,
            other => other.starts_with(X_ACCEL),
        }
}

/// Strips the trailers of either side: a program that merges them into its header must not take them for what only the
/// proxy says, for framing or for routing (RFC 9110 §6.5.1).
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    let names: Vec<HeaderName> = trailers.keys().filter(|name| !may_trail(name)).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}

fn may_trail(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION
        | header::UPGRADE
        | header::TE
        | header::TRAILER
        | header::HOST
        | header::CONTENT_LENGTH
        | header::EXPECT
        | header::AUTHORIZATION
        | header::COOKIE
        | header::SET_COOKIE
        | header::SERVER
        | header::DATE => false,
        _ => {
            let text = name.as_str();
            let forwarded = ["x-forwarded-", "x-original-", "ssl-client-"];
            let of_proxy = matches!(text, "x-real-ip" | "x-scheme" | "x-request-id" | "proxy");
            !is_withheld(name) && !of_proxy && !forwarded.iter().any(|prefix| text.starts_with(prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(lines: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_response(&mut headers, Server::Nothing);
        headers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_backend_cannot_steer_the_proxy_or_name_its_software() {
        let lines = [
            ("server", "Apache"),
            ("date", "now"),
            ("x-accel-redirect", "/internal"),
            ("x-accel-buffering", "no"),
            ("x-powered-by", "PHP"),
        ];
        assert_eq!(stripped(&lines), ["x-powered-by"]);
    }

    #[test]
    fn hop_by_hop_fields_end_here_with_those_that_connection_names() {
        let lines = [
            ("connection", "x-hop, keep-alive"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("content-type", "text/plain"),
        ];
        assert_eq!(stripped(&lines), ["content-type"]);
        assert_eq!(stripped(&[("connection", "keep-alive"), ("keep-alive", "timeout=5")]), [] as [&str; 0]);
    }

    #[test]
    fn nobody_switches_to_what_carries_requests() {
        for (asked, left) in [
            ("websocket", Some("websocket")),
            ("WebSocket , foo/2", Some("WebSocket , foo/2")),
            ("h2cool", Some("h2cool")),
            ("h2c", None),
            ("H2C", None),
            ("h2c-14", None),
            ("h2c;q=1,, h2", None),
            ("HTTP/2.0, TLS/1.0", None),
            ("h2c, websocket,tls/1.2 ,foo", Some("websocket, foo")),
        ] {
            let left = left.map(HeaderValue::from_static);
            assert_eq!(upgrade(&HeaderValue::from_static(asked)), left, "{asked}");
        }
    }

    #[test]
    fn trailers_say_nothing_that_belongs_into_a_head() {
        let mut trailers = HeaderMap::new();
        for name in ["grpc-status", "x-forwarded-for", "content-length", "x-accel-redirect", "host", "x-checksum"] {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("0"));
        }
        strip_trailers(&mut trailers);
        let mut names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["grpc-status", "x-checksum"]);
    }
}
