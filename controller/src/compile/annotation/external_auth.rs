//! Authentication by another service.

use super::{
    super::grammar::{Value, non_empty},
    Annotation, Risk,
};

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("auth-url", Value::Text("an absolute URL"), "")
        .risk(Risk::High)
        .doc("Asked before each request; what does not answer 2xx keeps the request out.")
        .closes(non_empty),
    Annotation::new(
        "auth-method",
        Value::Words(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"]),
        "GET",
    )
    .doc("Method of the request to `auth-url`.")
    .closes(non_empty),
    Annotation::new("auth-signin", Value::Text("a URL"), "")
        .risk(Risk::High)
        .doc("Where a client goes whom `auth-url` answered with 401.")
        .closes(non_empty),
    Annotation::new("auth-signin-redirect-param", Value::Text("a parameter name"), "rd")
        .risk(Risk::Medium)
        .doc("The parameter of `auth-signin` that carries the way back.")
        .closes(non_empty),
    Annotation::new("auth-response-headers", Value::List("header names"), "")
        .risk(Risk::Medium)
        .doc("Headers of the answer of `auth-url` that the endpoint sees; a client's own are removed.")
        .closes(non_empty),
    Annotation::new("auth-proxy-set-headers", Value::Text("`namespace/name` of a ConfigMap"), "")
        .risk(Risk::Medium)
        .doc("Headers of the request to `auth-url`.")
        .closes(non_empty),
    Annotation::new("auth-request-redirect", Value::Text("a URL"), "")
        .risk(Risk::Medium)
        .doc("Value of X-Auth-Request-Redirect in the request to `auth-url`.")
        .closes(non_empty),
    Annotation::new("auth-always-set-cookie", Value::Bool, "false")
        .doc("Passes cookies of `auth-url` on with every status, not only with successes and redirects.")
        .closes(non_empty),
    Annotation::new("auth-cache-key", Value::Text("text with nginx variables"), "")
        .risk(Risk::Medium)
        .doc("Remembers answers of `auth-url` under this key.")
        .closes(non_empty),
    Annotation::new("auth-cache-duration", Value::List("statuses followed by a time"), "200 202 401 5m")
        .risk(Risk::Medium)
        .doc("How long answers of `auth-url` are remembered.")
        .closes(non_empty),
    Annotation::new("auth-keepalive", Value::Integer, "0")
        .doc("Idle connections kept to `auth-url`.")
        .closes(non_empty),
    Annotation::new("auth-keepalive-requests", Value::Integer, "1000")
        .doc("Requests per connection to `auth-url`.")
        .closes(non_empty),
    Annotation::new("auth-keepalive-timeout", Value::Seconds, "60")
        .doc("How long an idle connection to `auth-url` is kept.")
        .closes(non_empty),
    Annotation::new("auth-keepalive-share-vars", Value::Bool, "false")
        .doc("Whether the request to `auth-url` carries the request's own id.")
        .closes(non_empty),
    Annotation::new("enable-global-auth", Value::Bool, "true")
        .doc("`false` exempts the Ingress from the ConfigMap's `global-auth-url`."),
];
