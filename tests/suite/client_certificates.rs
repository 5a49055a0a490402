//! Client certificates, as clients and pods see them while Ingresses and Secrets come, change and go.

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::certificate::Authority;
use rust_nginx_tests::client::tls::Client;
use rust_nginx_tests::client::{Connection, Request};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{Manifest, backend, config_map, ingress, ingress_class, prefix, secret};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_host_with_authorities_lets_their_clients_in,
        pods_are_told_who_the_client_is,
        what_cannot_be_checked_is_closed,
        a_new_authority_counts_at_once,
        no_session_is_a_way_around_client_certificates,
        cleartext_is_not_a_way_around,
    ]
}

const PREFIX: &str = "nginx.ingress.kubernetes.io/auth-tls-";

/// An Ingress for `a.test` with `auth-tls-*`.
fn guarded(annotations: &[(&str, &str)]) -> Manifest {
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]);
    let annotate = |rules: rust_nginx_tests::objects::IngressBuilder, (key, value): &(&str, &str)| {
        rules.annotation(&format!("{PREFIX}{key}"), value)
    };
    annotations.iter().fold(rules, annotate).build()
}

async fn site(more: impl IntoIterator<Item = Manifest>) -> Result<(Site, Pod)> {
    let pod = Pod::start("a").await?;
    let mut manifests = vec![ingress_class(CLASS, CONTROLLER)];
    manifests.extend(backend("app", &[&pod]));
    manifests.extend(more);
    let site = Site::start_with(manifests, |launch| launch.arg("--configmap=default/settings")).await?;
    Ok((site, pod))
}

fn ca(authority: &Authority) -> Manifest {
    secret("ca", &[("ca.crt", &authority.certificate)])
}

async fn answers(client: &Client, site: &Site, status: u16) -> Result<()> {
    wait::until(&format!("a.test answers {status}"), async || {
        client.send(site.subject.https(), &Request::get("a.test", "/")).await?.expect(status)?;
        Ok(())
    })
    .await
}

async fn a_host_with_authorities_lets_their_clients_in() -> Result<()> {
    let (ours, other) = (Authority::new("ours")?, Authority::new("other")?);
    let (site, pod) = site([guarded(&[("secret", "default/ca")]), ca(&ours)]).await?;
    let https = site.subject.https();
    let request = Request::get("a.test", "/");
    Client::new(Some(&ours.client("alice", "users")?))?.send(https, &request).await?.expect(200)?;
    let answer = Client::new(None)?.send(https, &request).await?.expect(400)?;
    ensure!(answer.text().contains("No required SSL certificate was sent"), "{}", answer.text());
    let answer = Client::new(Some(&other.client("mallory", "users")?))?.send(https, &request).await?.expect(400)?;
    ensure!(answer.text().contains("The SSL certificate error"), "{}", answer.text());
    assert_eq!(pod.seen().len(), 1);
    Ok(())
}

async fn pods_are_told_who_the_client_is() -> Result<()> {
    let ours = Authority::new("ours")?;
    let annotations =
        [("secret", "default/ca"), ("pass-certificate-to-upstream", "true"), ("verify-client", "optional_no_ca")];
    let (site, _pod) = site([guarded(&annotations), ca(&ours)]).await?;
    let https = site.subject.https();
    let request =
        Request::get("a.test", "/").header("ssl-client-verify", "SUCCESS").header("ssl-client-cert", "forged");
    let echo = Client::new(Some(&ours.client("alice", "users")?))?.send(https, &request).await?.echo()?;
    assert_eq!(echo.values("ssl-client-verify"), ["SUCCESS"]);
    assert_eq!(echo.values("ssl-client-subject-dn"), ["CN=alice,O=users"]);
    assert_eq!(echo.values("ssl-client-issuer-dn"), ["CN=ours"]);
    let certificates = echo.values("ssl-client-cert");
    ensure!(
        certificates.len() == 1 && certificates[0].starts_with("-----BEGIN%20CERTIFICATE-----%0A"),
        "{certificates:?}"
    );
    let other = Authority::new("other")?.client("mallory", "users")?;
    let echo = Client::new(Some(&other))?.send(https, &request).await?.echo()?;
    assert_eq!(echo.values("ssl-client-verify"), ["FAILED:unable to verify the first certificate"]);
    let echo = Client::new(None)?.send(https, &request).await?.echo()?;
    assert_eq!(echo.values("ssl-client-verify"), ["NONE"]);
    ensure!(echo.values("ssl-client-cert").is_empty());
    Ok(())
}

