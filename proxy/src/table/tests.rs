//! Host and path matching against naive oracles on random tables, and the normal form of paths.

use super::*;
use crate::tls::Certificate;
use proptest::{collection::vec, prelude::*, sample::select};
use std::sync::LazyLock;

/// One is enough for every table: making it is slow.
static CERTIFICATE: LazyLock<Arc<Certificate>> =
    LazyLock::new(|| Arc::new(Certificate::self_signed().expect("the random generator works")));

fn route(path: PathMatch, label: &str) -> Arc<Route> {
    Arc::new(Route {
        labels: Arc::new(RouteLabels { path: path.as_str().into(), ingress: label.into(), ..RouteLabels::default() }),
        path,
        target: Target::Status(StatusCode::NO_CONTENT),
        filters: Box::default(),
        policy: Arc::default(),
    })
}

fn virtual_host(host: HostMatch, paths: &[PathMatch]) -> VirtualHost {
    let mut builder = VirtualHostBuilder::new(host);
    for path in paths {
        // A predicate that comes twice stays with the first.
        _ = builder.add_route(route(path.clone(), "declared"));
    }
    builder.build()
}

// === hosts ===

fn label() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "example", "com", "x-y", "x_y", "A", "Example"])
}

fn name() -> impl Strategy<Value = String> {
    vec(label(), 1..4).prop_map(|labels| labels.join("."))
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![name(), name().prop_map(|name| format!("*.{name}"))]
}

/// A Host header: a name near those of the patterns, in any case, with or without dot and port.
fn requested_host() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        name(),
        select(vec!["", ".", "..", "*.a", "é.a", "[::1]", "a..b", ".a", "%61"]).prop_map(str::to_owned)
    ];
    (name, select(vec!["", "."]), select(vec!["", ":80", ":", ":http"])).prop_map(|(name, dot, port)| name + dot + port)
}

/// What the pattern index should find: the pattern itself, lower-cased; empty for the catch-all.
fn host_oracle(patterns: &[String], requested: &str) -> String {
    let name =
        if requested.starts_with('[') { requested.split_inclusive(']').next() } else { requested.split(':').next() };
    let name = name.unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let patterns: Vec<_> = patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
    if patterns.contains(&name) && !name.starts_with('*') {
        return name;
    }
    if let Some((first, rest)) = name.split_once('.') {
        let wildcard = format!("*.{rest}");
        let is_label = !first.is_empty() && first.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if is_label && patterns.contains(&wildcard) {
            return wildcard;
        }
    }
    String::new()
}

proptest! {
    #[test]
    fn hosts_match_as_the_oracle_says(patterns in vec(pattern(), 0..12), requested in requested_host()) {
        let mut builder = TableBuilder::new(Arc::default(), CERTIFICATE.clone());
        for pattern in &patterns {
            builder.set_host(virtual_host(HostMatch::parse(pattern).expect("labels are valid"), &[]));
        }
        let table = builder.build();
        let found = table.virtual_host(&requested).host().to_string();
        prop_assert_eq!(found, host_oracle(&patterns, &requested));
    }

    #[test]
    fn certificates_match_like_hosts(patterns in vec(pattern(), 0..8), requested in name()) {
        let requested = requested.to_ascii_lowercase();
        let other = Arc::new(Certificate::clone(&CERTIFICATE));
        let mut builder = TableBuilder::new(Arc::default(), CERTIFICATE.clone());
        for pattern in &patterns {
            builder.set_certificates(&HostMatch::parse(pattern).expect("labels are valid"), Box::new([other.clone()]));
        }
        let table = builder.build();
        let is_default = Arc::ptr_eq(&table.certificates().find(Some(&requested))[0], table.certificates().default_certificate());
        prop_assert_eq!(is_default, host_oracle(&patterns, &requested).is_empty());
    }
}

