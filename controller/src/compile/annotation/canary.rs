//! Splitting the traffic of another Ingress.

use super::{super::grammar::Value, Annotation, Reach, Risk};

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("canary", Value::Bool, "false")
        .reach(Reach::Backend)
        .doc("The Ingress takes a share of the requests of the main Ingress with the same host and path.")
        .canary(),
    Annotation::new("canary-by-header", Value::Text("a header name"), "")
        .reach(Reach::Backend)
        .risk(Risk::Medium)
        .doc("Value `always` of this header chooses the canary, `never` the main Ingress."),
    Annotation::new("canary-by-header-value", Value::Text("a header value"), "")
        .reach(Reach::Backend)
        .risk(Risk::Medium)
        .doc("The value of `canary-by-header` that chooses the canary."),
    Annotation::new("canary-by-header-pattern", Value::Text("a regular expression"), "")
        .reach(Reach::Backend)
        .risk(Risk::Medium)
        .doc("Values of `canary-by-header` that choose the canary."),
    Annotation::new("canary-by-cookie", Value::Text("a cookie name"), "")
        .reach(Reach::Backend)
        .risk(Risk::Medium)
        .doc("Value `always` of this cookie chooses the canary, `never` the main Ingress."),
    Annotation::new("canary-weight", Value::Integer, "0")
        .reach(Reach::Backend)
        .doc("Share of the other requests, out of `canary-weight-total`."),
    Annotation::new("canary-weight-total", Value::Integer, "100")
        .reach(Reach::Backend)
        .doc("What `canary-weight` is a share of."),
];
