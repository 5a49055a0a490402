//! rust-nginx in a large cluster: a real API server, thousands of Ingresses, and changes while clients ask.
//!
//! ```text
//!  populate ──> API server ──watch──> rust-nginx (release build, rights of the chart) <── churn/clients
//!                 ^     └───watch──> bare                ^           └──────> pods
//!  churn/lanes ───┘                                      └── probe
//!  pure (benches/scale.rs, no cluster) ─> results ─> report
//! ```
//!
//! Runs in the network and PID namespace of the tests: no packet leaves it, and no process outlives it.

use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rust_nginx_bench::fleet::{self, Fleet, Shape};
use rust_nginx_tests::control_plane::World;
use rust_nginx_tests::subject::Subject;
use rust_nginx_tests::{scratch, wait};
use tokio::signal::unix::{SignalKind, signal};

use self::bare::Bare;
use self::churn::lanes::Lanes;
use self::churn::{Churn, Pace, Untouched};
use self::populate::Sizes;
use self::results::{Churned, Memory, Part, Stage, StatusWork};

mod bare;
mod churn;
mod memory;
mod pods;
mod populate;
mod probe;
pub(crate) mod pure;
pub(crate) mod report;
pub(crate) mod results;
mod status;

/// Longest time from the start to ready.
const READY: Duration = Duration::from_secs(120);

/// Longest time from SIGTERM to the end.
const EXIT: Duration = Duration::from_secs(30);

/// Longest time for the status of all Ingresses.
const PUBLISHED: Duration = Duration::from_secs(600);

/// Hosts that clients ask for during changes.
const UNTOUCHED: usize = 200;

/// The address that every status gets.
const ADDRESS: &str = "203.0.113.7";

/// What to measure in the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Numbers of Ingresses, growing.
    pub(crate) ingresses: Vec<usize>,
    /// Changes with the first of these numbers; a fifth of them with the others.
    pub(crate) changes: usize,
    /// Changes one by one.
    pub(crate) idle_changes: usize,
    /// Changes per second.
    pub(crate) rate: u32,
}

/// A run in progress.
struct Run<'a> {
    plan: &'a Plan,
    program: &'a Path,
    world: World,
    fleet: Fleet,
    bare: Bare,
    lanes: Option<Lanes>,
    parts: Parts,
}

/// How long each part took.
#[derive(Default)]
struct Parts(Vec<Part>);

/// Measures in a cluster of its own. Must be called inside the namespace of the tests.
pub(crate) fn cluster(plan: &Plan, program: &Path) -> Result<(Vec<Stage>, Vec<Part>)> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a provider of cryptography is installed already"))?;
    scratch::create()?;
    pods::start()?;
    let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
    let done = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            done = run(plan, program) => done,
            _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
            _ = terminate.recv() => Err(anyhow::anyhow!("interrupted")),
        }
    });
    runtime.shutdown_background();
    scratch::remove();
    done
}

async fn run(plan: &Plan, program: &Path) -> Result<(Vec<Stage>, Vec<Part>)> {
    let mut parts = Parts::default();
    let values = [
        ("controller.publishService.enabled", "false"),
        ("controller.extraArgs.publish-status-address", ADDRESS),
        ("controller.extraArgs.shutdown-grace-period", "0"),
    ];
    let world = parts.time("API server", World::with_values("scale", &values)).await?;
    let fleet = Fleet::new(0, &world.class)?;
    populate::namespaces(&world.cluster.client, &fleet).await?;
    let bare = Bare::start(&world.kubeconfig).await?;
    let mut run = Run { plan, program, world, fleet, bare, lanes: None, parts };
    let mut stages = Vec::new();
    for (number, ingresses) in plan.ingresses.iter().copied().enumerate() {
        let changes = if number == 0 { plan.changes } else { plan.changes / 5 };
        let stage = run.stage(ingresses, changes).await;
        stages.push(stage.with_context(|| format!("with {ingresses} Ingresses"))?);
    }
    Ok((stages, run.parts.0))
}

// === impl Run ===

