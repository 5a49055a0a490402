//! A directory of manifests: read, re-read, and survived when it is broken.

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::certificate::Authority;
use rust_nginx_tests::client::{Connection, Request};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Directory, Site};
use rust_nginx_tests::objects::{
    Manifest, backend, config_map, documents, endpoints, ingress, ingress_class, prefix, resource, service, tls_secret,
};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        an_empty_directory_is_ready_and_knows_nobody,
        health_and_readiness_are_told,
        changed_added_and_removed_files_are_followed,
        files_may_be_written_in_place,
        a_broken_document_keeps_the_rest,
        a_broken_change_of_a_file_keeps_the_rest,
        every_mistake_gets_one_diagnostic,
        the_table_can_be_looked_at_without_secrets,
        requests_are_counted_by_ingress,
        the_config_map_is_followed,
        bad_arguments_are_reported_together,
        a_busy_port_ends_the_process,
    ]
}

fn class() -> Manifest {
    ingress_class(CLASS, CONTROLLER)
}

fn web(host: &str, target: &str) -> Manifest {
    ingress("web").class(CLASS).host(host, [prefix("/", target)]).build()
}

async fn an_empty_directory_is_ready_and_knows_nobody() -> Result<()> {
    let files = Directory::new()?;
    let subject = files.launch().ready().await?;
    subject.get("a.test", "/").await?.expect(404)?;
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    files.put("all.yaml", [class(), service, slice, web("a.test", "app")])?;
    subject.routed("a.test", "/", "a").await
}

async fn health_and_readiness_are_told() -> Result<()> {
    let site = Site::start([class()]).await?;
    for target in ["/healthz", "/livez", "/readyz", "/metrics", "/debug/table"] {
        site.subject.inspect(target).await?.expect(200).with_context(|| target.to_owned())?;
    }
    site.subject.inspect("/no-such-page").await?.expect(404)?;
    Ok(())
}

async fn changed_added_and_removed_files_are_followed() -> Result<()> {
    let (one, two) = (Pod::start("one").await?, Pod::start("two").await?);
    let [service, slice] = backend("app", &[&one]);
    let site = Site::start([class(), service.clone(), slice, web("a.test", "app")]).await?;
    site.subject.routed("a.test", "/", "one").await?;
    // Changed: the endpoint, then the rule.
    site.files.put("site.yaml", [class(), service.clone(), endpoints("app", &[&two]), web("a.test", "app")])?;
    site.subject.routed("a.test", "/", "two").await?;
    site.files.put("site.yaml", [class(), service, endpoints("app", &[&two]), web("b.test", "app")])?;
    site.subject.routed("b.test", "/", "two").await?;
    site.subject.get("a.test", "/").await?.expect(404)?;
    // Added, as JSON; removed.
    let more = ingress("more").class(CLASS).host("more.test", [prefix("/", "app")]).build();
    site.files.write("more.json", &more.0.to_string())?;
    site.subject.routed("more.test", "/", "two").await?;
    site.files.remove("more.json")?;
    site.subject.answers("more.test", "/", 404).await?;
    site.subject.routed("b.test", "/", "two").await
}

async fn files_may_be_written_in_place() -> Result<()> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let site = Site::start([class(), service, slice]).await?;
    // As an editor does that does not rename.
    std::fs::write(site.files.path.join("web.yaml"), documents([web("a.test", "app")]))?;
    site.subject.routed("a.test", "/", "a").await?;
    std::fs::write(site.files.path.join("web.yaml"), documents([web("b.test", "app")]))?;
    site.subject.routed("b.test", "/", "a").await
}

const BROKEN: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: fine}
spec:
  ingressClassName: rust-nginx
  rules:
    - host: fine.test
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}
---
apiVersion: v1
kind: Service
metadata:
  name: [unclosed
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: fine-too}
spec:
  ingressClassName: rust-nginx
  rules:
    - host: fine-too.test
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}
";

