//! Path predicates, their index per virtual host, and the normal form in which paths are compared.
//!
//! Precedence at equal length is exact before prefix; otherwise the longest wins. Comparison is case-sensitive and by
//! path element (`/foo` covers `/foo` and `/foo/bar`, not `/foobar`), as `networking.k8s.io/v1` `PathType` defines.

use super::Route;
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

/// Which route of a virtual host a path takes. It refers to the routes by position, best match first.
#[derive(Clone)]
pub(super) struct PathIndex {
    /// Only for hosts with more than [`FEW`] routes.
    router: Option<Box<matchit::Router<Slot>>>,
}

/// So many routes are compared one after the other. Most hosts have no more, and a tree per host would take more memory
/// than its routes; looking at eight takes about as long as going down the tree.
const FEW: usize = 8;

/// What stands at one position of the tree: an exact route beats a prefix route of the same length.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    exact: Option<u32>,
    prefix: Option<u32>,
}

/// How a predicate takes a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coverage {
    /// As it is.
    Full,
    /// `/p/` takes `/p`, unless something else declares that.
    WithSlash,
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

    /// Whether it takes a path in normal form.
    fn covers(&self, path: &str) -> Option<Coverage> {
        match self {
            Self::Exact(own) => (**own == *path).then_some(Coverage::Full),
            Self::Prefix(own) => {
                let base = own.strip_suffix('/').unwrap_or(own);
                match path.strip_prefix(base)?.as_bytes() {
                    [] if base.len() < own.len() && !base.is_empty() => Some(Coverage::WithSlash),
                    [] | [b'/', ..] => Some(Coverage::Full),
                    _ => None,
                }
            }
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
    /// Indexes routes with distinct predicates, given best match first.
    pub(super) fn new(routes: &[Arc<Route>]) -> Self {
        debug_assert!(routes.is_sorted_by(|a, b| a.path < b.path));
        Self { router: (routes.len() > FEW).then(|| Box::new(tree(routes))) }
    }

    /// The best route for a path in normal form. Does not allocate.
    pub(super) fn find<'a>(&self, routes: &'a [Arc<Route>], path: &str) -> Option<&'a Arc<Route>> {
        let Some(router) = &self.router else { return scan(routes, path) };
        let slot = router.at(path).ok()?.value;
        slot.exact.or(slot.prefix).map(|index| &routes[index as usize])
    }
}

impl std::fmt::Debug for PathIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PathIndex").finish_non_exhaustive()
    }
}

/// The first one that takes the path, since the best ones come first; `/p/` only takes `/p` when none of those does that
/// are as long as the path.
fn scan<'a>(routes: &'a [Arc<Route>], path: &str) -> Option<&'a Arc<Route>> {
    let mut with_slash = None;
    for route in routes {
        match route.path.covers(path) {
            Some(Coverage::Full) if route.path.as_str().len() < path.len() => return with_slash.or(Some(route)),
            Some(Coverage::Full) => return Some(route),
            Some(Coverage::WithSlash) => with_slash = Some(route),
            None => {}
        }
    }
    with_slash
}

/// A prefix `/p` takes three entries in the radix tree (`/p`, `/p/` and everything below), because a catch-all parameter
/// of matchit never matches the empty rest.
fn tree(routes: &[Arc<Route>]) -> matchit::Router<Slot> {
    let mut slots = std::collections::BTreeMap::<String, Slot>::new();
    // Shortest first: a longer prefix then overwrites the `/p/` entry that `/p` made.
    for (index, route) in routes.iter().enumerate().rev() {
        let index = u32::try_from(index).expect("fewer than 2^32 routes fit in memory");
        match &route.path {
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
    router
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
