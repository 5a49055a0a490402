//! Traffic while everything changes: not one request may notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use rust_nginx_tests::certificate::Authority;
use rust_nginx_tests::client::tls::connect;
use rust_nginx_tests::client::websocket::WebSocket;
use rust_nginx_tests::client::{Connection, Request};
use rust_nginx_tests::control_plane::World;
use rust_nginx_tests::objects::{backend, endpoints, ingress, prefix, tls_secret};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Changes per second.
const RATE: u32 = 50;

/// How many changes there are at least.
const CHANGES: usize = 500;

/// How many requests there are at least.
const REQUESTS: usize = 10_000;

pub(crate) fn tests() -> Vec<Test> {
    tests![cluster, alone:
        no_request_notices_any_change,
        a_pod_that_disappears_costs_no_request_in_a_cluster,
    ]
}

/// Clients that ask until told to stop.
#[derive(Clone, Default)]
struct Clients {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
}

// === impl Clients ===

impl Clients {
    fn running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Asks over a connection for as long as the other side keeps it.
    async fn ask(&self, mut connection: Connection, host: &str) -> Result<()> {
        while self.running() {
            let answer = connection.send(&Request::get(host, "/")).await;
            let answer = answer.with_context(|| format!("after {} answers", self.count()))?;
            answer.echo()?;
            self.count.fetch_add(1, Ordering::Relaxed);
            if answer.header("connection") == Some("close") {
                break;
            }
        }
        Ok(())
    }

    async fn plain(self, address: std::net::SocketAddr) -> Result<()> {
        while self.running() {
            self.ask(Connection::open(address).await?, "plain.test").await?;
        }
        Ok(())
    }

    async fn secure(self, address: std::net::SocketAddr) -> Result<()> {
        while self.running() {
            let session = connect(address, Some("secure.test"), &["http/1.1"]).await?;
            ensure!(session.common_name == "secure.test", "the certificate of {} was shown", session.common_name);
            self.ask(Connection::over(session.wire), "secure.test").await?;
        }
        Ok(())
    }

    /// A new handshake each time: there is always a certificate.
    async fn handshakes(self, address: std::net::SocketAddr) -> Result<()> {
        let mut pace = interval(Duration::from_millis(20));
        while self.running() {
            pace.tick().await;
            let session = connect(address, Some("secure.test"), &["http/1.1"]).await?;
            ensure!(session.common_name == "secure.test", "the certificate of {} was shown", session.common_name);
            Connection::over(session.wire).send(&Request::get("secure.test", "/")).await?.echo()?;
        }
        Ok(())
    }
}

async fn no_request_notices_any_change() -> Result<()> {
    let world = World::new("churn").await?;
    let authority = Authority::new("tests")?;
    let pairs = [authority.server(&["secure.test"])?, authority.server(&["secure.test"])?];
    let pods = [Pod::start("a").await?, Pod::start("b").await?, Pod::start("c").await?];
    let [a, b, c] = &pods;
    let rules = ingress("web").class(&world.class).host("plain.test", [prefix("/", "app")]);
    let secure =
        ingress("secure").class(&world.class).host("secure.test", [prefix("/", "app")]).tls("cert", &["secure.test"]);
    world.apply(backend("app", &[a, b, c])).await?;
    world.apply([rules.clone().build(), secure.build(), tls_secret("cert", &pairs[0])]).await?;
    let subject = world.subject().await?;
    subject.routed("plain.test", "/", "a").await?;
    let mut socket = WebSocket::open(subject.http(), "plain.test", "/").await?;

    let clients = Clients::default();
    let mut running = JoinSet::new();
    for _ in 0..6 {
        running.spawn(clients.clone().plain(subject.http()));
    }
    for _ in 0..2 {
        running.spawn(clients.clone().secure(subject.https()));
    }
    running.spawn(clients.clone().handshakes(subject.https()));

    let start = Instant::now();
    let mut changes = 0;
    let mut pace = interval(Duration::from_secs(1) / RATE);
    // A change that took long is made up for, so that the rate holds.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while changes < CHANGES || clients.count() < REQUESTS {
        pace.tick().await;
        let turn = changes / 3;
        let manifest = match changes % 3 {
            0 => endpoints("app", [&[a, b][..], &[b, c], &[c, a], &[a, b, c], &[b]][turn % 5]),
            1 => tls_secret("cert", &pairs[turn % 2]),
            _ => {
                let path = format!("/path-{}", turn % 7);
                let grown =
                    rules.clone().host("plain.test", [prefix(&path, "app")]).host("other.test", [prefix(&path, "app")]);
                if turn.is_multiple_of(2) { grown } else { rules.clone() }.build()
            }
        };
        world.apply([manifest]).await?;
        changes += 1;
        if changes % 50 == 0 {
            socket.round_trip("still here").await?;
        }
        if let Some(ended) = running.try_join_next() {
            ended??;
        }
    }
    let took = start.elapsed();
    clients.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    socket.round_trip("the end").await?;
    socket.close().await?;
    ensure!(
        took < Duration::from_secs(1) / RATE * u32::try_from(changes)? * 3 / 2,
        "the changes came slower than {RATE} per second: {changes} in {took:?}"
    );
    println!("     {} requests during {changes} changes in {:.1} s", clients.count(), took.as_secs_f64());
    Ok(())
}

async fn a_pod_that_disappears_costs_no_request_in_a_cluster() -> Result<()> {
    let world = World::new("disappear").await?;
    let pods = [Pod::start("a").await?, Pod::start("b").await?];
    let [stays, leaves] = &pods;
    let rules = ingress("web").class(&world.class).host("plain.test", [prefix("/", "app")]);
    world.apply(backend("app", &[stays, leaves])).await?;
    world.apply([rules.build()]).await?;
    let subject = world.subject().await?;
    subject.routed("plain.test", "/", "b").await?;
    let clients = Clients::default();
    let mut running = JoinSet::new();
    for _ in 0..6 {
        running.spawn(clients.clone().plain(subject.http()));
    }
    for _ in 0..5 {
        let before = clients.count();
        // Requests are with both pods; one is killed, and its address is withdrawn later.
        wait_for(&clients, before + 300, &mut running).await?;
        leaves.disappear().await;
        wait_for(&clients, before + 600, &mut running).await?;
        world.apply([endpoints("app", &[stays])]).await?;
        wait_for(&clients, before + 900, &mut running).await?;
        leaves.appear().await?;
        world.apply([endpoints("app", &[stays, leaves])]).await?;
        subject.routed("plain.test", "/", "b").await?;
    }
    clients.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

async fn wait_for(clients: &Clients, count: usize, running: &mut JoinSet<Result<()>>) -> Result<()> {
    let enough = wait::until("more requests were answered", async || {
        ensure!(clients.count() >= count, "there were {} of {count}", clients.count());
        Ok(())
    });
    tokio::select! {
        enough = enough => enough,
        Some(ended) = running.join_next() => ended?.and(Err(anyhow!("a client has ended"))),
    }
}
