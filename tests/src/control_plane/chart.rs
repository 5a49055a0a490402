//! The chart, rendered by helm: the ServiceAccount, the roles and the command line
//! that a subject gets are those that a user's would have.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::objects::Manifest;
use crate::tools;

/// What `helm install` would apply.
pub struct Chart {
    /// All objects, in helm's order.
    pub objects: Vec<Manifest>,
}

// === impl Chart ===

impl Chart {
    /// Renders the chart as this release in this namespace.
    ///
    /// # Errors
    /// When helm refuses; with what it says.
    pub async fn render(release: &str, namespace: &str, values: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(tools::tool("helm").await?);
        command.args(["template", release]).arg(tools::repository().join("helm/rust-nginx"));
        command.args(["--namespace", namespace, "--kube-version", "1.36.0"]);
        for (key, value) in values {
            command.args(["--set", &format!("{key}={value}")]);
        }
        let output = command.stdin(Stdio::null()).output().await.context("running helm")?;
        ensure!(output.status.success(), "helm template: {}", String::from_utf8_lossy(&output.stderr));
        let documents: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout)?)?;
        Ok(Self { objects: documents.into_iter().filter(|document| !document.is_null()).map(Manifest).collect() })
    }

    /// The only object of a kind.
    ///
    /// # Errors
    /// When there is none or several.
    pub fn only(&self, kind: &str) -> Result<&Manifest> {
        let mut found = self.objects.iter().filter(|object| object.kind() == kind);
        let first = found.next().with_context(|| format!("the chart renders no {kind}"))?;
        ensure!(found.next().is_none(), "the chart renders several of kind {kind}");
        Ok(first)
    }

    /// The arguments of the controller's container, with `$(NAME)` replaced as the kubelet does.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn arguments(&self, variables: &[(&str, &str)]) -> Result<Vec<String>> {
        let deployment = self.only("Deployment")?;
        let arguments = deployment.0["spec"]["template"]["spec"]["containers"][0]["args"].as_array();
        let arguments = arguments.context("the Deployment's container has no args")?;
        let expand = |argument: &Value| {
            let argument = argument.as_str().context("an argument is no string")?.to_owned();
            Ok(variables.iter().fold(argument, |text, (name, value)| text.replace(&format!("$({name})"), value)))
        };
        arguments.iter().map(expand).collect()
    }
}
