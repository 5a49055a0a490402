//! Hosts and paths: the normal form of a path is one, and a table finds what a slow and simple reading of the rules
//! finds.

#![no_main]

use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use rust_nginx_proxy::{
    table::{
        HostMatch, PathMatch, Policy, Route, RouteLabels, Settings, Table, TableBuilder, Target, VirtualHostBuilder,
        normalize_path,
    },
    tls::Certificate,
};
use std::sync::{Arc, LazyLock};

const HOSTS: [&str; 6] = ["", "a.test", "b.a.test", "*.a.test", "*.b.a.test", "[::1]"];

/// More than are looked at one by one.
const PATHS: [(bool, &str); 12] = [
    (false, "/"),
    (true, "/"),
    (false, "/a"),
    (true, "/a"),
    (true, "/a/"),
    (false, "/a/b"),
    (false, "/ab"),
    (true, "/a/b/c"),
    (false, "/{x}"),
    (false, "/a/{*y}"),
    (true, "/ä"),
    (false, "/%41"),
];

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let certificate = Certificate::self_signed().expect("a key can be made");
    let mut table = TableBuilder::new(Arc::new(Settings::default()), Arc::new(certificate));
    for host in HOSTS {
        let mut builder = VirtualHostBuilder::new(HostMatch::parse(host).expect("the hosts above are valid"));
        for (exact, path) in PATHS {
            let route = Route {
                path: if exact { PathMatch::Exact(path.into()) } else { PathMatch::Prefix(path.into()) },
                labels: Arc::new(RouteLabels::default()),
                target: Target::Status(StatusCode::NOT_FOUND),
                filters: Box::default(),
                policy: Arc::new(Policy::default()),
            };
            builder.add_route(Arc::new(route)).expect("each path once");
        }
        table.set_host(builder.build());
    }
    table.build()
});

fuzz_target!(|input: (&str, &str)| {
    let (host, raw) = input;
    let found = TABLE.virtual_host(host);
    assert_eq!(*found.host(), HostMatch::parse(host_of(host)).expect("the hosts above are valid"), "{host:?}");
    if !raw.starts_with('/') {
        return;
    }
    let Ok(path) = normalize_path(raw) else { return };
    assert!(path.starts_with('/') && !path.contains("//"), "{raw:?} → {path:?}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{raw:?} → {path:?}");
    let route = found.route(&path).expect("the prefix / takes every path");
    let (exact, expected) = path_of(&path);
    assert_eq!((matches!(route.path, PathMatch::Exact(_)), route.path.as_str()), (exact, expected), "{path:?}");
});

/// Exact, then one label of a wildcard, then any; without case, port and one dot at the end.
fn host_of(host: &str) -> &'static str {
    let host = host.to_ascii_lowercase();
    let name = match host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        Some(end) => &host[..end + 2],
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    // No longer name exists (RFC 1035 §2.3.4).
    if name.len() > 253 {
        return "";
    }
    let exact = HOSTS.into_iter().find(|known| !known.is_empty() && !known.starts_with('*') && *known == name);
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let wildcard = || {
        let (first, rest) = name.split_once('.')?;
        HOSTS.into_iter().find(|known| known.strip_prefix("*.") == Some(rest) && label(first))
    };
    exact.or_else(wildcard).unwrap_or_default()
}

/// The longest, and at equal length the exact one.
fn path_of(path: &str) -> (bool, &'static str) {
    let covers = |(exact, known): &(bool, &str)| {
        if *exact {
            return *known == path;
        }
        let stem = known.trim_end_matches('/');
        path.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = PATHS.into_iter().filter(covers).max_by_key(|(exact, known)| (known.len(), *exact));
    found.expect("the prefix / takes every path")
}
