//! `rust-nginx serve`: reads as a table of contents of the running process.
//!
//! Owns the order of start (admin, source, reconcile, first install, traffic) and of the end (probes fail, grace, drain,
//! writers stop, Lease released). The control plane has a runtime of its own; the workers of the proxy have theirs.

use crate::{
    admin::{self, Admin, Health, Signs},
    args::{Listen, Publish, Serve, Shutdown, Source},
    compile::{Compiler, Options, ProcessSettings, References},
    lease::Candidate,
    metrics::Metrics,
    reconcile::{self, Coverage, Feed, Outlets, Pass},
    source::{
        cluster::{self, Cluster, Installation, Wanted},
        dns, files,
        ports::{self, Declared},
    },
    status::{self, Farewell},
    telemetry::chain,
};
use anyhow::Context as _;
use rust_nginx_proxy::{Handle, Proxy, tls::Certificate};
use std::{future::Future, net::SocketAddr, num::NonZeroUsize, process::ExitCode, sync::Arc, thread, time::Duration};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{error, info, warn};

/// Threads of the control plane. Compiling has threads of its own; two keep watches and probes going beside each other.
const THREADS: usize = 2;

/// Threads for what blocks: compiling, installing, freeing, rendering pages, reading files. What waits for one is never
/// the path of a request.
const BLOCKING_THREADS: usize = 4;

/// They stay. What a thread allocated last and freed is kept by the allocator for that thread, and lost when the thread
/// ends: with tokio's ten seconds a cluster of 5,000 Ingresses took 50 MB more.
const BLOCKING_KEPT: Duration = Duration::from_secs(u32::MAX as u64);

/// Runs until a signal ends the process.
///
/// # Errors
/// When an address cannot be bound, or a part ends that must not.
pub fn run(config: &Serve) -> anyhow::Result<ExitCode> {
    let runtime = control_plane()?;
    let code = runtime.block_on(async {
        let mut signals = Signals::new()?;
        for warning in &config.warnings {
            warn!("{warning}");
        }
        let mut running = Running::start(config).await?;
        tokio::select! {
            error = running.serve() => {
                // What is served goes on as long as it may; the next process takes over from here.
                error!(error = chain(&*error), "cannot go on; ending");
                running.stop().await;
                return Err(error);
            }
            name = signals.next() => info!(signal = name, "shutting down; a second signal ends at once"),
        }
        tokio::select! {
            () = running.stop() => Ok(ExitCode::SUCCESS),
            name = signals.again() => {
                warn!(signal = name, "ending at once");
                Ok(ExitCode::FAILURE)
            }
        }
    });
    // Whatever still runs has nothing left to save.
    runtime.shutdown_background();
    code
}

/// The runtime of the control plane.
///
/// # Errors
/// When its threads cannot be started.
pub fn control_plane() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_KEPT)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the runtime of the control plane")
}

/// A controller and its proxy.
#[derive(Debug)]
pub struct Running {
    health: Health,
    metrics: Metrics,
    listen: Listen,
    shutdown: Shutdown,
    admin_addresses: Vec<SocketAddr>,
    passes: watch::Receiver<Option<Arc<Pass>>>,
    handle: watch::Receiver<Option<Arc<Handle>>>,
    proxy: Option<Proxy>,
    /// Source, reconcile loop, admin listener.
    parts: JoinSet<&'static str>,
    /// What writes to the cluster.
    writers: JoinSet<()>,
    farewell: Option<Farewell>,
    candidate: Option<Candidate>,
    /// Without an election, the word that we lead; it holds as long as somebody can say otherwise.
    _alone: watch::Sender<bool>,
}

/// The signals that end the process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

// === impl Running ===

