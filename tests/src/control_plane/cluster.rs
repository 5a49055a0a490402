//! A client of the API server for tests: apply, delete, look.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Event, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};
use serde_json::json;

use super::{Identity, Kubeconfig, in_time};
use crate::certificate::Authority;
use crate::objects::Manifest;
use crate::{tools, wait};

/// An API server as seen by one user.
#[derive(Clone)]
pub struct Cluster {
    /// For what has no shorthand here.
    pub client: Client,
}

/// An Event, as far as tests look.
#[derive(Clone, Debug)]
pub struct Notice {
    /// `Normal` or `Warning`.
    pub kind: String,
    /// In CamelCase.
    pub reason: String,
    /// The sentence.
    pub message: String,
}

// === impl Cluster ===

impl Cluster {
    /// As the user of a kubeconfig.
    ///
    /// # Errors
    /// When the file does not hold together.
    pub async fn new(kubeconfig: &Kubeconfig) -> Result<Self> {
        let config =
            Config::from_custom_kubeconfig(kubeconfig.file()?, &kube::config::KubeConfigOptions::default()).await?;
        Ok(Self { client: Client::try_from(config)? })
    }

    /// As one who may do everything.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub async fn administrator(authority: &Authority, server: SocketAddr) -> Result<Self> {
        let identity = Identity::Certificate(authority.client("administrator", "system:masters")?);
        Self::new(&Kubeconfig { server, authority: authority.certificate.clone(), identity }).await
    }

    /// Creates the object or changes it to what the manifest says.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn apply(&self, manifest: &Manifest) -> Result<DynamicObject> {
        let what = format!("applying {} {}", manifest.kind(), manifest.name());
        let params = PatchParams::apply("tests").force();
        in_time(&what, self.api(manifest)?.patch(manifest.name(), &params, &Patch::Apply(&manifest.0))).await
    }

    /// Installs what `rust-nginx crds` prints, as somebody would.
    ///
    /// # Errors
    /// When the command or the API server says no.
    pub async fn define_own_kinds(&self) -> Result<()> {
        let output = tokio::process::Command::new(tools::subject()?).arg("crds").output().await?;
        ensure!(output.status.success(), "rust-nginx crds: {}", String::from_utf8_lossy(&output.stderr));
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout)?)?;
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            self.apply(&Manifest(document)).await?;
        }
        Ok(())
    }

    /// Deletes the object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, manifest: &Manifest) -> Result<()> {
        let what = format!("deleting {} {}", manifest.kind(), manifest.name());
        in_time(&what, self.api(manifest)?.delete(manifest.name(), &DeleteParams::default())).await.map(drop)
    }

    /// Changes a part of the object: a merge patch.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn merge(&self, manifest: &Manifest, patch: serde_json::Value) -> Result<()> {
        let what = format!("changing {} {}", manifest.kind(), manifest.name());
        in_time(&what, self.api(manifest)?.patch(manifest.name(), &PatchParams::default(), &Patch::Merge(patch)))
            .await
            .map(drop)
    }

    /// Replaces fields of the object's status, as whoever is responsible for it would.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn set_status(&self, manifest: &Manifest, status: serde_json::Value) -> Result<()> {
        let what = format!("writing the status of {} {}", manifest.kind(), manifest.name());
        let patch = Patch::Merge(json!({"status": status}));
        in_time(&what, self.api(manifest)?.patch_status(manifest.name(), &PatchParams::default(), &patch))
            .await
            .map(drop)
    }

    /// Gives a Service of type LoadBalancer its address, as the cloud would.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn assign_load_balancer(&self, namespace: &str, service: &str, address: &str) -> Result<()> {
        let api = Api::<Service>::namespaced(self.client.clone(), namespace);
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
        in_time("writing a Service's status", api.patch_status(service, &PatchParams::default(), &Patch::Merge(status)))
            .await
            .map(drop)
    }

    /// The addresses that an Ingress's status shows, sorted as they stand.
    ///
    /// # Errors
    /// When there is no such Ingress.
    pub async fn published(&self, namespace: &str, ingress: &str) -> Result<Vec<String>> {
        let api = Api::<Ingress>::namespaced(self.client.clone(), namespace);
        let found = in_time("reading an Ingress", api.get_status(ingress)).await?;
        let points = found.status.and_then(|status| status.load_balancer).and_then(|balancer| balancer.ingress);
        Ok(points.unwrap_or_default().into_iter().filter_map(|point| point.ip.or(point.hostname)).collect())
    }

    /// The Events about an object.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn events(&self, namespace: &str, kind: &str, name: &str) -> Result<Vec<Notice>> {
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let found = in_time("reading Events", api.list(&ListParams::default().fields(&fields))).await?;
        let notice = |event: Event| Notice {
            kind: event.type_.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            message: event.message.unwrap_or_default(),
        };
        Ok(found.items.into_iter().map(notice).collect())
    }

    /// Waits for a Warning about an object whose sentence contains every one of `parts`.
    ///
    /// # Errors
    /// When there never is one; with those that there were.
    pub async fn warned(&self, namespace: &str, kind: &str, name: &str, parts: &[&str]) -> Result<Notice> {
        let what = format!("there is a Warning about {kind} {namespace}/{name} with {parts:?}");
        wait::until(&what, async || {
            let events = self.events(namespace, kind, name).await?;
            let hit =
                |event: &&Notice| event.kind == "Warning" && parts.iter().all(|part| event.message.contains(part));
            events.iter().find(hit).cloned().with_context(|| format!("there are {events:?}"))
        })
        .await
    }

    pub(super) async fn ready(&self) -> Result<()> {
        let request = http::Request::get("/readyz").body(vec![])?;
        let text = self.client.request_text(request).await?;
        ensure!(text == "ok", "it answers {text}");
        Ok(())
    }

    fn api(&self, manifest: &Manifest) -> Result<Api<DynamicObject>> {
        let (resource, namespaced) = resource(manifest)?;
        Ok(if namespaced {
            let namespace = manifest
                .namespace()
                .with_context(|| format!("{} {} names no namespace", manifest.kind(), manifest.name()))?;
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        })
    }
}

/// The kinds that tests and the chart use, and whether they live in namespaces.
fn resource(manifest: &Manifest) -> Result<(ApiResource, bool)> {
    let (plural, namespaced) = match manifest.kind() {
        "ClusterRole" => ("clusterroles", false),
        "ClusterRoleBinding" => ("clusterrolebindings", false),
        "ConfigMap" => ("configmaps", true),
        "CustomResourceDefinition" => ("customresourcedefinitions", false),
        "FlowSchema" => ("flowschemas", false),
        "Node" => ("nodes", false),
        "Pod" => ("pods", true),
        "PriorityLevelConfiguration" => ("prioritylevelconfigurations", false),
        "EndpointSlice" => ("endpointslices", true),
        "Ingress" => ("ingresses", true),
        "IngressClass" => ("ingressclasses", false),
        "IngressClassConfig" => ("ingressclassconfigs", false),
        "Lease" => ("leases", true),
        "Namespace" => ("namespaces", false),
        "Role" => ("roles", true),
        "RoleBinding" => ("rolebindings", true),
        "Secret" => ("secrets", true),
        "Service" => ("services", true),
        "ServiceAccount" => ("serviceaccounts", true),
        kind => bail!("the harness has no plural for kind {kind:?}: add it to `resource`"),
    };
    let version = manifest.0["apiVersion"].as_str().context("an object without apiVersion")?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = GroupVersionKind::gvk(group, version, manifest.kind());
    Ok((ApiResource::from_gvk_with_plural(&kind, plural), namespaced))
}
