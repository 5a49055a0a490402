//! Per-route steps that edit, answer or refuse a request. One file per feature; the enum is the whole list.
//!
//! Filters of a route run in the order in which the compiler put them, which is the order of execution of
//! ingress-nginx. A route without filters pays nothing.

mod https_redirect;
mod refuse;
mod tls_only;

pub use self::{https_redirect::HttpsRedirect, refuse::Refuse, tls_only::TlsOnly};
use crate::{body::ResponseBody, forwarded::Client};
use http::{Response, Uri};
use serde::Serialize;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Answers everything with a fixed status: what a guard that cannot be honoured becomes.
    Refuse(Refuse),
    /// Sends plain HTTP requests to HTTPS.
    HttpsRedirect(HttpsRedirect),
    /// Refuses plain HTTP requests where every client needs a certificate.
    TlsOnly(TlsOnly),
}

/// What a filter may look at before the endpoint is chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestView<'a> {
    /// Who asks, and over which scheme.
    pub(crate) client: &'a Client<'a>,
    /// The host that the client asked for, with port.
    pub(crate) host: &'a str,
    /// The target as the client wrote it.
    pub(crate) uri: &'a Uri,
}

// === impl Filter ===

impl Filter {
    /// Lets the request pass (`None`) or answers it.
    pub(crate) fn request(&self, request: RequestView<'_>) -> Option<Response<ResponseBody>> {
        match self {
            Self::Refuse(refuse) => Some(refuse.apply()),
            Self::HttpsRedirect(redirect) => redirect.apply(request),
            Self::TlsOnly(tls_only) => tls_only.apply(request),
        }
    }
}
