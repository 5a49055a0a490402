//! Several replicas: all serve, one writes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams};
use rust_nginx_tests::control_plane::World;
use rust_nginx_tests::objects::{backend, ingress, prefix};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::subject::Subject;
use rust_nginx_tests::{tests, wait};

pub(crate) fn tests() -> Vec<Test> {
    tests![cluster:
        one_of_two_replicas_leads_and_both_serve,
        a_leader_that_ends_releases_the_lease,
        a_leader_that_is_killed_is_replaced,
        a_leader_that_restarts_keeps_the_lease,
        without_election_nobody_leads,
    ]
}

/// The Leases in the controller's namespace: name and holder.
async fn leases(world: &World) -> Result<Vec<(String, String)>> {
    let api = Api::<Lease>::namespaced(world.cluster.client.clone(), &world.system);
    let found = api.list(&ListParams::default()).await?;
    let pair = |lease: Lease| {
        (lease.metadata.name.unwrap_or_default(), lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default())
    };
    Ok(found.items.into_iter().map(pair).collect())
}

async fn led_by(world: &World, pod: &str) -> Result<()> {
    wait::until_within(Duration::from_secs(40), &format!("{pod} leads"), async || {
        let leases = leases(world).await?;
        let [(_, holder)] = &leases[..] else { anyhow::bail!("there are {leases:?}") };
        ensure!(holder == pod, "{holder} leads");
        Ok(())
    })
    .await
}

async fn published(world: &World, ingress: &str, address: &str) -> Result<()> {
    wait::until(&format!("{ingress} shows {address}"), async || {
        let found = world.cluster.published(&world.namespace, ingress).await?;
        ensure!(found == [address], "it shows {found:?}");
        Ok(())
    })
    .await
}

/// Two replicas of which the first leads, and an application.
async fn two(name: &str, values: &[(&str, &str)]) -> Result<(World, [Subject; 2], Pod)> {
    let mut all = vec![
        ("controller.extraArgs.shutdown-grace-period", "0"),
        ("controller.publishService.enabled", "false"),
        ("controller.extraArgs.publish-status-address", "203.0.113.7"),
    ];
    all.extend(values);
    let world = World::with_values(name, &all).await?;
    let pod = Pod::start("a").await?;
    world.apply(backend("app", &[&pod])).await?;
    world.apply([ingress("first").class(&world.class).host("first.test", [prefix("/", "app")]).build()]).await?;
    let one = world.launch("replica-one")?.ready().await?;
    led_by(&world, "replica-one").await?;
    let two = world.launch("replica-two")?.ready().await?;
    Ok((world, [one, two], pod))
}

async fn a_new_ingress(world: &World, name: &str) -> Result<()> {
    let host = format!("{name}.test");
    world.apply([ingress(name).class(&world.class).host(&host, [prefix("/", "app")]).build()]).await
}

async fn one_of_two_replicas_leads_and_both_serve() -> Result<()> {
    let (world, replicas, _pod) = two("two-replicas", &[]).await?;
    a_new_ingress(&world, "second").await?;
    for replica in &replicas {
        replica.routed("first.test", "/", "a").await?;
        replica.routed("second.test", "/", "a").await?;
    }
    published(&world, "second", "203.0.113.7").await?;
    assert_eq!(leases(&world).await?.len(), 1);
    led_by(&world, "replica-one").await?;
    // One Sync for each Ingress: the replica that does not lead says nothing.
    let events = world.cluster.events(&world.namespace, "Ingress", "second").await?;
    let syncs = events.iter().filter(|event| event.reason == "Sync").count();
    ensure!(syncs <= 1, "{syncs} Events for one change: {events:?}");
    Ok(())
}

async fn a_leader_that_ends_releases_the_lease() -> Result<()> {
    let (world, [one, two], _pod) = two("hand-over", &[]).await?;
    one.terminate()?;
    let status = one.exited(Duration::from_secs(10)).await?;
    ensure!(status.success(), "it ended with {status}");
    // Half of the time after which the Lease would expire: the next try of the other finds it free.
    wait::until_within(Duration::from_secs(15), "the other replica leads", async || {
        let leases = leases(&world).await?;
        ensure!(leases.iter().any(|(_, holder)| holder == "replica-two"), "there are {leases:?}");
        Ok(())
    })
    .await?;
    a_new_ingress(&world, "second").await?;
    two.routed("second.test", "/", "a").await?;
    published(&world, "second", "203.0.113.7").await
}

async fn a_leader_that_is_killed_is_replaced() -> Result<()> {
    let (world, [one, two], _pod) = two("killed", &[("controller.electionTTL", "6s")]).await?;
    one.kill().await?;
    two.routed("first.test", "/", "a").await?;
    led_by(&world, "replica-two").await?;
    a_new_ingress(&world, "second").await?;
    published(&world, "second", "203.0.113.7").await
}

async fn a_leader_that_restarts_keeps_the_lease() -> Result<()> {
    let (world, [one, two], _pod) = two("restart", &[]).await?;
    drop(two);
    // Killed, so that the Lease is still its own; a StatefulSet's pod comes back under its name.
    one.kill().await?;
    let again = world.launch("replica-one")?.ready().await?;
    a_new_ingress(&world, "second").await?;
    published(&world, "second", "203.0.113.7").await?;
    led_by(&world, "replica-one").await?;
    again.routed("second.test", "/", "a").await
}

async fn without_election_nobody_leads() -> Result<()> {
    let values = [("controller.disableLeaderElection", "true")];
    let world = World::with_values("no-election", &values).await?;
    let pod = Pod::start("a").await?;
    world.apply(backend("app", &[&pod])).await?;
    let subject = world.subject().await?;
    a_new_ingress(&world, "broken").await?;
    let rules =
        ingress("broken").class(&world.class).host("broken.test", [prefix("/", "app"), prefix("/no", "nowhere")]);
    world.apply([rules.build()]).await?;
    subject.routed("broken.test", "/", "a").await?;
    // Events still, a status never.
    world.cluster.warned(&world.namespace, "Ingress", "broken", &["nowhere"]).await.context("no Event")?;
    assert_eq!(leases(&world).await?, vec![]);
    let found = world.cluster.published(&world.namespace, "broken").await?;
    ensure!(found.is_empty(), "the status shows {found:?}");
    Ok(())
}
