//! Which Ingress, rule and path a request takes.

use anyhow::Result;
use rust_nginx_tests::client::{self, Request};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{
    Manifest, backend, endpoint_slice, endpoints_at, exact, implementation_specific, ingress, ingress_class, prefix,
    service, service_with_ports,
};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{address, tests};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_host_leads_to_its_service,
        hosts_are_compared_as_dns_does,
        a_wildcard_stands_for_one_label,
        rules_without_host_catch_the_rest,
        exact_beats_prefix_and_the_longest_prefix_wins,
        a_prefix_matches_whole_elements,
        paths_of_several_ingresses_are_merged,
        an_unmatched_path_goes_to_the_default_backend,
        a_default_backend_without_rules_catches_the_rest,
        the_oldest_of_two_claims_serves,
        only_our_classes_are_served,
        ports_are_found_by_number_and_name,
        requests_take_turns_over_ready_endpoints,
        pods_with_ipv6_addresses_are_reached,
        the_pod_gets_the_target_byte_for_byte,
        a_target_in_absolute_form_routes_by_its_host,
    ]
}

/// The class, a Service with a pod behind it for each name, and what else the test brings.
async fn site(pods: &[&str], more: impl IntoIterator<Item = Manifest>) -> Result<(Site, Vec<Pod>)> {
    let mut manifests = vec![ingress_class(CLASS, CONTROLLER)];
    let mut started = vec![];
    for name in pods {
        let pod = Pod::start(name).await?;
        manifests.extend(backend(name, &[&pod]));
        started.push(pod);
    }
    manifests.extend(more);
    Ok((Site::start(manifests).await?, started))
}

/// Which pod answers each of these, or the status if none does.
async fn check(site: &Site, expected: &[(&str, &str, &str)]) -> Result<()> {
    for (host, target, want) in expected {
        let answer = site.subject.get(host, target).await?;
        let got = answer.echo().map_or_else(|_| answer.status.to_string(), |echo| echo.pod);
        assert_eq!(&got, want, "{host}{target}: {}", answer.summary());
    }
    Ok(())
}

async fn a_host_leads_to_its_service() -> Result<()> {
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "a")]).host("b.test", [prefix("/", "b")]);
    let (site, pods) = site(&["a", "b"], [rules.build()]).await?;
    check(&site, &[("a.test", "/", "a"), ("b.test", "/x", "b"), ("c.test", "/", "404")]).await?;
    assert_eq!(pods[0].seen()[0].values("host"), ["a.test"]);
    Ok(())
}

async fn hosts_are_compared_as_dns_does() -> Result<()> {
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "a")]);
    let (site, _pods) = site(&["a"], [rules.build()]).await?;
    check(&site, &[("A.Test", "/", "a"), ("a.test:80", "/", "a"), ("a.test.", "/", "a"), ("a.test:8080", "/", "a")])
        .await
}

async fn a_wildcard_stands_for_one_label() -> Result<()> {
    let rules = ingress("web")
        .class(CLASS)
        .host("*.w.test", [prefix("/", "wild")])
        .host("exact.w.test", [prefix("/only", "exact")]);
    let (site, _pods) = site(&["wild", "exact"], [rules.build()]).await?;
    check(
        &site,
        &[
            ("x.w.test", "/", "wild"),
            ("x_1-y.w.test", "/", "wild"),
            ("w.test", "/", "404"),
            ("x.y.w.test", "/", "404"),
            (".w.test", "/", "404"),
            ("exact.w.test", "/only", "exact"),
            // The exact host exists: its wildcard has no say, whatever the path.
            ("exact.w.test", "/", "404"),
        ],
    )
    .await
}

async fn rules_without_host_catch_the_rest() -> Result<()> {
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/a", "a")]).host("", [prefix("/", "rest")]);
    let (site, _pods) = site(&["a", "rest"], [rules.build()]).await?;
    check(&site, &[("b.test", "/", "rest"), ("a.test", "/a", "a"), ("a.test", "/b", "404"), ("1.2.3.4", "/", "rest")])
        .await
}

