//! Host patterns and their index: exact name, one-label wildcard, catch-all, in that order of precedence.
//!
//! Matching ignores case, port and one trailing dot, as ingress-nginx does; a wildcard covers exactly one label of
//! letters, digits, `_` and `-`.

use super::{VirtualHost, by_name::ByName};
use serde::Serialize;
use std::{fmt, sync::Arc};

/// A lower-case DNS name without trailing dot, at most 253 bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct HostName(Arc<str>);

/// The host predicate of a virtual host. The order of variants is the order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostMatch {
    /// This name.
    Exact(HostName),
    /// `*.` and this name: exactly one more label.
    Wildcard(HostName),
    /// Every host that no other pattern matches.
    Any,
}

/// Text that is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a host name: {reason}")]
pub struct InvalidHost {
    text: String,
    reason: &'static str,
}

/// Virtual hosts by pattern; the catch-all always exists. A clone costs the same however many there are, and shares
/// all of them.
#[derive(Clone, Debug)]
pub struct HostIndex {
    exact: ByName<Arc<VirtualHost>>,
    wildcard: ByName<Arc<VirtualHost>>,
    any: Arc<VirtualHost>,
}

/// Longest DNS name in text form (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

// === impl HostName ===

impl HostName {
    /// Parses a DNS name or an IP address literal; lower-cases it and drops one trailing dot.
    ///
    /// # Errors
    /// When the text is empty, too long, or holds a character that cannot stand in a Host header's name.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        let invalid = |reason| InvalidHost { text: text.to_owned(), reason };
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(invalid("it is empty"));
        }
        if name.len() > MAX_NAME {
            return Err(invalid("it is longer than 253 bytes"));
        }
        if name.split('.').any(str::is_empty) && !name.starts_with('[') {
            return Err(invalid("it has an empty label"));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'[' | b']');
        if !name.bytes().all(allowed) {
            return Err(invalid("only letters, digits, `-`, `_` and `.` are allowed"));
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl HostMatch ===

impl HostMatch {
    /// Parses the host of a rule: empty is [`HostMatch::Any`], a leading `*.` makes a wildcard.
    ///
    /// # Errors
    /// When the name is no host name, or `*` stands anywhere but as the whole first label.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        if text.is_empty() {
            return Ok(Self::Any);
        }
        match text.strip_prefix("*.") {
            Some(rest) => {
                let whole = |error: InvalidHost| InvalidHost { text: text.to_owned(), ..error };
                HostName::parse(rest).map(Self::Wildcard).map_err(whole)
            }
            None => HostName::parse(text).map(Self::Exact),
        }
    }

    /// The name whose wildcard covers this exact host; `None` when no wildcard can.
    #[must_use]
    pub fn wildcard_above(&self) -> Option<HostName> {
        let Self::Exact(name) = self else { return None };
        let (label, rest) = name.as_str().split_once('.')?;
        is_wildcard_label(label).then(|| HostName(rest.into()))
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Wildcard(name) => write!(f, "*.{name}"),
            Self::Any => f.write_str(""),
        }
    }
}

impl Serialize for HostMatch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl HostIndex ===

impl HostIndex {
    pub(super) fn new(any: Arc<VirtualHost>) -> Self {
        Self { exact: ByName::default(), wildcard: ByName::default(), any }
    }

    pub(super) fn insert(&mut self, host: Arc<VirtualHost>) {
        match host.host().clone() {
            HostMatch::Exact(name) => self.exact.insert(&name, host),
            HostMatch::Wildcard(name) => self.wildcard.insert(&name, host),
            HostMatch::Any => self.any = host,
        }
    }

    /// Removes the virtual host of a pattern. The catch-all can only be replaced.
    pub(super) fn remove(&mut self, host: &HostMatch) {
        match host {
            HostMatch::Exact(name) => self.exact.remove(name.as_str()),
            HostMatch::Wildcard(name) => self.wildcard.remove(name.as_str()),
            HostMatch::Any => {}
        }
    }

    /// The virtual host of just this pattern.
    pub(super) fn get(&self, host: &HostMatch) -> Option<&Arc<VirtualHost>> {
        match host {
            HostMatch::Exact(name) => self.exact.get(name.as_str()),
            HostMatch::Wildcard(name) => self.wildcard.get(name.as_str()),
            HostMatch::Any => Some(&self.any),
        }
    }

    /// Whether both are the same in memory, which costs no comparison of virtual hosts.
    pub(super) fn ptr_eq(&self, other: &Self) -> bool {
        self.exact.ptr_eq(&other.exact) && self.wildcard.ptr_eq(&other.wildcard) && Arc::ptr_eq(&self.any, &other.any)
    }

    /// The virtual host for the host of a request. Does not allocate.
    #[must_use]
    pub fn find(&self, host: &str) -> &Arc<VirtualHost> {
        let name = strip_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.len() > MAX_NAME {
            return &self.any;
        }
        if !name.bytes().any(|b| b.is_ascii_uppercase()) {
            return self.find_lower_case(name);
        }
        let mut buffer = [0u8; MAX_NAME];
        let lower = &mut buffer[..name.len()];
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        // ASCII lower-casing keeps UTF-8 valid; a failure could only mean "no such host".
        std::str::from_utf8(lower).map_or(&self.any, |name| self.find_lower_case(name))
    }

    fn find_lower_case(&self, name: &str) -> &Arc<VirtualHost> {
        if let Some(found) = self.exact.get(name) {
            return found;
        }
        if !self.wildcard.is_empty()
            && let Some((label, rest)) = name.split_once('.')
            && is_wildcard_label(label)
            && let Some(found) = self.wildcard.get(rest)
        {
            return found;
        }
        &self.any
    }

    /// The catch-all.
    #[must_use]
    pub fn any(&self) -> &Arc<VirtualHost> {
        &self.any
    }

    /// All virtual hosts in order of precedence, then by name.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Arc<VirtualHost>> {
        let mut hosts: Vec<_> = self.exact.values().chain(self.wildcard.values()).collect();
        hosts.push(&self.any);
        hosts.sort_by(|a, b| a.host().cmp(b.host()));
        hosts
    }

    /// Number of virtual hosts, the catch-all included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcard.len() + 1
    }

    /// Never true: the catch-all always exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// The part of a Host value before its port. Only the last colon outside brackets starts a port, and what follows need
/// not be numeric (ingress-nginx ignores it either way).
fn strip_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').map_or(host, |end| &host[..=end]);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn is_wildcard_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