impl Run<'_> {
    async fn stage(&mut self, ingresses: usize, changes: usize) -> Result<Stage> {
        let before = Sizes::of(&self.fleet);
        self.fleet.grow(ingresses)?;
        let client = self.world.cluster.client.clone();
        let backends = populate::backends(&client, &self.fleet, &before);
        self.parts.time(&format!("{ingresses}: create Services, EndpointSlices, Secrets"), backends).await?;
        let status = if before.ingresses == 0 {
            let status = self.new_at_once().await?;
            self.parts.note(&format!("{ingresses}: create Ingresses, status"), status.created + status.written);
            Some(status)
        } else {
            let created = populate::ingresses(&client, &self.fleet, before.ingresses..ingresses);
            self.parts.time(&format!("{ingresses}: create Ingresses"), created).await?;
            None
        };

        let (subject, ready) = self.start().await?;
        self.parts.note(&format!("{ingresses}: start"), ready);
        let known = ingresses + self.lanes.as_ref().map_or(0, Lanes::ingresses);
        let published = self.bare.all_published(known, PUBLISHED);
        self.parts.time(&format!("{ingresses}: wait for status"), published).await?;
        let fresh = self.parts.time(&format!("{ingresses}: memory settles"), settled(&subject)).await?;

        let (mut idle, mut churn, mut worn) = (None, None, None);
        if changes > 0 {
            let mut lanes = match self.lanes.take() {
                Some(lanes) => lanes,
                None => Lanes::new(&self.world).await?,
            };
            lanes.served(&subject).await?;
            idle = Some(self.churn(&mut lanes, &subject, self.plan.idle_changes, Pace::OneByOne).await?);
            self.parts
                .note(&format!("{ingresses}: changes one by one"), idle.as_ref().map_or(0.0, |idle| idle.seconds));
            churn = Some(self.churn(&mut lanes, &subject, changes, Pace::PerSecond(self.plan.rate)).await?);
            self.parts.note(&format!("{ingresses}: changes"), churn.as_ref().map_or(0.0, |churn| churn.seconds));
            worn = Some(self.parts.time(&format!("{ingresses}: memory settles again"), settled(&subject)).await?);
            self.lanes = Some(lanes);
        }
        self.parts.time(&format!("{ingresses}: end"), stop(&subject)).await?;
        Ok(Stage { ingresses, status, ready, fresh, idle, churn, worn })
    }

    /// The Ingresses of the fleet appear before a controller that runs and leads.
    async fn new_at_once(&self) -> Result<StatusWork> {
        let (subject, _) = self.start().await?;
        let work = status::measure(&self.world, &self.bare, &self.fleet).await?;
        stop(&subject).await?;
        Ok(work)
    }

    /// Starts the controller; the time until it is ready, in seconds.
    async fn start(&self) -> Result<(Subject, f64)> {
        let launch = self.world.launch("rust-nginx-0")?.program(self.program);
        let start = Instant::now();
        let subject = launch.start().await?;
        let ready = async || subject.inspect("/readyz").await?.expect(200);
        wait::until_within(READY, "rust-nginx is ready", ready).await.with_context(|| subject.log.tail(20))?;
        Ok((subject, start.elapsed().as_secs_f64()))
    }

    async fn churn(&self, lanes: &mut Lanes, subject: &Subject, changes: usize, pace: Pace) -> Result<Churned> {
        let untouched = self.untouched(0..self.fleet.ingresses());
        let mut churn = Churn { lanes, subject, bare: &self.bare, untouched };
        churn.run(changes, pace).await
    }

    /// Some hosts of the fleet, spread over all of it. Where plain HTTP is redirected, there is no pod to be seen.
    fn untouched(&self, all: Range<usize>) -> Vec<Untouched> {
        let step = (all.len() / UNTOUCHED).max(1);
        let shapes = all.map(Shape::of).filter(|shape| !shape.tls).step_by(step);
        shapes.map(|shape| Untouched { host: shape.request_host(), pods: fleet::pods(shape.services[0]) }).collect()
    }
}

async fn settled(subject: &Subject) -> Result<Memory> {
    memory::settled(subject.process_id()).await
}

async fn stop(subject: &Subject) -> Result<()> {
    subject.terminate()?;
    let status = subject.exited(EXIT).await.with_context(|| subject.log.tail(20))?;
    ensure!(status.success(), "rust-nginx ended with {status}: {}", subject.log.tail(20));
    Ok(())
}

// === impl Parts ===

impl Parts {
    async fn time<T>(&mut self, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let start = Instant::now();
        let done = work.await.with_context(|| name.to_owned())?;
        self.note(name, start.elapsed().as_secs_f64());
        Ok(done)
    }

    fn note(&mut self, name: &str, seconds: f64) {
        crate::print(&mut std::io::stderr(), &format!("{seconds:7.1} s  {name}\n"));
        self.0.push(Part { name: name.to_owned(), seconds });
    }
}
