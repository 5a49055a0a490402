//! The API server is away: at the start, in between, or back with its history gone.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use rust_nginx_tests::control_plane::{Cluster, ControlPlane, Identity, Kubeconfig, World};
use rust_nginx_tests::load::Load;
use rust_nginx_tests::objects::{backend, endpoints, ingress, prefix};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::relay::Relay;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};

pub(crate) fn tests() -> Vec<Test> {
    tests![cluster:
        an_api_server_that_is_away_at_the_start_is_waited_for,
        an_api_server_that_has_just_started_is_not_misread,
        an_api_server_that_is_lost_changes_nothing,
        a_history_that_is_gone_drops_no_route,
    ]
}

/// The way to the API server that a test can cut.
fn over(world: &World, server: std::net::SocketAddr) -> Kubeconfig {
    Kubeconfig { server, ..world.kubeconfig.clone() }
}

async fn an_api_server_that_is_away_at_the_start_is_waited_for() -> Result<()> {
    let world = World::new("away").await?;
    let pod = Pod::start("a").await?;
    world.apply(backend("app", &[&pod])).await?;
    world.apply([ingress("web").class(&world.class).host("a.test", [prefix("/", "app")]).build()]).await?;
    let relay = Relay::cut_off(world.kubeconfig.server).await?;
    let subject = world.launch_with("rust-nginx-0", &over(&world, relay.address))?.start().await?;
    let line = subject.log.line(&["WARN", &relay.address.to_string()]).await?;
    ensure!(line.contains("refused") || line.contains("connect"), "it does not say what is wrong: {line}");
    wait::remains("it is alive, but not ready", async || {
        subject.inspect("/livez").await?.expect(200)?;
        let answer = subject.inspect("/readyz").await?;
        ensure!(answer.status >= 500, "it says {}", answer.summary());
        let traffic = tokio::net::TcpStream::connect(subject.http()).await;
        ensure!(traffic.is_err(), "it accepts traffic that it cannot route");
        ensure!(subject.running().await?, "it has ended");
        Ok(())
    })
    .await?;
    relay.join().await?;
    subject.ready().await?;
    subject.get("a.test", "/").await?.expect(200)?;
    Ok(())
}

/// An API server answers before it knows its own roles: what it forbids then means nothing.
async fn an_api_server_that_has_just_started_is_not_misread() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let world = World::new("started").await?;
    let pod = Pod::start("a").await?;
    world.apply(backend("app", &[&pod])).await?;
    world.apply([ingress("web").class(&world.class).host("a.test", [prefix("/", "app")]).build()]).await?;
    let server = plane.another_server()?;
    let subject = world.launch_with("rust-nginx-0", &over(&world, server.address))?.start().await?;
    subject.log.line(&["WARN", &server.address.to_string()]).await?;
    server.run().await?;
    subject.ready().await?;
    subject.get("a.test", "/").await?.expect(200)?;
    Ok(())
}

async fn an_api_server_that_is_lost_changes_nothing() -> Result<()> {
    let world = World::new("lost").await?;
    let (one, two) = (Pod::start("one").await?, Pod::start("two").await?);
    world.apply(backend("app", &[&one])).await?;
    world.apply([ingress("web").class(&world.class).host("a.test", [prefix("/", "app")]).build()]).await?;
    let relay = Relay::start(world.kubeconfig.server).await?;
    let subject = world.launch_with("rust-nginx-0", &over(&world, relay.address))?.ready().await?;
    subject.routed("a.test", "/", "one").await?;
    let load = Load::start(&subject, "a.test");
    relay.cut().await;
    subject.log.line(&["WARN", "ingresses"]).await?;
    // Changed while nobody sees it.
    world.apply([endpoints("app", &[&two])]).await?;
    world.apply([ingress("more").class(&world.class).host("more.test", [prefix("/", "app")]).build()]).await?;
    wait::remains("it serves the last table and says that it is ready", async || {
        subject.inspect("/readyz").await?.expect(200)?;
        ensure!(subject.echo("a.test", "/").await?.pod == "one", "another pod answers");
        subject.get("more.test", "/").await?.expect(404).map(drop)
    })
    .await?;
    relay.join().await?;
    subject.routed("a.test", "/", "two").await?;
    subject.routed("more.test", "/", "two").await?;
    load.end().await
}

async fn a_history_that_is_gone_drops_no_route() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let world = World::new("gone").await?;
    let (one, two) = (Pod::start("one").await?, Pod::start("two").await?);
    world.apply(backend("app", &[&one])).await?;
    let rule =
        |name: &str| ingress(name).class(&world.class).host(&format!("{name}.test"), [prefix("/", "app")]).build();
    world.apply([rule("stays"), rule("leaves")]).await?;
    // An API server of its own, on the same data, that can be restarted.
    let server = plane.another_server()?;
    server.run().await?;
    let identity = Identity::Certificate(plane.authority.client("administrator", "system:masters")?);
    let authority = plane.authority.certificate.clone();
    let cluster = Cluster::new(&Kubeconfig { server: server.address, authority, identity }).await?;
    server.ready(&cluster).await?;
    let api = Api::<Ingress>::namespaced(cluster.client.clone(), &world.namespace);
    let version = api.list(&ListParams::default()).await?.metadata.resource_version.context("a list has a version")?;

    let subject = world.launch_with("rust-nginx-0", &over(&world, server.address))?.ready().await?;
    subject.routed("stays.test", "/", "one").await?;
    subject.routed("leaves.test", "/", "one").await?;
    let load = Load::start(&subject, "stays.test");
    server.stop().await?;
    world.delete([rule("leaves")]).await?;
    world.apply([rule("comes"), endpoints("app", &[&two])]).await?;
    plane.compact().await?;
    server.run().await?;
    server.ready(&cluster).await?;

    // Where the subject left off there is nothing any more.
    let mut events = std::pin::pin!(api.watch(&WatchParams::default(), &version).await?);
    let first = futures::StreamExt::next(&mut events).await.context("the watch has ended")?;
    let gone = match &first {
        Ok(WatchEvent::Error(status)) => status.code == 410,
        Err(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    };
    ensure!(gone, "the API server still knows the history: {first:?}");

    subject.routed("comes.test", "/", "two").await?;
    subject.routed("stays.test", "/", "two").await?;
    subject.answers("leaves.test", "/", 404).await?;
    load.end().await
}
