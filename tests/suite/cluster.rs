//! A real API server as the source: what is applied becomes traffic, what is wrong
//! is told to whoever applied it.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::Api;
use rust_nginx_tests::certificate::Authority;
use rust_nginx_tests::client::tls::connect;
use rust_nginx_tests::control_plane::World;
use rust_nginx_tests::objects::{
    Manifest, backend, endpoints, exact, ingress, ingress_class, prefix, resource, service, tls_secret,
};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::subject::Subject;
use rust_nginx_tests::{tests, wait};
use serde_json::json;

pub(crate) fn tests() -> Vec<Test> {
    tests![cluster:
        objects_become_traffic_and_changes_follow,
        certificates_come_from_secrets_of_any_type,
        the_status_shows_the_given_addresses,
        the_status_shows_the_addresses_of_the_service,
        events_tell_what_was_done_and_what_is_wrong,
        the_oldest_claim_serves_and_the_loser_is_told,
        other_classes_are_left_alone,
        the_default_class_takes_what_names_none,
        the_chart_config_map_is_followed,
        a_kind_that_may_not_be_read_is_missed_alone,
        one_namespace_can_be_watched_with_a_role,
    ]
}

/// An application: a Service, its pods, an Ingress for a host of its own.
fn application(world: &World, name: &str, pod: &Pod) -> Vec<Manifest> {
    let rules = ingress(name).class(&world.class).host(&format!("{name}.test"), [prefix("/", name)]);
    backend(name, &[pod]).into_iter().chain([rules.build()]).collect()
}

async fn shown(subject: &Subject, name: &str) -> Result<String> {
    Ok(connect(subject.https(), Some(name), &[]).await?.common_name)
}

async fn arrives(subject: &Subject, host: &str, certificate: &str) -> Result<()> {
    wait::until(&format!("{certificate} is shown for {host}"), async || {
        let name = shown(subject, host).await?;
        ensure!(name == certificate, "it is {name}");
        Ok(())
    })
    .await
}

async fn objects_become_traffic_and_changes_follow() -> Result<()> {
    let world = World::new("follow").await?;
    let subject = world.subject().await?;
    subject.get("a.test", "/").await?.expect(404)?;
    let (one, two) = (Pod::start("one").await?, Pod::start("two").await?);
    let authority = Authority::new("tests")?;

    // Created, in an order in which each object refers to one that does not exist yet.
    let rules = ingress("web").class(&world.class).host("a.test", [prefix("/", "app")]);
    world.apply([rules.clone().build()]).await?;
    subject.answers("a.test", "/", 503).await?;
    world.apply([service("app", 80)]).await?;
    world.apply([endpoints("app", &[&one])]).await?;
    subject.routed("a.test", "/", "one").await?;

    // Changed: endpoints, paths, hosts, TLS, certificate.
    world.apply([endpoints("app", &[&two])]).await?;
    subject.routed("a.test", "/", "two").await?;
    world.apply([rules.clone().host("b.test", [exact("/only", "app")]).build()]).await?;
    subject.routed("b.test", "/only", "two").await?;
    subject.get("b.test", "/").await?.expect(404)?;
    let secure = rules.tls("cert", &["a.test"]).build();
    world.apply([secure.clone(), tls_secret("cert", &authority.server(&["first.test", "a.test"])?)]).await?;
    subject.answers("a.test", "/", 308).await?;
    subject.answers("b.test", "/only", 404).await?;
    arrives(&subject, "a.test", "first.test").await?;
    let renewed = tls_secret("cert", &authority.server(&["second.test", "a.test"])?);
    world.apply([renewed.clone()]).await?;
    arrives(&subject, "a.test", "second.test").await?;

    // Deleted.
    world.delete([renewed]).await?;
    arrives(&subject, "a.test", "Kubernetes Ingress Controller Fake Certificate").await?;
    world.delete([endpoints("app", &[&two])]).await?;
    wait::until("the Service has no endpoints", async || subject.get_tls("a.test", "/").await?.expect(503)).await?;
    world.delete([secure]).await?;
    subject.answers("a.test", "/", 404).await?;
    Ok(())
}