#[test]
fn a_wildcard_covers_one_label() {
    let mut builder = TableBuilder::new(Arc::default(), CERTIFICATE.clone());
    for pattern in ["*.x.com", "a.x.com"] {
        builder.set_host(virtual_host(HostMatch::parse(pattern).expect("a host"), &[]));
    }
    let table = builder.build();
    for (requested, expected) in [
        ("a.x.com", "a.x.com"),
        ("A.X.COM.:443", "a.x.com"),
        ("b_-1.x.com", "*.x.com"),
        ("x.com", ""),
        ("a.b.x.com", ""),
        ("é.x.com", ""),
        (".x.com", ""),
        ("*.x.com", ""),
        ("", ""),
    ] {
        assert_eq!(table.virtual_host(requested).host().to_string(), expected, "{requested:?}");
    }
    let long = format!("{}.x.com", "a".repeat(300));
    assert_eq!(table.virtual_host(&long).host(), &HostMatch::Any);
}

// === paths ===

fn segment() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "ab", "aa", "{x}", "{*rest}", "{", "}", "{{", ":a", "*", "é", "a.b", " "])
}

/// A path in normal form.
fn path() -> impl Strategy<Value = String> {
    (vec(segment(), 0..5), any::<bool>()).prop_map(|(segments, slash)| {
        let path = segments.iter().map(|segment| format!("/{segment}")).collect::<String>();
        if slash || path.is_empty() { path + "/" } else { path }
    })
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    (path(), any::<bool>()).prop_map(
        |(path, exact)| {
            if exact { PathMatch::Exact(path.into()) } else { PathMatch::Prefix(path.into()) }
        },
    )
}

/// By definition: equality first; then the prefix with this very text; then the same with a slash at its end; then the
/// longest that covers whole elements.
fn path_oracle<'a>(declared: &'a [PathMatch], requested: &str) -> Option<&'a PathMatch> {
    let find = |wanted: PathMatch| declared.iter().find(|path| **path == wanted);
    let covers = |prefix: &str| {
        let prefix = if prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
        requested.starts_with(&prefix)
    };
    find(PathMatch::Exact(requested.into()))
        .or_else(|| find(PathMatch::Prefix(requested.into())))
        .or_else(|| find(PathMatch::Prefix(format!("{requested}/").into())))
        .or_else(|| {
            let prefixes = declared.iter().filter(|path| matches!(path, PathMatch::Prefix(text) if covers(text)));
            prefixes.max_by_key(|path| path.as_str().len())
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    /// Few paths are compared, many are a tree.
    #[test]
    fn paths_match_as_the_oracle_says(
        mut declared in prop_oneof![vec(path_match(), 0..12), vec(path_match(), 12..40)],
        requested in path(),
    ) {
        let host = virtual_host(HostMatch::Any, &declared);
        let root = PathMatch::Prefix("/".into());
        if !declared.contains(&root) {
            declared.push(root);
        }
        let found = host.route(&requested).map(|route| &route.path);
        prop_assert_eq!(found, path_oracle(&declared, &requested));
    }

    /// Precedence is the order of the predicates: what is found comes before everything else that covers the path.
    #[test]
    fn the_order_of_predicates_is_total(a in path_match(), b in path_match(), c in path_match()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a == b, a.cmp(&b).is_eq());
        if a < b && b < c {
            prop_assert!(a < c);
        }
    }
}

#[test]
fn precedence_among_paths() {
    let exact = |path: &str| PathMatch::Exact(path.into());
    let prefix = |path: &str| PathMatch::Prefix(path.into());
    let host = virtual_host(
        HostMatch::Any,
        &[
            prefix("/"),
            prefix("/foo"),
            exact("/foo"),
            prefix("/foo/"),
            prefix("/bar/"),
            exact("/baz/"),
            prefix("/{id}"),
        ],
    );
    for (requested, expected) in [
        ("/", prefix("/")),
        ("/foo", exact("/foo")),
        ("/foo/", prefix("/foo/")),
        ("/foo/x", prefix("/foo/")),
        ("/foobar", prefix("/")),
        // Kubernetes' definition: a prefix with a slash at its end covers the path without it.
        ("/bar", prefix("/bar/")),
        ("/bar/x", prefix("/bar/")),
        ("/barx", prefix("/")),
        ("/baz", prefix("/")),
        ("/baz/", exact("/baz/")),
        ("/{id}/x", prefix("/{id}")),
        ("/5/x", prefix("/")),
    ] {
        assert_eq!(host.route(requested).map(|route| route.path.clone()), Some(expected), "{requested:?}");
    }
    assert!(host.route("*").is_none());
}

