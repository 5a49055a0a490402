//! What is written about requests and sessions, and about which of them.

use crate::variable::{LogFormat, SessionFormat};
use regex::{Regex, RegexBuilder};
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// Form and reach of the access logs. Defaults are those of ingress-nginx with an empty ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Logs {
    /// The line of a request (`log-format-upstream`); `None` is the default form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Arc<LogFormat>>,
    /// The line of a session of TCP or UDP (`log-format-stream`); `None` is the default form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Arc<SessionFormat>>,
    /// Requests without a line (`skip-access-log-urls`).
    #[serde(skip_serializing_if = "SkippedTargets::is_empty")]
    pub skipped: SkippedTargets,
    /// Requests for hosts that nobody declared have one, too (`enable-access-log-for-default-backend`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default_backend: bool,
}

/// Targets of requests, as clients write them.
#[derive(Clone, Debug, Default)]
pub struct SkippedTargets {
    /// In lower case, sorted.
    exact: Box<[Box<str>]>,
    /// With what was written.
    patterns: Box<[(Box<str>, Regex)]>,
}

// === impl SkippedTargets ===

impl SkippedTargets {
    /// Reads the left sides of nginx's `map`: text without regard to case, `~` and `~*` before a regular expression.
    ///
    /// Returned beside them: those that are no regular expression, or one that takes too much memory, with the reason.
    pub fn parse<'a>(items: impl IntoIterator<Item = &'a str>) -> (Self, Vec<(&'a str, regex::Error)>) {
        let (mut exact, mut patterns, mut bad) = (Vec::<Box<str>>::new(), Vec::new(), Vec::new());
        for item in items {
            let Some(pattern) = item.strip_prefix('~') else {
                exact.push(item.to_ascii_lowercase().into());
                continue;
            };
            let (pattern, anyhow) = pattern.strip_prefix('*').map_or((pattern, false), |pattern| (pattern, true));
            match RegexBuilder::new(pattern).case_insensitive(anyhow).size_limit(1 << 20).build() {
                Ok(pattern) => patterns.push((item.into(), pattern)),
                Err(error) => bad.push((item, error)),
            }
        }
        exact.sort_unstable();
        (Self { exact: exact.into(), patterns: patterns.into() }, bad)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }

    /// Whether a target is one of them.
    #[must_use]
    pub fn contain(&self, target: &str) -> bool {
        self.exact.iter().any(|known| known.eq_ignore_ascii_case(target))
            || self.patterns.iter().any(|(_, pattern)| pattern.is_match(target))
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|(text, _)| &**text)
    }
}

impl PartialEq for SkippedTargets {
    fn eq(&self, other: &Self) -> bool {
        self.exact == other.exact && self.texts().eq(other.texts())
    }
}

impl Eq for SkippedTargets {}

impl Serialize for SkippedTargets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.exact.iter().map(|exact| &**exact).chain(self.texts()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_compared_as_nginx_compares_them() {
        let (targets, bad) = SkippedTargets::parse(["/Health", "/x?y=1", "~^/status/", "~*\\.PNG$", "~("]);
        for (target, expected) in [
            ("/health", true),
            ("/HEALTH", true),
            ("/health/", false),
            ("/x", false),
            ("/x?y=1", true),
            ("/status/a", true),
            ("/STATUS/a", false),
            ("/a.png", true),
        ] {
            assert_eq!(targets.contain(target), expected, "{target}");
        }
        assert_eq!(bad.iter().map(|(text, _)| *text).collect::<Vec<_>>(), ["~("]);
        assert!(SkippedTargets::default().is_empty());
    }
}