async fn certificates_come_from_secrets_of_any_type() -> Result<()> {
    let world = World::new("secrets").await?;
    let pod = Pod::start("a").await?;
    let authority = Authority::new("tests")?;
    let mut opaque = tls_secret("opaque", &authority.server(&["app.test"])?);
    opaque.0["type"] = json!("Opaque");
    let rules = ingress("app").class(&world.class).host("app.test", [prefix("/", "app")]).tls("opaque", &["app.test"]);
    world.apply(backend("app", &[&pod])).await?;
    world.apply([rules.build(), opaque.clone()]).await?;
    let subject = world.subject().await?;
    arrives(&subject, "app.test", "app.test").await?;
    opaque.0["data"] = tls_secret("", &authority.server(&["renewed.test", "app.test"])?).0["data"].take();
    world.apply([opaque]).await?;
    arrives(&subject, "app.test", "renewed.test").await
}

/// Waits until the status of an Ingress shows exactly these addresses.
async fn published(world: &World, ingress: &str, addresses: &[&str]) -> Result<()> {
    wait::until(&format!("the status of {ingress} shows {addresses:?}"), async || {
        let mut found = world.cluster.published(&world.namespace, ingress).await?;
        found.sort();
        ensure!(found == addresses, "it shows {found:?}");
        Ok(())
    })
    .await
}

async fn the_status_shows_the_given_addresses() -> Result<()> {
    let values = [
        ("controller.publishService.enabled", "false"),
        ("controller.extraArgs.publish-status-address", "203.0.113.7\\,lb.example.com"),
    ];
    let world = World::with_values("addresses", &values).await?;
    let pod = Pod::start("a").await?;
    world.apply(application(&world, "early", &pod)).await?;
    let subject = world.subject().await?;
    published(&world, "early", &["203.0.113.7", "lb.example.com"]).await?;
    world.apply(application(&world, "late", &pod)).await?;
    published(&world, "late", &["203.0.113.7", "lb.example.com"]).await?;
    subject.routed("late.test", "/", "a").await
}

async fn the_status_shows_the_addresses_of_the_service() -> Result<()> {
    let world = World::with_values("publish", &[("controller.extraArgs.status-update-interval", "5")]).await?;
    let pod = Pod::start("a").await?;
    world.apply(application(&world, "app", &pod)).await?;
    let _subject = world.subject().await?;
    let service = world.chart.only("Service")?.name().to_owned();
    world.cluster.assign_load_balancer(&world.system, &service, "203.0.113.8").await?;
    published(&world, "app", &["203.0.113.8"]).await?;
    // The cloud gave it another one.
    world.cluster.assign_load_balancer(&world.system, &service, "203.0.113.9").await?;
    published(&world, "app", &["203.0.113.9"]).await?;
    // Somebody overwrote the status: the next round mends it.
    let api = Api::<Ingress>::namespaced(world.cluster.client.clone(), &world.namespace);
    let other = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    api.patch_status("app", &Default::default(), &kube::api::Patch::Merge(other)).await?;
    published(&world, "app", &["203.0.113.9"]).await
}

async fn events_tell_what_was_done_and_what_is_wrong() -> Result<()> {
    let world = World::new("events").await?;
    let pod = Pod::start("a").await?;
    let subject = world.subject().await?;
    world.apply(application(&world, "fine", &pod)).await?;
    let rule = |name: &str, path| ingress(name).class(&world.class).host(&format!("{name}.test"), [path]);
    world
        .apply([
            service("empty", 80),
            rule("no-service", prefix("/", "nowhere")).build(),
            rule("no-port", prefix("/", "fine:81")).build(),
            rule("no-endpoints", prefix("/", "empty")).build(),
            rule("no-secret", prefix("/", "fine")).tls("missing", &["no-secret.test"]).build(),
            rule("bucket", resource("/", "example.com", "Bucket", "b")).build(),
        ])
        .await?;
    let cluster = &world.cluster;
    for (name, detail) in [
        ("no-service", "nowhere"),
        ("no-port", "81"),
        ("no-endpoints", "empty"),
        ("no-secret", "missing"),
        ("bucket", "Bucket"),
    ] {
        let notice = cluster.warned(&world.namespace, "Ingress", name, &[detail]).await?;
        let camel = notice.reason.starts_with(|letter: char| letter.is_ascii_uppercase());
        ensure!(camel && notice.reason.chars().all(|letter| letter.is_ascii_alphanumeric()), "{notice:?}");
    }
    for (name, status) in [("no-service", 503), ("no-port", 503), ("no-endpoints", 503), ("bucket", 404)] {
        subject.get(&format!("{name}.test"), "/").await?.expect(status).with_context(|| name.to_owned())?;
    }
    wait::until("the sound Ingress was told of", async || {
        let events = cluster.events(&world.namespace, "Ingress", "fine").await?;
        ensure!(events.iter().any(|event| event.kind == "Normal" && event.reason == "Sync"), "there are {events:?}");
        ensure!(events.iter().all(|event| event.kind == "Normal"), "a sound Ingress is warned of: {events:?}");
        Ok(())
    })
    .await?;
    // Mended: the diagnostic goes, the traffic comes.
    world.apply(backend("nowhere", &[&pod])).await?;
    subject.routed("no-service.test", "/", "a").await
}

