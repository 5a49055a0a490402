//! What pods and clients see of a request and its answer beside the body.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::client::{Answer, Connection, Request};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{backend, ingress, ingress_class, prefix};
use rust_nginx_tests::pod::{Echo, Pod};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{address, tests};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_plain_request_gets_the_forwarded_headers,
        a_request_over_tls_says_so,
        what_a_client_claims_is_replaced,
        hop_by_hop_and_odd_headers_stop_here,
        all_others_pass_in_order_with_duplicates,
        the_port_is_the_one_that_accepted,
        request_ids_differ_and_pass,
        an_expectation_is_met_here,
        a_pods_answer_is_stripped_of_what_is_ours,
        an_answer_made_here_says_little,
        malformed_requests_never_reach_a_pod,
    ]
}

async fn site() -> Result<(Site, Pod)> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build();
    Ok((Site::start([ingress_class(CLASS, CONTROLLER), service, slice, rules]).await?, pod))
}

/// Headers as a set of `name: value`, names in lower case, without the request id.
fn set(echo: &Echo) -> BTreeSet<String> {
    let known = echo.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("x-request-id"));
    known.map(|(name, value)| format!("{}: {value}", name.to_lowercase())).collect()
}

fn expected(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// Sends from an address of the test's choice.
async fn send(site: &Site, request: &Request) -> Result<(String, Answer)> {
    let client = address::host();
    let mut connection = Connection::open_from((client, 0).into(), site.subject.http()).await?;
    Ok((client.to_string(), connection.send(request).await?))
}

async fn a_plain_request_gets_the_forwarded_headers() -> Result<()> {
    let (site, _pod) = site().await?;
    let request = Request::get("a.test", "/").header("User-Agent", "test");
    let (client, answer) = send(&site, &request).await?;
    let echo = answer.echo()?;
    let want = [
        "host: a.test",
        "user-agent: test",
        &format!("x-real-ip: {client}"),
        &format!("x-forwarded-for: {client}"),
        "x-forwarded-host: a.test",
        "x-forwarded-port: 80",
        "x-forwarded-proto: http",
        "x-forwarded-scheme: http",
        "x-scheme: http",
    ];
    assert_eq!(set(&echo), expected(&want));
    let [id] = echo.values("x-request-id")[..] else { panic!("no request id: {:?}", echo.headers) };
    ensure!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "not 32 hex digits: {id}");
    Ok(())
}

async fn a_request_over_tls_says_so() -> Result<()> {
    let (site, _pod) = site().await?;
    let echo = site.subject.get_tls("a.test", "/").await?.echo()?;
    for (name, value) in [
        ("x-forwarded-port", "443"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-scheme", "https"),
        ("x-scheme", "https"),
    ] {
        assert_eq!(echo.values(name), [value], "{name}");
    }
    Ok(())
}

async fn what_a_client_claims_is_replaced() -> Result<()> {
    let (site, _pod) = site().await?;
    let request = Request::get("a.test", "/")
        .header("X-Forwarded-For", "1.2.3.4")
        .header("X-Forwarded-Host", "evil.test")
        .header("X-Forwarded-Port", "9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Scheme", "https")
        .header("X-Scheme", "https")
        .header("X-Real-IP", "1.2.3.4")
        .header("X-Original-Forwarded-For", "5.6.7.8")
        .header("ssl-client-verify", "SUCCESS")
        .header("ssl-client-subject-dn", "CN=root")
        .header("X-Forwarded-Prefix", "/p");
    let (client, answer) = send(&site, &request).await?;
    let want = [
        "host: a.test",
        &format!("x-real-ip: {client}"),
        &format!("x-forwarded-for: {client}"),
        "x-forwarded-host: a.test",
        "x-forwarded-port: 80",
        "x-forwarded-proto: http",
        "x-forwarded-scheme: http",
        "x-scheme: http",
        "x-original-forwarded-for: 1.2.3.4",
        "x-original-forwarded-host: evil.test",
        "x-forwarded-prefix: /p",
    ];
    assert_eq!(set(&answer.echo()?), expected(&want));
    Ok(())
}

async fn hop_by_hop_and_odd_headers_stop_here() -> Result<()> {
    let (site, _pod) = site().await?;
    let request = Request::get("a.test", "/")
        .header("Connection", "keep-alive, X-Hop")
        .header("X-Hop", "1")
        .header("Keep-Alive", "timeout=5")
        .header("TE", "trailers")
        .header("Proxy", "http://evil.test/")
        .header("Proxy-Connection", "keep-alive")
        .header("under_score", "1")
        .header("dot.ted", "1");
    let echo = send(&site, &request).await?.1.echo()?;
    for name in ["connection", "x-hop", "keep-alive", "te", "proxy", "proxy-connection", "under_score", "dot.ted"] {
        assert_eq!(echo.values(name), <[&str; 0]>::default(), "{name} has passed");
    }
    Ok(())
}

async fn all_others_pass_in_order_with_duplicates() -> Result<()> {
    let (site, _pod) = site().await?;
    let request = Request::get("a.test", "/")
        .header("Accept-Encoding", "gzip, br")
        .header("Authorization", "Basic eDp5")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("Cookie", "a=1")
        .header("X-Twice", "1")
        .header("X-Twice", "2")
        .header("X-Empty", "")
        .header("X-Latin", "caf\u{e9}");
    let echo = send(&site, &request).await?.1.echo()?;
    assert_eq!(echo.values("x-twice"), ["1", "2"]);
    assert_eq!(echo.values("x-latin"), ["caf\u{e9}"]);
    for (name, value) in [
        ("accept-encoding", "gzip, br"),
        ("authorization", "Basic eDp5"),
        ("proxy-authorization", "Basic eDp5"),
        ("cookie", "a=1"),
    ] {
        assert_eq!(echo.values(name), [value], "{name}");
    }
    Ok(())
}

async fn the_port_is_the_one_that_accepted() -> Result<()> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build();
    let manifests = [ingress_class(CLASS, CONTROLLER), service, slice, rules];
    let site = Site::start_with(manifests, |launch| launch.listen("http", 1080).listen("https", 1443)).await?;
    let plain = (site.subject.address, 1080).into();
    let echo = Connection::open(plain).await?.send(&Request::get("a.test:1080", "/")).await?.echo()?;
    assert_eq!(echo.values("x-forwarded-port"), ["1080"]);
    assert_eq!((echo.values("host"), echo.values("x-forwarded-host")), (vec!["a.test:1080"], vec!["a.test:1080"]));
    let secure = (site.subject.address, 1443).into();
    let answer = rust_nginx_tests::client::send_tls(secure, "a.test", &Request::get("a.test:1443", "/")).await?;
    assert_eq!(answer.echo()?.values("x-forwarded-port"), ["443"]);
    Ok(())
}

