//! Hosts and targets in every form that HTTP allows, and some that it does not:
//! what they are matched as, and what the pod sees, which is what was sent.

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::client::{Answer, Connection, Request, http2, tls::connect};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{backend, exact, ingress, ingress_class, prefix};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::tests;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_path_is_matched_as_decoded_and_passed_as_written,
        a_path_that_cannot_be_decoded_is_refused,
        a_host_is_matched_as_dns_does_and_passed_as_written,
        a_host_that_is_none_is_refused,
        targets_in_other_forms,
        http_1_0_may_do_without_host,
    ]
}

/// The Services, each with a pod of its name.
const PODS: [&str; 5] = ["root", "foo", "exact", "any", "puny"];

async fn site() -> Result<(Site, Vec<Pod>)> {
    let mut manifests = vec![ingress_class(CLASS, CONTROLLER)];
    let mut pods = vec![];
    for name in PODS {
        let pod = Pod::start(name).await?;
        manifests.extend(backend(name, &[&pod]));
        pods.push(pod);
    }
    let rules = ingress("web")
        .class(CLASS)
        .host("a.test", [prefix("/", "root"), prefix("/foo", "foo"), exact("/foo/exact", "exact")])
        .host("xn--bcher-kva.test", [prefix("/", "puny")])
        .host("", [prefix("/", "any")]);
    manifests.push(rules.build());
    Ok((Site::start(manifests).await?, pods))
}

/// The same request over HTTP/1.1, HTTP/2 with prior knowledge, and HTTP/2 over TLS.
async fn everywhere(site: &Site, request: &Request) -> Result<Vec<(&'static str, Answer)>> {
    let host = &request.headers[0].1;
    let name = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    let plain = Connection::open(site.subject.http()).await?.send(request).await;
    let wire = tokio::net::TcpStream::connect(site.subject.http()).await?;
    let prior = http2::Connection::over(wire).await?.send("http", request).await;
    let name = Some(name).filter(|name| !name.starts_with('[') && name.parse::<std::net::IpAddr>().is_err());
    let session = connect(site.subject.https(), name, &["h2"]).await?;
    let secure = http2::Connection::over(session.wire).await?.send("https", request).await;
    let label = |how: &'static str, answer: Result<Answer>| {
        let what = || format!("{how}: {} {host:?} {:?}", request.method, request.target);
        answer.with_context(what).map(|answer| (how, answer))
    };
    Ok(vec![label("HTTP/1.1", plain)?, label("HTTP/2", prior)?, label("HTTP/2 over TLS", secure)?])
}

/// The pod of that name answers, and saw host and target byte for byte.
async fn reaches(site: &Site, host: &str, target: &str, pod: &str) -> Result<()> {
    for (how, answer) in everywhere(site, &Request::get(host, target)).await? {
        let what = || format!("{how}: {host:?} {target:?}");
        let echo = answer.echo().with_context(what)?;
        ensure!(echo.pod == pod, "{}: answered by {}, not by {pod}", what(), echo.pod);
        ensure!(echo.target == target, "{}: the pod saw {:?}", what(), echo.target);
        ensure!(echo.values("host") == [host], "{}: the pod saw Host {:?}", what(), echo.values("host"));
    }
    Ok(())
}

/// Bytes as they are; the answer has one of these statuses.
async fn raw(site: &Site, bytes: &str, statuses: &[u16]) -> Result<Answer> {
    let mut connection = Connection::open(site.subject.http()).await?;
    connection.write(bytes.as_bytes()).await?;
    let method = bytes.split(' ').next().unwrap_or_default();
    let answer = connection.answer(method).await.with_context(|| format!("{bytes:?}"))?;
    ensure!(statuses.contains(&answer.status), "{bytes:?} is answered with {}", answer.summary());
    Ok(answer)
}

async fn a_path_is_matched_as_decoded_and_passed_as_written() -> Result<()> {
    let (site, _pods) = site().await?;
    for (target, pod) in [
        ("/%66oo", "foo"),
        ("/%66%6f%6F", "foo"),
        ("/foo%2Fexact", "exact"),
        ("/foo%2fbar", "foo"),
        ("/%2Ffoo", "foo"),
        ("//foo", "foo"),
        ("///foo///bar", "foo"),
        ("/foo//exact", "exact"),
        ("/./foo", "foo"),
        ("/foo/.", "foo"),
        ("/x/../foo", "foo"),
        ("/foo/../x", "root"),
        ("/foo/..", "root"),
        ("/x/%2e%2e/foo", "foo"),
        ("/foo/%2E%2E/x", "root"),
        ("/foo/..%2Fx", "root"),
        ("/foo/...", "foo"),
        ("/foo/..x", "foo"),
        ("/foo/exact?%zz=%00&../..", "exact"),
        ("/foo/exact/", "foo"),
        ("/FOO", "root"),
        ("/%46oo", "root"),
        ("/foo;x=y", "root"),
        ("/foo%3Bx", "root"),
        ("/foo%20", "root"),
        ("/foo%3Fx", "root"),
        ("/foo?", "foo"),
        ("/%E4%BD%A0?%E4", "root"),
        // Decoded once, never twice.
        ("/%2566oo", "root"),
        ("/foo/%252e%252e/x", "foo"),
    ] {
        reaches(&site, "a.test", target, pod).await?;
    }
    Ok(())
}

