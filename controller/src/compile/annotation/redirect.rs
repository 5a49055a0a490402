//! Redirects and enforcement of HTTPS.

use super::{
    super::{
        grammar::{self, Objection, Value},
        route::RouteSettings,
    },
    Annotation, Reach, Risk,
};
use http::StatusCode;

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("ssl-redirect", Value::Bool, "true")
        .doc("Redirects plain HTTP to HTTPS where the host has a tls section, even one with a broken Secret.")
        .served(ssl_redirect),
    Annotation::new("force-ssl-redirect", Value::Bool, "false")
        .risk(Risk::Medium)
        .doc("Redirects plain HTTP to HTTPS without needing a tls section. `false` does not switch off `ssl-redirect`.")
        .served(force_ssl_redirect),
    Annotation::new("preserve-trailing-slash", Value::Bool, "false")
        .risk(Risk::Medium)
        .doc("Keeps a trailing slash of the path in the redirect to HTTPS, which is dropped otherwise.")
        .served(preserve_trailing_slash),
    Annotation::new("use-port-in-redirects", Value::Bool, "false")
        .doc("Names the HTTPS port in the redirect to HTTPS.")
        .served(use_port_in_redirects),
    Annotation::new("permanent-redirect", Value::Text("a URL"), "")
        .risk(Risk::Medium)
        .doc("Answers every request with a redirect to the URL."),
    Annotation::new("permanent-redirect-code", Value::Integer, "301")
        .doc("Status of `permanent-redirect`, 300 to 308."),
    Annotation::new("temporal-redirect", Value::Text("a URL"), "")
        .risk(Risk::Medium)
        .doc("Answers every request with a temporary redirect to the URL; wins over `permanent-redirect`."),
    Annotation::new("temporal-redirect-code", Value::Integer, "302").doc("Status of `temporal-redirect`, 300 to 307."),
    Annotation::new("relative-redirects", Value::Bool, "false").doc("Redirects made by the proxy carry a path only."),
    Annotation::new("from-to-www-redirect", Value::Bool, "false")
        .reach(Reach::Host)
        .doc("Redirects `www.` and the bare name to whichever of the two the rule declares."),
];

pub(in crate::compile) fn ssl_redirect(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.ssl_redirect = grammar::boolean(text)?;
    Ok(())
}

pub(in crate::compile) fn force_ssl_redirect(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.force_ssl_redirect = grammar::boolean(text)?;
    Ok(())
}

pub(in crate::compile) fn preserve_trailing_slash(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.preserve_trailing_slash = grammar::boolean(text)?;
    Ok(())
}

pub(in crate::compile) fn use_port_in_redirects(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.use_port_in_redirects = grammar::boolean(text)?;
    Ok(())
}

/// ConfigMap only.
pub(in crate::compile) fn http_redirect_code(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.redirect_code = match text {
        "301" => StatusCode::MOVED_PERMANENTLY,
        "302" => StatusCode::FOUND,
        "307" => StatusCode::TEMPORARY_REDIRECT,
        "308" => StatusCode::PERMANENT_REDIRECT,
        _ => return Err(Value::Words(&["301", "302", "307", "308"]).rejects(text)),
    };
    Ok(())
}

/// ConfigMap only.
pub(in crate::compile) fn no_tls_redirect_locations(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.no_tls_redirect = grammar::list(text).map(Into::into).collect();
    Ok(())
}
