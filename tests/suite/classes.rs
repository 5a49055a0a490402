//! Whose an Ingress is: classes by controller, by name, by annotation, by default,
//! and their parameters.
//!
//! What the whole cluster shares (a default class, the class `nginx`, new kinds) is
//! tried on a control plane of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::control_plane::{ControlPlane, World};
use rust_nginx_tests::load::Load;
use rust_nginx_tests::objects::{Manifest, backend, ingress, ingress_class, prefix};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::subject::Subject;
use rust_nginx_tests::{tests, wait};
use serde_json::json;
use tokio::sync::OnceCell;

pub(crate) fn tests() -> Vec<Test> {
    tests![cluster:
        a_class_can_be_matched_by_its_name,
        two_controllers_serve_side_by_side,
        an_ingress_changes_its_class_under_traffic,
        a_class_may_come_after_its_ingresses_and_leave_before_them,
        the_class_nginx_can_be_taken_over,
        the_api_server_fills_in_the_default_class,
        parameters_of_a_class_apply_to_its_ingresses,
    ]
}

const ANNOTATION: &str = "kubernetes.io/ingress.class";

/// A watch of a kind that does not exist yet tries again in pauses of up to 30 s.
const DISCOVERED: Duration = Duration::from_secs(60);

/// The control plane for what namespaces do not separate.
async fn separate() -> Result<&'static ControlPlane> {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE.get_or_try_init(ControlPlane::start).await
}

/// An Ingress for the host `name.test` of no class.
fn rule(name: &str) -> Manifest {
    ingress(name).host(&format!("{name}.test"), [prefix("/", "app")]).build()
}

fn of_class(name: &str, class: &str) -> Manifest {
    ingress(name).class(class).host(&format!("{name}.test"), [prefix("/", "app")]).build()
}

/// Values for an installation that publishes this address.
fn publishing(address: &'static str) -> [(&'static str, &'static str); 2] {
    [("controller.publishService.enabled", "false"), ("controller.extraArgs.publish-status-address", address)]
}

async fn published(world: &World, name: &str, addresses: &[&str]) -> Result<()> {
    wait::until(&format!("the status of {name} shows {addresses:?}"), async || {
        let found = world.cluster.published(&world.namespace, name).await?;
        ensure!(found == addresses, "it shows {found:?}");
        Ok(())
    })
    .await
}

/// These are not served, at once.
async fn unknown(subject: &Subject, names: &[&str]) -> Result<()> {
    for name in names {
        subject.get(&format!("{name}.test"), "/").await?.expect(404).with_context(|| (*name).to_owned())?;
    }
    Ok(())
}

async fn a_class_can_be_matched_by_its_name() -> Result<()> {
    let world = World::with_values("by-name", &[("controller.ingressClassByName", "true")]).await?;
    let pod = Pod::start("a").await?;
    let class = &world.class;
    // The class of our name is somebody else's by its controller, and ours all the same.
    let installed = world.chart.only("IngressClass")?;
    let controller = installed.0["spec"]["controller"].as_str().context("no controller")?.to_owned();
    world.cluster.delete(installed).await?;
    world.apply([ingress_class(class, "example.com/another")]).await?;
    let ours_too = format!("{class}-too");
    let theirs = format!("{class}-theirs");
    world.apply([ingress_class(&ours_too, &controller), ingress_class(&theirs, "example.com/another")]).await?;
    world.apply(backend("app", &[&pod])).await?;
    world
        .apply([
            of_class("name", class),
            of_class("controller", &ours_too),
            of_class("theirs", &theirs),
            rule("annotated").annotated(ANNOTATION, class),
            rule("almost").annotated(ANNOTATION, &format!("{class} ")),
            rule("neither"),
        ])
        .await?;
    // The field decides alone: the annotation beside it is not read. The API server takes both only in an update.
    world.apply([rule("both").annotated(ANNOTATION, class)]).await?;
    world.cluster.merge(&world.placed(rule("both")), json!({"spec": {"ingressClassName": theirs}})).await?;
    let subject = world.subject().await?;
    for name in ["name", "controller", "annotated"] {
        subject.routed(&format!("{name}.test"), "/", "a").await?;
    }
    unknown(&subject, &["theirs", "almost", "neither", "both"]).await
}

