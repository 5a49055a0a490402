//! A real control plane: etcd and kube-apiserver with RBAC, TLS and signed
//! ServiceAccount tokens, as a cluster has them. No controller manager and no
//! kubelet: what those would write, a test writes.
//!
//! One is shared by all tests of a run. Each test has its own [`World`] in it:
//! namespaces, class and installation of the chart, so that tests do not see each
//! other, while the subjects do see the objects of all and must leave them alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, OnceCell};

use crate::certificate::Authority;
use crate::log::Log;
use crate::wait::LONG;
use crate::{address, scratch, tools, wait};

mod chart;
mod cluster;
mod kubeconfig;
mod server;
mod world;

pub use chart::Chart;
pub use cluster::{Cluster, Notice};
pub use kubeconfig::{Identity, Kubeconfig};
pub use server::ApiServer;
pub use world::World;

/// A cold machine needs its time to load 130 MB of programs.
const START: Duration = Duration::from_secs(60);

/// etcd, an API server, and what others need to add one more.
pub struct ControlPlane {
    /// As administrator.
    pub cluster: Cluster,
    /// The API server that all tests share.
    pub server: ApiServer,
    /// Signs the certificates of API servers and administrators.
    pub authority: Authority,
    keys: Keys,
    etcd: Etcd,
}

/// Keys and certificates, as files.
struct Keys {
    authority: PathBuf,
    /// Signs the tokens of ServiceAccounts.
    accounts: PathBuf,
    /// Checks them.
    accounts_public: PathBuf,
    directory: PathBuf,
}

struct Etcd {
    url: String,
    _child: Child,
}

// === impl ControlPlane ===

impl ControlPlane {
    /// The one of this run, started when first asked for.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        static FAILURE: Mutex<Option<String>> = Mutex::const_new(None);
        // A start that failed once fails again, at great length: once is enough.
        if SHARED.initialized() {
            return SHARED.get_or_try_init(Self::start).await;
        }
        let mut failure = FAILURE.lock().await;
        if let Some(failure) = &*failure {
            return Err(anyhow!("the control plane has not started: {failure}"));
        }
        let started = SHARED.get_or_try_init(Self::start).await;
        if let Err(error) = &started {
            *failure = Some(format!("{error:#}"));
        }
        started
    }

    /// One more, for tests that change what all namespaces share: default classes, classes of well-known names, kinds.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start() -> Result<Self> {
        let directory = scratch::directory("control-plane")?;
        let authority = Authority::new("control-plane")?;
        let keys = Keys {
            authority: directory.join("ca.crt"),
            accounts: directory.join("accounts.key"),
            accounts_public: directory.join("accounts.pub"),
            directory: directory.clone(),
        };
        std::fs::write(&keys.authority, &authority.certificate)?;
        let accounts = rcgen::KeyPair::generate()?;
        std::fs::write(&keys.accounts, accounts.serialize_pem())?;
        std::fs::write(&keys.accounts_public, accounts.public_key_pem())?;
        let etcd = Etcd::start(directory.join("etcd")).await?;
        let server = ApiServer::start(&authority, &keys, &etcd.url).await?;
        let cluster = Cluster::administrator(&authority, server.address).await?;
        server.ready(&cluster).await?;
        Ok(Self { cluster, server, authority, keys, etcd })
    }

    /// One more API server on the same data, for a test that wants to stop it.
    /// It does not run yet.
    ///
    /// # Errors
    /// When its certificate cannot be made.
    pub fn another_server(&self) -> Result<ApiServer> {
        ApiServer::new(&self.authority, &self.keys, &self.etcd.url)
    }

    /// Makes etcd forget all history up to now, as it does by itself every few minutes.
    ///
    /// # Errors
    /// When etcd refuses.
    pub async fn compact(&self) -> Result<()> {
        self.etcd.compact().await
    }
}

// === impl Etcd ===

impl Etcd {
    async fn start(data: PathBuf) -> Result<Self> {
        let address = address::host();
        let (client, peer) = (SocketAddr::from((address, 2379)), SocketAddr::from((address, 2380)));
        let url = format!("http://{client}");
        let mut command = Command::new(tools::tool("etcd").await?);
        command
            .arg(format!("--data-dir={}", data.display()))
            .args([format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")])
            .arg(format!("--listen-peer-urls=http://{peer}"))
            // Nobody needs the data after the run.
            .arg("--unsafe-no-fsync");
        let (log, child) = spawn("etcd", command)?;
        let up =
            wait::until_within(START, "etcd accepts connections", async || Ok(TcpStream::connect(client).await?)).await;
        up.with_context(|| log.tail(30))?;
        Ok(Self { url, _child: child })
    }

    async fn compact(&self) -> Result<()> {
        // The API server itself compacts by this key; etcd's gateway speaks JSON.
        let address: SocketAddr = self.url.trim_start_matches("http://").parse()?;
        let ask = async |target: &str, body: String| {
            let request = crate::client::Request::post("etcd", target, body).header("Connection", "close");
            let answer = crate::client::send(address, &request).await?.expect(200)?;
            anyhow::Ok(serde_json::from_slice::<serde_json::Value>(&answer.body)?)
        };
        let status = ask("/v3/maintenance/status", "{}".to_owned()).await?;
        let revision = status["header"]["revision"].as_str().context("etcd states no revision")?.to_owned();
        let answer = ask("/v3/kv/compaction", format!(r#"{{"revision":"{revision}","physical":true}}"#)).await?;
        ensure!(answer["header"]["revision"].is_string(), "etcd did not compact: {answer}");
        Ok(())
    }
}

/// Starts a program of the control plane; its log belongs to no test.
fn spawn(name: &str, mut command: Command) -> Result<(Log, Child)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    let log = Log::detached(name);
    log.follow(child.stdout.take().context("no standard output")?);
    log.follow(child.stderr.take().context("no standard error")?);
    Ok((log, child))
}

/// For requests that must not hang a test.
async fn in_time<T>(what: &str, request: impl Future<Output = kube::Result<T>>) -> Result<T> {
    wait::at_most(LONG, what, request).await?.with_context(|| what.to_owned())
}
