//! Loads a fleet into the API server, many objects at a time.

use std::fmt::Debug;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use rust_nginx_bench::fleet::Fleet;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Calls at the same time. On two cores, more of them only make each one slower.
const CONCURRENCY: usize = 24;

/// Longest time for one object.
const LIMIT: Duration = Duration::from_secs(30);

/// Creates the namespaces of a fleet.
pub(super) async fn namespaces(client: &Client, fleet: &Fleet) -> Result<()> {
    let api = Api::<Namespace>::all(client.clone());
    for namespace in fleet.namespaces() {
        api.create(&PostParams::default(), &namespace).await.context("creating a namespace")?;
    }
    Ok(())
}

/// Creates what Ingresses refer to, from the sizes in `before` on.
pub(super) async fn backends(client: &Client, fleet: &Fleet, before: &Sizes) -> Result<()> {
    let services = before.services..fleet.services();
    create(client, services.clone().map(|index| fleet.service(index))).await?;
    create(client, services.map(|index| fleet.endpoint_slice(index))).await?;
    create(client, (before.secrets..fleet.secrets()).map(|index| fleet.secret(index))).await
}

/// Creates Ingresses; returns when the last of them was created.
pub(super) async fn ingresses(client: &Client, fleet: &Fleet, which: Range<usize>) -> Result<Instant> {
    create(client, which.map(|index| fleet.ingress(index))).await?;
    Ok(Instant::now())
}

/// How much of a fleet is there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    pub(super) ingresses: usize,
    pub(super) services: usize,
    pub(super) secrets: usize,
}

// === impl Sizes ===

impl Sizes {
    pub(super) fn of(fleet: &Fleet) -> Self {
        Self { ingresses: fleet.ingresses(), services: fleet.services(), secrets: fleet.secrets() }
    }
}

async fn create<K>(client: &Client, objects: impl Iterator<Item = K>) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let call = |object: K| async move {
        let metadata = object.meta();
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let what = || format!("creating {} {namespace}/{}", K::kind(&()), metadata.name.as_deref().unwrap_or_default());
        let api = Api::<K>::namespaced(client.clone(), &namespace);
        let params = PostParams::default();
        let created = tokio::time::timeout(LIMIT, api.create(&params, &object)).await;
        created.with_context(what)?.with_context(what)?;
        anyhow::Ok(())
    };
    stream::iter(objects).map(call).buffer_unordered(CONCURRENCY).try_collect().await
}
