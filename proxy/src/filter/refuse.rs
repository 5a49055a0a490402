//! A route that is closed: the fail-closed form of a setting that could not be honoured.

use crate::{body::ResponseBody, respond};
use http::{Response, StatusCode};
use serde::{Serialize, Serializer};

/// Answers every request of the route with one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Refuse {
    /// The answer, 503 unless the feature defines another.
    #[serde(serialize_with = "as_number")]
    pub status: StatusCode,
}

// === impl Refuse ===

impl Refuse {
    pub(super) fn apply(self) -> Response<ResponseBody> {
        respond::status(self.status)
    }
}

pub(super) fn as_number<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}
