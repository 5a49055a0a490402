//! The six works that are measured, and how each one loads a proxy.
//!
//! Owns the names, the order and the shape (protocol, concurrency, size) of the works; every peer
//! is given exactly the same one. Knows no peer and no measuring tool.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, bail};
use serde::{Deserialize, Serialize};

/// One kind of traffic, measured for every target in every round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Work {
    H1,
    Tls,
    H2,
    Connect,
    Handshake,
    Large,
}

/// What the client speaks to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http1Tls,
    Http2Tls,
}

/// How long a client connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    KeepAlive,
    OneRequest,
}

/// Which body is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Large,
}

// === impl Work ===

impl Work {
    pub(crate) const ALL: [Self; 6] = [Self::H1, Self::Tls, Self::H2, Self::Connect, Self::Handshake, Self::Large];

    /// The word used on the command line and in result files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::Tls => "tls",
            Self::H2 => "h2",
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::Large => "large",
        }
    }

    /// The row label of the tables.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::H1 => "HTTP/1.1 keep-alive, 1 KB",
            Self::Tls => "HTTP/1.1 over TLS, 1 KB",
            Self::H2 => "HTTP/2 over TLS, 1 KB",
            Self::Connect => "new TCP connection per request",
            Self::Handshake => "full TLS handshake per request (P-256)",
            Self::Large => "1 MB response",
        }
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::H1 | Self::Connect | Self::Large => Protocol::Http1,
            Self::Tls | Self::Handshake => Protocol::Http1Tls,
            Self::H2 => Protocol::Http2Tls,
        }
    }

    pub(crate) fn lifetime(self) -> Lifetime {
        match self {
            Self::H1 | Self::Tls | Self::H2 | Self::Large => Lifetime::KeepAlive,
            Self::Connect | Self::Handshake => Lifetime::OneRequest,
        }
    }

    pub(crate) fn size(self) -> Size {
        match self {
            Self::Large => Size::Large,
            Self::H1 | Self::Tls | Self::H2 | Self::Connect | Self::Handshake => Size::Small,
        }
    }

    /// Client connections open at a time.
    pub(crate) fn connections(self) -> usize {
        match self {
            Self::H1 | Self::Tls | Self::Connect | Self::Handshake => 32,
            Self::H2 | Self::Large => 8,
        }
    }

    /// Requests in flight on each connection when the proxy is driven as fast as it goes.
    pub(crate) fn streams(self) -> usize {
        match self {
            Self::H2 => 16,
            Self::H1 | Self::Tls | Self::Connect | Self::Handshake | Self::Large => 1,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Work {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match Self::ALL.into_iter().find(|work| work.name() == text) {
            Some(work) => Ok(work),
            None => bail!("unknown work `{text}`; accepted: {}", Self::ALL.map(Self::name).join(", ")),
        }
    }
}

impl Protocol {
    pub(crate) fn is_tls(self) -> bool {
        match self {
            Self::Http1 => false,
            Self::Http1Tls | Self::Http2Tls => true,
        }
    }
}

impl Size {
    /// The last path segment, from which the origin knows what to answer.
    pub(crate) fn segment(self) -> &'static str {
        match self {
            Self::Small => "1k",
            Self::Large => "1m",
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small => 1 << 10,
            Self::Large => 1 << 20,
        }
    }
}
