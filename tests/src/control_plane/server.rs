//! One kube-apiserver process, which can be stopped and started again.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::{Cluster, Keys, START, spawn};
use crate::certificate::Authority;
use crate::log::Log;
use crate::{address, tools, wait};

/// The addresses that Services get, from the API server itself.
const SERVICE_NETWORK: &str = "10.96.0.0/16";

/// A kube-apiserver on an address of its own.
pub struct ApiServer {
    /// Where it is, whether it runs or not.
    pub address: SocketAddr,
    arguments: Vec<String>,
    process: Mutex<Option<(Log, Child)>>,
}

// === impl ApiServer ===

impl ApiServer {
    /// Everything but the process.
    pub(super) fn new(authority: &Authority, keys: &Keys, etcd: &str) -> Result<Self> {
        let ip = address::host();
        let address = SocketAddr::from((ip, 6443));
        // 127.0.0.1 is where relays stand.
        let pair = authority.server(&["kubernetes.default.svc", "kubernetes", &ip.to_string(), "127.0.0.1"])?;
        let file = |end: &str| -> PathBuf { keys.directory.join(format!("apiserver-{ip}.{end}")) };
        std::fs::write(file("crt"), pair.certificate)?;
        std::fs::write(file("key"), pair.key)?;
        let arguments = vec![
            format!("--etcd-servers={etcd}"),
            format!("--bind-address={ip}"),
            format!("--advertise-address={ip}"),
            format!("--secure-port={}", address.port()),
            format!("--service-cluster-ip-range={SERVICE_NETWORK}"),
            format!("--tls-cert-file={}", file("crt").display()),
            format!("--tls-private-key-file={}", file("key").display()),
            format!("--client-ca-file={}", keys.authority.display()),
            format!("--service-account-key-file={}", keys.accounts_public.display()),
            format!("--service-account-signing-key-file={}", keys.accounts.display()),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            // There is no node and nothing to hold a place for.
            "--endpoint-reconciler-type=none".to_owned(),
        ];
        Ok(Self { address, arguments, process: Mutex::default() })
    }

    pub(super) async fn start(authority: &Authority, keys: &Keys, etcd: &str) -> Result<Self> {
        let server = Self::new(authority, keys, etcd)?;
        server.run().await?;
        Ok(server)
    }

    /// Starts the process.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub async fn run(&self) -> Result<()> {
        let mut command = Command::new(tools::tool("kube-apiserver").await?);
        command.args(&self.arguments);
        *self.process.lock().await = Some(spawn("kube-apiserver", command)?);
        Ok(())
    }

    /// Waits until it answers and says that it is ready.
    ///
    /// # Errors
    /// When it does not; with the end of its log.
    pub async fn ready(&self, cluster: &Cluster) -> Result<()> {
        let mut process = self.process.lock().await;
        let (log, child) = process.as_mut().context("the API server was not started")?;
        tokio::select! {
            up = wait::until_within(START, "the API server is ready", async || cluster.ready().await) => up,
            end = child.wait() => Err(anyhow!("the API server has ended: {}", end?)),
        }
        .with_context(|| log.tail(30))
    }

    /// Kills the process: every connection breaks.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn stop(&self) -> Result<()> {
        if let Some((_, mut child)) = self.process.lock().await.take() {
            child.kill().await?;
        }
        Ok(())
    }
}