impl Running {
    /// Starts everything but the traffic listeners.
    ///
    /// # Errors
    /// When the admin address is taken, or the way to the cluster cannot be read.
    pub async fn start(config: &Serve) -> anyhow::Result<Self> {
        let mut parts = JoinSet::new();
        let metrics = Metrics::new(config);

        let (passes_sender, passes) = watch::channel(None);
        let (references_sender, references) = watch::channel(References::default());
        let (handle_sender, handle) = watch::channel(None);
        let (heartbeat_sender, heartbeat) = watch::channel(Instant::now());
        let (waiting_sender, waiting_for) = watch::channel(Arc::default());

        let health = Health::new(Signs { heartbeat, handle: handle.clone(), waiting_for });
        let listeners = admin::bind(&config.admin.addresses).await?;
        let admin_addresses =
            listeners.iter().map(tokio::net::TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let admin = Admin {
            health: health.clone(),
            health_path: config.admin.health_path.as_str().into(),
            metrics: metrics.clone(),
            passes: passes.clone(),
        };
        spawn(&mut parts, "the admin listener", admin.serve(listeners));

        let mut writers = JoinSet::new();
        let mut candidate = None;
        let mut farewell = None;
        let alone = watch::Sender::new(true);
        let resolver = dns::Resolver::new(config.resolv_conf.clone());
        let referred = references.clone();
        let feed = match &config.source {
            Source::Manifests(directory, scope) => {
                let (snapshots_sender, snapshots) = watch::channel(None);
                spawn(&mut parts, "the file source", files::run(directory.clone(), scope.clone(), snapshots_sender));
                metrics.watch_passes(passes.clone(), alone.subscribe());
                Feed { snapshots, coverage: watch::channel(Coverage::Everything).1 }
            }
            Source::Cluster(access) => {
                let cluster = Cluster::connect(access).await?;
                let client = &cluster.client;
                candidate = config.election.as_ref().map(|election| {
                    let gauge = metrics.leader(&election.lease.name);
                    Candidate::start(client, election, &config.identity.pod_name, gauge)
                });
                let leader = candidate.as_ref().map_or_else(|| alone.subscribe(), Candidate::leader);
                metrics.watch_passes(passes.clone(), leader.clone());
                farewell = status::start(&mut writers, client, config, &passes, &leader);
                let (source, feed) = cluster::Source::new(&cluster, wanted(config), references, waiting_sender);
                spawn(&mut parts, "the cluster source", source.run());
                feed
            }
        };

        let declared = Declared { tcp: config.compile.tcp_services.clone(), udp: config.compile.udp_services.clone() };
        let feed = if declared.tcp.is_some() || declared.udp.is_some() {
            let (ports, feed) = ports::Stage::new(declared, feed, handle.clone());
            spawn(&mut parts, "the watch over ports", ports.run());
            feed
        } else {
            feed
        };
        let (names, feed) = dns::Stage::new(resolver, feed, referred);
        spawn(&mut parts, "the resolver of host names", names.run());

        let outlets = Outlets {
            passes: passes_sender,
            references: references_sender,
            handle: handle_sender,
            heartbeat: heartbeat_sender,
        };
        let fallback = Certificate::self_signed().context("cannot make the default certificate")?;
        let options = Options { flags: config.compile.clone(), fallback_certificate: Arc::new(fallback) };
        let in_cluster = matches!(config.source, Source::Cluster(_));
        let publish = (in_cluster && config.writes_status()).then(|| config.status.publish.clone());
        let make = move || {
            let (mut compiler, publish) = (Compiler::new(options.clone()), publish.clone());
            move |snapshot: &_| {
                let mut compiled = compiler.compile(snapshot);
                let finding = publish.as_ref().and_then(|publish| status::finding(publish, snapshot));
                compiled.diagnostics.extend(finding.map(Arc::new));
                compiled
            }
        };
        spawn(&mut parts, "the reconcile loop", reconcile::run(feed, outlets, metrics.reconcile(), make));

        Ok(Self {
            health,
            metrics,
            listen: config.listen.clone(),
            shutdown: config.shutdown,
            admin_addresses,
            passes,
            handle,
            proxy: None,
            parts,
            writers,
            farewell,
            candidate,
            _alone: alone,
        })
    }

    /// Waits for the first table and binds the traffic listeners.
    ///
    /// # Errors
    /// When an address cannot be bound, or a part ended.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        if self.proxy.is_some() {
            return Ok(());
        }
        let (handle, process) = tokio::select! {
            first = first_install(self.handle.clone(), self.passes.clone()) => first?,
            error = ended(&mut self.parts) => return Err(error),
        };
        let ipv6 = rust_nginx_proxy::unspecified(0, true).len() > 1;
        let (http, https) = self.listen.resolve(&process, ipv6);
        let workers = process.workers.unwrap_or_else(|| thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        let (proxy_protocol, streams) = (self.listen.proxy_protocol(ipv6), Listen::streams(&process, ipv6));
        let listen = rust_nginx_proxy::Listen { http, https, proxy_protocol, streams, splice: self.listen.splice() };
        let proxy = Proxy::start(&listen, workers, &handle)?;
        self.metrics.watch_workers(&handle);
        self.health.listening();
        info!(
            http = ?proxy.http_addresses(),
            https = ?proxy.https_addresses(),
            admin = ?self.admin_addresses,
            workers,
            "serving"
        );
        self.proxy = Some(proxy);
        Ok(())
    }