async fn request_ids_differ_and_pass() -> Result<()> {
    let (site, _pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        let echo = connection.send(&Request::get("a.test", "/")).await?.echo()?;
        ids.insert(echo.values("x-request-id").first().context("no id")?.to_string());
    }
    assert_eq!(ids.len(), 20);
    let given = connection.send(&Request::get("a.test", "/").header("X-Request-ID", "mine, unchecked")).await?;
    assert_eq!(given.header("x-request-id"), None);
    assert_eq!(given.echo()?.values("x-request-id"), ["mine, unchecked"]);
    Ok(())
}

async fn an_expectation_is_met_here() -> Result<()> {
    let (site, _pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    connection.write(b"POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await?;
    // A client that waits for the interim answer gets it before it has sent the body.
    let interim = connection.interim().await?;
    assert_eq!(interim, 100);
    connection.write(b"hello").await?;
    let echo = connection.answer("POST").await?.echo()?;
    assert_eq!((echo.body.as_str(), echo.values("expect").len()), ("hello", 0));
    Ok(())
}

async fn a_pods_answer_is_stripped_of_what_is_ours() -> Result<()> {
    let (site, _pod) = site().await?;
    let answer = site.subject.get("a.test", "/pod/headers").await?.expect(200)?;
    let values = |name: &str| -> Vec<_> {
        answer
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    };
    assert_eq!(values("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(values("location"), ["http://elsewhere.test/"]);
    assert_eq!((values("x-powered-by"), values("etag")), (vec!["pod"], vec!["\"e\""]));
    assert_eq!(values("date").len(), 1, "{:?}", answer.headers);
    for name in ["server", "x-accel-buffering", "x-pad", "x-hop", "keep-alive", "via", "x-request-id"] {
        assert_eq!(values(name), <[&str; 0]>::default(), "{name} has passed");
    }
    assert_eq!(answer.text(), "ok");
    // Over TLS ours replaces the pod's.
    let secure = site.subject.get_tls("a.test", "/pod/headers").await?.expect(200)?;
    assert_eq!(secure.header("strict-transport-security"), Some("max-age=31536000; includeSubDomains"));
    Ok(())
}

async fn an_answer_made_here_says_little() -> Result<()> {
    let (site, _pod) = site().await?;
    let answer = site.subject.get("unknown.test", "/").await?.expect(404)?;
    assert_eq!(answer.header("server"), None);
    assert!(answer.header("date").is_some());
    assert!(!answer.text().to_lowercase().contains("rust-nginx/"), "it states a version: {}", answer.text());
    assert_eq!(answer.header("strict-transport-security"), None);
    let head = Request::new("HEAD", "unknown.test", "/");
    assert_eq!(Connection::open(site.subject.http()).await?.send(&head).await?.expect(404)?.body, b"");
    // The liveness probe of load balancers, for a host that nobody serves.
    site.subject.get("10.0.0.1", "/healthz").await?.expect(200)?;
    Ok(())
}

async fn malformed_requests_never_reach_a_pod() -> Result<()> {
    let (site, pod) = site().await?;
    let cases: [(&str, u16); 8] = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nX : 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nX: 1\r\n folded\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        ("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ];
    for (bytes, status) in cases {
        let mut connection = Connection::open(site.subject.http()).await?;
        connection.write(bytes.as_bytes()).await?;
        let answer = connection.answer("POST").await.with_context(|| format!("{bytes:?}"))?;
        assert_eq!(answer.status, status, "{bytes:?}: {}", answer.summary());
    }
    // One request is all that may be seen of this, whether it is refused or its end is cut off.
    let mut connection = Connection::open(site.subject.http()).await?;
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let head = "POST /once HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.write(format!("{head}{smuggled}").as_bytes()).await?;
    let answer = connection.answer("POST").await?;
    ensure!(matches!(answer.status, 400 | 200), "{}", answer.summary());
    let end = connection.closed().await;
    let targets: Vec<_> = pod.seen().into_iter().map(|echo| echo.target).collect();
    assert!(targets.is_empty() || targets == ["/once"], "a pod saw {targets:?}");
    end
}
