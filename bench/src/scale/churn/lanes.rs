//! The objects that change, beside a fleet that does not. A lane is one object of a kind of change; it is changed again
//! only when its last change has been served, so that every answer has one explanation.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rust_nginx_bench::fleet::POD_PORT;
use rust_nginx_tests::certificate::{Authority, Pair};
use rust_nginx_tests::control_plane::{Cluster, World};
use rust_nginx_tests::objects::{Manifest, endpoints_at, ingress, prefix, service, tls_secret};
use rust_nginx_tests::subject::Subject;
use rust_nginx_tests::wait;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::task::spawn_blocking;

use super::super::bare::{Key, Kind};
use super::super::probe::{Answer, Expect};
use super::super::results::ChangeKind;

/// Lanes of each kind: more than there are changes under way when each takes a second.
const LANES: usize = 32;

/// API calls at the same time while the lanes are made.
const CONCURRENCY: usize = 16;

/// Where the pods of lanes are, behind those of any fleet.
const LEFT: Ipv4Addr = Ipv4Addr::new(10, 244, 250, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 244, 250, 2);

/// All lanes.
pub(crate) struct Lanes {
    place: Arc<Place>,
    free: BTreeMap<ChangeKind, VecDeque<Lane>>,
    /// Ingresses that were made so far.
    made: usize,
}

/// What all changes share.
struct Place {
    cluster: Cluster,
    namespace: String,
    class: String,
    pairs: [Pair; 2],
    shown: [Vec<u8>; 2],
}

/// One object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    number: usize,
    /// Which of its two states it is in.
    state: usize,
}

/// One change that is about to be made.
pub(super) struct Turn {
    pub(super) kind: ChangeKind,
    pub(super) key: Key,
    pub(super) expect: Expect,
    pub(super) lane: Lane,
    manifest: Manifest,
    place: Arc<Place>,
}

// === impl Lanes ===

impl Lanes {
    /// Makes the objects, in the namespace of the world.
    pub(crate) async fn new(world: &World) -> Result<Self> {
        let authority = Authority::new("churn")?;
        let pairs = [authority.server(&["*.churn.example.com"])?, authority.server(&["*.churn.example.com"])?];
        let leaf = |pair: &Pair| anyhow::Ok(CertificateDer::from_pem_slice(pair.certificate.as_bytes())?.to_vec());
        let place = Arc::new(Place {
            cluster: world.cluster.clone(),
            namespace: world.namespace.clone(),
            class: world.class.clone(),
            shown: [leaf(&pairs[0])?, leaf(&pairs[1])?],
            pairs,
        });
        let mut objects = Vec::new();
        for name in SIDES {
            objects.push(service(name, 80));
        }
        for (side, name) in SIDES.into_iter().enumerate() {
            objects.push(slice(name, side));
        }
        for number in 0..LANES {
            let name = name(ChangeKind::Endpoints, number);
            objects.extend([service(&name, 80), slice(&name, 0)]);
            for kind in [ChangeKind::Path, ChangeKind::Endpoints, ChangeKind::Certificate] {
                objects.push(place.ingress(kind, number, 0));
            }
            objects.push(tls_secret(&self::name(ChangeKind::Certificate, number), &place.pairs[0]));
            // In stock, so that there always is one to delete.
            objects.push(place.ingress(ChangeKind::New, number, 0));
        }
        let calls = stream::iter(objects).map(|object| async { world.apply([object]).await });
        calls.buffer_unordered(CONCURRENCY).try_collect::<()>().await.context("making the objects that change")?;

        let lanes = || (0..LANES).map(|number| Lane { number, state: 0 }).collect();
        let kinds = [ChangeKind::Path, ChangeKind::Endpoints, ChangeKind::Certificate, ChangeKind::Deleted];
        Ok(Self { place, free: kinds.map(|kind| (kind, lanes())).into(), made: LANES })
    }

    /// How many Ingresses there are.
    pub(crate) fn ingresses(&self) -> usize {
        // Those of paths, endpoints and certificates, and those that were made and not deleted yet.
        3 * LANES + self.free.get(&ChangeKind::Deleted).map_or(0, VecDeque::len)
    }

    /// Waits until every lane is served.
    pub(crate) async fn served(&self, subject: &Subject) -> Result<()> {
        for (&kind, lanes) in &self.free {
            for &lane in lanes {
                let after = self.place.answer(kind, lane.state);
                let expect = Expect { host: host(&name(kind, lane.number)), before: Answer::Status(404), after };
                // Until its last object has arrived, it may be answered in any way.
                wait::until(&format!("{} is served", expect.host), async || match kind {
                    ChangeKind::Certificate => expect.first_over_tls(subject.https()).await,
                    _ => {
                        let (expect, address) = (expect.clone(), subject.http());
                        spawn_blocking(move || expect.first_over_http(address)).await?
                    }
                })
                .await?;
            }
        }
        Ok(())
    }

