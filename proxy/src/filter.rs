//! Per-route steps that edit, answer or refuse a request. One file per feature; the enum is the whole list.
//!
//! Filters of a route run in the order in which the compiler put them, which is the order of execution of
//! ingress-nginx. A route without filters pays nothing.

mod https_redirect;
mod refuse;

pub use self::{https_redirect::HttpsRedirect, refuse::Refuse};
use serde::Serialize;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Answers everything with a fixed status: what a guard that cannot be honoured becomes.
    Refuse(Refuse),
    /// Sends plain HTTP requests to HTTPS.
    HttpsRedirect(HttpsRedirect),
}
