//! Text of a label selector → something that can be asked about labels.
//!
//! The grammar is that of the API server
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>), whose answer to a mistake
//! would come late: a watch that never begins.

use crate::snapshot::is_dns_subdomain;
use kube::core::{Expression, Selector, SelectorExt as _};
use std::collections::BTreeMap;

/// A label selector, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    text: String,
    selector: Selector,
}

impl LabelSelector {
    pub(super) const ACCEPTED: &'static str = "a label selector such as team=a, team!=a, team in (a,b), team notin (a,b), team, !team; several are joined by commas";

    /// Reads a selector; none when it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let selector = requirements(text).map(requirement).collect::<Option<Selector>>()?;
        Some(Self { text: text.to_owned(), selector })
    }

    /// The text, for the API server.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it selects an object with these labels.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.matches(labels)
    }
}

/// Cuts at the commas that stand outside of parentheses. Parentheses in the wrong places stay in a piece that is none.
fn requirements(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    let pieces = text.split(move |character| {
        depth += i32::from(character == '(') - i32::from(character == ')');
        character == ',' && depth == 0
    });
    pieces.map(str::trim)
}

fn requirement(text: &str) -> Option<Expression> {
    if let Some(name) = text.strip_prefix('!') {
        return Some(Expression::DoesNotExist(key(name)?));
    }
    if let Some(list) = text.strip_suffix(')') {
        let (before, list) = list.split_once('(')?;
        let (name, operator) = before.trim().rsplit_once(char::is_whitespace)?;
        let values = list.split(',').map(value).collect::<Option<_>>()?;
        return match operator {
            "in" => Some(Expression::In(key(name)?, values)),
            "notin" => Some(Expression::NotIn(key(name)?, values)),
            _ => None,
        };
    }
    if let Some((name, text)) = text.split_once("!=") {
        return Some(Expression::NotEqual(key(name)?, value(text)?));
    }
    match text.split_once("==").or_else(|| text.split_once('=')) {
        Some((name, text)) => Some(Expression::Equal(key(name)?, value(text)?)),
        None => Some(Expression::Exists(key(text)?)),
    }
}

/// A name of at most 63 characters, with the name of a domain before it or not.
fn key(text: &str) -> Option<String> {
    let text = text.trim();
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    (!name.is_empty() && is_value(name) && domain.is_none_or(is_dns_subdomain)).then(|| text.to_owned())
}

fn value(text: &str) -> Option<String> {
    let text = text.trim();
    is_value(text).then(|| text.to_owned())
}

fn is_value(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.is_empty() || text.len() <= 63 && is_framed(text) && text.bytes().all(allowed)
}

/// Begins and ends with a letter or a digit.
fn is_framed(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_as_the_api_server_does() {
        let labels =
            BTreeMap::from([("team".to_owned(), "a".to_owned()), ("example.com/tier".to_owned(), String::new())]);
        for (selector, selected) in [
            ("team=a", true),
            ("team==a", true),
            (" team = a ", true),
            ("team=b", false),
            ("team!=b", true),
            ("other!=b", true),
            ("team", true),
            ("!team", false),
            ("!other", true),
            ("team in (a, b)", true),
            ("team in (b)", false),
            ("team notin (a,b)", false),
            ("other notin (a,b)", true),
            ("example.com/tier", true),
            ("example.com/tier=", true),
            ("team in (a,b),!other, team!=c", true),
            ("team in (a,b),other", false),
        ] {
            let parsed = LabelSelector::parse(selector).unwrap_or_else(|| panic!("{selector:?} is refused"));
            assert_eq!(parsed.matches(&labels), selected, "{selector}");
        }
    }

    #[test]
    fn refuses_what_the_api_server_refuses() {
        for selector in [
            "x in",
            "x in (",
            "x in a)",
            "x in ((a))",
            "x in (a",
            "x in )a(",
            "a),(b",
            "a)(,b",
            ",",
            "a,,b",
            "=a",
            "a b",
            "a=b c",
            "-a",
            "a-",
            "A/b",
            "!",
        ] {
            assert_eq!(LabelSelector::parse(selector), None, "{selector:?}");
        }
    }
}