    /// A lane that can be changed.
    pub(super) fn free(&mut self, kind: ChangeKind) -> Option<Lane> {
        if kind == ChangeKind::New {
            self.made += 1;
            return Some(Lane { number: self.made - 1, state: 0 });
        }
        self.free.get_mut(&kind)?.pop_front()
    }

    /// The next change of a lane.
    pub(super) fn turn(&self, kind: ChangeKind, lane: Lane) -> Result<Turn> {
        let place = &self.place;
        let name = name(kind, lane.number);
        let next = 1 - lane.state;
        let (object, manifest) = match kind {
            ChangeKind::New | ChangeKind::Deleted => (Kind::Ingress, place.ingress(kind, lane.number, 0)),
            ChangeKind::Path => (Kind::Ingress, place.ingress(kind, lane.number, next)),
            ChangeKind::Endpoints => (Kind::EndpointSlice, slice(&name, next)),
            ChangeKind::Certificate => (Kind::Secret, tls_secret(&name, &place.pairs[next])),
        };
        let there = place.answer(kind, 0);
        let (before, after) = match kind {
            ChangeKind::New => (Answer::Status(404), there),
            ChangeKind::Deleted => (there, Answer::Status(404)),
            _ => (place.answer(kind, lane.state), place.answer(kind, next)),
        };
        let manifest = manifest.within(&place.namespace);
        Ok(Turn {
            kind,
            key: Key { kind: object, namespace: place.namespace.clone(), name: manifest.name().to_owned() },
            expect: Expect { host: host(&name), before, after },
            lane: Lane { state: if kind == ChangeKind::New { 0 } else { next }, ..lane },
            manifest,
            place: Arc::clone(place),
        })
    }

    /// The change of a lane has been served.
    pub(super) fn give_back(&mut self, kind: ChangeKind, lane: Lane) {
        let next = match kind {
            // What was made can be deleted; what was deleted is gone.
            ChangeKind::New => ChangeKind::Deleted,
            ChangeKind::Deleted => return,
            kind => kind,
        };
        self.free.entry(next).or_default().push_back(lane);
    }
}

// === impl Place ===

impl Place {
    fn ingress(&self, kind: ChangeKind, number: usize, state: usize) -> Manifest {
        let name = name(kind, number);
        let host = host(&name);
        let target = match kind {
            ChangeKind::Endpoints => name.as_str(),
            _ => SIDES[state],
        };
        let ingress = ingress(&name).class(&self.class).host(&host, [prefix("/", target)]);
        match kind {
            ChangeKind::Certificate => ingress.tls(&name, &[&host]).build(),
            _ => ingress.build(),
        }
    }

    fn answer(&self, kind: ChangeKind, state: usize) -> Answer {
        match kind {
            ChangeKind::Certificate => Answer::Certificate(self.shown[state].clone()),
            _ => Answer::Pod([LEFT, RIGHT][state]),
        }
    }
}

// === impl Turn ===

impl Turn {
    /// Makes the change; its version, or nothing when the object is gone.
    pub(super) async fn send(&self) -> Result<Option<u64>> {
        let cluster = &self.place.cluster;
        if self.kind == ChangeKind::Deleted {
            cluster.delete(&self.manifest).await?;
            return Ok(None);
        }
        let object = cluster.apply(&self.manifest).await?;
        let version = object.metadata.resource_version.context("the API server gave no version")?;
        Ok(Some(version.parse().with_context(|| format!("{version} is not a number"))?))
    }
}

/// The two Services between which paths move.
const SIDES: [&str; 2] = ["left", "right"];

fn slice(service: &str, state: usize) -> Manifest {
    endpoints_at(service, "", &[SocketAddr::from(([LEFT, RIGHT][state], POD_PORT))])
}

fn name(kind: ChangeKind, number: usize) -> String {
    let word = match kind {
        ChangeKind::New | ChangeKind::Deleted => "fresh",
        ChangeKind::Path => "moves",
        ChangeKind::Endpoints => "swaps",
        ChangeKind::Certificate => "shows",
    };
    format!("{word}-{number}")
}

fn host(name: &str) -> String {
    format!("{name}.churn.example.com")
}
