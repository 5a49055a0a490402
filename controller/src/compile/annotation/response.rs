//! Error pages, response headers, mirrors, tracing.

use super::{super::grammar::Value, Annotation, Risk};

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("custom-http-errors", Value::List("statuses from 400 to 599"), "")
        .doc("Statuses whose response comes from the default backend instead."),
    Annotation::new("disable-proxy-intercept-errors", Value::Bool, "false")
        .doc("Leaves the endpoint's own error responses alone."),
    Annotation::new("default-backend", Value::Text("the name of a Service"), "")
        .doc("Serves when the backend has no endpoint, and the pages of `custom-http-errors`."),
    Annotation::new("custom-headers", Value::Text("`namespace/name` of a ConfigMap"), "")
        .risk(Risk::Medium)
        .doc("Response headers to set."),
    Annotation::new("http2-push-preload", Value::Bool, "false")
        .doc("Pushed what Link headers announce.")
        .ignored("browsers and nginx have given up HTTP/2 push"),
    Annotation::new("mirror-target", Value::Text("a URL with nginx variables"), "")
        .risk(Risk::High)
        .doc("Where a copy of each accepted request goes."),
    Annotation::new("mirror-request-body", Value::Words(&["on", "off"]), "on").doc("Whether the copy has the body."),
    Annotation::new("mirror-host", Value::Text("a host name"), "").risk(Risk::High).doc("Host header of the copy."),
    Annotation::new("enable-rewrite-log", Value::Bool, "false")
        .doc("Logged how nginx rewrites.")
        .ignored("`rust-nginx explain` shows what is matched and rewritten"),
    Annotation::new("enable-opentelemetry", Value::Bool, "").doc("Switches tracing on or off for the paths."),
    Annotation::new("opentelemetry-trust-incoming-span", Value::Bool, "true")
        .doc("Whether traces continue those of the client."),
    Annotation::new("opentelemetry-operation-name", Value::Text("letters, digits, - and _"), "")
        .risk(Risk::Medium)
        .doc("Name of the spans."),
];
