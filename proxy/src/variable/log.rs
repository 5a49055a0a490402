//! The form of the line that is written when a request is over (nginx `log_format`).
//!
//! What is known of a request while it is under way is gone by then, so that the line is begun early ([`Line`]) and
//! completed with what the end brings ([`Finished`]).

use super::{
    BadTemplate, Moment, Scope, list,
    pieces::{Piece, Pieces, Vocabulary},
    request::Variable,
};
use crate::access_log::Attempt;
use http::StatusCode;
use serde::{Serialize, Serializer};
use std::{
    borrow::Cow,
    fmt::{self, Display as _},
    net::IpAddr,
    time::Duration,
};

/// The form of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFormat {
    pieces: Pieces<LogVariable>,
    escape: Escape,
}

/// What happens to text of clients, so that no request can forge a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Escape {
    /// Quotes, backslashes and everything outside printable ASCII become `\xHH`; what is not there becomes `-`.
    #[default]
    Default,
    /// As strings of JSON have it (RFC 8259 §7).
    Json,
    /// Nothing.
    None,
}

/// A line whose end is missing.
#[derive(Debug)]
pub(crate) struct Line {
    text: String,
    /// What comes at which position.
    late: Vec<(usize, Late)>,
    absent: &'static str,
}

/// What the end of a request brings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished<'a> {
    pub(crate) status: StatusCode,
    pub(crate) bytes_sent: u64,
    pub(crate) request_length: u64,
    pub(crate) duration: Duration,
    pub(crate) attempts: &'a [Attempt],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LogVariable {
    Early(Variable),
    Late(Late),
}

/// What is known in the end only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    Status,
    BytesSent,
    RequestLength,
    RequestTime,
    UpstreamAddress,
    UpstreamStatus,
    UpstreamLength,
    UpstreamTime,
    UpstreamConnectTime,
    UpstreamHeaderTime,
    Time(Moment),
}

const LATE: [(&str, Late); 15] = [
    ("status", Late::Status),
    ("body_bytes_sent", Late::BytesSent),
    ("bytes_sent", Late::BytesSent),
    ("request_length", Late::RequestLength),
    ("request_time", Late::RequestTime),
    ("upstream_addr", Late::UpstreamAddress),
    ("upstream_status", Late::UpstreamStatus),
    ("upstream_response_length", Late::UpstreamLength),
    ("upstream_bytes_received", Late::UpstreamLength),
    ("upstream_response_time", Late::UpstreamTime),
    ("upstream_connect_time", Late::UpstreamConnectTime),
    ("upstream_header_time", Late::UpstreamHeaderTime),
    ("time_local", Late::Time(Moment::Local)),
    ("time_iso8601", Late::Time(Moment::Iso8601)),
    ("msec", Late::Time(Moment::Msec)),
];

// === impl LogFormat ===

impl LogFormat {
    /// ingress-nginx's default `log-format-upstream`.
    pub const USUAL: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
        \"$http_referer\" \"$http_user_agent\" $request_length $request_time [$proxy_upstream_name] \
        [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_response_time \
        $upstream_status $req_id";

    /// Reads a form, as nginx reads it between quotes.
    ///
    /// # Errors
    /// When a `$` begins no variable.
    pub fn parse(text: &str, escape: Escape) -> Result<Self, BadTemplate> {
        Ok(Self { pieces: Pieces::parse(&unquoted(text))?, escape })
    }

    /// Names of variables that are not known here, and therefore always empty.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.pieces.unknown()
    }

    /// Names of variables that are known here, but for those with an argument (`arg_`, `cookie_`, `http_`).
    pub fn known() -> impl Iterator<Item = &'static str> {
        LATE.iter().map(|(name, _)| *name).chain(Variable::names())
    }

    /// Begins the line of a request.
    pub(crate) fn begin(&self, scope: &Scope<'_>) -> Line {
        self.begin_with(|variable, value| variable.value(scope, &mut |piece| value.extend_from_slice(piece)))
    }

    /// Begins the line of a request that was refused before anything in it could be trusted.
    pub(crate) fn begin_refused(&self, remote: IpAddr, line: &[u8]) -> Line {
        self.begin_with(|variable, value| match variable {
            Variable::RemoteAddr => value.extend_from_slice(remote.to_string().as_bytes()),
            Variable::Request => value.extend_from_slice(line),
            _ => {}
        })
    }

    fn begin_with(&self, mut put: impl FnMut(&Variable, &mut Vec<u8>)) -> Line {
        let absent = self.escape.absent();
        let (mut text, mut late, mut value) = (String::with_capacity(256), Vec::new(), Vec::new());
        for piece in self.pieces.iter() {
            match piece {
                Piece::Text(fixed) => text.push_str(fixed),
                Piece::Variable(LogVariable::Late(variable)) => late.push((text.len(), *variable)),
                Piece::Variable(LogVariable::Early(variable)) => {
                    value.clear();
                    put(variable, &mut value);
                    if value.is_empty() && !variable.is_always_set() {
                        text.push_str(absent);
                    } else {
                        // Writing into a String cannot fail.
                        let _ = self.escape.write(&value, &mut text);
                    }
                }
                Piece::Unknown(_) => text.push_str(absent),
            }
        }
        Line { text, late, absent }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.fmt(f)
    }
}