async fn two_controllers_serve_side_by_side() -> Result<()> {
    let one = World::with_values("side", &publishing("203.0.113.41")).await?;
    let two = World::with_values("by-side", &publishing("203.0.113.42")).await?;
    let pod = Pod::start("a").await?;
    one.apply(backend("app", &[&pod])).await?;
    one.apply([
        of_class("first", &one.class),
        of_class("second", &two.class),
        rule("first-annotated").annotated(ANNOTATION, &one.class),
        rule("second-annotated").annotated(ANNOTATION, &two.class),
    ])
    .await?;
    let (left, right) = (one.subject().await?, two.subject().await?);
    for (own, other, names, address) in [
        (&left, &right, ["first", "first-annotated"], "203.0.113.41"),
        (&right, &left, ["second", "second-annotated"], "203.0.113.42"),
    ] {
        for name in names {
            own.routed(&format!("{name}.test"), "/", "a").await?;
            unknown(other, &[name]).await?;
            published(&one, name, &[address]).await?;
        }
    }
    wait::remains("each leaves the other's status alone", async || {
        for (name, address) in [("first", "203.0.113.41"), ("second", "203.0.113.42")] {
            let found = one.cluster.published(&one.namespace, name).await?;
            ensure!(found == [address], "{name} shows {found:?}");
        }
        Ok(())
    })
    .await?;
    // An Ingress that moves over is served by one of them, and shows that one's address.
    one.apply([of_class("first", &two.class)]).await?;
    right.routed("first.test", "/", "a").await?;
    left.answers("first.test", "/", 404).await?;
    published(&one, "first", &["203.0.113.42"]).await
}

async fn an_ingress_changes_its_class_under_traffic() -> Result<()> {
    let world = World::new("moves").await?;
    let pod = Pod::start("a").await?;
    let theirs = format!("{}-theirs", world.class);
    world.apply(backend("app", &[&pod])).await?;
    world.apply([ingress_class(&theirs, "example.com/another")]).await?;
    world.apply([of_class("steady", &world.class), of_class("moving", &world.class)]).await?;
    let subject = world.subject().await?;
    subject.routed("steady.test", "/", "a").await?;
    subject.routed("moving.test", "/", "a").await?;
    let load = Load::start(&subject, "steady.test");
    for _ in 0..3 {
        for class in [&theirs, "no-such-class-at-all"] {
            world.apply([of_class("moving", class)]).await?;
            subject.answers("moving.test", "/", 404).await?;
            world.apply([of_class("moving", &world.class)]).await?;
            subject.routed("moving.test", "/", "a").await?;
        }
    }
    load.end().await
}

async fn a_class_may_come_after_its_ingresses_and_leave_before_them() -> Result<()> {
    let world = World::new("late").await?;
    let pod = Pod::start("a").await?;
    let class = format!("{}-late", world.class);
    let installed = world.chart.only("IngressClass")?;
    let controller = installed.0["spec"]["controller"].as_str().context("no controller")?.to_owned();
    world.apply(backend("app", &[&pod])).await?;
    world.apply([of_class("steady", &world.class), of_class("late", &class)]).await?;
    let subject = world.subject().await?;
    subject.routed("steady.test", "/", "a").await?;
    unknown(&subject, &["late"]).await?;
    let load = Load::start(&subject, "steady.test");
    let late = ingress_class(&class, &controller);
    for _ in 0..2 {
        world.apply([late.clone()]).await?;
        subject.routed("late.test", "/", "a").await?;
        world.delete([late.clone()]).await?;
        subject.answers("late.test", "/", 404).await?;
    }
    load.end().await?;
    // Even our own class can go; what names ours by the annotation needs no class.
    world.apply([rule("annotated").annotated(ANNOTATION, &world.class)]).await?;
    subject.routed("annotated.test", "/", "a").await?;
    world.delete([installed.clone()]).await?;
    subject.answers("steady.test", "/", 404).await?;
    subject.routed("annotated.test", "/", "a").await
}

async fn the_class_nginx_can_be_taken_over() -> Result<()> {
    let plane = separate().await?;
    let values = [
        ("controller.ingressClassResource.enabled", "false"),
        ("controller.ingressClassResource.controllerValue", "k8s.io/ingress-nginx"),
        ("controller.ingressClass", "nginx"),
        ("controller.extraArgs.update-status", "false"),
    ];
    let world = World::on(plane, "takeover", &values).await?;
    let pod = Pod::start("a").await?;
    world.apply(backend("app", &[&pod])).await?;
    // What the old controller has left behind.
    world.apply([ingress_class("nginx", "k8s.io/ingress-nginx")]).await?;
    world.apply([ingress_class("nginx-internal", "k8s.io/ingress-nginx")]).await?;
    world.apply([ingress_class("rust-nginx", "rust-nginx.io/ingress-controller")]).await?;
    world
        .apply([
            of_class("field", "nginx"),
            of_class("internal", "nginx-internal"),
            of_class("ours-by-default", "rust-nginx"),
            rule("annotated").annotated(ANNOTATION, "nginx"),
            rule("annotated-otherwise").annotated(ANNOTATION, "nginx-internal"),
            rule("neither"),
        ])
        .await?;
    let subject = world.subject().await?;
    for name in ["field", "internal", "annotated"] {
        subject.routed(&format!("{name}.test"), "/", "a").await?;
    }
    unknown(&subject, &["ours-by-default", "annotated-otherwise", "neither"]).await
}

