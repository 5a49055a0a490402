//! Who talks to the API server, and how: what stands in a kubeconfig file.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::certificate::Pair;

/// How a client proves who it is.
#[derive(Clone)]
pub enum Identity {
    /// By a client certificate.
    Certificate(Pair),
    /// By a token, as pods do.
    Token(String),
}

/// One cluster, one user.
#[derive(Clone)]
pub struct Kubeconfig {
    /// Where the API server is.
    pub server: SocketAddr,
    /// Who signs its certificate, in PEM.
    pub authority: String,
    /// The user.
    pub identity: Identity,
}

// === impl Kubeconfig ===

impl Kubeconfig {
    /// The file's content. JSON is YAML.
    ///
    /// # Errors
    /// Never for what the harness makes.
    pub fn file(&self) -> Result<kube::config::Kubeconfig> {
        let base64 = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
        let user = match &self.identity {
            Identity::Certificate(pair) => {
                json!({"client-certificate-data": base64(&pair.certificate), "client-key-data": base64(&pair.key)})
            }
            Identity::Token(token) => json!({"token": token}),
        };
        Ok(serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": {
                "server": format!("https://{}", self.server),
                "certificate-authority-data": base64(&self.authority),
            }}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "user"}}],
            "current-context": "context",
        }))?)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(path, serde_json::to_string_pretty(&self.file()?)?)?)
    }
}
