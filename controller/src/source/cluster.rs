//! Objects of a cluster: one watch per resource, and one per object that is only read because something refers to it.
//!
//! ```text
//!  API server ─> watch (a task each) ─> Message ─> State { Store per watch } ─> Snapshot
//!                                                    ^
//!                          References of the table ──┘ decide which single objects are watched
//! ```
//!
//! Nothing is published before every resource has been listed once or turned out to be unavailable. A watch that breaks
//! off leaves its objects in place. Must not know: what objects mean.

mod connect;
mod id;
mod installation;
mod outage;
mod plan;
mod start;
mod state;
mod store;
mod watch;

pub use self::{connect::ConnectError, installation::Installation};
use self::{id::WatchId, outage::Outages, state::State, store::Event};
use crate::{
    args::{ClusterAccess, Scope},
    compile::References,
    diagnostic::ObjectKind,
    reconcile::{Coverage, Feed},
    snapshot::{ObjectName, Snapshot, Unconvertible},
};
use kube::Client;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tokio::{
    sync::{mpsc, watch as channel},
    task::{AbortHandle, JoinError, JoinSet},
};
use tracing::{debug, error, info};

/// News that may wait between the watches and the source. A list of thousands fills it, and then the watches wait.
const INBOX: usize = 1024;

/// What a watch tells.
#[derive(Debug)]
enum News {
    /// About an object, or a list.
    Event(Event),
    /// An object that cannot be understood.
    Unreadable { kind: ObjectKind, name: ObjectName, error: Unconvertible },
    /// The server does not know the resource, or does not let us read it.
    Unavailable(String),
    /// An attempt failed; the next one follows.
    Failed(String),
}

/// What a watch sends.
#[derive(Debug)]
struct Message {
    id: WatchId,
    /// Which task of this watch: what an aborted one has left in the inbox is not heard.
    task: u64,
    news: News,
}

/// A way to a cluster.
#[derive(Clone)]
pub struct Cluster {
    /// For everybody who writes.
    pub client: Client,
    server: String,
    scope: Scope,
}

/// What is needed whatever the objects say.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Secrets and ConfigMaps that flags name.
    pub references: References,
    /// Services that flags name.
    pub services: BTreeSet<ObjectName>,
    /// What has to be known about this installation itself.
    pub installation: Option<Installation>,
}

/// Where the results go.
#[derive(Debug)]
struct Outlets {
    snapshots: channel::Sender<Option<Snapshot>>,
    coverage: channel::Sender<Coverage>,
    waiting_for: channel::Sender<Arc<[String]>>,
}

/// The source.
pub struct Source {
    cluster: Cluster,
    wanted: Wanted,
    references: channel::Receiver<References>,
    outlets: Outlets,
    sender: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
    state: State,
    outages: Outages,
    tasks: JoinSet<WatchId>,
    running: HashMap<WatchId, (u64, AbortHandle)>,
    /// Numbers the tasks.
    started: u64,
}

// === impl Cluster ===

impl Cluster {
    /// Finds the way; nothing is sent yet.
    ///
    /// # Errors
    /// When files of the configuration cannot be used.
    pub async fn connect(access: &ClusterAccess) -> Result<Self, ConnectError> {
        let (client, server) = connect::connect(access).await?;
        Ok(Self { client, server, scope: access.scope.clone() })
    }
}

// === impl Source ===

