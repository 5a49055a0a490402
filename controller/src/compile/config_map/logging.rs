//! Logs, error pages, tracing.

use super::{
    super::grammar::{self, Objection, Value},
    Draft, Key,
};

pub(super) const KEYS: &[Key] = &[
    Key::new("disable-access-log", Value::Bool, "false", "Switches every access log off.")
        .served(disable_every_access_log),
    Key::new("disable-http-access-log", Value::Bool, "false", "Switches the access log of requests off.")
        .served(disable_access_log),
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
    // Errors.
    Key::new("default-type", Value::Text("a media type"), "text/html", "Type of responses made by the proxy."),
    Key::new("custom-http-errors", Value::List("statuses from 300 to 599"), "", "Default of the annotation."),
    Key::new("disable-proxy-intercept-errors", Value::Bool, "false", "Default of the annotation."),
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

fn disable_every_access_log(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.streams.access_log &= !grammar::boolean(text)?;
    disable_access_log(draft, text)
}

/// Two keys, either of which switches the log off.
fn disable_access_log(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.access_log &= !grammar::boolean(text)?;
    Ok(())
}
