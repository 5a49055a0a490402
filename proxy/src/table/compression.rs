//! Which responses are compressed, and how.

use http::HeaderValue;
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// Settings of compression. By default nothing is compressed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compression {
    /// `use-gzip` and its companions.
    pub gzip: Option<CodingSettings>,
    /// `enable-brotli` and its companions.
    pub brotli: Option<CodingSettings>,
    /// `enable-zstd` and its companions.
    pub zstd: Option<CodingSettings>,
    /// Programs that are sent no gzip, by their `User-Agent` (`gzip-disable`).
    pub not_for: Option<UserAgents>,
}

/// Settings of one coding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CodingSettings {
    /// How hard it tries.
    pub level: u32,
    /// Shorter responses are sent as they are.
    pub min_length: u64,
    /// The media types, in lower case, besides `text/html`; `*` is any.
    pub types: Arc<[Box<str>]>,
}

/// Names of programs, as a regular expression without regard to case.
#[derive(Clone, Debug)]
pub struct UserAgents(regex::bytes::Regex);

// === impl Compression ===

impl Compression {
    /// Media types that ingress-nginx compresses, besides `text/html`.
    pub const TYPES: [&str; 17] = [
        "application/atom+xml",
        "application/javascript",
        "application/x-javascript",
        "application/json",
        "application/rss+xml",
        "application/vnd.ms-fontobject",
        "application/x-font-ttf",
        "application/x-web-app-manifest+json",
        "application/xhtml+xml",
        "application/xml",
        "font/opentype",
        "image/svg+xml",
        "image/x-icon",
        "text/css",
        "text/javascript",
        "text/plain",
        "text/x-component",
    ];

    /// Whether nothing is compressed.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.gzip.is_none() && self.brotli.is_none() && self.zstd.is_none()
    }
}

// === impl UserAgents ===

impl UserAgents {
    /// A regular expression.
    ///
    /// # Errors
    /// When it is none, or one that takes too much memory.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        regex::bytes::RegexBuilder::new(pattern).case_insensitive(true).size_limit(1 << 20).build().map(Self)
    }

    /// Whether the program is one of them.
    #[must_use]
    pub fn contains(&self, user_agent: &HeaderValue) -> bool {
        self.0.is_match(user_agent.as_bytes())
    }
}

impl PartialEq for UserAgents {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for UserAgents {}

impl Serialize for UserAgents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}
