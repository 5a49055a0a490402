//! Manifests that change all the time, so that tables are exchanged under the traffic.
//!
//! Each change is waited for until clients see it: a table that was never exchanged proves nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rust_nginx_tests::certificate::Authority;
use rust_nginx_tests::client::{Connection, Request, tls};
use rust_nginx_tests::objects::{self, Manifest, documents, prefix};
use rust_nginx_tests::{scratch, wait};
use tokio::time::sleep;

use super::origin::STORE_SEGMENT;
use super::traffic::Scene;
use super::traffic::client::Client;
use crate::peer::rust_nginx::{self, CLASS, CONFIG, NAMESPACE, SERVICE};

/// A host that takes long bodies and whose certificate changes.
pub(super) const HOST: &str = "soak.bench.example";
/// A host that comes and goes.
const EXTRA: &str = "extra.bench.example";
const SECRET: &str = "soak";
/// Longer than the largest body; the default is 1m.
const BODY_LIMIT: &str = "8m";
/// Full after some seconds of handshakes, so that all of the run but its beginning has a full cache; the default of 10m
/// would go on filling for minutes.
const SESSION_CACHE: (&str, &str) = ("ssl-session-cache-size", "1m");
/// How long an endpoint must be left alone to count as removed.
const QUIET: Duration = Duration::from_millis(200);

/// The files that change, and the authority of the certificates.
struct Manifests<'a> {
    scene: &'a Scene,
    authority: Authority,
}

/// Adds what the traffic needs besides the site, and waits until it is served.
pub(super) async fn prepare(scene: &Scene, workers: usize) -> Result<()> {
    let manifests = Manifests::new(scene)?;
    scratch::replace(&scene.manifests.join(CONFIG), &rust_nginx::config(workers, &[SESSION_CACHE])?)?;
    let ingress = objects::ingress("soak")
        .class(CLASS)
        .annotation("nginx.ingress.kubernetes.io/proxy-body-size", BODY_LIMIT)
        .host(HOST, [prefix("/", SERVICE)])
        .tls(SECRET, &[HOST])
        .build();
    manifests.put("soak.yaml", ingress)?;
    manifests.replace_certificate(0).await?;
    manifests.wait_for_status(HOST, 200).await
}

/// One change after the other, in a circle.
pub(super) async fn make(mut client: Client) -> Result<()> {
    let scene = Arc::clone(&client.scene);
    let manifests = Manifests::new(&scene)?;
    let mut number = 0;
    while client.turn().await {
        number += 1;
        match number % 5 {
            1 => manifests.add_ingress().await.context("an Ingress added")?,
            2 => manifests.add_endpoint().await.context("an endpoint added")?,
            3 => manifests.replace_certificate(number).await.context("a certificate replaced")?,
            4 => manifests.remove_ingress().await.context("an Ingress removed")?,
            _ => manifests.remove_endpoint().await.context("an endpoint removed")?,
        }
        scene.counts.changes.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

// === impl Manifests ===

impl<'a> Manifests<'a> {
    fn new(scene: &'a Scene) -> Result<Self> {
        Ok(Self { scene, authority: Authority::new("soak").context("make an authority")? })
    }

    async fn add_ingress(&self) -> Result<()> {
        let ingress = objects::ingress("extra").class(CLASS).host(EXTRA, [prefix("/", SERVICE)]).build();
        self.put("extra.yaml", ingress)?;
        self.wait_for_status(EXTRA, 200).await
    }

    async fn remove_ingress(&self) -> Result<()> {
        let path = self.scene.manifests.join("extra.yaml");
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        self.wait_for_status(EXTRA, 404).await
    }

    async fn add_endpoint(&self) -> Result<()> {
        let before = self.scene.second.requests();
        self.put_endpoint(true)?;
        wait::until("requests at the new endpoint", async || {
            ensure!(self.scene.second.requests() > before, "no request has come");
            Ok(())
        })
        .await
    }

    async fn remove_endpoint(&self) -> Result<()> {
        self.put_endpoint(false)?;
        wait::until("no requests at the removed endpoint", async || {
            let before = self.scene.second.requests();
            sleep(QUIET).await;
            let more = self.scene.second.requests() - before;
            ensure!(more == 0, "{more} requests came within {QUIET:?}");
            Ok(())
        })
        .await
    }

    fn put_endpoint(&self, ready: bool) -> Result<()> {
        let address = self.scene.second.address;
        self.put("endpoints.yaml", objects::endpoint_slice("origin-2", SERVICE, "http", &[(address, ready)]))
    }

    /// The common name tells one certificate from the other.
    async fn replace_certificate(&self, number: u64) -> Result<()> {
        let name = format!("c{number}.bench.example");
        let pair = self.authority.server(&[&name, HOST]).context("make a certificate")?;
        self.put("certificate.yaml", objects::tls_secret(SECRET, &pair))?;
        wait::until("the new certificate", async || {
            let session = tls::connect(self.scene.https, Some(HOST), &[]).await?;
            ensure!(session.common_name == name, "{} is shown instead of {name}", session.common_name);
            Ok(())
        })
        .await
    }

    async fn wait_for_status(&self, host: &str, status: u16) -> Result<()> {
        wait::until(&format!("{status} from {host}"), async || {
            let mut connection = Connection::open(self.scene.http).await?;
            connection.send(&Request::get(host, &format!("/{STORE_SEGMENT}"))).await?.expect(status)?;
            Ok(())
        })
        .await
    }

    fn put(&self, file: &str, object: Manifest) -> Result<()> {
        scratch::replace(&self.scene.manifests.join(file), &documents([object.within(NAMESPACE)]))
    }
}
