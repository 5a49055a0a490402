//! HTTP → HTTPS (ingress-nginx `ssl-redirect`, `force-ssl-redirect`, `preserve-trailing-slash`).

use super::RequestView;
use crate::{body::ResponseBody, respond};
use http::{HeaderValue, Response, StatusCode, Uri};
use serde::Serialize;

/// Redirects requests whose scheme is `http`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HttpsRedirect {
    /// 301, 302, 307 or 308.
    #[serde(serialize_with = "super::refuse::as_number")]
    pub code: StatusCode,
    /// Keeps one trailing slash of the path in the Location, which ingress-nginx strips by default.
    pub preserve_trailing_slash: bool,
    /// The port written into the Location, when it must be written (`use-port-in-redirects`).
    pub port: Option<u16>,
}

// === impl HttpsRedirect ===

impl HttpsRedirect {
    pub(super) fn apply(self, request: RequestView<'_>) -> Option<Response<ResponseBody>> {
        if !request.client.is_http() {
            return None;
        }
        match HeaderValue::try_from(self.location(request.host, request.uri)) {
            Ok(location) => Some(respond::redirect(self.code, location)),
            // Cannot happen for a target that was valid in a request line; never serve plain HTTP instead.
            Err(_) => Some(respond::status(StatusCode::BAD_REQUEST)),
        }
    }

    /// `https://`, the host without its port, and the target; ingress-nginx strips one trailing slash, of the path and
    /// never of the query.
    fn location(self, host: &str, uri: &Uri) -> String {
        let host = match host.rfind(':') {
            Some(colon) if !host[colon..].contains(']') => &host[..colon],
            _ => host,
        };
        let mut location = format!("https://{host}");
        if let Some(port) = self.port.filter(|port| *port != 443) {
            location.push_str(&format!(":{port}"));
        }
        let path = uri.path();
        location.push_str(if self.preserve_trailing_slash { path } else { path.strip_suffix('/').unwrap_or(path) });
        if let Some(query) = uri.query() {
            location.push('?');
            location.push_str(query);
        }
        location
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(redirect: HttpsRedirect, host: &str, target: &str) -> String {
        let uri = target.parse().expect("a target");
        redirect.location(host, &uri)
    }

    #[test]
    fn one_trailing_slash_of_the_path_goes_and_the_port_too() {
        let plain = HttpsRedirect { code: StatusCode::PERMANENT_REDIRECT, preserve_trailing_slash: false, port: None };
        for (host, target, expected) in [
            ("a.example", "/", "https://a.example"),
            ("A.Example:8080", "/x/", "https://A.Example/x"),
            ("a.example.", "/x//", "https://a.example./x/"),
            ("a.example", "/a/?q=/", "https://a.example/a?q=/"),
            ("[::1]:80", "/x", "https://[::1]/x"),
            ("[::1]", "/x", "https://[::1]/x"),
        ] {
            assert_eq!(location(plain, host, target), expected);
        }
        let kept = HttpsRedirect { preserve_trailing_slash: true, port: Some(8443), ..plain };
        assert_eq!(location(kept, "a", "/x/"), "https://a:8443/x/");
        let default_port = HttpsRedirect { port: Some(443), ..plain };
        assert_eq!(location(default_port, "a", "/x"), "https://a/x");
    }
}
