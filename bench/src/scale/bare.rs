//! A bare watcher beside ours: the same kinds, the same rights, the same client library, and nothing behind it. When it
//! sees a change is when anybody could have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource};
use rust_nginx_tests::control_plane::{Cluster, ControlPlane, Kubeconfig};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Longest wait for something that a watch must bring.
const LIMIT: Duration = Duration::from_secs(60);

/// Kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Ingress,
    EndpointSlice,
    Secret,
    Lease,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// An object as it was seen once.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    version: u64,
    deleted: bool,
    at: Instant,
}

/// What has been seen.
#[derive(Debug, Default)]
struct Seen {
    /// Kinds whose list is complete.
    listed: BTreeSet<Kind>,
    sightings: HashMap<Key, Vec<Sighting>>,
    /// Ingresses with an address in their status, and since when.
    published: BTreeMap<(String, String), Instant>,
    /// Why a watch does not go on.
    failure: Option<String>,
}

/// The watcher.
#[derive(Clone)]
pub(super) struct Bare {
    seen: watch::Sender<Seen>,
}

// === impl Bare ===

impl Bare {
    /// Starts watching on a thread of its own, and waits until everything is listed.
    pub(super) async fn start(kubeconfig: &Kubeconfig) -> Result<Self> {
        let bare = Self { seen: watch::Sender::default() };
        let plane = ControlPlane::shared().await?;
        let (kubeconfig, watching) = (kubeconfig.clone(), bare.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        thread::Builder::new().name("bare-watcher".to_owned()).spawn(move || {
            runtime.block_on(async {
                if let Err(error) = watching.watch_all(&kubeconfig, plane).await {
                    watching.fail(&format!("{error:#}"));
                }
            });
        })?;
        bare.wait("the first lists are complete", LIMIT, |seen| (seen.listed.len() == 4).then_some(())).await?;
        Ok(bare)
    }

    /// Forgets what it has seen of single objects.
    pub(super) fn forget(&self) {
        self.seen.send_modify(|seen| seen.sightings.clear());
    }

    /// When an object was seen in this version or a later one.
    pub(super) async fn saw(&self, key: &Key, version: u64) -> Result<Instant> {
        self.first(key, &format!("in version {version}"), |sighting| sighting.version >= version).await
    }

    /// When an object was seen to go.
    pub(super) async fn saw_end(&self, key: &Key) -> Result<Instant> {
        self.first(key, "deleted", |sighting| sighting.deleted).await
    }

    /// All moments at which an object was seen changed.
    pub(super) fn moments(&self, key: &Key) -> Vec<Instant> {
        let seen = self.seen.borrow();
        seen.sightings.get(key).into_iter().flatten().map(|sighting| sighting.at).collect()
    }

    /// Ingresses with an address, and when the last of them got it.
    pub(super) fn published(&self) -> (usize, Option<Instant>) {
        let seen = self.seen.borrow();
        (seen.published.len(), seen.published.values().max().copied())
    }

    /// Waits until so many Ingresses have an address; says when the last of them got it.
    pub(super) async fn all_published(&self, count: usize, limit: Duration) -> Result<Instant> {
        let what = format!("{count} Ingresses have an address in their status");
        let enough = self
            .wait(&what, limit, |seen| (seen.published.len() >= count).then(|| seen.published.values().max().copied()));
        let last = enough.await.with_context(|| format!("{} had one", self.published().0))?;
        last.context("there is no Ingress to wait for")
    }

    async fn first(&self, key: &Key, what: &str, hit: impl Fn(&Sighting) -> bool) -> Result<Instant> {
        let what = format!("{:?} {}/{} is seen {what}", key.kind, key.namespace, key.name);
        self.wait(&what, LIMIT, |seen| {
            seen.sightings.get(key)?.iter().find(|sighting| hit(sighting)).map(|sighting| sighting.at)
        })
        .await
    }

    async fn wait<T>(&self, what: &str, limit: Duration, mut find: impl FnMut(&Seen) -> Option<T>) -> Result<T> {
        let mut seen = self.seen.subscribe();
        let mut found = None;
        let wait = seen.wait_for(|seen| {
            found = find(seen);
            found.is_some() || seen.failure.is_some()
        });
        let Ok(ended) = tokio::time::timeout(limit, wait).await else { bail!("waited {limit:?} until {what}") };
        let failure = ended.context("the watcher is gone")?.failure.clone();
        found.ok_or_else(|| anyhow!("watching failed: {}", failure.unwrap_or_default()))
    }

    async fn watch_all(&self, kubeconfig: &Kubeconfig, plane: &ControlPlane) -> Result<()> {
        let client = Cluster::new(kubeconfig).await?.client;
        // The controller may read its own Lease but watch none.
        let administrator = Cluster::administrator(&plane.authority, plane.server.address).await?.client;
        let all = watcher::Config::default();
        let certificates = all.clone().fields("type=kubernetes.io/tls");
        tokio::join!(
            self.watch::<Ingress>(Kind::Ingress, &client, all.clone()),
            self.watch::<EndpointSlice>(Kind::EndpointSlice, &client, all.clone()),
            self.watch::<Secret>(Kind::Secret, &client, certificates),
            self.watch::<Lease>(Kind::Lease, &administrator, all),
        );
        Ok(())
    }

    async fn watch<K>(&self, kind: Kind, client: &Client, config: watcher::Config)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Published + 'static,
    {
        let mut events = pin!(watcher(Api::<K>::all(client.clone()), config.streaming_lists()));
        while let Some(event) = events.next().await {
            let at = Instant::now();
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    self.note(kind, &object, at, false);
                }
                Ok(watcher::Event::Delete(object)) => self.note(kind, &object, at, true),
                Ok(watcher::Event::InitDone) => self.seen.send_modify(|seen| seen.listed.extend([kind])),
                Ok(watcher::Event::Init) => {}
                // A measurement with a gap in it is none.
                Err(error) => return self.fail(&format!("{kind:?}: {error}")),
            }
        }
    }

    fn note<K: Resource + Published>(&self, kind: Kind, object: &K, at: Instant, deleted: bool) {
        let metadata = object.meta();
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let name = metadata.name.clone().unwrap_or_default();
        let version = metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0);
        let published = object.is_published();
        self.seen.send_modify(|seen| {
            if deleted {
                seen.published.remove(&(namespace.clone(), name.clone()));
            } else if published {
                seen.published.entry((namespace.clone(), name.clone())).or_insert(at);
            }
            let key = Key { kind, namespace, name };
            seen.sightings.entry(key).or_default().push(Sighting { version, deleted, at });
        });
    }

    fn fail(&self, error: &str) {
        self.seen.send_modify(|seen| seen.failure = Some(error.to_owned()));
    }
}

/// Whether the status of an object names an address.
trait Published {
    fn is_published(&self) -> bool {
        false
    }
}

impl Published for EndpointSlice {}
impl Published for Lease {}
impl Published for Secret {}

impl Published for Ingress {
    fn is_published(&self) -> bool {
        let balancer = self.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        balancer.and_then(|balancer| balancer.ingress.as_ref()).is_some_and(|addresses| !addresses.is_empty())
    }
}