#[test]
fn a_prefix_with_a_slash_leaves_the_path_without_it_to_its_own_rule() {
    let prefix = |path: &str| PathMatch::Prefix(path.into());
    for declared in [[prefix("/foo/"), prefix("/foo")], [prefix("/foo"), prefix("/foo/")]] {
        let host = virtual_host(HostMatch::Any, &declared);
        assert_eq!(host.route("/foo").map(|route| route.path.clone()), Some(prefix("/foo")));
        assert_eq!(host.route("/foo/").map(|route| route.path.clone()), Some(prefix("/foo/")));
    }
}

// === the normal form ===

#[test]
fn paths_are_compared_in_normal_form() {
    for (raw, normal) in [
        ("/", "/"),
        ("//", "/"),
        ("/a//b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/b/../c", "/a/c"),
        ("/a/b/..", "/a/"),
        ("/foo%2Fa", "/foo/a"),
        ("/foo%2fa", "/foo/a"),
        ("/a/%2e%2e/b", "/b"),
        ("/%7Euser", "/~user"),
        ("/a%20b", "/a b"),
        ("/%25", "/%"),
        ("/%252F", "/%2F"),
        ("/caf%C3%A9", "/café"),
        ("/a/", "/a/"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/..a", "/..a"),
        ("/a.", "/a."),
        ("/{x}", "/{x}"),
        ("/%ff", "/\u{fffd}"),
    ] {
        assert_eq!(normalize_path(raw).as_deref(), Ok(normal), "{raw:?}");
    }
}

#[test]
fn paths_without_normal_form_are_refused() {
    for (raw, expected) in [
        ("/%00", BadPath::Nul),
        ("/a%00b", BadPath::Nul),
        ("/%zz", BadPath::Encoding),
        ("/%", BadPath::Encoding),
        ("/%4", BadPath::Encoding),
        ("/%+1", BadPath::Encoding),
        ("/..", BadPath::AboveRoot),
        ("/../a", BadPath::AboveRoot),
        ("/a/../..", BadPath::AboveRoot),
        ("/%2e%2e/", BadPath::AboveRoot),
    ] {
        assert_eq!(normalize_path(raw), Err(expected), "{raw:?}");
    }
}

/// Character by character: decode, cut at slashes, walk.
fn normal_form_oracle(raw: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = raw.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            let text = std::str::from_utf8(digits).ok()?;
            let decoded = u8::from_str_radix(text, 16).ok().filter(|decoded| *decoded != 0)?;
            bytes.push(decoded);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut stack = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = stack.pop()?,
            other => stack.push(other),
        }
    }
    let ends_in_directory = text.ends_with('/') || text.ends_with("/.") || text.ends_with("/..");
    let path = stack.iter().map(|segment| format!("/{segment}")).collect::<String>();
    Some(if ends_in_directory || path.is_empty() { path + "/" } else { path })
}

fn raw_path() -> impl Strategy<Value = String> {
    let part =
        select(vec!["/", "/", ".", "..", "a", "b", "%2F", "%2e", "%41", "%", "%zz", "%00", "%C3%A9", "%ff", "é", "{"]);
    vec(part, 0..10).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn the_normal_form_is_what_the_oracle_says(raw in raw_path()) {
        prop_assert_eq!(normalize_path(&raw).ok().map(|path| path.into_owned()), normal_form_oracle(&raw));
    }

    #[test]
    fn every_normal_form_has_a_route(raw in raw_path(), declared in vec(path_match(), 0..6)) {
        let host = virtual_host(HostMatch::Any, &declared);
        if let Ok(path) = normalize_path(&raw) {
            prop_assert!(host.route(&path).is_some());
        }
    }
}
