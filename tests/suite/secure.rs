//! TLS: which certificate is shown, which protocol is spoken, who is redirected.

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::certificate::Authority;
use rust_nginx_tests::client::tls::{Client, connect, connect_trusting};
use rust_nginx_tests::client::{self, Connection, Request};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{
    Manifest, backend, config_map, endpoints_at, ingress, ingress_class, prefix, service, tls_secret,
};
use rust_nginx_tests::ocsp::Responder;
use rust_nginx_tests::pod::{Pod, Terminator};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};
use rustls::SignatureScheme;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

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
        a_host_may_have_certificates_of_two_kinds,
        versions_and_names_are_limited_at_once,
        tls_is_handed_on_where_the_host_wants_it,
        what_the_authority_says_is_stapled,
        what_ends_soon_is_said,
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

async fn a_host_may_have_certificates_of_two_kinds() -> Result<()> {
    let authority = Authority::new("tests")?;
    let both =
        ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).tls("rsa", &["a.test"]).tls("ec", &["a.test"]);
    let secrets =
        [tls_secret("rsa", &authority.rsa_server(&["a.test"])?), tls_secret("ec", &authority.server(&["a.test"])?)];
    let (site, _pod) = site([both.build()].into_iter().chain(secrets)).await?;
    for (schemes, bits) in
        [(&[SignatureScheme::ECDSA_NISTP256_SHA256][..], 256), (&[SignatureScheme::RSA_PSS_SHA256], 2048)]
    {
        let session = Client::verifying(schemes).connect(site.subject.https(), "a.test").await?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&session.certificate)?;
        assert_eq!(parsed.public_key().parsed()?.key_size(), bits, "for {schemes:?}");
        Connection::over(session.wire).send(&Request::get("a.test", "/")).await?.expect(200)?;
    }
    Ok(())
}

async fn versions_and_names_are_limited_at_once() -> Result<()> {
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build();
    let manifests = [ingress_class(CLASS, CONTROLLER), rules];
    let site = Site::start_with(manifests, |launch| launch.arg("--configmap=default/settings")).await?;
    let https = site.subject.https();
    let refused = async |what: &str, client: &Client, name: &str| {
        wait::until(what, async || {
            ensure!(client.connect(https, name).await.is_err(), "there is a handshake");
            Ok(())
        })
        .await
    };
    let old = Client::of_version(&rustls::version::TLS12);
    old.connect(https, "a.test").await?;
    site.files.put("settings.yaml", [config_map("settings", &[("ssl-protocols", "TLSv1.3")])])?;
    refused("TLS 1.2 is refused", &old, "a.test").await?;
    let new = Client::new(None)?;
    new.connect(https, "a.test").await?;
    new.connect(https, "b.test").await?;
    site.files.put("settings.yaml", [config_map("settings", &[("ssl-reject-handshake", "true")])])?;
    refused("an unknown name is refused", &new, "b.test").await?;
    old.connect(https, "a.test").await?;
    Ok(())
}

async fn tls_is_handed_on_where_the_host_wants_it() -> Result<()> {
    let authority = Authority::new("tests")?;
    let pod = Pod::start("a").await?;
    let terminator = Terminator::start(pod.address, &authority.server(&["pod.test"])?, &["http/1.1"]).await?;
    let passed = ingress("passed").class(CLASS).host("passed.test", [prefix("/", "tls")]);
    let passed = passed.annotation("nginx.ingress.kubernetes.io/ssl-passthrough", "true").build();
    let ours = ingress("ours").class(CLASS).host("ours.test", [prefix("/", "app")]).build();
    let mut manifests = vec![ingress_class(CLASS, CONTROLLER), passed, ours, service("tls", 80)];
    manifests.push(endpoints_at("tls", "", &[terminator.address]));
    manifests.extend(backend("app", &[&pod]));
    let site = Site::start_with(manifests, |launch| launch.arg("--enable-ssl-passthrough")).await?;
    let session = connect(site.subject.https(), Some("passed.test"), &["http/1.1"]).await?;
    assert_eq!(session.common_name, "pod.test");
    let mut connection = Connection::over(session.wire);
    let echo = connection.send(&Request::get("passed.test", "/x")).await?.echo()?;
    // Nobody has looked inside.
    ensure!(echo.values("x-forwarded-for").is_empty(), "{echo:?}");
    assert_eq!(connect(site.subject.https(), Some("ours.test"), &[]).await?.common_name, FAKE);
    // Changes of the table do not touch it.
    site.files.put("more.yaml", [ingress("more").class(CLASS).host("more.test", [prefix("/", "app")]).build()])?;
    site.subject.answers("more.test", "/", 200).await?;
    connection.send(&Request::get("passed.test", "/y")).await?.expect(200)?;
    Ok(())
}

