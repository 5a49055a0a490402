//! One test's part of the cluster: namespaces of its own, a class of its own and an
//! installation of the chart that serves it.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};

use super::{Chart, Cluster, ControlPlane, Identity, Kubeconfig, in_time};
use crate::objects::{Manifest, namespace};
use crate::scratch;
use crate::subject::{Launch, Subject};

/// Kinds that stand for a running program: here the test runs it.
const NOT_APPLIED: [&str; 3] = ["Deployment", "DaemonSet", "PodDisruptionBudget"];

/// One test's part of the cluster.
pub struct World {
    /// As administrator.
    pub cluster: Cluster,
    /// Where the applications live.
    pub namespace: String,
    /// Where the controller lives.
    pub system: String,
    /// The class that this installation serves.
    pub class: String,
    /// What was installed.
    pub chart: Chart,
    /// How the controller reaches the API server.
    pub kubeconfig: Kubeconfig,
}

// === impl World ===

impl World {
    /// Namespaces, roles, ServiceAccount, class: as after `helm install`, before the pod starts.
    ///
    /// # Errors
    /// When the chart cannot be rendered or the API server refuses it.
    pub async fn new(name: &str) -> Result<Self> {
        Self::with_values(name, &[]).await
    }

    /// The same with more values for the chart.
    ///
    /// # Errors
    /// When the chart cannot be rendered or the API server refuses it.
    pub async fn with_values(name: &str, values: &[(&str, &str)]) -> Result<Self> {
        Self::on(ControlPlane::shared().await?, name, values).await
    }

    /// The same on a given control plane.
    ///
    /// # Errors
    /// When the chart cannot be rendered or the API server refuses it.
    pub async fn on(plane: &ControlPlane, name: &str, values: &[(&str, &str)]) -> Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let cluster = plane.cluster.clone();
        // Tests may run twice on one control plane some day; a number makes names unique.
        let apps = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let (system, class, controller) =
            (format!("{apps}-system"), apps.clone(), format!("tests.rust-nginx.io/{apps}"));
        let mut all = vec![
            ("controller.ingressClassResource.name", class.as_str()),
            ("controller.ingressClassResource.controllerValue", &controller),
            ("controller.ingressClass", &class),
        ];
        all.extend(values);
        let chart = Chart::render(&apps, &system, &all).await?;
        for name in [&apps, &system] {
            cluster.apply(&namespace(name)).await?;
        }
        for object in chart.objects.iter().filter(|object| !NOT_APPLIED.contains(&object.kind())) {
            // helm fills in the namespace where the chart leaves it out.
            let object = if object.namespace().is_none() { object.clone().within(&system) } else { object.clone() };
            cluster.apply(&object).await?;
        }
        let kubeconfig = Kubeconfig {
            server: plane.server.address,
            authority: plane.authority.certificate.clone(),
            identity: Identity::Token(token(&cluster, &system, chart.only("ServiceAccount")?.name()).await?),
        };
        Ok(Self { cluster, namespace: apps, system, class, chart, kubeconfig })
    }

    /// Applies objects; those that name no namespace go to the applications'.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn apply(&self, manifests: impl IntoIterator<Item = Manifest>) -> Result<()> {
        for manifest in manifests {
            self.cluster.apply(&self.placed(manifest)).await?;
        }
        Ok(())
    }

    /// Deletes objects.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, manifests: impl IntoIterator<Item = Manifest>) -> Result<()> {
        for manifest in manifests {
            self.cluster.delete(&self.placed(manifest)).await?;
        }
        Ok(())
    }

    /// A controller pod of this name: the chart's command line, the ServiceAccount's token.
    ///
    /// # Errors
    /// When the chart states no command line.
    pub fn launch(&self, pod: &str) -> Result<Launch> {
        self.launch_with(pod, &self.kubeconfig)
    }

    /// The same over another way to the API server.
    ///
    /// # Errors
    /// When the chart states no command line.
    pub fn launch_with(&self, pod: &str, kubeconfig: &Kubeconfig) -> Result<Launch> {
        let path = scratch::directory("subject")?.join("kubeconfig");
        kubeconfig.write(&path)?;
        let arguments = self.chart.arguments(&[("POD_NAME", pod), ("POD_NAMESPACE", &self.system)])?;
        let launch = Launch::new(pod).command(arguments).env("POD_NAMESPACE", &self.system);
        Ok(launch.arg(format!("--kubeconfig={}", path.display())))
    }

    /// A controller pod that is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn subject(&self) -> Result<Subject> {
        self.launch("rust-nginx-0")?.ready().await
    }

    /// An object with the namespace that it gets when it names none.
    #[must_use]
    pub fn placed(&self, manifest: Manifest) -> Manifest {
        if manifest.namespace().is_none() { manifest.within(&self.namespace) } else { manifest }
    }
}

/// What the kubelet would mount into the pod.
async fn token(cluster: &Cluster, namespace: &str, account: &str) -> Result<String> {
    let api = Api::<ServiceAccount>::namespaced(cluster.client.clone(), namespace);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() }),
        ..TokenRequest::default()
    };
    let answer =
        in_time("asking for a token", api.create_token_request(account, &PostParams::default(), &request)).await?;
    answer.status.and_then(|status| status.token).context("the token request was not answered")
}
