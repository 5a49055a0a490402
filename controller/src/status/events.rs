//! Events: a Warning per new diagnostic, a Normal `Sync` per new or changed Ingress of ours.
//!
//! Every replica follows the passes, so that a new leader does not repeat what the old one has said; only the leader
//! sends. Bursts are spread over time, Warnings first. The rules are in `events/outbox.rs`; this file talks to the API
//! server.

mod outbox;

use self::outbox::{Bucket, Notice, Outbox, Sent, Target};
use crate::{args::Identity, diagnostic::ObjectKind, reconcile::Pass, telemetry::chain};
use futures::{StreamExt as _, stream};
use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, Event, EventSource, ObjectReference, Secret, Service},
        discovery::v1::EndpointSlice,
        networking::v1::{Ingress, IngressClass},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
    serde::de::DeserializeOwned,
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use rust_nginx_crds::IngressClassConfig;
use serde_json::json;
use std::{fmt::Debug, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, warn};

/// Events in flight.
const CONCURRENCY: usize = 4;

/// Longest wait for one Event.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after Events could not be sent.
const PAUSE: Duration = Duration::from_secs(5);

/// Who reports.
const COMPONENT: &str = "rust-nginx";

/// Longest message and object name that fit into an Event.
const MESSAGE: usize = 1024;
const NAME: usize = 230;

/// The task.
pub(super) struct Recorder {
    client: Client,
    instance: String,
    passes: watch::Receiver<Option<Arc<Pass>>>,
    leader: watch::Receiver<bool>,
    outbox: Outbox,
    bucket: Bucket,
    sent: Sent,
}

// === impl Recorder ===

impl Recorder {
    pub(super) fn new(
        client: Client,
        identity: &Identity,
        sync_events: bool,
        passes: watch::Receiver<Option<Arc<Pass>>>,
        leader: watch::Receiver<bool>,
    ) -> Self {
        let now = Instant::now();
        Self {
            client,
            instance: identity.pod_name.clone(),
            passes,
            leader,
            outbox: Outbox::new(sync_events),
            bucket: Bucket::new(now),
            sent: Sent::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut blocked_until = Instant::now();
        loop {
            let now = Instant::now();
            if !*self.leader.borrow() {
                self.outbox.expire(now);
            } else if now >= blocked_until && self.outbox.len() > 0 {
                let notices = self.outbox.take(self.bucket.take(self.outbox.len(), now));
                if !self.send(notices).await {
                    blocked_until = Instant::now() + PAUSE;
                }
            }
            let waiting = self.outbox.len() > 0;
            tokio::select! {
                changed = self.passes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let pass = self.passes.borrow_and_update().clone();
                    if let Some(pass) = pass {
                        self.outbox.follow(&pass, Instant::now());
                    }
                }
                changed = self.leader.changed() => if changed.is_err() { return },
                () = sleep(Bucket::INTERVAL), if waiting => {}
            }
        }
    }

