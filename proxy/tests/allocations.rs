//! Finding the route of a request allocates nothing, however many hosts there are.

use std::sync::Arc;

use allocation_counter::measure;
use http::StatusCode;
use rust_nginx_proxy::table::{
    HostMatch, PathMatch, Policy, Route, RouteLabels, Settings, Table, TableBuilder, Target, VirtualHost,
    VirtualHostBuilder, normalize_path,
};
use rust_nginx_proxy::tls::Certificate;

const HOSTS: usize = 20_000;

fn route(path: PathMatch) -> Arc<Route> {
    Arc::new(Route {
        path,
        labels: Arc::new(RouteLabels::default()),
        target: Target::Status(StatusCode::SERVICE_UNAVAILABLE),
        filters: Box::default(),
        policy: Arc::new(Policy::default()),
    })
}

fn host(name: &str) -> VirtualHost {
    let mut host = VirtualHostBuilder::new(HostMatch::parse(name).expect("tests write valid hosts"));
    for path in [PathMatch::Prefix("/".into()), PathMatch::Prefix("/api".into()), PathMatch::Exact("/api/v1".into())] {
        host.add_route(route(path)).expect("each path once");
    }
    host.build()
}

fn table() -> Table {
    let certificate = Certificate::self_signed().expect("a key can be made");
    let mut table = TableBuilder::new(Arc::new(Settings::default()), Arc::new(certificate));
    for index in 0..HOSTS {
        table.set_host(host(&format!("host-{index}.example.com")));
    }
    table.set_host(host("*.wild.example.com"));
    table.build()
}

#[test]
fn finding_a_route_allocates_nothing() {
    let table = table();
    let requests = [
        ("host-12345.example.com", "/"),
        ("host-12345.example.com:8080", "/any/where"),
        ("host-12345.example.com", "/api/v1"),
        ("host-12345.example.com", "/api/v2"),
        ("HOST-12345.Example.COM.", "/"),
        ("any.wild.example.com", "/"),
        ("Any.Wild.Example.com", "/"),
        ("nobody.example.org", "/"),
    ];
    for (host, path) in requests {
        let mut found = None;
        let count = measure(|| {
            let path = normalize_path(path).expect("the path has a normal form");
            found = table.virtual_host(host).route(&path).map(|route| route.path.as_str().len());
        });
        assert!(found.is_some(), "{host}{path}");
        assert_eq!((count.count_total, count.bytes_total), (0, 0), "{host}{path}");
    }
}

/// The measure itself works: what is not in normal form is copied.
#[test]
fn allocations_are_seen() {
    let count = measure(|| drop(normalize_path("/a//b")));
    assert!(count.count_total > 0);
}
