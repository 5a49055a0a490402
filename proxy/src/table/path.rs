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
    tree: Option<Box<Tree>>,
    /// Of the declared paths of the others, side by side: a route whose path is too long need not be fetched from
    /// wherever it is in memory.
    lengths: Box<[u16]>,
}

/// So many routes are compared one after the other. Most hosts have no more, and a tree per host would take more memory
/// than its routes (5 KB for eleven of them); comparing takes about as long as going down the tree, once per segment.
const FEW: usize = 16;

/// Declared paths in a radix tree, prefixes without the slash at their end. They are all literal: with a wildcard per
/// prefix the tree would have to go back now and then, for which it allocates.
#[derive(Clone)]
struct Tree {
    router: matchit::Router<Slot>,
    /// The prefix `/`.
    root: Option<u32>,
    /// Length of the longest path in the tree: what is longer need not be looked for.
    longest: usize,
}

/// What is declared at one path.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    exact: Option<u32>,
    /// The prefix `/p`.
    prefix: Option<u32>,
    /// The prefix `/p/`.
    with_slash: Option<u32>,
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
            // It can only be `/`, which takes everything.
            Self::Prefix(own) if own.len() == 1 && path.starts_with('/') => Some(Coverage::Full),
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
        if routes.len() > FEW {
            return Self { tree: Some(Box::new(Tree::new(routes))), lengths: Box::default() };
        }
        // A path too long to be counted here is always looked at.
        let length = |route: &Arc<Route>| u16::try_from(route.path.as_str().len()).unwrap_or_default();
        Self { tree: None, lengths: routes.iter().map(length).collect() }
    }

    /// The best route for a path in normal form. Does not allocate.
    pub(super) fn find<'a>(&self, routes: &'a [Arc<Route>], path: &str) -> Option<&'a Arc<Route>> {
        match &self.tree {
            Some(tree) => tree.find(path).map(|index| &routes[index as usize]),
            None => self.scan(routes, path),
        }
    }

    /// The first one that takes the path, since the best ones come first; `/p/` only takes `/p` when none of those does
    /// that are as long as the path.
    fn scan<'a>(&self, routes: &'a [Arc<Route>], path: &str) -> Option<&'a Arc<Route>> {
        let mut with_slash = None;
        for (route, length) in routes.iter().zip(&self.lengths) {
            if usize::from(*length) > path.len() + 1 {
                continue;
            }
            match route.path.covers(path) {
                Some(Coverage::Full) if route.path.as_str().len() < path.len() => return with_slash.or(Some(route)),
                Some(Coverage::Full) => return Some(route),
                Some(Coverage::WithSlash) => with_slash = Some(route),
                None => {}
            }
        }
        with_slash
    }
}

impl std::fmt::Debug for PathIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PathIndex").finish_non_exhaustive()
    }
}

// === impl Tree ===

impl Tree {
    fn new(routes: &[Arc<Route>]) -> Self {
        let (mut slots, mut root) = (std::collections::BTreeMap::<&str, Slot>::new(), None);
        for (index, route) in (0..).zip(routes) {
            match &route.path {
                PathMatch::Exact(path) => slots.entry(path).or_default().exact = Some(index),
                PathMatch::Prefix(path) => match path.strip_suffix('/') {
                    Some("") => root = Some(index),
                    Some(base) => slots.entry(base).or_default().with_slash = Some(index),
                    None => slots.entry(path).or_default().prefix = Some(index),
                },
            }
        }
        let longest = slots.keys().map(|path| path.len()).max().unwrap_or_default();
        let mut router = matchit::Router::new();
        for (path, slot) in slots {
            router.insert(escape(path), slot).expect("distinct literal paths cannot conflict");
        }
        Self { router, root, longest }
    }

    fn find(&self, path: &str) -> Option<u32> {
        let whole = self.at(path);
        // `/p/` covers `/p` too (Kubernetes' definition of Prefix), unless `/p` is declared by itself.
        if let Some(found) = whole.exact.or(whole.prefix).or(whole.with_slash) {
            return Some(found);
        }
        let mut end = path.len();
        loop {
            end = path[..end].rfind('/')?;
            if end == 0 {
                return self.root;
            }
            let slot = self.at(&path[..end]);
            if let Some(found) = slot.with_slash.or(slot.prefix) {
                return Some(found);
            }
        }
    }

    /// What is declared at just this path.
    fn at(&self, path: &str) -> Slot {
        if path.len() > self.longest {
            return Slot::default();
        }
        self.router.at(path).map_or_else(|_| Slot::default(), |found| *found.value)
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