async fn the_api_server_fills_in_the_default_class() -> Result<()> {
    let plane = separate().await?;
    let world = World::on(plane, "default", &[]).await?;
    let pod = Pod::start("a").await?;
    world.apply(backend("app", &[&pod])).await?;
    world.apply([rule("before")]).await?;
    let subject = world.subject().await?;
    let class = world.chart.only("IngressClass")?;
    let default = |value: serde_json::Value| json!({"metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": value}}});
    world.cluster.merge(class, default(json!("true"))).await?;
    wait::until("the API server knows the default class", async || {
        let made = world.cluster.apply(&world.placed(rule("after"))).await?;
        if made.data["spec"]["ingressClassName"] != json!(world.class) {
            world.delete([rule("after")]).await?;
        }
        ensure!(made.data["spec"]["ingressClassName"] == json!(world.class), "it made {}", made.data["spec"]);
        Ok(())
    })
    .await?;
    subject.routed("after.test", "/", "a").await?;
    // What was there before stays without class: the controller itself does not read that annotation.
    unknown(&subject, &["before"]).await?;
    world.cluster.merge(class, default(json!(null))).await?;
    subject.routed("after.test", "/", "a").await?;
    let all = world.launch("takes-all")?.arg("--watch-ingress-without-class=true");
    let all = all.arg(format!("--watch-namespace={}", world.namespace)).ready().await?;
    all.routed("before.test", "/", "a").await?;
    all.routed("after.test", "/", "a").await
}

fn class_config(name: &str, spec: serde_json::Value) -> Manifest {
    Manifest(json!({
        "apiVersion": "rust-nginx.io/v1alpha1", "kind": "IngressClassConfig", "metadata": {"name": name}, "spec": spec,
    }))
}

async fn parameters_of_a_class_apply_to_its_ingresses() -> Result<()> {
    let plane = separate().await?;
    let world = World::on(plane, "parameters", &[]).await?;
    let pod = Pod::start("a").await?;
    let installed = world.chart.only("IngressClass")?;
    let controller = installed.0["spec"]["controller"].as_str().context("no controller")?.to_owned();
    let class = format!("{}-own", world.class);
    let config = format!("{class}-config");
    let mut own = ingress_class(&class, &controller);
    own.0["spec"]["parameters"] =
        json!({"apiGroup": "rust-nginx.io", "kind": "IngressClassConfig", "name": config, "scope": "Cluster"});
    world.apply(backend("app", &[&pod])).await?;
    world.apply([own, of_class("own", &class), of_class("plain", &world.class)]).await?;
    let subject = world.subject().await?;

    // The kind does not exist: what the class is guarded by cannot be known.
    subject.routed("plain.test", "/", "a").await?;
    subject.get("own.test", "/").await?.expect(503)?;
    world.cluster.warned("default", "IngressClass", &class, &[&config, "503"]).await?;

    // It comes, and is picked up.
    world.cluster.define_own_kinds().await?;
    let load = Load::start(&subject, "plain.test");
    wait::until("the new kind is served", async || {
        world.cluster.apply(&class_config(&config, json!({"forceSslRedirect": true}))).await
    })
    .await?;
    wait::until_within(DISCOVERED, "the defaults of the class apply", async || {
        subject.get("own.test", "/").await?.expect(308)
    })
    .await?;
    ensure!(subject.get("own.test", "/").await?.header("location") == Some("https://own.test"), "another location");

    // Changes are followed; what an Ingress says itself beats its class; others are not concerned.
    world.cluster.apply(&class_config(&config, json!({"forceSslRedirect": true, "httpRedirectCode": 302}))).await?;
    subject.answers("own.test", "/", 302).await?;
    world.apply([of_class("opts-out", &class).annotated("nginx.ingress.kubernetes.io/proxy-body-size", "8")]).await?;
    world.cluster.apply(&class_config(&config, json!({"proxyBodySize": "4"}))).await?;
    subject.routed("own.test", "/", "a").await?;
    subject.routed("opts-out.test", "/", "a").await?;
    let post = async |host: &str| {
        let request = rust_nginx_tests::client::Request::post(host, "/", "12345").header("Connection", "close");
        anyhow::Ok(rust_nginx_tests::client::send(subject.http(), &request).await?.status)
    };
    assert_eq!((post("own.test").await?, post("opts-out.test").await?, post("plain.test").await?), (413, 200, 200));

    // It goes: closed, not open. It comes back: served.
    let gone = class_config(&config, json!({}));
    world.cluster.delete(&gone).await?;
    subject.answers("own.test", "/", 503).await?;
    world.cluster.apply(&gone).await?;
    subject.routed("own.test", "/", "a").await?;
    assert_eq!(post("own.test").await?, 200);
    load.end().await
}
