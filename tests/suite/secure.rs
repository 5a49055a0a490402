//! TLS: which certificate is shown, which protocol is spoken, who is redirected.

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::certificate::Authority;
use rust_nginx_tests::client::tls::{connect, connect_trusting};
use rust_nginx_tests::client::{self, Connection, Request};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{Manifest, backend, ingress, ingress_class, prefix, tls_secret};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};

const FAKE: &str = "Kubernetes Ingress Controller Fake Certificate";

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_browser_is_satisfied,
        the_certificate_follows_the_server_name,
        a_changed_secret_is_shown_at_once,
        names_without_a_certificate_get_the_default_one,
        the_protocol_is_agreed_on,
        hosts_with_tls_redirect_to_https,
        challenges_are_not_redirected,
        every_answer_over_tls_demands_tls,
        plain_http_on_the_tls_port_is_refused,
        a_default_certificate_can_be_given,
    ]
}

async fn site(more: impl IntoIterator<Item = Manifest>) -> Result<(Site, Pod)> {
    let pod = Pod::start("a").await?;
    let mut manifests = vec![ingress_class(CLASS, CONTROLLER)];
    manifests.extend(backend("app", &[&pod]));
    manifests.extend(more);
    Ok((Site::start(manifests).await?, pod))
}

async fn a_browser_is_satisfied() -> Result<()> {
    let authority = Authority::new("tests")?;
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).tls("cert", &["a.test"]).build();
    let (site, _pod) = site([rules, tls_secret("cert", &authority.server(&["a.test"])?)]).await?;
    let session = connect_trusting(site.subject.https(), "a.test", &authority.certificate).await?;
    let mut connection = client::http2::Connection::over(session.wire).await?;
    assert_eq!(connection.send("https", &Request::get("a.test", "/x")).await?.echo()?.target, "/x");
    let wrong = connect_trusting(site.subject.https(), "b.test", &authority.certificate).await;
    ensure!(wrong.is_err(), "a certificate for a.test was accepted for b.test");
    Ok(())
}

async fn the_certificate_follows_the_server_name() -> Result<()> {
    let authority = Authority::new("tests")?;
    let secret = |name: &str, host: &str| anyhow::Ok(tls_secret(name, &authority.server(&[host])?));
    let rules = ingress("web")
        .class(CLASS)
        .host("a.test", [prefix("/", "app")])
        .host("b.test", [prefix("/", "app")])
        .host("*.w.test", [prefix("/", "app")])
        .host("special.w.test", [prefix("/", "app")])
        .tls("a", &["a.test"])
        .tls("b", &["b.test"])
        .tls("wild", &["*.w.test"])
        .tls("special", &["special.w.test"]);
    let (site, _pod) = site([
        rules.build(),
        secret("a", "a.test")?,
        secret("b", "b.test")?,
        secret("wild", "*.w.test")?,
        secret("special", "special.w.test")?,
    ])
    .await?;
    for (name, shown) in [
        ("a.test", "a.test"),
        ("b.test", "b.test"),
        ("A.TEST", "a.test"),
        ("x.w.test", "*.w.test"),
        ("special.w.test", "special.w.test"),
        ("x.y.w.test", FAKE),
        ("w.test", FAKE),
        ("unknown.test", FAKE),
    ] {
        let session = connect(site.subject.https(), Some(name), &[]).await.with_context(|| name.to_owned())?;
        assert_eq!(session.common_name, shown, "for {name}");
    }
    // The server name chooses the certificate, the Host header the route.
    let answer = client::send_tls(site.subject.https(), "b.test", &Request::get("a.test", "/")).await?;
    assert_eq!(answer.echo()?.values("host"), ["a.test"]);
    Ok(())
}

async fn a_changed_secret_is_shown_at_once() -> Result<()> {
    let authority = Authority::new("tests")?;
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).tls("cert", &["a.test"]).build();
    let (site, _pod) = site([rules]).await?;
    let shown = async || anyhow::Ok(connect(site.subject.https(), Some("a.test"), &["http/1.1"]).await?);
    let first = shown().await?;
    assert_eq!(first.common_name, FAKE);
    let mut open = Connection::over(first.wire);
    site.files.put("cert.yaml", [tls_secret("cert", &authority.server(&["first.test", "a.test"])?)])?;
    let arrived = async |name: &str| {
        let what = format!("the certificate of {name} is shown");
        wait::until(&what, async || {
            let session = shown().await?;
            ensure!(session.common_name == name, "it is {}", session.common_name);
            Ok(())
        })
        .await
    };
    arrived("first.test").await?;
    site.files.put("cert.yaml", [tls_secret("cert", &authority.server(&["second.test", "a.test"])?)])?;
    arrived("second.test").await?;
    // A connection from before goes on.
    open.send(&Request::get("a.test", "/")).await?.expect(200)?;
    site.files.remove("cert.yaml")?;
    arrived(FAKE).await
}