    /// Serves until a part ends that must not.
    pub async fn serve(&mut self) -> anyhow::Error {
        if let Err(error) = self.ready().await {
            return error;
        }
        ended(&mut self.parts).await
    }

    /// Ends in the order that costs no request.
    pub async fn stop(mut self) {
        self.health.draining();
        sleep(self.shutdown.grace).await;
        // Beside the drain, so that it needs no time of its own, and while the Lease is still held.
        let farewell = self.farewell.take();
        tokio::join!(self.drain(), async {
            if let Some(farewell) = farewell {
                farewell.say().await;
            }
        });
        self.writers.shutdown().await;
        if let Some(candidate) = self.candidate.take() {
            candidate.release().await;
        }
        sleep(self.shutdown.post_grace).await;
        self.parts.shutdown().await;
        info!("ended");
    }

    async fn drain(&mut self) {
        let Some(proxy) = self.proxy.take() else { return };
        let timeout =
            self.passes.borrow().as_ref().map_or(Duration::ZERO, |pass| pass.compiled.process.shutdown_timeout);
        let drained = proxy.drain(timeout).await;
        if drained.cut > 0 {
            warn!(connections = drained.cut, ?timeout, "cut connections that did not end in worker-shutdown-timeout");
        }
    }

    /// Where HTTP is served; empty before it is ready.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        self.proxy.as_ref().map_or(&[], Proxy::http_addresses)
    }

    /// Where HTTPS is served; empty before it is ready.
    #[must_use]
    pub fn https_addresses(&self) -> &[SocketAddr] {
        self.proxy.as_ref().map_or(&[], Proxy::https_addresses)
    }

    /// Where the admin pages are served.
    #[must_use]
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// The latest pass of the reconcile loop.
    #[must_use]
    pub fn passes(&self) -> watch::Receiver<Option<Arc<Pass>>> {
        self.passes.clone()
    }
}

/// The objects that flags name.
fn wanted(config: &Serve) -> Wanted {
    let published = if let Publish::Service(service) = &config.status.publish { Some(service) } else { None };
    Wanted {
        references: References {
            secrets: config.compile.default_ssl_certificate.iter().cloned().collect(),
            config_maps: [&config.compile.config_map, &config.compile.tcp_services, &config.compile.udp_services]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            ..References::default()
        },
        installation: installation(config),
        services: published.into_iter().chain(&config.compile.default_backend_service).cloned().collect(),
    }
}

/// What the process has to know about its own installation; nothing where nobody asks for it.
fn installation(config: &Serve) -> Option<Installation> {
    let addresses = match config.status.publish {
        Publish::Nodes(kind) => config.writes_status().then_some(kind),
        Publish::Addresses(_) | Publish::Service(_) => None,
    };
    let zone = config.compile.topology_aware;
    (addresses.is_some() || zone).then(|| Installation { pod: config.identity.pod(), addresses, zone })
}

/// The pointer with the first table, and the settings that are read only now.
async fn first_install(
    mut handle: watch::Receiver<Option<Arc<Handle>>>,
    mut passes: watch::Receiver<Option<Arc<Pass>>>,
) -> anyhow::Result<(Arc<Handle>, ProcessSettings)> {
    let handle = handle.wait_for(Option::is_some).await?.clone();
    let process = passes.wait_for(Option::is_some).await?.as_ref().map(|pass| pass.compiled.process.clone());
    handle.zip(process).context("the first table is gone again")
}

/// Starts a part that must not end.
fn spawn(parts: &mut JoinSet<&'static str>, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
    parts.spawn(async move {
        part.await;
        name
    });
}

/// Waits until one of them does.
async fn ended(parts: &mut JoinSet<&'static str>) -> anyhow::Error {
    match parts.join_next().await {
        Some(Ok(name)) => anyhow::anyhow!("{name} ended"),
        Some(Err(error)) => anyhow::Error::new(error).context("a part of the control plane ended"),
        None => anyhow::anyhow!("nothing runs any more"),
    }
}

// === impl Signals ===

impl Signals {
    /// How long after a signal another one counts as the same.
    const ECHO: Duration = Duration::from_millis(10);

    /// Takes the signals over from the default, which is to end at once.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The name of one that somebody sends on purpose after the first. Supervisors tend to send the first one twice, to
    /// the process and to its group.
    pub(crate) async fn again(&mut self) -> &'static str {
        let first = Instant::now();
        loop {
            let name = self.next().await;
            if first.elapsed() > Self::ECHO {
                return name;
            }
        }
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
