//! Logs, headers, error pages, compression, tracing.

use super::{
    super::grammar::{self, Objection, Value},
    Draft, Key,
};

pub(super) const KEYS: &[Key] = &[
    Key::new("disable-access-log", Value::Bool, "false", "Switches every access log off.").served(disable_access_log),
    Key::new("disable-http-access-log", Value::Bool, "false", "Switches the access log of requests off.")
        .served(disable_access_log),
    Key::new("disable-stream-access-log", Value::Bool, "false", "Switches the access log of TCP and UDP services off."),
    Key::new("log-format-upstream", Value::Text("a template with nginx variables"), "", "Form of the access log."),
    Key::new("log-format-escape-json", Value::Bool, "false", "Escapes values in the access log for JSON."),
    Key::new("log-format-escape-none", Value::Bool, "false", "Escapes nothing in the access log."),
    Key::new(
        "log-format-stream",
        Value::Text("a template with nginx variables"),
        "",
        "Form of the access log of TCP and UDP services.",
    ),
    Key::new("access-log-path", Value::Text("a path"), "/var/log/nginx/access.log", "Where the access log goes."),
    Key::new("http-access-log-path", Value::Text("a path"), "", "Where the access log of requests goes."),
    Key::new("stream-access-log-path", Value::Text("a path"), "", "Where the access log of TCP and UDP services goes."),
    Key::new("error-log-path", Value::Text("a path"), "/var/log/nginx/error.log", "Where the error log goes."),
    Key::new(
        "error-log-level",
        Value::Words(&["debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"]),
        "notice",
        "What the error log holds.",
    ),
    Key::new("enable-access-log-for-default-backend", Value::Bool, "false", "Logs requests for unknown hosts."),
    Key::new("enable-auth-access-log", Value::Bool, "false", "Logs requests to `auth-url`."),
    Key::new("skip-access-log-urls", Value::List("URIs"), "", "Requests that are not logged."),
    Key::new("enable-syslog", Value::Bool, "false", "Sends the logs to a syslog server."),
    Key::new("syslog-host", Value::Text("a host name"), "", "That server."),
    Key::new("syslog-port", Value::Integer, "514", "Its port."),
    // Headers and errors.
    Key::new("proxy-set-headers", Value::Text("`namespace/name` of a ConfigMap"), "", "Request headers to set."),
    Key::new("add-headers", Value::Text("`namespace/name` of a ConfigMap"), "", "Response headers to set."),
    Key::new("hide-headers", Value::List("header names"), "", "Response headers to remove."),
    Key::new("server-tokens", Value::Bool, "false", "Sends a Server header."),
    Key::new("allow-backend-server-header", Value::Bool, "false", "Passes the endpoint's Server header."),
    Key::new("proxy-add-original-uri-header", Value::Bool, "false", "Sends X-Original-URI to endpoints."),
    Key::new("enable-underscores-in-headers", Value::Bool, "false", "Keeps headers with `_` in their names."),
    Key::new("ignore-invalid-headers", Value::Bool, "true", "Drops headers with odd names."),
    Key::new("default-type", Value::Text("a media type"), "text/html", "Type of responses made by the proxy."),
    Key::new("custom-http-errors", Value::List("statuses from 300 to 599"), "", "Default of the annotation."),
    Key::new("disable-proxy-intercept-errors", Value::Bool, "false", "Default of the annotation."),
    // Compression.
    Key::new("use-gzip", Value::Bool, "false", "Compresses responses with gzip."),
    Key::new("gzip-level", Value::Integer, "1", "How hard."),
    Key::new("gzip-min-length", Value::Integer, "256", "From which length on."),
    Key::new("gzip-types", Value::List("media types"), "", "Which types."),
    Key::new("gzip-disable", Value::Text("a regular expression"), "", "User-Agents that get no compressed response."),
    Key::new("enable-brotli", Value::Bool, "false", "Compresses responses with brotli."),
    Key::new("brotli-level", Value::Integer, "4", "How hard."),
    Key::new("brotli-min-length", Value::Integer, "20", "From which length on."),
    Key::new("brotli-types", Value::List("media types"), "", "Which types."),
    // Tracing.
    Key::new("enable-opentelemetry", Value::Bool, "false", "Default of the annotation."),
    Key::new("otlp-collector-host", Value::Text("a host name"), "", "Where traces go."),
    Key::new("otlp-collector-port", Value::Integer, "4317", "Its port."),
    Key::new("otel-service-name", Value::Text("a name"), "nginx", "Name of the service in traces."),
    Key::new("opentelemetry-operation-name", Value::Text("a name"), "", "Default of the annotation."),
    Key::new("opentelemetry-trust-incoming-span", Value::Bool, "true", "Default of the annotation."),
    Key::new(
        "otel-sampler",
        Value::Words(&["AlwaysOn", "AlwaysOff", "TraceIdRatioBased"]),
        "AlwaysOn",
        "Which requests are traced.",
    ),
    Key::new("otel-sampler-ratio", Value::Text("a number from 0 to 1"), "0.01", "Which part of them."),
    Key::new("otel-sampler-parent-based", Value::Bool, "true", "Whether the client's decision counts."),
    Key::new("otel-max-queuesize", Value::Integer, "2048", "Spans that wait to be sent."),
    Key::new("otel-schedule-delay-millis", Value::Integer, "5000", "How long they wait."),
    Key::new("otel-max-export-batch-size", Value::Integer, "512", "Spans sent at once."),
];

/// Two keys, either of which switches the log off.
fn disable_access_log(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.access_log &= !grammar::boolean(text)?;
    Ok(())
}
