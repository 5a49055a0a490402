//! Which paths and hosts, and what the endpoint sees of them.

use super::{
    super::{
        grammar::{self, Objection, Value},
        route::RouteSettings,
    },
    Annotation, Reach, Risk,
};
use http::StatusCode;

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("use-regex", Value::Bool, "false")
        .reach(Reach::Host)
        .doc("Makes every path of the host a case-insensitive regular expression, anchored at its start."),
    Annotation::new("rewrite-target", Value::Text("a path with captures `$1` to `$9`"), "")
        .risk(Risk::Medium)
        .doc("Replaces the path that the endpoint sees; makes the paths of the host regular expressions."),
    Annotation::new("app-root", Value::Text("an absolute path"), "")
        .reach(Reach::Host)
        .risk(Risk::Medium)
        .doc("Redirects `/` of the host to this path."),
    Annotation::new("x-forwarded-prefix", Value::Text("a path with captures `$1` to `$9`"), "")
        .risk(Risk::Medium)
        .doc("Sends X-Forwarded-Prefix to the endpoint, where `rewrite-target` is in effect."),
    Annotation::new("server-alias", Value::List("host names"), "")
        .reach(Reach::Host)
        .risk(Risk::High)
        .doc("Further names of the host."),
    Annotation::new("upstream-vhost", Value::Text("a host name"), "").doc("The Host header that the endpoint sees."),
    Annotation::new("ssl-passthrough", Value::Bool, "false")
        .reach(Reach::Host)
        .doc("Hands TLS connections for the host to the Service of its `/` as they are, where that is of the same Ingress; needs --enable-ssl-passthrough.")
        .served(ssl_passthrough),
];

/// Ending TLS where it was to pass would show its content to us and its clients another certificate.
fn ssl_passthrough(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    match grammar::boolean(text) {
        Ok(passthrough) => {
            settings.ssl_passthrough = passthrough;
            Ok(())
        }
        Err(_) => {
            settings.refuse = Some(StatusCode::SERVICE_UNAVAILABLE);
            let message = format!("{text:?} is not {}: every path of the Ingress answers 503", Value::Bool);
            Err(Objection::Partly(message))
        }
    }
}