async fn the_oldest_claim_serves_and_the_loser_is_told() -> Result<()> {
    let world = World::new("conflict").await?;
    let (old, young) = (Pod::start("old").await?, Pod::start("young").await?);
    world.apply(backend("old", &[&old])).await?;
    world.apply(backend("young", &[&young])).await?;
    let claim = |name: &str, target: &str| {
        world.placed(ingress(name).class(&world.class).host("a.test", [prefix("/", target)]).build())
    };
    let first = world.cluster.apply(&claim("first", "old")).await?.metadata.creation_timestamp;
    // Times of creation are whole seconds: the second claim has to wait for the next one.
    let second = claim("second", "young");
    wait::until("the second claim is younger", async || {
        let created = world.cluster.apply(&second).await?.metadata.creation_timestamp;
        if created == first {
            world.cluster.delete(&second).await?;
        }
        ensure!(created > first, "both were created at {created:?}");
        Ok(())
    })
    .await?;
    let subject = world.subject().await?;
    assert_eq!(subject.echo("a.test", "/").await?.pod, "old");
    world.cluster.warned(&world.namespace, "Ingress", "second", &["a.test", "first"]).await?;
    // The winner leaves.
    world.delete([claim("first", "old")]).await?;
    subject.routed("a.test", "/", "young").await?;
    // It comes back, and is the younger one now.
    world.apply([claim("first", "old")]).await?;
    world.cluster.warned(&world.namespace, "Ingress", "first", &["a.test", "second"]).await?;
    assert_eq!(subject.echo("a.test", "/").await?.pod, "young");
    Ok(())
}

async fn other_classes_are_left_alone() -> Result<()> {
    let world = World::new("classes").await?;
    let pod = Pod::start("a").await?;
    let theirs = format!("{}-theirs", world.class);
    world.apply([ingress_class(&theirs, "example.com/other")]).await?;
    world.apply(application(&world, "app", &pod)).await?;
    let rule = |name: &str| ingress(name).host(&format!("{name}.test"), [prefix("/", "app"), prefix("/no", "nowhere")]);
    world
        .apply([
            rule("theirs").class(&theirs).build(),
            rule("unknown").class("no-such-class").build(),
            rule("none").build(),
            rule("annotated").annotation("kubernetes.io/ingress.class", "nginx").build(),
            rule("ours").annotation("kubernetes.io/ingress.class", &world.class).build(),
        ])
        .await?;
    let subject = world.subject().await?;
    let service = world.chart.only("Service")?.name().to_owned();
    world.cluster.assign_load_balancer(&world.system, &service, "203.0.113.8").await?;
    subject.routed("ours.test", "/", "a").await?;
    // What is ours is told of and published; by then the others would have been too.
    world.cluster.warned(&world.namespace, "Ingress", "ours", &["nowhere"]).await?;
    published(&world, "ours", &["203.0.113.8"]).await?;
    for name in ["theirs", "unknown", "none", "annotated"] {
        subject.get(&format!("{name}.test"), "/").await?.expect(404).with_context(|| name.to_owned())?;
        let events = world.cluster.events(&world.namespace, "Ingress", name).await?;
        ensure!(events.is_empty(), "Events about {name}: {events:?}");
        published(&world, name, &[]).await?;
    }
    // A class that turns ours takes its Ingresses along.
    let controller =
        world.chart.only("IngressClass")?.0["spec"]["controller"].as_str().context("no controller")?.to_owned();
    world.apply([ingress_class("no-such-class", &controller)]).await?;
    subject.routed("unknown.test", "/", "a").await?;
    world.delete([ingress_class("no-such-class", &controller)]).await?;
    subject.answers("unknown.test", "/", 404).await?;
    Ok(())
}

