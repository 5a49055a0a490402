//! HTTP → HTTPS (ingress-nginx `ssl-redirect`, `force-ssl-redirect`, `preserve-trailing-slash`).

use http::StatusCode;
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