async fn exact_beats_prefix_and_the_longest_prefix_wins() -> Result<()> {
    let paths = [
        prefix("/", "root"),
        prefix("/api", "api"),
        prefix("/api/v1", "v1"),
        exact("/api/v1", "exact"),
        implementation_specific("/files", "files"),
    ];
    let rules = ingress("web").class(CLASS).host("a.test", paths);
    let (site, _pods) = site(&["root", "api", "v1", "exact", "files"], [rules.build()]).await?;
    check(
        &site,
        &[
            ("a.test", "/", "root"),
            ("a.test", "/x", "root"),
            ("a.test", "/api", "api"),
            ("a.test", "/api/v2", "api"),
            ("a.test", "/api/v1", "exact"),
            ("a.test", "/api/v1?q", "exact"),
            ("a.test", "/api/v1/", "v1"),
            ("a.test", "/api/v1/x", "v1"),
            ("a.test", "/API", "root"),
            ("a.test", "/files/x", "files"),
        ],
    )
    .await
}

async fn a_prefix_matches_whole_elements() -> Result<()> {
    let rules =
        ingress("web").class(CLASS).host("a.test", [prefix("/foo", "a"), prefix("/bar/", "b"), exact("/e", "c")]);
    let (site, _pods) = site(&["a", "b", "c"], [rules.build()]).await?;
    check(
        &site,
        &[
            ("a.test", "/foo", "a"),
            ("a.test", "/foo/", "a"),
            ("a.test", "/foo/x", "a"),
            ("a.test", "/foobar", "404"),
            ("a.test", "/bar/x", "b"),
            ("a.test", "/barx", "404"),
            ("a.test", "/e", "c"),
            ("a.test", "/e/", "404"),
            // Matched as decoded, merged and resolved.
            ("a.test", "/fo%6F/x", "a"),
            ("a.test", "//foo", "a"),
            ("a.test", "/x/../foo", "a"),
        ],
    )
    .await
}

async fn paths_of_several_ingresses_are_merged() -> Result<()> {
    let one = ingress("one").class(CLASS).host("a.test", [prefix("/one", "a")]).build();
    let two = ingress("two").class(CLASS).host("a.test", [prefix("/two", "b")]).build();
    let (site, _pods) = site(&["a", "b"], [one, two]).await?;
    check(&site, &[("a.test", "/one", "a"), ("a.test", "/two", "b"), ("a.test", "/", "404")]).await
}

async fn an_unmatched_path_goes_to_the_default_backend() -> Result<()> {
    let rules = ingress("web").class(CLASS).default_backend("rest").host("a.test", [prefix("/a", "a")]);
    let (site, _pods) = site(&["a", "rest"], [rules.build()]).await?;
    check(&site, &[("a.test", "/a", "a"), ("a.test", "/b", "rest")]).await
}

async fn a_default_backend_without_rules_catches_the_rest() -> Result<()> {
    let all = ingress("all").class(CLASS).default_backend("rest").build();
    let web = ingress("web").class(CLASS).host("a.test", [prefix("/a", "a")]).build();
    let (site, _pods) = site(&["a", "rest"], [all, web]).await?;
    check(&site, &[("a.test", "/a", "a"), ("b.test", "/x", "rest")]).await
}

async fn the_oldest_of_two_claims_serves() -> Result<()> {
    let claim = |name: &str, target: &str, at: &str, time: &str| {
        ingress(name).class(CLASS).host("a.test", [prefix(at, target)]).build().created(time)
    };
    let manifests = [
        claim("aaa", "young", "/", "2026-02-01T00:00:00Z"),
        claim("zzz", "old", "/", "2026-01-01T00:00:00Z"),
        // Applied within one second: the name decides, and the last one wins.
        claim("tie-a", "young", "/tie", "2026-01-01T00:00:00Z"),
        claim("tie-b", "old", "/tie", "2026-01-01T00:00:00Z"),
    ];
    let (site, _pods) = site(&["old", "young"], manifests).await?;
    check(&site, &[("a.test", "/", "old"), ("a.test", "/tie", "old")]).await?;
    let line = site.subject.log.line(&["aaa", "a.test"]).await?;
    assert!(line.contains("zzz"), "the loser's diagnostic does not name the winner: {line}");
    Ok(())
}