async fn a_path_that_cannot_be_decoded_is_refused() -> Result<()> {
    let (site, pods) = site().await?;
    for target in ["/%00", "/foo%00", "/%zz", "/%", "/%6", "/foo%6", "/%6g", "/..", "/../", "/foo/../../x", "/%2e%2e/x"]
    {
        for (how, answer) in everywhere(&site, &Request::get("a.test", target)).await? {
            ensure!(answer.status == 400, "{how}: {target:?} is answered with {}", answer.summary());
        }
    }
    for target in ["/<", "/a b", "/\u{7f}", "/\u{1}"] {
        raw(&site, &format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"), &[400]).await?;
    }
    ensure!(pods.iter().all(|pod| pod.connections() == 0), "a pod was asked");
    Ok(())
}

async fn a_host_is_matched_as_dns_does_and_passed_as_written() -> Result<()> {
    let (site, _pods) = site().await?;
    for (host, pod) in [
        ("a.test", "root"),
        ("A.TEST", "root"),
        ("a.test.", "root"),
        ("A.test.", "root"),
        ("a.test:80", "root"),
        ("a.test:443", "root"),
        ("a.test:65535", "root"),
        ("a.test.:8080", "root"),
        ("xn--bcher-kva.test", "puny"),
        ("XN--BCHER-KVA.test", "puny"),
        ("b.a.test", "any"),
        ("10.1.2.3", "any"),
        ("10.1.2.3:80", "any"),
        ("[fd00::1]", "any"),
        ("[fd00::1]:8080", "any"),
        ("localhost", "any"),
    ] {
        reaches(&site, host, "/", pod).await?;
    }
    Ok(())
}

async fn a_host_that_is_none_is_refused() -> Result<()> {
    let (site, pods) = site().await?;
    for host in ["", " ", ":80", "a..test", ".", "a.test/x", "a@b", "a b", "a.test,b.test", "a\"b", "[fd00::1", "a?b"] {
        let want: &[u16] = if host == "a.test,b.test" { &[200, 400] } else { &[400] };
        raw(&site, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), want).await?;
    }
    raw(&site, "GET / HTTP/1.1\r\n\r\n", &[400]).await?;
    raw(&site, "GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", &[400]).await?;
    let reached: Vec<_> = pods.iter().filter(|pod| pod.connections() > 0).map(|pod| &pod.name).collect();
    ensure!(reached.is_empty() || reached == ["any"], "pods were asked: {reached:?}");
    Ok(())
}

async fn targets_in_other_forms() -> Result<()> {
    let (site, pods) = site().await?;
    // Absolute form: its host beats the field, for us and for the pod (RFC 9112 §3.2.2).
    for (target, pod, seen) in [
        ("http://a.test/foo/exact?q", "exact", "/foo/exact?q"),
        ("http://A.test:80/foo", "foo", "/foo"),
        ("http://a.test", "root", "/"),
        ("http://a.test?q", "root", "/?q"),
        ("https://a.test/%66oo", "foo", "/%66oo"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: other.test\r\n\r\n");
        let echo = raw(&site, &request, &[200]).await?.echo()?;
        assert_eq!((echo.pod.as_str(), echo.target.as_str()), (pod, seen), "{target}");
        let host = echo.values("host").join(" ");
        ensure!(host.to_ascii_lowercase().starts_with("a.test"), "{target}: the pod saw Host {host:?}");
    }
    let before: usize = pods.iter().map(|pod| pod.seen().len()).sum();
    // Authority form is for CONNECT, which makes no sense towards a pod.
    raw(&site, "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", &[400, 405]).await?;
    raw(&site, "CONNECT / HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400, 405]).await?;
    raw(&site, "TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n", &[405]).await?;
    raw(&site, "GET a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]).await?;
    raw(&site, "GET foo HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]).await?;
    raw(&site, "GET ?q HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]).await?;
    // Asterisk form asks about the server; there is no path to route by.
    raw(&site, "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]).await?;
    raw(&site, "GET * HTTP/1.1\r\nHost: a.test\r\n\r\n", &[400]).await?;
    ensure!(pods.iter().map(|pod| pod.seen().len()).sum::<usize>() == before, "a pod was asked");
    Ok(())
}

async fn http_1_0_may_do_without_host() -> Result<()> {
    let (site, _pods) = site().await?;
    let echo = raw(&site, "GET /x HTTP/1.0\r\n\r\n", &[200]).await?.echo()?;
    assert_eq!((echo.pod.as_str(), echo.target.as_str()), ("any", "/x"));
    let echo = raw(&site, "GET /foo HTTP/1.0\r\nHost: a.test\r\n\r\n", &[200]).await?.echo()?;
    assert_eq!((echo.pod.as_str(), echo.values("host")), ("foo", vec!["a.test"]));
    Ok(())
}
