//! The way to the API server.

use crate::args::ClusterAccess;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use std::{path::PathBuf, time::Duration};

/// Longest silence of a connection. The server sends a bookmark to every watch about once a minute, so that a longer
/// silence means that it is gone without having said so; the watch then goes on over a new connection.
const SILENCE: Duration = Duration::from_secs(120);

const CONNECT: Duration = Duration::from_secs(10);

/// Why there is no way to the API server. These are mistakes of configuration: trying again would not help.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// `--kubeconfig`
    #[error("cannot use --kubeconfig {path}: {error}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: KubeconfigError,
    },
    /// No `--kubeconfig`.
    #[error("cannot use the ServiceAccount of this pod: {0}")]
    InCluster(#[from] kube::config::InClusterError),
    /// `--apiserver-host`
    #[error("--apiserver-host is not a URL: {0}")]
    ApiServer(#[from] http::uri::InvalidUri),
    /// Certificates or tokens that cannot be used.
    #[error("cannot make a client for the API server: {0}")]
    Client(#[from] kube::Error),
}

/// Makes the client; nothing is sent yet. Returns it with the address of the server, for people.
pub(super) async fn connect(access: &ClusterAccess) -> Result<(Client, String), ConnectError> {
    let mut config = match (&access.kubeconfig, &access.api_server) {
        (Some(path), _) => {
            from_file(path).await.map_err(|error| ConnectError::Kubeconfig { path: path.clone(), error })?
        }
        (None, Some(address)) if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() => Config::new(address.parse()?),
        (None, _) => Config::incluster()?,
    };
    if let Some(address) = &access.api_server {
        config.cluster_url = address.parse()?;
    }
    if let Some(path) = &access.certificate_authority {
        config.root_cert = None;
        config.root_cert_file = Some(path.clone());
    }
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    // Watches, Lease, status and Events each know better when to try again.
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    Ok((Client::try_from(config)?, server))
}

async fn from_file(path: &PathBuf) -> Result<Config, KubeconfigError> {
    Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &KubeConfigOptions::default()).await
}
