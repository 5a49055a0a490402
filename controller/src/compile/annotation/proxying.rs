//! Timeouts, retries, buffers, limits of the body, the access log.

use super::{
    super::{
        grammar::{self, Objection, Value},
        route::RouteSettings,
    },
    Annotation, Risk,
};
use rust_nginx_proxy::table::RetryOn;

const NEXT_UPSTREAM: &str = "error timeout";
pub(in crate::compile) const NEXT_UPSTREAM_WORDS: Value = Value::List(
    "`error`, `timeout`, `invalid_header`, `http_500`, `http_502`, `http_503`, `http_504`, `http_403`, `http_404`, \
     `http_429`, `non_idempotent`, `off`",
);
const ON_OFF: Value = Value::Words(&["on", "off"]);
pub(in crate::compile) const STREAMED: &str =
    "responses are passed on as they come, which keeps memory bounded without disk";
/// Largest part of a body that is kept in memory: it is the controller's, not that of the Ingress's author.
const MOST_BODY_BUFFER: u64 = 1 << 20;
/// Largest head of a response, for the same reason.
const MOST_RESPONSE_HEAD: u64 = 1 << 20;

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("proxy-connect-timeout", Value::Seconds, "5")
        .doc("Time to connect to an endpoint, then the next one is tried; 504 in the end.")
        .served(proxy_connect_timeout),
    Annotation::new("proxy-read-timeout", Value::Seconds, "60")
        .doc("Longest pause between two reads from the endpoint, also of a WebSocket; 504 before the response has begun.")
        .served(proxy_read_timeout),
    Annotation::new("proxy-send-timeout", Value::Seconds, "60")
        .doc("Longest pause between two writes to the endpoint; 504.")
        .served(proxy_send_timeout),
    Annotation::new("proxy-next-upstream", NEXT_UPSTREAM_WORDS, NEXT_UPSTREAM)
        .risk(Risk::Medium)
        .doc("What lets another endpoint be tried, as long as no byte of the response was sent. The response to the last try goes to the client.")
        .served(proxy_next_upstream),
    Annotation::new("proxy-next-upstream-tries", Value::Integer, "3")
        .doc("Tries in total; 0 is no limit.")
        .served(proxy_next_upstream_tries),
    Annotation::new("proxy-next-upstream-timeout", Value::Seconds, "0")
        .doc("No new try is started after this time; 0 is no limit.")
        .served(proxy_next_upstream_timeout),
    Annotation::new("proxy-body-size", Value::Size, "1m")
        .risk(Risk::Medium)
        .doc("Largest accepted request body, 413 above; 0 is no limit.")
        .served(proxy_body_size),
    Annotation::new("enable-access-log", Value::Bool, "true")
        .doc("Whether requests appear in the access log.")
        .served(enable_access_log),
    Annotation::new("client-body-buffer-size", Value::Size, "8k")
        .doc("Memory for a request body that is read as a whole, at most 1m; the rest goes to a temporary file.")
        .served(client_body_buffer_size),
    Annotation::new("proxy-request-buffering", ON_OFF, "on")
        .doc("Whether the whole request body is read before an endpoint is contacted. Without it bodies are sent as they come, and not again.")
        .served(proxy_request_buffering),
    Annotation::new("proxy-buffering", ON_OFF, "off")
        .doc("Whether responses are buffered instead of streamed.")
        .ignored(STREAMED),
    Annotation::new("proxy-buffer-size", Value::Size, "4k")
        .doc("Largest accepted head of a response, 502 above; at most 1m.")
        .served(proxy_buffer_size),
    Annotation::new("proxy-buffers-number", Value::Integer, "4")
        .doc("Buffers for a response that is buffered.")
        .ignored(STREAMED),
    Annotation::new("proxy-busy-buffers-size", Value::Size, "")
        .doc("Part of the buffers that may be busy with sending.")
        .ignored("buffers are not divided that way here"),
    Annotation::new("proxy-max-temp-file-size", Value::Size, "1024m")
        .doc("Disk space for a response that is buffered.")
        .ignored(STREAMED),
    Annotation::new("proxy-cookie-domain", Value::Text("`off`, or two words: from and to"), "off")
        .risk(Risk::Medium)
        .doc("Rewrites the Domain of cookies that the endpoint sets."),
    Annotation::new("proxy-cookie-path", Value::Text("`off`, or two words: from and to"), "off")
        .risk(Risk::Medium)
        .doc("Rewrites the Path of cookies that the endpoint sets."),
    Annotation::new("proxy-redirect-from", Value::Text("`off`, `default` or a prefix"), "off")
        .risk(Risk::Medium)
        .doc("The part of the endpoint's Location that `proxy-redirect-to` replaces."),
    Annotation::new("proxy-redirect-to", Value::Text("a prefix"), "off")
        .risk(Risk::Medium)
        .doc("What replaces `proxy-redirect-from`."),
];

