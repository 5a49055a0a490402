//! Leadership by a coordination.k8s.io Lease: one replica writes, all serve.
//!
//! Timing follows client-go's proportions: a Lease is valid for `ttl`, refreshed every quarter of it, and given up when
//! no refresh succeeded for half of it, so that an old leader has stopped well before a new one may start. Clocks of
//! other machines are not trusted: a Lease has expired when *we* have not seen it change for as long as it is valid.
//! The rules are in `lease/rules.rs`; this file talks to the API server.

mod rules;

use self::rules::{Action, Claim, Rules};
use crate::{args::Election, snapshot::ObjectName, telemetry::chain};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use prometheus::IntGauge;
use std::time::Duration;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

/// Longest wait for the API server when the process ends.
const RELEASE: Duration = Duration::from_secs(3);

/// The running election.
#[derive(Debug)]
pub struct Candidate {
    leader: watch::Receiver<bool>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Elector {
    leases: Api<Lease>,
    name: ObjectName,
    rules: Rules,
    leader: watch::Sender<bool>,
    gauge: IntGauge,
    /// The last error that was logged, so that an outage is one line.
    complained: Option<String>,
}

// === impl Candidate ===

impl Candidate {
    /// Starts to run for leadership.
    #[must_use]
    pub fn start(client: &Client, election: &Election, identity: &str, gauge: IntGauge) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (sender, leader) = watch::channel(false);
        let elector = Elector {
            leases: Api::namespaced(client.clone(), &election.lease.namespace),
            name: election.lease.clone(),
            rules: Rules::new(identity, election.ttl),
            leader: sender,
            gauge,
            complained: None,
        };
        Self { leader, stop, task: tokio::spawn(elector.run(stopped)) }
    }

    /// Whether we lead.
    #[must_use]
    pub fn leader(&self) -> watch::Receiver<bool> {
        self.leader.clone()
    }

    /// Stops, and hands the Lease back if it is ours, so that another replica need not wait for it to expire.
    pub async fn release(self) {
        // The receiver lives as long as the task, which only ends by this.
        let _ = self.stop.send(());
        if timeout(RELEASE, self.task).await.is_err() {
            warn!("the API server did not take back the Lease in time; it expires by itself");
        }
    }
}

// === impl Elector ===

impl Elector {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let campaign = async {
            loop {
                let pause = self.round().await;
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = campaign => {}
            _ = &mut stopped => {}
        }
        self.lead(false);
        if let Some((spec, version)) = self.rules.release(jiff::Timestamp::now()) {
            match self.replace(spec, version).await {
                Ok(_) => info!(lease = %self.name, "Lease released"),
                Err(error) => {
                    warn!(lease = %self.name, error = chain(&error), "cannot release the Lease; it expires by itself")
                }
            }
        }
    }

    /// One look at the Lease, and a write if it is time. Returns how long to wait until the next.
    async fn round(&mut self) -> Duration {
        match timeout(self.rules.retry(), self.attempt()).await {
            Ok(Ok(())) => {
                if self.complained.take().is_some() {
                    info!(lease = %self.name, "the Lease can be reached again");
                }
            }
            Ok(Err(error)) => self.complain(chain(&error)),
            Err(_) => self.complain("the API server did not answer in time".to_owned()),
        }
        let now = Instant::now();
        self.lead(self.rules.is_leader(now));
        self.rules.pause(now)
    }

    async fn attempt(&mut self) -> Result<(), kube::Error> {
        // A leader knows what it wrote: it refreshes without reading first, and reads only after a conflict.
        if !self.rules.knows_own_lease() {
            let lease = self.leases.get_opt(&self.name.name).await?;
            self.rules.read(lease.as_ref().map(claim), Instant::now());
        }
        let sent = Instant::now();
        let written = match self.rules.act(sent, jiff::Timestamp::now()) {
            Action::Wait => return Ok(()),
            Action::Create(spec) => self.create(spec).await,
            Action::Replace(spec, version) => self.replace(spec, version).await,
        };
        match written {
            // Validity counts from before the request: the server may have written it at any time since.
            Ok(lease) => self.rules.written(claim(&lease), sent),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                debug!(lease = %self.name, "somebody else wrote the Lease first");
                self.rules.conflict();
            }
            Err(error) => {
                // It may have been deleted, or the write may have arrived although the answer did not.
                self.rules.conflict();
                return Err(error);
            }
        }
        Ok(())
    }

    async fn create(&self, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        self.leases.create(&PostParams::default(), &self.lease(spec, None)).await
    }

    async fn replace(&self, spec: LeaseSpec, version: String) -> Result<Lease, kube::Error> {
        self.leases.replace(&self.name.name, &PostParams::default(), &self.lease(spec, Some(version))).await
    }

    fn lease(&self, spec: LeaseSpec, resource_version: Option<String>) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.name.to_string()),
                namespace: Some(self.name.namespace.to_string()),
                resource_version,
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        }
    }

    fn lead(&self, leader: bool) {
        let changed = self.leader.send_if_modified(|current| std::mem::replace(current, leader) != leader);
        if changed {
            self.gauge.set(leader.into());
            if leader {
                info!(lease = %self.name, "this replica leads: it writes status and Events");
            } else {
                info!(lease = %self.name, "this replica does not lead any more");
            }
        }
    }

    fn complain(&mut self, error: String) {
        if self.complained.as_ref() == Some(&error) {
            debug!(lease = %self.name, error, "the Lease still cannot be read or written");
        } else {
            warn!(lease = %self.name, error, "the Lease cannot be read or written; trying again");
            self.complained = Some(error);
        }
    }
}

/// The fields that the rules look at.
fn claim(lease: &Lease) -> Claim {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Claim {
        holder: spec.holder_identity.clone().filter(|holder| !holder.is_empty()),
        valid_for: seconds.map(Duration::from_secs),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        acquired: spec.acquire_time.as_ref().map(|MicroTime(time)| *time),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}