async fn only_our_classes_are_served() -> Result<()> {
    let rule = |name: &str, host: &str| ingress(name).host(host, [prefix("/", "a")]);
    let manifests = [
        ingress_class("ours-too", CONTROLLER),
        ingress_class("theirs", "example.com/other"),
        rule("by-class", "class.test").class("ours-too").build(),
        rule("by-annotation", "annotation.test").annotation("kubernetes.io/ingress.class", CLASS).build(),
        rule("other", "other.test").class("theirs").build(),
        rule("unknown", "unknown.test").class("no-such-class").build(),
        rule("other-annotation", "other-annotation.test").annotation("kubernetes.io/ingress.class", "nginx").build(),
        rule("none", "none.test").build(),
    ];
    let (site, _pods) = site(&["a"], manifests).await?;
    check(
        &site,
        &[
            ("class.test", "/", "a"),
            ("annotation.test", "/", "a"),
            ("other.test", "/", "404"),
            ("unknown.test", "/", "404"),
            ("other-annotation.test", "/", "404"),
            ("none.test", "/", "404"),
        ],
    )
    .await?;
    for name in ["unknown", "other-annotation"] {
        let lines = site.subject.log.containing(&[&format!("default/{name}")]);
        assert!(lines.is_empty(), "an Ingress that is not ours is talked about: {lines:?}");
    }
    Ok(())
}

async fn ports_are_found_by_number_and_name() -> Result<()> {
    let (web, admin) = (Pod::start("web-port").await?, Pod::start("admin-port").await?);
    let paths = [
        prefix("/number", "app:80"),
        prefix("/name", "app:http"),
        prefix("/admin", "app:admin"),
        prefix("/no", "app:81"),
    ];
    let manifests = [
        ingress_class(CLASS, CONTROLLER),
        ingress("web").class(CLASS).host("a.test", paths).build(),
        service_with_ports("app", &[("http", 80), ("admin", 9000)]),
        endpoint_slice("app-http", "app", "http", &[(web.address, true)]),
        endpoint_slice("app-admin", "app", "admin", &[(admin.address, true)]),
    ];
    let site = Site::start(manifests).await?;
    check(
        &site,
        &[
            ("a.test", "/number", "web-port"),
            ("a.test", "/name", "web-port"),
            ("a.test", "/admin", "admin-port"),
            ("a.test", "/no", "503"),
        ],
    )
    .await
}

async fn requests_take_turns_over_ready_endpoints() -> Result<()> {
    let (one, two, unready) = (Pod::start("one").await?, Pod::start("two").await?, Pod::start("unready").await?);
    let manifests = [
        ingress_class(CLASS, CONTROLLER),
        ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build(),
        service("app", 80),
        endpoint_slice("app-1", "app", "", &[(one.address, true), (unready.address, false)]),
        // Two slices that overlap while one is being filled: an address counts once.
        endpoint_slice("app-2", "app", "", &[(two.address, true), (one.address, true)]),
    ];
    let site = Site::start(manifests).await?;
    // One connection stays with one worker, where the turns are strict.
    let mut connection = client::Connection::open(site.subject.http()).await?;
    let mut pods = vec![];
    for _ in 0..10 {
        pods.push(connection.send(&Request::get("a.test", "/")).await?.echo()?.pod);
    }
    for turn in pods.windows(2) {
        assert_ne!(turn[0], turn[1], "no turns: {pods:?}");
    }
    assert_eq!(unready.connections(), 0);
    Ok(())
}

async fn pods_with_ipv6_addresses_are_reached() -> Result<()> {
    let pod = Pod::start_at("six", address::pod_v6()).await?;
    let manifests = [
        ingress_class(CLASS, CONTROLLER),
        ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build(),
        service("app", 80),
        endpoints_at("app", "", &[pod.address]),
    ];
    check(&Site::start(manifests).await?, &[("a.test", "/", "six")]).await
}

async fn the_pod_gets_the_target_byte_for_byte() -> Result<()> {
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "a")]);
    let (site, _pods) = site(&["a"], [rules.build()]).await?;
    for target in ["/", "/a%2Fb//c/./d?x=%20&y=a+b&&", "/%E4%BD%A0?", "/a;b=c,d:e@f!$&'()*+", "/?", "/x/../y"] {
        assert_eq!(site.subject.echo("a.test", target).await?.target, target);
    }
    Ok(())
}

async fn a_target_in_absolute_form_routes_by_its_host() -> Result<()> {
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "a")]).host("b.test", [prefix("/", "b")]);
    let (site, _pods) = site(&["a", "b"], [rules.build()]).await?;
    let echo = site.subject.echo("b.test", "http://a.test/x?y").await?;
    assert_eq!((echo.pod.as_str(), echo.target.as_str()), ("a", "/x?y"));
    assert_eq!(echo.values("host"), ["a.test"]);
    Ok(())
}