async fn a_broken_document_keeps_the_rest() -> Result<()> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let files = Directory::new()?;
    files.put("good.yaml", [class(), service, slice, web("a.test", "app")])?;
    files.write("broken.yaml", BROKEN)?;
    let subject = files.launch().ready().await?;
    for host in ["a.test", "fine.test", "fine-too.test"] {
        subject.routed(host, "/", "a").await?;
    }
    // The bracket opens in line 13 and is missed in 14, in the second document.
    let line = subject.log.line(&["broken.yaml"]).await?;
    let numbers: Vec<&str> = line.split(|letter: char| !letter.is_ascii_digit()).collect();
    ensure!(numbers.iter().any(|number| ["13", "14"].contains(number)), "no line number: {line}");
    ensure!(numbers.contains(&"2"), "no number of the document: {line}");
    Ok(())
}

async fn a_broken_change_of_a_file_keeps_the_rest() -> Result<()> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let files = Directory::new()?;
    files.put("good.yaml", [class(), service, slice, web("a.test", "app")])?;
    let other = ingress("other").class(CLASS).host("other.test", [prefix("/", "app")]).build();
    files.put("other.yaml", [other.clone()])?;
    let subject = files.launch().ready().await?;
    subject.routed("other.test", "/", "a").await?;
    files.write("other.yaml", "apiVersion: networking.k8s.io/v1\nkind: Ingress\n  bad: indent\n")?;
    subject.log.line(&["other.yaml"]).await?;
    wait::remains("the other files are served", async || subject.get("a.test", "/").await?.expect(200).map(drop))
        .await?;
    files.put("other.yaml", [other])?;
    subject.routed("other.test", "/", "a").await?;
    subject.inspect("/readyz").await?.expect(200)?;
    Ok(())
}

async fn every_mistake_gets_one_diagnostic() -> Result<()> {
    let pod = Pod::start("a").await?;
    let [app, slice] = backend("app", &[&pod]);
    let authority = Authority::new("tests")?;
    let (one, two) = (authority.server(&["x.test"])?, authority.server(&["x.test"])?);
    let crossed = rust_nginx_tests::certificate::Pair { certificate: one.certificate, key: two.key };
    let bad = |name: &str| ingress(name).class(CLASS);
    let manifests = [
        class(),
        app,
        slice,
        service("empty", 80),
        tls_secret("crossed", &crossed),
        web("a.test", "app"),
        bad("no-service").host("no-service.test", [prefix("/", "nowhere"), prefix("/app", "app")]).build(),
        bad("no-port").host("no-port.test", [prefix("/", "app:81")]).build(),
        bad("no-endpoints").host("no-endpoints.test", [prefix("/", "empty")]).build(),
        bad("no-secret").host("no-secret.test", [prefix("/", "app")]).tls("missing", &["no-secret.test"]).build(),
        bad("bad-secret").host("bad-secret.test", [prefix("/", "app")]).tls("crossed", &["bad-secret.test"]).build(),
        bad("resource").host("resource.test", [resource("/", "example.com", "Bucket", "b")]).build(),
    ];
    let site = Site::start(manifests).await?;
    let subject = &site.subject;
    subject.routed("a.test", "/", "a").await?;
    subject.routed("no-service.test", "/app", "a").await?;
    for (host, status) in
        [("no-service.test", 503), ("no-port.test", 503), ("no-endpoints.test", 503), ("resource.test", 404)]
    {
        subject.get(host, "/").await?.expect(status).with_context(|| host.to_owned())?;
    }
    for host in ["no-secret.test", "bad-secret.test"] {
        subject.get(host, "/").await?.expect(308).with_context(|| host.to_owned())?;
        subject.get_tls(host, "/").await?.expect(200).with_context(|| host.to_owned())?;
    }
    for (ingress, detail) in [
        ("default/no-service", "nowhere"),
        ("default/no-port", "81"),
        ("default/no-endpoints", "empty"),
        ("default/no-secret", "missing"),
        ("default/bad-secret", "crossed"),
        ("default/resource", "Bucket"),
    ] {
        let line = subject.log.line(&[ingress, detail]).await?;
        let lines = subject.log.containing(&[ingress, detail]);
        ensure!(lines.len() == 1, "more than one diagnostic for {ingress}: {lines:#?}");
        ensure!(line.contains("WARN"), "not a warning: {line}");
    }
    Ok(())
}