    /// Returns whether the server takes Events.
    async fn send(&mut self, notices: Vec<Notice>) -> bool {
        let (client, instance, sent) = (&self.client, &self.instance, &self.sent);
        let results: Vec<_> = stream::iter(notices)
            .map(|notice| async move {
                let before = sent.find(&notice, Instant::now());
                let result = match timeout(TIMEOUT, send(client, instance, &notice, before)).await {
                    Ok(result) => result.map_err(|error| chain(&error)),
                    Err(_) => Err("the API server did not answer in time".to_owned()),
                };
                (notice, result)
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        let mut problem = None;
        for (notice, result) in results {
            match result {
                Ok(Some((name, count))) => self.sent.remember(&notice, name, count, Instant::now()),
                // Its namespace is going away, and the object with it.
                Ok(None) => {}
                Err(error) => {
                    self.outbox.put_back(notice, Instant::now());
                    problem = Some(error);
                }
            }
        }
        if let Some(error) = &problem {
            warn!(error, "cannot send Events; trying again");
        }
        problem.is_none()
    }
}

/// Sends a notice: as one more occurrence of an Event if it was sent before, else as a new Event. Returns the Event's
/// name and count, or nothing when the server will never take it.
async fn send(
    client: &Client,
    instance: &str,
    notice: &Notice,
    before: Option<(String, i32)>,
) -> Result<Option<(String, i32)>, kube::Error> {
    // Events of objects without a namespace live in this one.
    let namespace = if notice.target.namespace.is_empty() { "default" } else { &*notice.target.namespace };
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let now = Timestamp::now();
    if let Some((name, count)) = before {
        let count = count.saturating_add(1);
        let again = Patch::Merge(json!({ "count": count, "lastTimestamp": Time(now) }));
        match api.patch(&name, &PatchParams::default(), &again).await {
            Ok(_) => return Ok(Some((name, count))),
            // The server forgets Events after an hour.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let mut event = event(notice, namespace, instance, now);
    if event.involved_object.uid.is_none() {
        // `kubectl describe` looks for Events by it.
        event.involved_object.uid = find_uid(client, &notice.target).await;
    }
    let name = event.metadata.name.clone().unwrap_or_default();
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => Ok(Some((name, 1))),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {
            debug!(object = %notice.target.name, error = status.message, "the server refuses an Event");
            Ok(None)
        }
        // A namespace that is being deleted takes no new objects; anything else that is forbidden is our role's fault.
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("being terminated") => Ok(None),
        Err(error) => Err(error),
    }
}

/// The uid of an object whose watch does not keep it. With the verb `list`, which the watch needs as well.
async fn find_uid(client: &Client, target: &Target) -> Option<String> {
    let client = client.clone();
    let namespace = &*target.namespace;
    match target.kind {
        ObjectKind::IngressClass => uid(Api::<IngressClass>::all(client), target).await,
        ObjectKind::IngressClassConfig => uid(Api::<IngressClassConfig>::all(client), target).await,
        ObjectKind::Ingress => uid(Api::<Ingress>::namespaced(client, namespace), target).await,
        ObjectKind::Service => uid(Api::<Service>::namespaced(client, namespace), target).await,
        ObjectKind::EndpointSlice => uid(Api::<EndpointSlice>::namespaced(client, namespace), target).await,
        ObjectKind::Secret => uid(Api::<Secret>::namespaced(client, namespace), target).await,
        ObjectKind::ConfigMap => uid(Api::<ConfigMap>::namespaced(client, namespace), target).await,
        ObjectKind::File | ObjectKind::Resource | ObjectKind::Flag => None,
    }
}

/// An Event without it is better than none, so a failure is not one of the Event.
async fn uid<K>(api: Api<K>, target: &Target) -> Option<String>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let by_name = ListParams::default().fields(&format!("metadata.name={}", target.name));
    match api.list_metadata(&by_name).await {
        Ok(found) => found.items.into_iter().find_map(|object| object.metadata.uid),
        Err(error) => {
            debug!(object = %target.name, error = chain(&error), "the uid of an object cannot be found");
            None
        }
    }
}

fn event(notice: &Notice, namespace: &str, instance: &str, now: Timestamp) -> Event {
    let Notice { target, kind, reason, message, item: _ } = notice;
    Event {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(format!("{}.{:x}", shorten(&target.name, NAME), now.as_nanosecond())),
            ..ObjectMeta::default()
        },
        involved_object: reference(target),
        type_: Some(kind.as_str().to_owned()),
        reason: Some(reason.clone()),
        message: Some(shorten(message, MESSAGE).to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

fn reference(target: &Target) -> ObjectReference {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (api_version, kind) = kind_of(target.kind);
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: text(&target.namespace),
        name: text(&target.name),
        uid: text(&target.uid),
        resource_version: text(&target.resource_version),
        field_path: None,
    }
}

fn kind_of(kind: ObjectKind) -> (&'static str, &'static str) {
    match kind {
        ObjectKind::Ingress => ("networking.k8s.io/v1", "Ingress"),
        ObjectKind::IngressClass => ("networking.k8s.io/v1", "IngressClass"),
        ObjectKind::IngressClassConfig => ("rust-nginx.io/v1alpha1", "IngressClassConfig"),
        ObjectKind::EndpointSlice => ("discovery.k8s.io/v1", "EndpointSlice"),
        ObjectKind::Service => ("v1", "Service"),
        ObjectKind::Secret => ("v1", "Secret"),
        ObjectKind::ConfigMap => ("v1", "ConfigMap"),
        ObjectKind::File | ObjectKind::Resource | ObjectKind::Flag => {
            unreachable!("the outbox takes findings about API objects only")
        }
    }
}

/// The beginning of a text, at most so many bytes.
fn shorten(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
