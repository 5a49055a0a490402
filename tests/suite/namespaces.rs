//! Which namespaces are looked at, and with which rights.

use anyhow::{Result, ensure};
use rust_nginx_tests::control_plane::{ControlPlane, World};
use rust_nginx_tests::load::Load;
use rust_nginx_tests::objects::{Manifest, backend, ingress, namespace, prefix};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::subject::Subject;
use rust_nginx_tests::{tests, wait};
use serde_json::json;

pub(crate) fn tests() -> Vec<Test> {
    tests![cluster:
        another_namespace_can_be_watched_with_a_role,
        namespaces_come_and_go_by_their_labels,
    ]
}

/// The Ingress `name` for the host `name.test`, with its Service and pod.
fn application(name: &str, pod: &Pod, class: impl FnOnce(Manifest) -> Manifest) -> Vec<Manifest> {
    let rules = class(ingress(name).host(&format!("{name}.test"), [prefix("/", name)]).build());
    backend(name, &[pod]).into_iter().chain([rules]).collect()
}

fn of_class(class: &str) -> impl FnOnce(Manifest) -> Manifest {
    move |mut manifest| {
        manifest.0["spec"]["ingressClassName"] = json!(class);
        manifest
    }
}

fn within(manifests: Vec<Manifest>, namespace: &str) -> Vec<Manifest> {
    manifests.into_iter().map(|manifest| manifest.within(namespace)).collect()
}

/// IngressClasses stand outside of every namespace: with a Role alone they cannot be read, which is said once.
fn nothing_else_is_forbidden(subject: &Subject) -> Result<()> {
    let warnings = subject.log.containing(&["WARN", "forbidden"]);
    let others: Vec<_> = warnings.iter().filter(|line| !line.contains("object=Resource ingressclasses ")).collect();
    ensure!(others.is_empty(), "it asks for what it may not: {others:#?}");
    ensure!(warnings.len() <= 1, "it says so again and again: {warnings:#?}");
    Ok(())
}

async fn another_namespace_can_be_watched_with_a_role() -> Result<()> {
    let apps = "role-only-applications";
    ControlPlane::shared().await?.cluster.apply(&namespace(apps)).await?;
    let values = [
        ("rbac.scope", "true"),
        ("controller.scope.enabled", "true"),
        ("controller.scope.namespace", apps),
        ("controller.publishService.enabled", "false"),
        ("controller.extraArgs.publish-status-address", "203.0.113.31"),
    ];
    let world = World::with_values("role-only", &values).await?;
    ensure!(world.chart.objects.iter().all(|object| object.kind() != "ClusterRole"), "the chart has a ClusterRole");
    let pod = Pod::start("a").await?;
    let annotated = |manifest: Manifest| manifest.annotated("kubernetes.io/ingress.class", &world.class);
    let by_annotation = application("by-annotation", &pod, annotated);
    let by_name = application("by-name", &pod, of_class(&world.class));
    world.apply(within(by_annotation, apps)).await?;
    world.apply(within(by_name, apps)).await?;
    world.apply(within(application("other-class", &pod, of_class("some-other-class")), apps)).await?;
    world.apply(application("outside", &pod, of_class(&world.class))).await?;
    let subject = world.subject().await?;
    subject.routed("by-annotation.test", "/", "a").await?;
    subject.routed("by-name.test", "/", "a").await?;
    subject.get("other-class.test", "/").await?.expect(404)?;
    subject.get("outside.test", "/").await?.expect(404)?;
    // It writes with the Role too: status and Events.
    world.apply(within(vec![broken(&world)], apps)).await?;
    world.cluster.warned(apps, "Ingress", "broken", &["nowhere"]).await?;
    wait::until("the status is written", async || {
        let found = world.cluster.published(apps, "by-name").await?;
        ensure!(found == ["203.0.113.31"], "it shows {found:?}");
        Ok(())
    })
    .await?;
    ensure!(world.cluster.published(&world.namespace, "outside").await?.is_empty(), "a status outside of the scope");
    nothing_else_is_forbidden(&subject)
}

fn broken(world: &World) -> Manifest {
    ingress("broken").class(&world.class).host("broken.test", [prefix("/", "nowhere")]).build()
}

async fn namespaces_come_and_go_by_their_labels() -> Result<()> {
    let values = [
        ("controller.scope.enabled", "true"),
        ("controller.scope.namespaceSelector", "tests.rust-nginx.io/shown=selector"),
    ];
    let world = World::with_values("selector", &values).await?;
    let other = format!("{}-other", world.namespace);
    let label = |value: serde_json::Value| json!({"metadata": {"labels": {"tests.rust-nginx.io/shown": value}}});
    world.cluster.apply(&namespace(&other)).await?;
    let pod = Pod::start("a").await?;
    world.apply(application("steady", &pod, of_class(&world.class))).await?;
    world.apply(within(application("moves", &pod, of_class(&world.class)), &other)).await?;
    world.cluster.merge(&namespace(&world.namespace), label(json!("selector"))).await?;
    let subject = world.subject().await?;
    subject.routed("steady.test", "/", "a").await?;
    subject.get("moves.test", "/").await?.expect(404)?;
    let load = Load::start(&subject, "steady.test");
    for _ in 0..3 {
        world.cluster.merge(&namespace(&other), label(json!("selector"))).await?;
        subject.routed("moves.test", "/", "a").await?;
        // Another value is as good as none.
        world.cluster.merge(&namespace(&other), label(json!("elsewhere"))).await?;
        subject.answers("moves.test", "/", 404).await?;
        world.cluster.merge(&namespace(&other), label(json!(null))).await?;
    }
    // What changes while the namespace is not looked at is there when it is.
    world.apply(within(application("later", &pod, of_class(&world.class)), &other)).await?;
    world.cluster.merge(&namespace(&other), label(json!("selector"))).await?;
    subject.routed("later.test", "/", "a").await?;
    load.end().await?;
    nothing_else_is_forbidden(&subject)
}
