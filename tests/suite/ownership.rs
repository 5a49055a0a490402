//! Who owns a host or a path, and what the others are told.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rust_nginx_tests::control_plane::World;
use rust_nginx_tests::load::Load;
use rust_nginx_tests::objects::{Manifest, backend, ingress, namespace, prefix};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};
use serde_json::json;

pub(crate) fn tests() -> Vec<Test> {
    tests![cluster:
        a_host_belongs_to_the_namespace_that_claimed_it_first,
        a_path_passes_to_the_loser_without_a_gap,
    ]
}

/// Creates an object in a later second than `after`: times of creation are whole seconds.
async fn created_after(world: &World, manifest: &Manifest, after: &Time) -> Result<Time> {
    wait::until(&format!("{} is younger", manifest.name()), async || {
        let created =
            world.cluster.apply(manifest).await?.metadata.creation_timestamp.context("no time of creation")?;
        if created <= *after {
            world.cluster.delete(manifest).await?;
        }
        ensure!(created > *after, "it was created at {created:?}");
        Ok(created)
    })
    .await
}

async fn a_host_belongs_to_the_namespace_that_claimed_it_first() -> Result<()> {
    let world = World::with_values("owner", &[("controller.extraArgs.strict-host-ownership", "true")]).await?;
    let guest = format!("{}-guest", world.namespace);
    world.cluster.apply(&namespace(&guest)).await?;
    let (owner, other) = (Pod::start("owner").await?, Pod::start("other").await?);
    world.apply(backend("app", &[&owner])).await?;
    world.apply(backend("app", &[&other]).map(|manifest| manifest.within(&guest))).await?;
    let claim = |name: &str, host: &str, at: &str, namespace: &str| {
        ingress(name).class(&world.class).host(host, [prefix(at, "app")]).build().within(namespace)
    };
    let subject = world.subject().await?;
    let first = claim("first", "own.test", "/own", &world.namespace);
    let wild = claim("wild", "*.own.test", "/", &world.namespace);
    let time = world.cluster.apply(&first).await?.metadata.creation_timestamp.context("no time of creation")?;
    world.cluster.apply(&wild).await?;
    let time = created_after(&world, &claim("second", "own.test", "/guest", &guest), &time).await?;
    created_after(&world, &claim("below", "x.own.test", "/", &guest), &time).await?;
    world.cluster.apply(&claim("free", "free.test", "/", &guest)).await?;
    subject.routed("own.test", "/own", "owner").await?;
    // A host that nobody else claimed is the guest's.
    subject.routed("free.test", "/", "other").await?;
    subject.get("own.test", "/guest").await?.expect(404)?;
    // A wildcard owns what it covers, and goes on answering it.
    subject.routed("x.own.test", "/", "owner").await?;
    let owned = format!("belongs to namespace {}", world.namespace);
    let winner = format!("{}/first", world.namespace);
    let parts = ["own.test", &owned, &winner, &guest, "rust-nginx.io/allow-namespaces"];
    let notice = world.cluster.warned(&guest, "Ingress", "second", &parts).await?;
    ensure!(notice.reason == "RefNotPermitted", "{notice:?}");
    world.cluster.warned(&guest, "Ingress", "below", &["x.own.test", &owned, "/wild"]).await?;

    // The owner lets others in, and shuts them out again; its own host is never disturbed.
    let load = Load::start(&subject, "free.test");
    let allow =
        |list: serde_json::Value| json!({"metadata": {"annotations": {"rust-nginx.io/allow-namespaces": list}}});
    for (list, status) in [
        (json!("elsewhere"), 404),
        (json!(format!("elsewhere, {guest}")), 200),
        (json!(""), 404),
        (json!("*"), 200),
        (json!(null), 404),
    ] {
        world.cluster.merge(&first, allow(list.clone())).await?;
        subject.answers("own.test", "/guest", status).await.with_context(|| format!("allowed: {list}"))?;
        ensure!(subject.echo("own.test", "/own").await?.pod == "owner", "the owner does not serve its path");
    }
    // The owner leaves: the host is the guest's.
    world.cluster.delete(&first).await?;
    subject.routed("own.test", "/guest", "other").await?;
    subject.answers("own.test", "/own", 404).await?;
    load.end().await
}

async fn a_path_passes_to_the_loser_without_a_gap() -> Result<()> {
    let world = World::new("pass-on").await?;
    let (old, young) = (Pod::start("old").await?, Pod::start("young").await?);
    world.apply(backend("old", &[&old])).await?;
    world.apply(backend("young", &[&young])).await?;
    let claim = |name: &str, target: &str| {
        world.placed(ingress(name).class(&world.class).host("a.test", [prefix("/", target)]).build())
    };
    let (winner, loser) = (claim("winner", "old"), claim("loser", "young"));
    let time = world.cluster.apply(&winner).await?.metadata.creation_timestamp.context("no time of creation")?;
    created_after(&world, &loser, &time).await?;
    let subject = world.subject().await?;
    subject.routed("a.test", "/", "old").await?;
    let parts = ["a.test", "older Ingress", &format!("{}/winner", world.namespace)];
    let notice = world.cluster.warned(&world.namespace, "Ingress", "loser", &parts).await?;
    ensure!(notice.reason == "Conflict", "{notice:?}");
    let loads = [Load::start(&subject, "a.test"), Load::start(&subject, "a.test")];
    let seen = old.seen().len();
    wait::until("there is traffic", async || {
        ensure!(old.seen().len() > seen + 20, "hardly any");
        Ok(())
    })
    .await?;
    world.cluster.delete(&winner).await?;
    subject.routed("a.test", "/", "young").await?;
    for load in loads {
        load.end().await?;
    }
    // Nobody has lost any more, and nobody is told so.
    let diagnostics = subject.inspect("/debug/diagnostics").await?.expect(200)?.text();
    ensure!(!diagnostics.contains("older Ingress"), "it still complains: {diagnostics}");
    Ok(())
}
