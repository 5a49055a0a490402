//! The demo's directory: `examples/quickstart` as it is, and what a cluster would add to it.
//!
//! Invariant: everything in `manifests/` is read by the file source and may be edited while the demo runs.

use super::{
    certificate::{Authority, Pair},
    pod::Pod,
};
use crate::snapshot::ObjectName;
use anyhow::Context as _;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// What is served; part of the binary, so that the demo needs no checkout.
const INGRESS: &str = include_str!("../../../examples/quickstart/ingress.yaml");

/// The file that holds it.
pub(crate) const INGRESS_FILE: &str = "ingress.yaml";

/// The host of [`INGRESS`] that has TLS, and the Secret it names.
pub(crate) const TLS_HOST: &str = "shop.localhost";
const TLS_SECRET: &str = "shop-localhost-tls";

/// Namespace of all objects.
pub(crate) const NAMESPACE: &str = "default";

const SETTINGS: &str = "rust-nginx";

/// The directory, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    root: TempDir,
}

/// What is written besides the Ingresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) pods: &'a [Pod],
    pub(crate) authority: &'a Authority,
    /// Certificate for [`TLS_HOST`].
    pub(crate) pair: &'a Pair,
    /// Keys of the main ConfigMap.
    pub(crate) settings: &'a [(&'a str, &'a str)],
}

// === impl Directory ===

impl Directory {
    /// Writes everything below a new directory that nobody else can read.
    pub(crate) fn create(contents: Contents<'_>) -> anyhow::Result<Self> {
        let root = tempfile::Builder::new()
            .prefix("rust-nginx-demo-")
            .tempdir()
            .with_context(|| format!("cannot make a directory below {}", std::env::temp_dir().display()))?;
        let this = Self { root };
        let manifests = this.manifests();
        fs::create_dir(&manifests).with_context(|| format!("cannot make {}", manifests.display()))?;
        write(&this.authority_file(), contents.authority.certificate())?;
        write(&manifests.join(INGRESS_FILE), INGRESS)?;
        write(&manifests.join("cluster.yaml"), &cluster(contents.pods))?;
        write(&manifests.join("secret.yaml"), &secret(contents.pair))?;
        write(&manifests.join("settings.yaml"), &settings(contents.settings))?;
        Ok(this)
    }

    /// What the file source reads.
    pub(crate) fn manifests(&self) -> PathBuf {
        self.root.path().join("manifests")
    }

    /// The certificate to trust.
    pub(crate) fn authority_file(&self) -> PathBuf {
        self.root.path().join("ca.crt")
    }

    /// The main ConfigMap.
    pub(crate) fn settings_name() -> ObjectName {
        ObjectName::new(NAMESPACE, SETTINGS)
    }
}

/// Replaces a file at once, so that no reader sees half of it.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let directory = path.parent().context("a file lies in a directory")?;
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// The class, and one EndpointSlice per pod: they share an address and differ in the port.
fn cluster(pods: &[Pod]) -> String {
    let mut text = "\
# What a cluster provides by itself: the IngressClass, which the chart installs, and the EndpointSlices, which Kubernetes
# writes. Each slice is one sample pod of the demo. Set `ready: false` and the pod gets no more requests.
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata:
  name: rust-nginx
spec:
  controller: rust-nginx.io/ingress-controller
"
    .to_owned();
    for pod in pods {
        let (identity, address) = (pod.identity(), pod.address());
        let (family, ip) = (if address.is_ipv4() { "IPv4" } else { "IPv6" }, address.ip());
        let (name, service, port) = (&identity.name, &identity.service, address.port());
        write!(
            text,
            "\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}
  labels:
    kubernetes.io/service-name: {service}
addressType: {family}
ports:
  - name: http
    port: {port}
endpoints:
  - addresses: [\"{ip}\"]
    conditions:
      ready: true
"
        )
        .expect("a String takes every write");
    }
    text
}

fn secret(pair: &Pair) -> String {
    let indent = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "\
# The certificate of {TLS_HOST}, signed by the authority in ../ca.crt. Both are made anew at every start of the demo.
apiVersion: v1
kind: Secret
metadata:
  name: {TLS_SECRET}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{}  tls.key: |
{}",
        indent(&pair.certificate),
        indent(&pair.key),
    )
}

fn settings(settings: &[(&str, &str)]) -> String {
    let mut text = format!(
        "\
# The settings of the controller: keys of ingress-nginx's ConfigMap.
apiVersion: v1
kind: ConfigMap
metadata:
  name: {SETTINGS}
data:
"
    );
    for (key, value) in settings {
        writeln!(text, "  {key}: \"{value}\"").expect("a String takes every write");
    }
    text
}