async fn what_cannot_be_checked_is_closed() -> Result<()> {
    let ours = Authority::new("ours")?;
    let alice = Client::new(Some(&ours.client("alice", "users")?))?;
    let (site, pod) = site([guarded(&[("secret", "default/ca")])]).await?;
    // The Secret is missing, comes, loses its authorities, and has something else in their place.
    answers(&alice, &site, 403).await?;
    site.files.put("ca.yaml", [ca(&ours)])?;
    answers(&alice, &site, 200).await?;
    site.files.put("ca.yaml", [secret("ca", &[("tls.crt", &ours.certificate)])])?;
    answers(&alice, &site, 403).await?;
    let seen = pod.seen().len();
    site.files.put("ca.yaml", [secret("ca", &[("ca.crt", &ours.certificate), ("ca.crl", "nothing")])])?;
    answers(&alice, &site, 403).await?;
    assert_eq!(site.subject.get("a.test", "/").await?.status, 403);
    assert_eq!(pod.seen().len(), seen);
    site.files.put("ca.yaml", [ca(&ours)])?;
    answers(&alice, &site, 200).await
}

async fn a_new_authority_counts_at_once() -> Result<()> {
    let (ours, other) = (Authority::new("ours")?, Authority::new("other")?);
    let (site, _pod) = site([guarded(&[("secret", "default/ca")])]).await?;
    site.files.put("ca.yaml", [ca(&ours)])?;
    let (alice, bob) =
        (Client::new(Some(&ours.client("alice", "users")?))?, Client::new(Some(&other.client("bob", "users")?))?);
    answers(&alice, &site, 200).await?;
    answers(&bob, &site, 400).await?;
    let mut open = Connection::over(alice.connect(site.subject.https(), "a.test").await?.wire);
    open.send(&Request::get("a.test", "/")).await?.expect(200)?;
    site.files.put("ca.yaml", [ca(&other)])?;
    answers(&bob, &site, 200).await?;
    answers(&alice, &site, 400).await?;
    // Who was let in before is judged again.
    open.send(&Request::get("a.test", "/")).await?.expect(400)?;
    Ok(())
}

/// Sessions from before are of no use, whether they are kept by us or, under one key for all, by the client.
async fn no_session_is_a_way_around_client_certificates() -> Result<()> {
    let ours = Authority::new("ours")?;
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm";
    for tickets in ["false", "true"] {
        let settings = config_map("settings", &[("ssl-session-tickets", tickets), ("ssl-session-ticket-key", key)]);
        let (site, _pod) = site([settings, ca(&ours)]).await?;
        site.files.put("ingress.yaml", [guarded(&[])])?;
        let nobody = Client::new(None)?;
        answers(&nobody, &site, 200).await?;
        ensure!(nobody.connect(site.subject.https(), "a.test").await?.resumed, "tickets {tickets}");
        site.files.put("ingress.yaml", [guarded(&[("secret", "default/ca")])])?;
        answers(&nobody, &site, 400).await.with_context(|| format!("tickets {tickets}"))?;
        // Sessions of the policy itself go on, and bring the client's certificate along.
        let alice = Client::new(Some(&ours.client("alice", "users")?))?;
        answers(&alice, &site, 200).await?;
        let session = alice.connect(site.subject.https(), "a.test").await?;
        ensure!(session.resumed, "tickets {tickets}");
        let echo = Connection::over(session.wire).send(&Request::get("a.test", "/")).await?.echo()?;
        assert_eq!(echo.values("ssl-client-subject-dn"), ["CN=alice,O=users"]);
    }
    Ok(())
}

async fn cleartext_is_not_a_way_around() -> Result<()> {
    let ours = Authority::new("ours")?;
    let solver =
        ingress("solver").class(CLASS).host("a.test", [prefix("/.well-known/acme-challenge/x", "app")]).build();
    let redirected = ingress("tls").class(CLASS).host("tls.test", [prefix("/", "app")]).tls("", &["tls.test"]);
    let redirected = redirected.annotation(&format!("{PREFIX}secret"), "default/ca").build();
    let (site, _pod) = site([guarded(&[("secret", "default/ca")]), ca(&ours), solver, redirected]).await?;
    site.subject.get("a.test", "/").await?.expect(403)?;
    site.subject.get("tls.test", "/").await?.expect(308)?;
    site.subject.get("a.test", "/.well-known/acme-challenge/x").await?.expect(200)?;
    // What a proxy in front says about the scheme saves the redirect, and shows no certificate.
    site.files.put("settings.yaml", [config_map("settings", &[("use-forwarded-headers", "true")])])?;
    let claims = Request::get("tls.test", "/").header("x-forwarded-proto", "https");
    wait::until("claims about the scheme are believed", async || {
        rust_nginx_tests::client::send(site.subject.http(), &claims).await?.expect(403)?;
        Ok(())
    })
    .await
}