async fn the_table_can_be_looked_at_without_secrets() -> Result<()> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let pair = Authority::new("tests")?.server(&["a.test"])?;
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/here", "app")]).tls("cert", &["a.test"]).build();
    let site = Site::start([class(), service, slice, rules, tls_secret("cert", &pair)]).await?;
    let text = site.subject.inspect("/debug/table").await?.expect(200)?.text();
    serde_json::from_str::<serde_json::Value>(&text).context("not JSON")?;
    let endpoint = pod.address.to_string();
    for part in ["a.test", "/here", r#""ingress": "web""#, &endpoint] {
        ensure!(text.contains(part), "{part} is not in the table: {text}");
    }
    let key = pair.key.lines().nth(1).context("a key has lines")?;
    ensure!(!text.contains(key) && !text.contains("PRIVATE"), "the table shows a private key");
    Ok(())
}

async fn requests_are_counted_by_ingress() -> Result<()> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let site = Site::start([class(), service, slice, web("a.test", "app")]).await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    for target in ["/", "/x", "/pod/status/201"] {
        connection.send(&Request::get("a.test", target)).await?;
    }
    let counted = async |labels: &[&str]| site.subject.metric("nginx_ingress_controller_requests", labels).await;
    let ours =
        [r#"ingress="web""#, r#"namespace="default""#, r#"service="app""#, r#"host="a.test""#, r#"method="GET""#];
    wait::until("three requests are counted", async || {
        let count = counted(&ours).await?;
        ensure!((count - 3.0).abs() < 0.1, "{count} are counted");
        Ok(())
    })
    .await?;
    let created = counted(&[r#"status="201""#]).await?;
    ensure!((created - 1.0).abs() < 0.1, "{created} are counted with status 201");
    Ok(())
}

async fn the_config_map_is_followed() -> Result<()> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).tls("", &["a.test"]).build();
    let manifests = [class(), service, slice, rules];
    let site = Site::start_with(manifests, |launch| launch.arg("--configmap=default/settings")).await?;
    // It does not exist yet: the defaults hold.
    site.subject.get("a.test", "/").await?.expect(308)?;
    site.files.put("settings.yaml", [config_map("settings", &[("ssl-redirect", "false"), ("hsts-max-age", "60")])])?;
    site.subject.routed("a.test", "/", "a").await?;
    let answer = site.subject.get_tls("a.test", "/").await?.expect(200)?;
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=60; includeSubDomains"));
    // A value that does not parse: that key's default and a diagnostic; the others hold.
    site.files.put("settings.yaml", [config_map("settings", &[("ssl-redirect", "perhaps"), ("hsts", "false")])])?;
    site.subject.answers("a.test", "/", 308).await?;
    assert_eq!(site.subject.get_tls("a.test", "/").await?.header("strict-transport-security"), None);
    site.subject.log.line(&["default/settings", "ssl-redirect", "perhaps"]).await?;
    // One request per connection.
    site.files
        .put("settings.yaml", [config_map("settings", &[("ssl-redirect", "false"), ("keep-alive-requests", "2")])])?;
    site.subject.routed("a.test", "/", "a").await?;
    wait::until("connections end after two requests", async || {
        let mut connection = Connection::open(site.subject.http()).await?;
        let first = connection.send(&Request::get("a.test", "/")).await?;
        let second = connection.send(&Request::get("a.test", "/")).await?;
        ensure!(first.header("connection") != Some("close"), "the first answer says close");
        ensure!(second.header("connection") == Some("close"), "the second answer does not say close");
        connection.closed().await
    })
    .await
}

async fn bad_arguments_are_reported_together() -> Result<()> {
    let files = Directory::new()?;
    let launch = files.launch().arg("--no-such-flag").arg("--shutdown-grace-period=soon").arg("--http-addr=nowhere");
    let subject = launch.start().await?;
    let status = subject.exited(wait::LONG).await?;
    ensure!(!status.success(), "it ended with {status}");
    for part in ["--no-such-flag", "--shutdown-grace-period", "--http-addr"] {
        subject.log.line(&[part]).await?;
    }
    Ok(())
}

async fn a_busy_port_ends_the_process() -> Result<()> {
    let files = Directory::new()?;
    let launch = files.launch();
    let first = launch.clone().ready().await?;
    let second = launch.start().await?;
    let status = second.exited(wait::LONG).await?;
    ensure!(!status.success(), "it ended with {status}");
    second.log.line(&[&first.address.to_string()]).await?;
    first.inspect("/readyz").await?.expect(200)?;
    Ok(())
}
