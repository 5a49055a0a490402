//! Path predicates, and the normal form in which paths are compared.
//!
//! Precedence at equal length is exact before prefix; otherwise the longest wins. Comparison is case-sensitive and by
//! path element (`/foo` covers `/foo` and `/foo/bar`, not `/foobar`), as `networking.k8s.io/v1` `PathType` defines.

use serde::Serialize;
use std::{borrow::Cow, cmp::Ordering, sync::Arc};

/// The path predicate of a route. Values start with `/` and are in normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PathMatch {
    /// Equality.
    Exact(Arc<str>),
    /// Prefix by path element.
    Prefix(Arc<str>),
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

// === impl PathMatch ===

impl PathMatch {
    /// The declared path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
        }
    }

    /// The declared path, for sharing.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
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
