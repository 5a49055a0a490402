//! Fields that belong to one connection and never pass (RFC 9110 §7.6.1), and those that nginx withholds.

use http::{HeaderMap, HeaderName, HeaderValue, header};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// Removed against the "httpoxy" confusion of CGI variables.
const PROXY: HeaderName = HeaderName::from_static("proxy");
const X_PAD: HeaderName = HeaderName::from_static("x-pad");
/// Prefix of the fields with which a backend steers nginx; none of them reaches the client.
const X_ACCEL: &str = "x-accel-";

/// Strips a request. Returns the protocol that the client wants to switch to, when it asks for one.
pub(crate) fn strip_request(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.remove(header::UPGRADE);
    strip_connection(headers);
    for name in [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS, PROXY, header::TE, header::EXPECT] {
        headers.remove(name);
    }
    headers.remove(header::TRANSFER_ENCODING);
    upgrade
}

/// Strips the response of an endpoint. `Upgrade` stays for the caller: it belongs to a 101.
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    strip_connection(headers);
    for name in [KEEP_ALIVE, PROXY_CONNECTION, header::TRANSFER_ENCODING, header::DATE, header::SERVER, X_PAD] {
        headers.remove(name);
    }
    if headers.keys().any(|name| name.as_str().starts_with(X_ACCEL)) {
        retain(headers, |name| !name.as_str().starts_with(X_ACCEL));
    }
}

/// Removes `Connection` and every field that it names. Fields that carry the meaning of the message cannot be removed
/// this way.
fn strip_connection(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::from_bytes(token.trim().as_bytes()).ok())
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::CONTENT_TYPE))
        .collect();
    headers.remove(header::CONNECTION);
    for name in named {
        headers.remove(name);
    }
}

/// Drops request fields whose names nginx calls invalid: anything but letters, digits and `-`, so also `_`.
pub(crate) fn drop_odd_names(headers: &mut HeaderMap) {
    let is_plain = |name: &HeaderName| name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !headers.keys().all(is_plain) {
        retain(headers, is_plain);
    }
}

fn retain(headers: &mut HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    let gone: Vec<HeaderName> = headers.keys().filter(|name| !keep(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn fields_named_in_connection_go_but_the_message_stays_intact() {
        let mut headers = map(&[
            ("connection", "close, X-Secret, host, content-length"),
            ("connection", "x-other"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("host", "a"),
            ("content-length", "3"),
            ("accept", "*/*"),
        ]);
        assert_eq!(strip_request(&mut headers), None);
        assert_eq!(names(&headers), ["accept", "content-length", "host"]);
    }

    #[test]
    fn an_upgrade_is_returned_and_not_passed_by_itself() {
        let mut headers =
            map(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("te", "trailers"), ("proxy", "x")]);
        assert_eq!(strip_request(&mut headers).as_ref().map(HeaderValue::as_bytes), Some(&b"websocket"[..]));
        assert!(headers.is_empty(), "{headers:?}");
    }

    #[test]
    fn a_backend_cannot_steer_the_proxy_or_name_its_software() {
        let mut headers = map(&[
            ("server", "Apache"),
            ("date", "now"),
            ("x-accel-redirect", "/internal"),
            ("x-accel-buffering", "no"),
            ("x-powered-by", "PHP"),
        ]);
        strip_response(&mut headers);
        assert_eq!(names(&headers), ["x-powered-by"]);
    }

    #[test]
    fn names_with_underscore_or_dot_are_dropped() {
        let mut headers = map(&[("x_real_ip", "1"), ("x.y", "1"), ("x-fine-2", "1")]);
        drop_odd_names(&mut headers);
        assert_eq!(names(&headers), ["x-fine-2"]);
    }
}