async fn what_the_authority_says_is_stapled() -> Result<()> {
    let authority = Arc::new(Authority::new("tests")?);
    let responder = Responder::start(Arc::clone(&authority)).await?;
    let pair = authority.server_with_responder(&["a.test"], &responder.url())?;
    let other = authority.server_with_responder(&["b.test"], "http://127.0.0.1:1/")?;
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).host("b.test", [prefix("/", "app")]);
    let rules = rules.tls("a", &["a.test"]).tls("b", &["b.test"]).build();
    let manifests = [ingress_class(CLASS, CONTROLLER), rules, tls_secret("a", &pair), tls_secret("b", &other)];
    let site = Site::start_with(manifests, |launch| launch.arg("--configmap=default/settings")).await?;
    let https = site.subject.https();
    Client::new(None)?.connect(https, "a.test").await?;
    assert_eq!(responder.answered(), 0, "nobody has asked for OCSP");
    site.files.put("settings.yaml", [config_map("settings", &[("enable-ocsp", "true")])])?;
    let staple = wait::until("an answer is stapled", async || {
        let client = Client::new(None)?;
        client.connect(https, "a.test").await?;
        let staple = client.staple();
        ensure!(!staple.is_empty(), "nothing is");
        Ok(staple)
    })
    .await?;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = Client::of_version(version);
        client.connect(https, "a.test").await?;
        ensure!(client.staple() == staple, "{version:?}");
        client.connect(https, "b.test").await?;
        ensure!(client.staple().is_empty(), "what cannot be asked is not stapled");
    }
    assert_eq!(responder.answered(), 1);
    Ok(())
}

async fn what_ends_soon_is_said() -> Result<()> {
    const DAY: Duration = Duration::from_secs(86_400);
    let (authority, now) = (Authority::new("tests")?, SystemTime::now());
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).tls("cert", &["a.test"]).build();
    let (site, _pod) = site([rules]).await?;
    let said = [
        ("good.test", now + 90 * DAY, None),
        ("soon.test", now + 5 * DAY, Some("the certificate expires at")),
        ("over.test", now - DAY, Some("the certificate has expired at")),
        ("new.test", now + 90 * DAY, None),
    ];
    for (name, end, said) in said {
        let pair = authority.server_until(&[name, "a.test"], end)?;
        site.files.put("cert.yaml", [tls_secret("cert", &pair)])?;
        wait::until("the certificate is shown, and what there is to say is said", async || {
            let shown = connect(site.subject.https(), Some("a.test"), &["http/1.1"]).await?.common_name;
            ensure!(shown == name, "that of {shown} is shown");
            let findings = site.subject.inspect("/debug/diagnostics").await?.text();
            match said {
                Some(said) => {
                    ensure!(findings.contains(said) && findings.contains("CertificateExpiring"), "{findings}")
                }
                None => ensure!(!findings.contains("CertificateExpiring"), "{findings}"),
            }
            Ok(())
        })
        .await
        .with_context(|| name.to_owned())?;
    }
    Ok(())
}