pub(in crate::compile) fn proxy_connect_timeout(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.policy.connect_timeout = grammar::time_limit(text)?;
    Ok(())
}

pub(in crate::compile) fn proxy_send_timeout(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.policy.send_timeout = grammar::time_limit(text)?;
    Ok(())
}

pub(in crate::compile) fn proxy_read_timeout(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.policy.read_timeout = grammar::time_limit(text)?;
    Ok(())
}

pub(in crate::compile) fn proxy_next_upstream(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let mut on = RetryOn::NOTHING;
    let mut off = false;
    for word in text.split_ascii_whitespace() {
        match word {
            "error" => on.error = true,
            "timeout" => on.timeout = true,
            "invalid_header" => on.invalid_header = true,
            "non_idempotent" => on.non_idempotent = true,
            "off" => off = true,
            _ => {
                let status = word.strip_prefix("http_").and_then(|status| status.parse().ok());
                if !status.is_some_and(|status| on.statuses.insert(status)) {
                    return Err(Objection::Malformed(format!("{word:?} does not belong into {NEXT_UPSTREAM_WORDS}")));
                }
            }
        }
    }
    settings.policy.retry.on = if off { RetryOn::NOTHING } else { on };
    Ok(())
}

pub(in crate::compile) fn proxy_next_upstream_tries(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.policy.retry.tries = grammar::count(text)?;
    Ok(())
}

pub(in crate::compile) fn proxy_next_upstream_timeout(
    settings: &mut RouteSettings,
    text: &str,
) -> Result<(), Objection> {
    settings.policy.retry.timeout = Some(grammar::seconds(text)?).filter(|limit| !limit.is_zero());
    Ok(())
}

pub(in crate::compile) fn proxy_buffer_size(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let size = grammar::size(text)?;
    if size == 0 {
        return Err(Objection::Malformed("no head fits into 0 bytes".to_owned()));
    }
    settings.policy.response_head = usize::try_from(size.min(MOST_RESPONSE_HEAD)).unwrap_or(usize::MAX);
    Ok(())
}

pub(in crate::compile) fn proxy_body_size(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.policy.max_body = Some(grammar::size(text)?).filter(|limit| *limit != 0);
    Ok(())
}

pub(in crate::compile) fn client_body_buffer_size(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let size = grammar::size(text)?;
    settings.policy.body_buffer = size.min(MOST_BODY_BUFFER);
    if size > MOST_BODY_BUFFER {
        return Err(Objection::Partly(format!("no more than 1m of a body is kept in memory, and not {text}")));
    }
    Ok(())
}

pub(in crate::compile) fn proxy_request_buffering(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.policy.request_buffering = match text {
        "on" => true,
        "off" => false,
        _ => return Err(ON_OFF.rejects(text)),
    };
    Ok(())
}

fn enable_access_log(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.policy.access_log = grammar::boolean(text)?;
    Ok(())
}

/// ConfigMap only.
pub(in crate::compile) fn retry_non_idempotent(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.retry_non_idempotent = grammar::boolean(text)?;
    Ok(())
}
