//! Which route of a virtual host takes a path: few are compared one after the other, many stand in a tree.

use super::{PathMatch, Route, packed::Packed};
use std::sync::Arc;

/// The paths that the routes of a virtual host declare. It refers to the routes by position, best match first.
#[derive(Clone)]
pub(super) enum PathIndex {
    /// So few that comparing takes about as long as going down a tree, once per segment.
    Few(Declared),
    /// Boxed, since most virtual hosts have no tree.
    Many(Box<Tree>),
}

/// Most hosts have no more routes, and a tree per host would take more memory than its routes (5 KB for eleven of them).
const FEW: usize = 16;

/// Declared paths, best match first, one after the other in one piece of memory: the routes that do not take a path need
/// not be fetched from wherever they are. Each is a [`Form`], the length of its text in two bytes, and the text.
#[derive(Clone)]
pub(super) struct Declared(Packed<SHORT>);

/// Those of most hosts, which then have no second place in memory either.
const SHORT: usize = 30;

/// How a declared path takes others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    /// Itself.
    Exact,
    /// Itself, and what is below it.
    Prefix,
    /// A prefix with a slash at its end, which the text has no more: what is below it, and itself without the slash, unless
    /// something else declares that (Kubernetes' definition of Prefix).
    PrefixWithSlash,
}

/// Declared paths in a radix tree, prefixes without the slash at their end. They are all literal: with a wildcard per
/// prefix the tree would have to go back now and then, for which it allocates.
#[derive(Clone)]
pub(super) struct Tree {
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

// === impl PathIndex ===

impl PathIndex {
    /// Indexes routes with distinct predicates, given best match first.
    pub(super) fn new(routes: &[Arc<Route>]) -> Self {
        debug_assert!(routes.is_sorted_by(|a, b| a.path < b.path));
        let few = if routes.len() > FEW { None } else { Declared::new(routes) };
        few.map_or_else(|| Self::Many(Box::new(Tree::new(routes))), Self::Few)
    }

    /// The position of the best route for a path in normal form. Does not allocate.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        match self {
            Self::Few(declared) => declared.find(path.as_bytes()),
            Self::Many(tree) => tree.find(path).map(|index| index as usize),
        }
    }
}

impl std::fmt::Debug for PathIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PathIndex").finish_non_exhaustive()
    }
}

// === impl Declared ===

impl Declared {
    /// `None` when a path is too long for its length to be written in two bytes.
    fn new(routes: &[Arc<Route>]) -> Option<Self> {
        let mut packed = Vec::new();
        for route in routes {
            let (form, text) = Form::of(&route.path);
            packed.push(form as u8);
            packed.extend(u16::try_from(text.len()).ok()?.to_le_bytes());
            packed.extend(text.as_bytes());
        }
        Some(Self(Packed::new(&packed)))
    }

    /// The first one that takes the path, since the best ones come first; `/p/` only takes `/p` when none of those does
    /// that are as long as the path.
    fn find(&self, path: &[u8]) -> Option<usize> {
        let (mut rest, mut position, mut without_slash) = (self.0.as_bytes(), 0, None);
        while let [form, low, high, after @ ..] = rest {
            let (text, next) = after.split_at(usize::from(u16::from_le_bytes([*low, *high])));
            // What stands after the text in the path says most often that it is another one.
            let takes = match path.get(text.len()) {
                None => text.len() == path.len(),
                Some(after) => *after == b'/' && *form != Form::Exact as u8,
            };
            if takes && path.starts_with(text) {
                if path.len() > text.len() {
                    return without_slash.or(Some(position));
                }
                if *form != Form::PrefixWithSlash as u8 {
                    return Some(position);
                }
                without_slash = Some(position);
            }
            (rest, position) = (next, position + 1);
        }
        without_slash
    }
}

// === impl Form ===

impl Form {
    /// With the text that is compared.
    fn of(path: &PathMatch) -> (Self, &str) {
        match path {
            PathMatch::Exact(path) => (Self::Exact, path),
            PathMatch::Prefix(path) => match path.strip_suffix('/') {
                Some(base) => (Self::PrefixWithSlash, base),
                None => (Self::Prefix, path),
            },
        }
    }
}

// === impl Tree ===

impl Tree {
    fn new(routes: &[Arc<Route>]) -> Self {
        let (mut slots, mut root) = (std::collections::BTreeMap::<&str, Slot>::new(), None);
        for (index, route) in (0..).zip(routes) {
            match Form::of(&route.path) {
                (Form::Exact, path) => slots.entry(path).or_default().exact = Some(index),
                (Form::Prefix, path) => slots.entry(path).or_default().prefix = Some(index),
                (Form::PrefixWithSlash, "") => root = Some(index),
                (Form::PrefixWithSlash, base) => slots.entry(base).or_default().with_slash = Some(index),
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