async fn the_default_class_takes_what_names_none() -> Result<()> {
    let world = World::new("default-class").await?;
    let pod = Pod::start("a").await?;
    world.apply(backend("app", &[&pod])).await?;
    // Created while there is no default class: nobody has filled in the field.
    world.apply([ingress("none").host("none.test", [prefix("/", "app")]).build()]).await?;
    // Only here: other tests have Ingresses without class too.
    let launch = world.launch("rust-nginx-0")?.arg(format!("--watch-namespace={}", world.namespace));
    let subject = launch.arg("--watch-ingress-without-class=true").ready().await?;
    subject.routed("none.test", "/", "a").await
}

async fn the_chart_config_map_is_followed() -> Result<()> {
    let world = World::with_values("config", &[("controller.config.hsts-max-age", "99")]).await?;
    let pod = Pod::start("a").await?;
    world.apply(application(&world, "app", &pod)).await?;
    let subject = world.subject().await?;
    let age = async || {
        let answer = subject.get_tls("app.test", "/").await?;
        anyhow::Ok(answer.header("strict-transport-security").unwrap_or_default().to_owned())
    };
    assert_eq!(age().await?, "max-age=99; includeSubDomains");
    let config = world.chart.only("ConfigMap")?.clone().within(&world.system);
    world.cluster.merge(&config, json!({"data": {"hsts-max-age": "soon", "hsts-include-subdomains": "false"}})).await?;
    wait::until("the change is followed", async || {
        let age = age().await?;
        ensure!(age == "max-age=31536000", "it is {age}");
        Ok(())
    })
    .await?;
    world.cluster.warned(&world.system, "ConfigMap", config.name(), &["hsts-max-age", "soon"]).await.map(drop)
}

async fn a_kind_that_may_not_be_read_is_missed_alone() -> Result<()> {
    let world = World::new("unreadable").await?;
    let pod = Pod::start("a").await?;
    let authority = Authority::new("tests")?;
    world.apply(application(&world, "app", &pod)).await?;
    let rules = ingress("tls").class(&world.class).host("tls.test", [prefix("/", "app")]).tls("cert", &["tls.test"]);
    world.apply([rules.build(), tls_secret("cert", &authority.server(&["tls.test"])?)]).await?;
    let role = world.chart.only("ClusterRole")?;
    let mut less = role.clone();
    let rules = less.0["rules"].as_array_mut().context("a role without rules")?;
    for rule in rules {
        if let Some(resources) = rule["resources"].as_array_mut() {
            resources.retain(|resource| resource != "secrets");
        }
    }
    world.cluster.apply(&less).await?;
    let subject = world.subject().await?;
    subject.routed("app.test", "/", "a").await?;
    subject.get("tls.test", "/").await?.expect(308)?;
    subject.get_tls("tls.test", "/").await?.expect(200)?;
    assert_eq!(shown(&subject, "tls.test").await?, "Kubernetes Ingress Controller Fake Certificate");
    subject.log.line(&["WARN", "secrets", "forbidden"]).await?;
    let said = subject.log.containing(&["WARN", "is forbidden"]);
    ensure!(said.len() == 1, "said more than once: {said:#?}");
    // Granted later: picked up without a restart.
    world.cluster.apply(role).await?;
    arrives(&subject, "tls.test", "tls.test").await
}

async fn one_namespace_can_be_watched_with_a_role() -> Result<()> {
    let name = "scoped";
    let values = [("rbac.scope", "true"), ("controller.scope.enabled", "true")];
    let world = World::with_values(name, &values).await?;
    let pod = Pod::start("a").await?;
    // Scope without a name means the controller's own namespace.
    let inside = |manifest: Manifest| manifest.within(&world.system);
    world.apply(application(&world, "inside", &pod).into_iter().map(inside)).await?;
    world.apply(application(&world, "outside", &pod)).await?;
    let subject = world.subject().await?;
    subject.routed("inside.test", "/", "a").await?;
    subject.get("outside.test", "/").await?.expect(404)?;
    let warnings = subject.log.containing(&["WARN"]);
    ensure!(warnings.iter().all(|line| !line.contains("403")), "it asks for what a Role cannot grant: {warnings:#?}");
    Ok(())
}
