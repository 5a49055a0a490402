//! The grammars of values in annotations and ConfigMaps, and what can be said against a value.

use std::{fmt, num::NonZeroU32, time::Duration};

/// What kind of value a setting takes; documentation is generated from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`, and Go's other spellings of them.
    Bool,
    /// A decimal number.
    Integer,
    /// A decimal number of seconds, without unit.
    Seconds,
    /// Bytes, with an optional suffix `k`, `m` or `g`.
    Size,
    /// nginx time: numbers with `ms`, `s`, `m`, `h`, `d`, `w`, seconds without.
    Time,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Items separated by commas or blanks; the text says what they are.
    List(&'static str),
    /// Anything else; the text says what.
    Text(&'static str),
}

/// What there is to say against a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// It is not in the grammar; nothing was applied.
    Malformed(String),
    /// Not all of it was applied; the text says what holds.
    Partly(String),
}

// === impl Objection ===

impl Objection {
    /// The same about what fails closed; the text says how.
    pub(super) fn closing(self, how: &str) -> Self {
        let (Self::Malformed(message) | Self::Partly(message)) = self;
        Self::Partly(format!("{message}: {how}"))
    }
}

// === impl Value ===

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::Integer => f.write_str("a whole number"),
            Self::Seconds => f.write_str("a whole number of seconds, without unit"),
            Self::Size => f.write_str("a number of bytes, or one with the suffix k, m or g"),
            Self::Time => f.write_str("a time such as 30s, 5m or 1h"),
            Self::Words(words) => write!(f, "one of {}", words.join(", ")),
            Self::List(items) => write!(f, "a list of {items}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Value {
    /// Whether two texts are the same value.
    pub(super) fn means(self, text: &str, other: &str) -> bool {
        match self {
            Self::Bool => boolean(text).is_ok_and(|value| boolean(other) == Ok(value)),
            _ => text.eq_ignore_ascii_case(other),
        }
    }

    /// The objection that a text is not such a value.
    pub(super) fn rejects(self, text: &str) -> Objection {
        Objection::Malformed(format!("{text:?} is not {self}"))
    }
}

/// Go's `strconv.ParseBool`.
pub(super) fn boolean(text: &str) -> Result<bool, Objection> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(Value::Bool.rejects(text)),
    }
}

/// A number that must not be negative.
pub(super) fn count(text: &str) -> Result<u32, Objection> {
    text.strip_prefix('+').unwrap_or(text).parse().map_err(|_| Value::Integer.rejects(text))
}

/// A number of at least one.
pub(super) fn positive(text: &str) -> Result<NonZeroU32, Objection> {
    NonZeroU32::new(count(text)?).ok_or_else(|| Objection::Malformed(format!("{text:?} is not at least 1")))
}

/// A number of seconds, which may be zero.
pub(super) fn seconds(text: &str) -> Result<Duration, Objection> {
    count(text).map(|count| Duration::from_secs(count.into())).map_err(|_| Value::Seconds.rejects(text))
}

/// A time limit. Zero would let every request fail.
pub(super) fn time_limit(text: &str) -> Result<Duration, Objection> {
    let limit = seconds(text)?;
    if limit.is_zero() {
        return Err(Objection::Malformed(format!("{text:?} is not at least one second")));
    }
    Ok(limit)
}

/// Bytes with an optional suffix.
pub(super) fn size(text: &str) -> Result<u64, Objection> {
    let (digits, unit) = match text.bytes().last().map(|byte| byte.to_ascii_lowercase()) {
        Some(b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| Value::Size.rejects(text))
}

/// nginx's times: `90`, `90s`, `1m30s`, `1h`, blanks allowed between the parts.
pub(super) fn time(text: &str) -> Result<Duration, Objection> {
    let reject = || Value::Time.rejects(text);
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(reject());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..end].parse().map_err(|_| reject())?;
        let after = &rest[end..];
        let (unit, length) = match after.as_bytes() {
            [b'm', b's', ..] => (1, 2),
            [b's', ..] => (1_000, 1),
            [b'm', ..] => (60_000, 1),
            [b'h', ..] => (3_600_000, 1),
            [b'd', ..] => (86_400_000, 1),
            [b'w', ..] => (7 * 86_400_000, 1),
            [] => (1_000, 0),
            _ => return Err(reject()),
        };
        let part = number.checked_mul(unit).map(Duration::from_millis);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(reject)?;
        rest = after[length..].trim_start();
    }
    Ok(total)
}

/// The items of a comma-separated list, trimmed, without empty ones.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Guards unless empty.
pub(super) fn non_empty(text: &str) -> bool {
    !text.is_empty()
}

/// Guards unless switched off; what is no boolean counts as on.
pub(super) fn unless_false(text: &str) -> bool {
    !text.is_empty() && boolean(text) != Ok(false)
}

/// What is wrong with a regular expression. The message of the library shows the expression on lines of its own first.
pub(super) fn reason_of_regex(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Ends a sentence about an unknown name with the name that was probably meant.
pub(super) fn hint(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    match known.map(|known| (distance(name, known), known)).min() {
        Some((distance, known)) if distance <= 2 => format!("; did you mean {known}?"),
        _ => String::new(),
    }
}

/// Edits between two names (Levenshtein), whatever their case.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_gos() {
        assert_eq!(boolean("t"), Ok(true));
        assert_eq!(boolean("False"), Ok(false));
        for bad in ["on", "yes", "", "tRUE"] {
            assert!(boolean(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_misspelt_name_gets_a_hint() {
        let known = || ["ssl-redirect", "app-root"].into_iter();
        assert_eq!(hint("ssl-redirct", known()), "; did you mean ssl-redirect?");
        assert_eq!(hint("App-Root", known()), "; did you mean app-root?");
        assert_eq!(hint("something-else", known()), "");
    }

    #[test]
    fn distances_count_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn sizes_take_a_suffix_in_either_case() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("8K"), Ok(8192));
        assert_eq!(size("1m"), Ok(1 << 20));
        assert_eq!(size("2g"), Ok(2 << 30));
        for bad in ["", "m", "-1", "+1", "1mb", "1.5m", "10b", "99999999999999999999", "18446744073709551615k", "1 m"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_add_up() {
        assert_eq!(time("240s"), Ok(Duration::from_secs(240)));
        assert_eq!(time("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(time("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("10"), Ok(Duration::from_secs(10)));
        assert_eq!(time("5ms"), Ok(Duration::from_millis(5)));
        for bad in ["", "s", "5x", "-5s", "1h-", "99999999999999999w"] {
            assert!(time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn limits_are_bare_seconds_and_never_zero() {
        assert_eq!(time_limit("15"), Ok(Duration::from_secs(15)));
        for bad in ["0", "15s", "-1", "", "4294967296"] {
            assert!(time_limit(bad).is_err(), "{bad:?}");
        }
    }
}
