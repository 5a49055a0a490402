//! Text with nginx variables, such as `$request_uri` or `${http_x_user}`.
//!
//! A variable that is not set is empty, as in nginx. There are three vocabularies with one grammar: what is known of a
//! request ([`Template`]), what is known when it is over ([`LogFormat`]), and what is known of a session of TCP or UDP
//! ([`SessionFormat`]).

mod log;
mod pieces;
mod request;
mod session;

pub use self::{
    log::{Escape, LogFormat},
    session::SessionFormat,
};
pub(crate) use self::{
    log::{Finished, Line},
    request::{Scope, cookies, request_target},
    session::{Ended, Try},
};
use self::{
    pieces::{Piece, Pieces},
    request::Variable,
};
use http::HeaderValue;
use serde::Serialize;
use std::{fmt, sync::LazyLock};

/// A text with variables of requests. Expanding it allocates nothing: the pieces are handed on as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Pieces<Variable>);

/// Why a text is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// `$` that no name follows.
    #[error("a $ without the name of a variable")]
    NoName,
    /// `${` without its end.
    #[error("${{ without }}")]
    Unclosed,
}

/// The three forms that nginx has of this moment. It passes when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Local,
    Iso8601,
    /// Seconds with milliseconds.
    Msec,
}

/// nginx's `$hostname`: asked for once.
static HOSTNAME: LazyLock<String> =
    LazyLock::new(|| std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned());

// === impl Template ===

impl Template {
    /// Reads `$name`, `${name}` and the text around them.
    ///
    /// # Errors
    /// When a `$` begins no variable.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        Pieces::parse(text).map(Self)
    }

    /// Names of variables that are not known here, and therefore always empty.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.0.unknown()
    }

    /// Names of variables that are known here, but for those with an argument (`arg_`, `cookie_`, `http_`).
    pub fn known() -> impl Iterator<Item = &'static str> {
        Variable::names()
    }

    /// Hands on what the text is for a request, piece by piece.
    pub(crate) fn expand(&self, scope: &Scope<'_>, mut out: impl FnMut(&[u8])) {
        for piece in self.0.iter() {
            match piece {
                Piece::Text(text) => out(text.as_bytes()),
                Piece::Variable(variable) => variable.value(scope, &mut out),
                Piece::Unknown(_) => {}
            }
        }
    }

    /// What the text is for a request, as the value of a field; `None` where it is empty, or none that a field may have
    /// (RFC 9110 §5.5).
    pub(crate) fn value(&self, scope: &Scope<'_>) -> Option<HeaderValue> {
        let mut text = Vec::new();
        self.expand(scope, |piece| text.extend_from_slice(piece));
        let text = text.trim_ascii();
        if text.is_empty() { None } else { HeaderValue::from_bytes(text).ok() }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Template {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl Moment ===

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => jiff::Zoned::now().strftime("%d/%b/%Y:%H:%M:%S %z").fmt(f),
            Self::Iso8601 => jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").fmt(f),
            Self::Msec => {
                let now = jiff::Timestamp::now().as_millisecond();
                write!(f, "{}.{:03}", now / 1000, now % 1000)
            }
        }
    }
}

/// nginx's lists of tries: `absent` where there was none, `, ` between them.
pub(crate) fn list<T>(
    f: &mut fmt::Formatter<'_>,
    tries: &[T],
    absent: &str,
    item: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if tries.is_empty() {
        return f.write_str(absent);
    }
    for (index, tried) in tries.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        item(f, tried)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
