//! A route that needs a client certificate, which cleartext cannot bring.

use super::RequestView;
use crate::{body::ResponseBody, respond};
use http::{Response, StatusCode};
use serde::Serialize;

/// Answers requests in cleartext with one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TlsOnly {
    /// The answer.
    #[serde(serialize_with = "super::refuse::as_number")]
    pub status: StatusCode,
}

// === impl TlsOnly ===

impl TlsOnly {
    pub(super) fn apply(self, request: RequestView<'_>) -> Option<Response<ResponseBody>> {
        (!request.client.has_tls()).then(|| respond::status(self.status))
    }
}
