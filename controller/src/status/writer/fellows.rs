//! Whether another pod of this installation is there to go on when this one ends.

use crate::{
    snapshot::{ApiPod, ObjectName, Pod},
    telemetry::chain,
};
use kube::{Api, Client, api::ListParams};
use std::time::Duration;
use tokio::time::timeout;
use tracing::{debug, info, warn};

/// Longest wait for the answer. It is asked for once, when the process ends; nothing of it is watched.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The pods of this installation.
#[derive(Clone)]
pub(super) struct Fellows {
    api: Api<ApiPod>,
    own: ObjectName,
}

// === impl Fellows ===

impl Fellows {
    pub(super) fn new(client: &Client, own: ObjectName) -> Self {
        Self { api: Api::namespaced(client.clone(), &own.namespace), own }
    }

    /// Whether it is certain that nobody else is there. Without that, the status stays: a stale address can be mended, and
    /// one that is missing costs clients their connections.
    pub(super) async fn is_last(&self) -> bool {
        match timeout(TIMEOUT, self.others()).await {
            Ok(Ok(Some(others))) if others.is_empty() => true,
            Ok(Ok(Some(others))) => {
                debug!(?others, "other replicas are ready: the status stays");
                false
            }
            Ok(Ok(None)) => {
                info!(pod = %self.own, "there is no such Pod, so that nobody knows of other replicas: the status stays");
                false
            }
            Ok(Err(error)) => {
                warn!(error = chain(&error), "cannot look for other replicas: the status stays");
                false
            }
            Err(_) => {
                warn!("the API server did not answer in time: the status stays");
                false
            }
        }
    }

    /// The names of the ready ones; `None` when we do not know ourselves.
    async fn others(&self) -> Result<Option<Vec<String>>, kube::Error> {
        let by_name = ListParams::default().fields(&format!("metadata.name={}", self.own.name));
        let Some(own) = self.list(&by_name).await?.pop() else { return Ok(None) };
        let Some(selector) = own.peers() else { return Ok(Some(Vec::new())) };
        let all = self.list(&ListParams::default().labels(&selector)).await?;
        let others = all.into_iter().filter(|pod| pod.ready && pod.name != self.own);
        Ok(Some(others.map(|pod| pod.name.name.to_string()).collect()))
    }

    async fn list(&self, params: &ListParams) -> Result<Vec<Pod>, kube::Error> {
        let found = self.api.list(params).await?.items;
        // What has no name cannot come from a server.
        Ok(found.into_iter().filter_map(|pod| pod.try_into().ok()).collect())
    }
}
