//! TCP and UDP services: what applies to all of them. Which ones there are stands in ConfigMaps of their own.

use super::{
    super::grammar::{self, Objection, Value},
    Draft, Key,
};
use std::time::Duration;

pub(super) const KEYS: &[Key] = &[
    Key::new("proxy-stream-timeout", Value::Time, "600s", "Idle time of TCP and UDP sessions.")
        .served(proxy_stream_timeout),
    Key::new("proxy-stream-next-upstream", Value::Bool, "true", "Whether another endpoint is tried.")
        .served(proxy_stream_next_upstream),
    Key::new(
        "proxy-stream-next-upstream-timeout",
        Value::Time,
        "600s",
        "No new try is started after this time; 0 is no limit.",
    )
    .served(proxy_stream_next_upstream_timeout),
    Key::new("proxy-stream-next-upstream-tries", Value::Integer, "3", "Tries in total; 0 is one for each endpoint.")
        .served(proxy_stream_next_upstream_tries),
    Key::new(
        "proxy-stream-responses",
        Value::Integer,
        "1",
        "Datagrams that answer one of the client; a UDP session ends with the last of them.",
    )
    .served(proxy_stream_responses),
    Key::new("disable-stream-access-log", Value::Bool, "false", "Switches the access log of TCP and UDP services off.")
        .served(disable_stream_access_log),
];

fn proxy_stream_timeout(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let idle = grammar::time(text)?;
    if idle.is_zero() {
        return Err(Objection::Malformed(format!("{text:?} would end every session")));
    }
    draft.settings.streams.idle = idle;
    Ok(())
}

fn proxy_stream_next_upstream(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.streams.next_upstream = grammar::boolean(text)?;
    Ok(())
}

fn proxy_stream_next_upstream_timeout(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.streams.timeout = Some(grammar::time(text)?).filter(|timeout| *timeout > Duration::ZERO);
    Ok(())
}

fn proxy_stream_next_upstream_tries(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.streams.tries = grammar::count(text)?;
    Ok(())
}

fn proxy_stream_responses(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.streams.responses = grammar::count(text)?;
    Ok(())
}

fn disable_stream_access_log(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.streams.access_log &= !grammar::boolean(text)?;
    Ok(())
}
