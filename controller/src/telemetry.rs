//! The log on stderr.
//!
//! Owns the translation of `-v` into levels. `RUST_LOG` overrides it. The access log is the proxy's and goes to stdout.

use crate::args::{Log, LogFormat};
use std::{error::Error, io};
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging for the whole process; once.
///
/// # Errors
/// When something else has taken the global subscriber already.
pub fn init(log: Log) -> anyhow::Result<()> {
    let (filter, problem) = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => match text.parse::<EnvFilter>() {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new(directives(log.verbosity)), Some(error)),
        },
        _ => (EnvFilter::new(directives(log.verbosity)), None),
    };
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    let result = match log.format {
        LogFormat::Text => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))?;
    if let Some(error) = problem {
        tracing::warn!(%error, "RUST_LOG is not valid and is ignored");
    }
    Ok(())
}

/// What is logged at a `-v` level. People know klog's: 0 for operators, 2 for changes, 4 for debugging.
fn directives(verbosity: u32) -> &'static str {
    match verbosity {
        // kube repeats each failed watch; our own watcher says it once, with the address.
        // Clients decide what h2 complains about.
        0 | 1 => "info,kube_runtime=off,kube_client=off,h2=off",
        2 | 3 => "info,rust_nginx=debug,rust_nginx_proxy=debug,kube_runtime=off,kube_client=off,h2=off",
        // Nothing is finer than this: what libraries say about single bytes is not even built in.
        _ => "debug,hyper_util=info",
    }
}

/// An error with its causes. The outer ones often only say that a request failed; the innermost one says why.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::directives;
    use tracing_subscriber::EnvFilter;

    #[test]
    fn directives_are_valid() {
        for verbosity in 0..7 {
            directives(verbosity).parse::<EnvFilter>().expect("directives are a constant");
        }
    }
}