async fn names_without_a_certificate_get_the_default_one() -> Result<()> {
    let authority = Authority::new("tests")?;
    let rules = ingress("web")
        .class(CLASS)
        .host("plain.test", [prefix("/", "app")])
        .host("uncovered.test", [prefix("/", "app")])
        .tls("other", &["uncovered.test"])
        .build();
    let (site, _pod) = site([rules, tls_secret("other", &authority.server(&["other.test"])?)]).await?;
    for name in [Some("plain.test"), Some("uncovered.test"), Some("unknown.test"), None] {
        let session = connect(site.subject.https(), name, &["http/1.1"]).await?;
        assert_eq!((session.common_name.as_str(), session.organization.as_str()), (FAKE, "Acme Co"), "for {name:?}");
        // Who comes without a name is routed all the same.
        Connection::over(session.wire).send(&Request::get("plain.test", "/")).await?.expect(200)?;
    }
    Ok(())
}

async fn the_protocol_is_agreed_on() -> Result<()> {
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build();
    let (site, _pod) = site([rules]).await?;
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let session = connect(site.subject.https(), Some("a.test"), offered).await?;
        assert_eq!(session.alpn.as_deref(), chosen, "offered {offered:?}");
        if chosen == Some("h2") {
            let mut connection = client::http2::Connection::over(session.wire).await?;
            connection.send("https", &Request::get("a.test", "/")).await?.expect(200)?;
        } else {
            Connection::over(session.wire).send(&Request::get("a.test", "/")).await?.expect(200)?;
        }
    }
    Ok(())
}

async fn hosts_with_tls_redirect_to_https() -> Result<()> {
    let rules = ingress("web")
        .class(CLASS)
        .host("a.test", [prefix("/", "app")])
        .host("unlisted.test", [prefix("/", "app")])
        .tls("", &["a.test"])
        .build();
    let plain = ingress("plain").class(CLASS).host("plain.test", [prefix("/", "app")]).build();
    let (site, pod) = site([rules, plain]).await?;
    for (host, target, location) in [
        ("a.test", "/x?y=z&u=%2F", "https://a.test/x?y=z&u=%2F"),
        ("a.test", "/", "https://a.test"),
        ("a.test", "/dir/", "https://a.test/dir"),
        ("a.test", "/dir?q=/", "https://a.test/dir?q=/"),
        ("a.test:80", "/x", "https://a.test/x"),
        // A tls section counts for every host of its Ingress.
        ("unlisted.test", "/x", "https://unlisted.test/x"),
    ] {
        let answer = site.subject.get(host, target).await?.expect(308)?;
        assert_eq!(answer.header("location"), Some(location), "{host}{target}");
        assert_eq!(answer.header("strict-transport-security"), None);
    }
    let post = client::send(site.subject.http(), &Request::post("a.test", "/x", "body")).await?;
    post.expect(308)?;
    assert_eq!(pod.connections(), 0, "a redirected request has reached a pod");
    site.subject.get("plain.test", "/").await?.expect(200)?;
    site.subject.get_tls("a.test", "/").await?.expect(200)?;
    Ok(())
}

async fn challenges_are_not_redirected() -> Result<()> {
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).tls("", &["a.test"]).build();
    // What cert-manager creates while it solves an HTTP-01 challenge.
    let solver = ingress("cm-acme-http-solver")
        .class(CLASS)
        .host(
            "a.test",
            [rust_nginx_tests::objects::implementation_specific("/.well-known/acme-challenge/token", "app")],
        )
        .build();
    let (site, _pod) = site([rules, solver]).await?;
    site.subject.get("a.test", "/.well-known/acme-challenge/token").await?.expect(200)?;
    site.subject.get("a.test", "/.well-known/other").await?.expect(308)?;
    Ok(())
}

async fn every_answer_over_tls_demands_tls() -> Result<()> {
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app"), prefix("/gone", "nowhere")]).build();
    let (site, _pod) = site([rules]).await?;
    for (host, target, status) in
        [("a.test", "/", 200), ("a.test", "/pod/status/500", 500), ("a.test", "/gone", 503), ("unknown.test", "/", 404)]
    {
        let answer = site.subject.get_tls(host, target).await?.expect(status)?;
        assert_eq!(
            answer.header("strict-transport-security"),
            Some("max-age=31536000; includeSubDomains"),
            "{host}{target}"
        );
    }
    Ok(())
}

async fn plain_http_on_the_tls_port_is_refused() -> Result<()> {
    let (site, _pod) = site([]).await?;
    let mut connection = Connection::open(site.subject.https()).await?;
    connection.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await?;
    connection.answer("GET").await?.expect(400)?;
    Ok(())
}

async fn a_default_certificate_can_be_given() -> Result<()> {
    let authority = Authority::new("tests")?;
    let manifests = [ingress_class(CLASS, CONTROLLER)];
    let site = Site::start_with(manifests, |launch| launch.arg("--default-ssl-certificate=default/wild")).await?;
    let shown = async || anyhow::Ok(connect(site.subject.https(), Some("a.test"), &[]).await?.common_name);
    assert_eq!(shown().await?, FAKE);
    site.files.put("secret.yaml", [tls_secret("wild", &authority.server(&["house.test"])?)])?;
    wait::until("the given certificate is shown", async || {
        let name = shown().await?;
        ensure!(name == "house.test", "it is {name}");
        Ok(())
    })
    .await
}
