//! Path predicates, their index per virtual host, and the normal form in which paths are compared.
//!
//! Precedence at equal length is exact before prefix; otherwise the longest wins. Comparison is case-sensitive and by
//! path element (`/foo` covers `/foo` and `/foo/bar`, not `/foobar`), as `networking.k8s.io/v1` `PathType` defines.

use serde::Serialize;
use std::{borrow::Cow, cmp::Ordering};

/// The path predicate of a route. Values start with `/` and are in normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PathMatch {
    /// Equality.
    Exact(Box<str>),
    /// Prefix by path element.
    Prefix(Box<str>),
}

/// A request path that has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// `%` not followed by two hexadecimal digits.
    #[error("incomplete percent-encoding")]
    Encoding,
    /// An encoded NUL byte.
    #[error("NUL byte")]
    Nul,
    /// More `..` segments than there are segments to leave.
    #[error("path leaves the root")]
    AboveRoot,
}

/// Routes of one virtual host by path.
#[derive(Clone, Default)]
pub struct PathIndex {
    router: matchit::Router<Slot>,
    entries: Vec<(PathMatch, usize)>,
}

/// What stands at one position of the index: an exact route beats a prefix route of the same length.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    exact: Option<u32>,
    prefix: Option<u32>,
}

// === impl PathMatch ===

impl PathMatch {
    /// The declared path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
        }
    }
}

impl Ord for PathMatch {
    /// Best first: longer before shorter, exact before prefix, then by text.
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |path: &Self| matches!(path, Self::Prefix(_));
        (other.as_str().len().cmp(&self.as_str().len()))
            .then_with(|| rank(self).cmp(&rank(other)))
            .then_with(|| self.as_str().cmp(other.as_str()))
    }
}

impl PartialOrd for PathMatch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

// === impl PathIndex ===

impl PathIndex {
    /// Indexes routes given as (predicate, position); the predicates must be distinct.
    ///
    /// A prefix `/p` takes three entries in the radix tree (`/p`, `/p/` and everything below), because a catch-all
    /// parameter of matchit never matches the empty rest.
    pub(super) fn new(entries: Vec<(PathMatch, usize)>) -> Self {
        let mut slots = std::collections::BTreeMap::<String, Slot>::new();
        // Shortest first: a longer prefix then overwrites the `/p/` entry that `/p` made.
        let mut by_length: Vec<_> = entries.iter().collect();
        by_length.sort_by(|a, b| b.0.cmp(&a.0));
        for (path, index) in by_length {
            let index = u32::try_from(*index).expect("fewer than 2^32 routes fit in memory");
            match path {
                PathMatch::Exact(path) => slots.entry(escape(path)).or_default().exact = Some(index),
                PathMatch::Prefix(path) => {
                    let base = escape(path.strip_suffix('/').unwrap_or(path));
                    // `/p/` covers `/p` too (Kubernetes' definition of Prefix), unless `/p` is declared by itself.
                    if !base.is_empty() {
                        slots.entry(base.clone()).or_default().prefix.get_or_insert(index);
                    }
                    slots.entry(format!("{base}/")).or_default().prefix = Some(index);
                    slots.entry(format!("{base}/{{*rest}}")).or_default().prefix = Some(index);
                }
            }
        }
        let mut router = matchit::Router::new();
        for (path, slot) in slots {
            router.insert(path, slot).expect("escaped literal paths and one catch-all per node cannot conflict");
        }
        Self { router, entries }
    }

    /// The position of the best route for a path in normal form.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<usize> {
        let slot = self.router.at(path).ok()?.value;
        if let Some(found) = slot.exact.or(slot.prefix) {
            return Some(found as usize);
        }
        None
    }
}

impl PartialEq for PathIndex {
    /// The radix tree is a function of the entries.
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for PathIndex {}

impl std::fmt::Debug for PathIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|(path, index)| (path, index))).finish()
    }
}

/// Braces are matchit's parameter syntax; doubled they stand for themselves.
fn escape(path: &str) -> String {
    path.replace('{', "{{").replace('}', "}}")
}

/// The normal form in which a request path is matched: percent-decoded, `//` merged, `.` and `..` segments resolved.
/// What is forwarded stays as it came.
///
/// Borrows when the path already is in normal form, which nearly every request's is. Bytes that are not UTF-8 after
/// decoding become U+FFFD, so they can only match below a prefix.
///
/// # Errors
/// As ingress-nginx answers 400: broken percent-encoding, `%00`, a path above the root.
pub fn normalize_path(raw: &str) -> Result<Cow<'_, str>, BadPath> {
    if is_normal(raw.as_bytes()) {
        return Ok(Cow::Borrowed(raw));
    }
    let decoded = percent_decode(raw.as_bytes())?;
    let mut out: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|&b| b == b'/').peekable();
    // A path starts with `/`, so the first segment is empty.
    segments.next();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." => {
                if last {
                    out.push(b'/');
                }
            }
            b".." => {
                let parent = out.iter().rposition(|&b| b == b'/').ok_or(BadPath::AboveRoot)?;
                out.truncate(parent);
                if last {
                    out.push(b'/');
                }
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok(Cow::Owned(match String::from_utf8(out) {
        Ok(path) => path,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }))
}

/// True when nothing in the path needs work. A dot counts only at the start of a segment.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        match byte {
            b'%' => return false,
            b'/' | b'.' if previous == b'/' => return false,
            _ => {}
        }
        previous = byte;
    }
    true
}

fn percent_decode(raw: &[u8]) -> Result<Vec<u8>, BadPath> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(*b).to_digit(16)).ok_or(BadPath::Encoding);
        let value = digit()? * 16 + digit()?;
        match u8::try_from(value).map_err(|_| BadPath::Encoding)? {
            0 => return Err(BadPath::Nul),
            byte => out.push(byte),
        }
    }
    Ok(out)
}
