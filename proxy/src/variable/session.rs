//! The form of the line that is written when a session of a TCP or UDP service is over.

use super::{
    BadTemplate, HOSTNAME, Moment, list,
    log::{Escape, seconds, serialize, unquoted},
    pieces::{Piece, Pieces, Vocabulary},
};
use crate::table::Transport;
use serde::{Serialize, Serializer};
use std::{
    fmt::{self, Display as _},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// The form of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFormat {
    pieces: Pieces<SessionVariable>,
    escape: Escape,
}

/// A session that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) transport: Transport,
    pub(crate) client: SocketAddr,
    /// What was asked for: the address where it is known, and the port.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
    /// The name of its service.
    pub(crate) backend: &'a str,
    pub(crate) status: u16,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) duration: Duration,
    pub(crate) tries: &'a [Try],
}

/// An endpoint that was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    pub(crate) endpoint: SocketAddr,
    /// How long it took until it was there, if it ever was.
    pub(crate) connected: Option<Duration>,
}

/// A line, ready to be written.
struct Line<'a> {
    format: &'a SessionFormat,
    ended: &'a Ended<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionVariable {
    RemoteAddress,
    RemotePort,
    ServerAddress,
    ServerPort,
    Protocol,
    Status,
    BytesSent,
    BytesReceived,
    Time,
    Name,
    UpstreamAddress,
    UpstreamConnectTime,
    UpstreamBytesSent,
    UpstreamBytesReceived,
    Hostname,
    Pid,
    /// nginx has it, and never a value for it here.
    Nothing,
    Moment(Moment),
}

const NAMES: [(&str, SessionVariable); 22] = [
    ("remote_addr", SessionVariable::RemoteAddress),
    ("remote_port", SessionVariable::RemotePort),
    ("server_addr", SessionVariable::ServerAddress),
    ("server_port", SessionVariable::ServerPort),
    ("protocol", SessionVariable::Protocol),
    ("status", SessionVariable::Status),
    ("bytes_sent", SessionVariable::BytesSent),
    ("bytes_received", SessionVariable::BytesReceived),
    ("session_time", SessionVariable::Time),
    ("proxy_upstream_name", SessionVariable::Name),
    ("upstream_addr", SessionVariable::UpstreamAddress),
    ("upstream_connect_time", SessionVariable::UpstreamConnectTime),
    ("upstream_bytes_sent", SessionVariable::UpstreamBytesSent),
    ("upstream_bytes_received", SessionVariable::UpstreamBytesReceived),
    ("hostname", SessionVariable::Hostname),
    ("pid", SessionVariable::Pid),
    ("ssl_preread_server_name", SessionVariable::Nothing),
    ("ssl_preread_protocol", SessionVariable::Nothing),
    ("ssl_preread_alpn_protocols", SessionVariable::Nothing),
    ("time_local", SessionVariable::Moment(Moment::Local)),
    ("time_iso8601", SessionVariable::Moment(Moment::Iso8601)),
    ("msec", SessionVariable::Moment(Moment::Msec)),
];

// === impl SessionFormat ===

impl SessionFormat {
    /// ingress-nginx's default `log-format-stream`.
    pub const USUAL: &str = "[$remote_addr] [$time_local] $protocol $status $bytes_sent $bytes_received $session_time";

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

    /// Names of variables that are known here.
    pub fn known() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// The line of a session.
    pub(crate) fn line<'a>(&'a self, ended: &'a Ended<'a>) -> impl fmt::Display + 'a {
        Line { format: self, ended }
    }
}

impl Serialize for SessionFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.pieces, self.escape, serializer)
    }
}

// === impl Line ===

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let absent = self.format.escape.absent();
        self.format.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Variable(variable) => variable.write(self.ended, absent, f),
            Piece::Unknown(_) => f.write_str(absent),
        })
    }
}

// === impl SessionVariable ===

impl SessionVariable {
    /// Nothing that is written comes from the client but its address, so that nothing needs escapes.
    fn write(self, ended: &Ended<'_>, absent: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoteAddress => write!(f, "{}", ended.client.ip()),
            Self::RemotePort => write!(f, "{}", ended.client.port()),
            Self::ServerAddress => match ended.address {
                Some(address) => write!(f, "{address}"),
                None => f.write_str(absent),
            },
            Self::ServerPort => write!(f, "{}", ended.port),
            Self::Protocol => f.write_str(ended.transport.as_str()),
            Self::Status => write!(f, "{}", ended.status),
            Self::BytesSent | Self::UpstreamBytesReceived => write!(f, "{}", ended.sent),
            Self::BytesReceived | Self::UpstreamBytesSent => write!(f, "{}", ended.received),
            Self::Time => seconds(f, ended.duration),
            Self::Name if ended.backend.is_empty() => f.write_str(absent),
            Self::Name => write!(f, "{}-{}", ended.transport.as_str().to_ascii_lowercase(), ended.backend),
            Self::UpstreamAddress => list(f, ended.tries, absent, |f, tried| tried.endpoint.fmt(f)),
            Self::UpstreamConnectTime => list(f, ended.tries, absent, |f, tried| match tried.connected {
                Some(time) => seconds(f, time),
                None => f.write_str("-"),
            }),
            Self::Hostname => f.write_str(&HOSTNAME),
            Self::Pid => write!(f, "{}", std::process::id()),
            Self::Nothing => f.write_str(absent),
            Self::Moment(moment) => moment.fmt(f),
        }
    }
}

impl Vocabulary for SessionVariable {
    fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, variable)| *variable)
    }

    fn write_name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = NAMES.iter().find(|(_, known)| known == self);
        f.write_str(known.map_or("", |(name, _)| name))
    }
}
