//! Logs, error pages, tracing.

use super::{
    super::grammar::{self, Objection, Value},
    Draft, Key,
};
use rust_nginx_proxy::{
    table::SkippedTargets,
    variable::{BadTemplate, Escape, LogFormat, SessionFormat},
};
use std::sync::Arc;

const TEMPLATE: Value = Value::Text("a template with nginx variables");
/// Why no path of a log counts.
const STANDARD_OUTPUT: &str = "access logs go to standard output, where the container runtime takes them";
const STANDARD_ERROR: &str = "messages go to standard error, where the container runtime takes them";

pub(super) const KEYS: &[Key] = &[
    Key::new("disable-access-log", Value::Bool, "false", "Switches every access log off.")
        .served(disable_every_access_log),
    Key::new("disable-http-access-log", Value::Bool, "false", "Switches the access log of requests off.")
        .served(disable_access_log),
    Key::new("log-format-upstream", TEMPLATE, "", "Form of the access log.").served(log_format_upstream),
    Key::new("log-format-escape-json", Value::Bool, "false", "Escapes values in the access logs for JSON.")
        .served(log_format_escape_json),
    Key::new("log-format-escape-none", Value::Bool, "false", "Escapes nothing in the access logs.")
        .served(log_format_escape_none),
    Key::new("log-format-stream", TEMPLATE, "", "Form of the access log of TCP and UDP services.")
        .served(log_format_stream),
    Key::new("access-log-path", Value::Text("a path"), "/var/log/nginx/access.log", "Where the access logs go.")
        .ignored(STANDARD_OUTPUT),
    Key::new("http-access-log-path", Value::Text("a path"), "", "Where the access log of requests goes.")
        .ignored(STANDARD_OUTPUT),
    Key::new("stream-access-log-path", Value::Text("a path"), "", "Where the access log of TCP and UDP services goes.")
        .ignored(STANDARD_OUTPUT),
    Key::new("error-log-path", Value::Text("a path"), "/var/log/nginx/error.log", "Where the error log goes.")
        .ignored(STANDARD_ERROR),
    Key::new(
        "error-log-level",
        Value::Words(&["debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"]),
        "notice",
        "What the error log holds.",
    )
    .ignored("the flag -v and the variable RUST_LOG say what is logged"),
    Key::new("enable-access-log-for-default-backend", Value::Bool, "false", "Logs requests for unknown hosts.")
        .served(enable_access_log_for_default_backend),
    Key::new("enable-auth-access-log", Value::Bool, "false", "Logs requests to `auth-url`."),
    Key::new(
        "skip-access-log-urls",
        Value::List("targets of requests, or regular expressions after ~ or ~*"),
        "",
        "Requests that are not logged.",
    )
    .served(skip_access_log_urls),
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

fn log_format_upstream(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let format = LogFormat::parse(text, Escape::Default).map_err(|error| malformed(&error))?;
    draft.logs.requests = Some(text.to_owned()).filter(|text| !text.is_empty());
    unknown(format.unknown(), LogFormat::known)
}

fn log_format_stream(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let format = SessionFormat::parse(text, Escape::Default).map_err(|error| malformed(&error))?;
    draft.logs.sessions = Some(text.to_owned()).filter(|text| !text.is_empty());
    unknown(format.unknown(), SessionFormat::known)
}

fn malformed(error: &BadTemplate) -> Objection {
    Objection::Malformed(format!("it has {error}"))
}

/// nginx would refuse the whole configuration.
fn unknown<'a, K: Iterator<Item = &'static str>>(
    names: impl Iterator<Item = &'a str>,
    known: impl Fn() -> K,
) -> Result<(), Objection> {
    let unknown: Vec<_> = names.map(|name| unknown_variable(name, known())).collect();
    if unknown.is_empty() { Ok(()) } else { Err(Objection::Partly(unknown.join("; "))) }
}

/// What is said about a variable that nobody knows.
pub(super) fn unknown_variable(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    format!("${name} is no variable that is known here, and always empty{}", grammar::hint(name, known))
}

fn log_format_escape_json(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.logs.json = grammar::boolean(text)?;
    Ok(())
}

fn log_format_escape_none(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.logs.none = grammar::boolean(text)?;
    Ok(())
}

fn enable_access_log_for_default_backend(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.logs.default_backend = grammar::boolean(text)?;
    Ok(())
}

fn skip_access_log_urls(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let (skipped, bad) = SkippedTargets::parse(grammar::list(text));
    draft.settings.logs.skipped = skipped;
    if bad.is_empty() {
        return Ok(());
    }
    let bad: Vec<_> =
        bad.into_iter().map(|(text, error)| format!("{text:?}: {}", grammar::reason_of_regex(&error))).collect();
    Err(Objection::Partly(format!("{}; the rest holds", bad.join("; "))))
}

/// The keys that make the forms of lines.
#[derive(Clone, Debug, Default)]
pub(super) struct LogsDraft {
    requests: Option<String>,
    sessions: Option<String>,
    json: bool,
    none: bool,
}

// === impl LogsDraft ===

impl LogsDraft {
    /// The forms of requests and of sessions; none where it is the default one.
    pub(super) fn finish(self) -> (Option<Arc<LogFormat>>, Option<Arc<SessionFormat>>) {
        let escape = match (self.none, self.json) {
            (true, _) => Escape::None,
            (false, true) => Escape::Json,
            (false, false) => Escape::Default,
        };
        // With other escapes the default form is a template like any other.
        let text = |own: Option<String>, usual: &str| match own {
            Some(text) if escape != Escape::Default || text != usual => Some(text),
            None if escape != Escape::Default => Some(usual.to_owned()),
            Some(_) | None => None,
        };
        let requests = text(self.requests, LogFormat::USUAL);
        let sessions = text(self.sessions, SessionFormat::USUAL);
        (
            requests.and_then(|text| LogFormat::parse(&text, escape).ok()).map(Arc::new),
            sessions.and_then(|text| SessionFormat::parse(&text, escape).ok()).map(Arc::new),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_forms_cost_no_template() {
        let usual = LogsDraft {
            requests: Some(LogFormat::USUAL.to_owned()),
            sessions: Some(SessionFormat::USUAL.to_owned()),
            ..LogsDraft::default()
        };
        assert_eq!(usual.clone().finish(), (None, None));
        let (requests, sessions) = LogsDraft { json: true, ..usual }.finish();
        assert!(requests.is_some() && sessions.is_some());
    }
}
