//! Cross-origin requests. Left out, browsers refuse more, never less.

use super::{super::grammar::Value, Annotation, Risk};

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("enable-cors", Value::Bool, "false")
        .doc("Answers preflight requests and sets the CORS headers of responses."),
    Annotation::new("cors-allow-origin", Value::List("origins, `*.` for one label, or `*`"), "*")
        .risk(Risk::Medium)
        .doc("Origins that may call."),
    Annotation::new("cors-allow-credentials", Value::Bool, "true").doc("Whether cookies may be sent along."),
    Annotation::new("cors-allow-methods", Value::List("methods"), "GET, PUT, POST, DELETE, PATCH, OPTIONS")
        .risk(Risk::Medium)
        .doc("Methods that may be used."),
    Annotation::new(
        "cors-allow-headers",
        Value::List("header names"),
        "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization",
    )
    .risk(Risk::Medium)
    .doc("Request headers that may be sent."),
    Annotation::new("cors-expose-headers", Value::List("header names, or `*`"), "")
        .risk(Risk::Medium)
        .doc("Response headers that scripts may read."),
    Annotation::new("cors-max-age", Value::Seconds, "1728000").doc("How long browsers remember a preflight answer."),
];