impl Source {
    /// A source, and where its results appear. `references` is what tables refer to.
    #[must_use]
    pub fn new(
        cluster: &Cluster,
        wanted: Wanted,
        references: channel::Receiver<References>,
        waiting_for: channel::Sender<Arc<[String]>>,
    ) -> (Self, Feed) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let (snapshots_sender, snapshots) = channel::channel(None);
        let (coverage_sender, coverage) = channel::channel(Coverage::Looked(Arc::default()));
        let source = Self {
            outages: Outages::new(cluster.server.clone()),
            cluster: cluster.clone(),
            state: State::new(wanted.installation.clone()),
            wanted,
            references,
            outlets: Outlets { snapshots: snapshots_sender, coverage: coverage_sender, waiting_for },
            sender,
            inbox,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            started: 0,
        };
        (source, Feed { snapshots, coverage })
    }

    /// Watches until nobody wants to know.
    pub async fn run(mut self) {
        info!(server = self.cluster.server, scope = ?self.cluster.scope, "watching the cluster");
        self.references.mark_changed();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                // What is referred to first, so that its watches start before the next burst of news is taken in.
                biased;
                changed = self.references.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.refer();
                }
                received = self.inbox.recv_many(&mut batch, INBOX) => {
                    debug_assert!(received > 0, "the source holds a sender itself");
                    for message in batch.drain(..) {
                        self.hear(message);
                    }
                }
                Some(ended) = self.tasks.join_next() => self.restart(ended),
            }
            if self.state.take_unplanned() {
                self.plan();
            }
            self.publish();
        }
    }

    fn hear(&mut self, Message { id, task, news }: Message) {
        if self.running.get(&id).is_none_or(|(current, _)| *current != task) {
            return;
        }
        match &news {
            News::Failed(error) => self.outages.failed(&id, error),
            // What was never read is a finding; what was read and cannot be any more is an outage.
            News::Unavailable(error) if self.state.has_listed(&id) => self.outages.failed(&id, error),
            News::Event(Event::Restarted) => {}
            News::Event(_) | News::Unreadable { .. } | News::Unavailable(_) => self.outages.succeeded(&id),
        }
        self.state.hear(&id, news);
    }

    fn refer(&mut self) {
        let mut references = self.references.borrow_and_update().clone();
        references.secrets.extend(self.wanted.references.secrets.iter().cloned());
        references.config_maps.extend(self.wanted.references.config_maps.iter().cloned());
        self.state.refer(references);
    }

    /// Starts and stops watches so that exactly the needed ones run.
    fn plan(&mut self) {
        let needed = plan::plan(&self.cluster.scope, &self.wanted, &self.state);
        let obsolete: Vec<WatchId> = self.state.watches().filter(|id| !needed.contains(id)).cloned().collect();
        for id in obsolete {
            debug!(watch = ?id, "watch is not needed any more");
            if let Some((_, task)) = self.running.remove(&id) {
                task.abort();
            }
            self.state.remove(&id);
            self.outages.forget(&id);
        }
        for id in needed {
            if !self.running.contains_key(&id) {
                debug!(watch = ?id, "watch starts");
                self.state.add(id.clone());
                self.start(id);
            }
        }
    }

    /// A watch ends only when it is aborted, or when it panicked over something that the server sent.
    fn restart(&mut self, ended: Result<WatchId, JoinError>) {
        match ended {
            Ok(id) => debug!(watch = ?id, "watch ended"),
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                error!(%error, "a watch failed and is started again");
                let finished = self.running.iter().filter(|(_, (_, task))| task.is_finished());
                let gone: Vec<WatchId> = finished.map(|(id, _)| id.clone()).collect();
                for id in gone {
                    self.start(id);
                }
            }
        }
    }

    fn publish(&mut self) {
        let waiting: Arc<[String]> = self.state.waiting_for().map(ToString::to_string).collect();
        let ready = self.outlets.snapshots.borrow().is_some() || waiting.is_empty();
        self.outlets.waiting_for.send_if_modified(|current| {
            let differs = **current != *waiting;
            *current = waiting;
            differs
        });
        if !ready {
            return;
        }
        if let Some(snapshot) = self.state.take() {
            self.outlets.snapshots.send_replace(Some(snapshot));
        } else if self.outlets.snapshots.borrow().is_none() {
            // An empty cluster is a state, too.
            self.outlets.snapshots.send_replace(Some(Snapshot::default()));
        }
        // After the snapshot: what is covered is part of what was published.
        if let Some(coverage) = self.state.take_coverage() {
            self.outlets.coverage.send_if_modified(|current| {
                let differs = *current != coverage;
                *current = coverage;
                differs
            });
        }
    }
}