impl Serialize for LogFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.pieces, self.escape, serializer)
    }
}

/// The form of a form in goldens.
pub(super) fn serialize<S: Serializer>(
    pieces: &impl fmt::Display,
    escape: Escape,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct View {
        escape: Escape,
        text: String,
    }
    View { escape, text: pieces.to_string() }.serialize(serializer)
}

/// What a text stands for between quotes of nginx's configuration.
pub(super) fn unquoted(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let meant = match (character, rest.peek()) {
            ('\\', Some(quoted @ ('"' | '\'' | '\\'))) => Some(*quoted),
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('r')) => Some('\r'),
            ('\\', Some('n')) => Some('\n'),
            _ => None,
        };
        if meant.is_some() {
            rest.next();
        }
        plain.push(meant.unwrap_or(character));
    }
    plain.into()
}

// === impl Escape ===

impl Escape {
    /// What stands for a value that is not there.
    pub(super) fn absent(self) -> &'static str {
        match self {
            Self::Default => "-",
            Self::Json | Self::None => "",
        }
    }

    /// Writes text of a client.
    pub(crate) fn write(self, text: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Default => {
                for &byte in text {
                    match byte {
                        b'"' | b'\\' | 0..=0x1f | 0x7f.. => write!(out, "\\x{byte:02X}")?,
                        _ => out.write_char(char::from(byte))?,
                    }
                }
                Ok(())
            }
            Self::Json => {
                for character in String::from_utf8_lossy(text).chars() {
                    match character {
                        '"' | '\\' => write!(out, "\\{character}")?,
                        '\n' => out.write_str("\\n")?,
                        '\r' => out.write_str("\\r")?,
                        '\t' => out.write_str("\\t")?,
                        '\u{8}' => out.write_str("\\b")?,
                        '\u{c}' => out.write_str("\\f")?,
                        '\0'..='\u{1f}' => write!(out, "\\u{:04X}", u32::from(character))?,
                        _ => out.write_char(character)?,
                    }
                }
                Ok(())
            }
            Self::None => out.write_str(&String::from_utf8_lossy(text)),
        }
    }
}

// === impl Line ===

impl Line {
    /// Completes the line.
    pub(crate) fn write(&self, end: &Finished<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = 0;
        for (position, late) in &self.late {
            f.write_str(&self.text[written..*position])?;
            late.write(end, self.absent, f)?;
            written = *position;
        }
        f.write_str(&self.text[written..])
    }
}

// === impl LogVariable ===

impl Vocabulary for LogVariable {
    fn named(name: &str) -> Option<Self> {
        match LATE.iter().find(|(known, _)| *known == name) {
            Some((_, late)) => Some(Self::Late(*late)),
            None => Variable::named(name).map(Self::Early),
        }
    }

    fn write_name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Early(variable) => variable.write_name(f),
            Self::Late(late) => {
                let known = LATE.iter().find(|(_, known)| known == late);
                f.write_str(known.map_or("", |(name, _)| name))
            }
        }
    }
}

// === impl Late ===

impl Late {
    fn write(self, end: &Finished<'_>, absent: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, item: fn(&mut fmt::Formatter<'_>, &Attempt) -> fmt::Result| {
            list(f, end.attempts, absent, item)
        };
        match self {
            Self::Status => write!(f, "{}", end.status.as_u16()),
            Self::BytesSent => write!(f, "{}", end.bytes_sent),
            Self::RequestLength => write!(f, "{}", end.request_length),
            Self::RequestTime => seconds(f, end.duration),
            Self::UpstreamAddress => list(f, |f, attempt| attempt.endpoint.address.fmt(f)),
            Self::UpstreamStatus => list(f, |f, attempt| match attempt.status {
                Some(status) => status.as_u16().fmt(f),
                None => f.write_str("-"),
            }),
            Self::UpstreamLength => list(f, |f, attempt| attempt.length.fmt(f)),
            Self::UpstreamTime => list(f, |f, attempt| seconds(f, attempt.time)),
            Self::UpstreamConnectTime => list(f, |f, attempt| reached(f, attempt.connect)),
            Self::UpstreamHeaderTime => list(f, |f, attempt| reached(f, attempt.header)),
            Self::Time(moment) => moment.fmt(f),
        }
    }
}

/// When something was reached, if it was.
fn reached(f: &mut fmt::Formatter<'_>, time: Option<Duration>) -> fmt::Result {
    match time {
        Some(time) => seconds(f, time),
        None => f.write_str("-"),
    }
}

/// As nginx writes times.
pub(super) fn seconds(f: &mut fmt::Formatter<'_>, time: Duration) -> fmt::Result {
    write!(f, "{:.3}", time.as_secs_f64())
}
