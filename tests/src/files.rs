//! The subject without a cluster: `rust-nginx serve --manifests DIR`.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::objects::{Manifest, documents};
use crate::scratch;
use crate::subject::{Launch, Subject};

/// The class whose Ingresses a subject serves unless it is told otherwise.
pub const CLASS: &str = "rust-nginx";

/// What the controller calls itself in an IngressClass.
pub const CONTROLLER: &str = "rust-nginx.io/ingress-controller";

/// A directory of manifests.
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
}

/// A directory and the subject that serves it.
pub struct Site {
    /// The directory; changes are picked up.
    pub files: Directory,
    /// The process.
    pub subject: Subject,
}

// === impl Directory ===

impl Directory {
    /// A new, empty one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        Ok(Self { path: scratch::directory("manifests")? })
    }

    /// Writes a file in one step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &str) -> Result<()> {
        scratch::replace(&self.path.join(name), content)
    }

    /// Writes objects as one file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, name: &str, manifests: impl IntoIterator<Item = Manifest>) -> Result<()> {
        self.write(name, &documents(manifests))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove(&self, name: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.path.join(name))?)
    }

    /// A subject that reads it.
    #[must_use]
    pub fn launch(&self) -> Launch {
        launch(&self.path)
    }
}

// === impl Site ===

impl Site {
    /// A site of these objects, ready to be asked. They belong to the namespace `default`.
    ///
    /// # Errors
    /// When the subject does not become ready.
    pub async fn start(manifests: impl IntoIterator<Item = Manifest>) -> Result<Self> {
        Self::start_with(manifests, |launch| launch).await
    }

    /// The same with other arguments.
    ///
    /// # Errors
    /// When the subject does not become ready.
    pub async fn start_with(
        manifests: impl IntoIterator<Item = Manifest>,
        change: impl FnOnce(Launch) -> Launch,
    ) -> Result<Self> {
        let files = Directory::new()?;
        files.put("site.yaml", manifests)?;
        let subject = change(files.launch()).ready().await?;
        Ok(Self { files, subject })
    }
}

/// A subject that reads the manifests below `path`.
#[must_use]
pub fn launch(path: &Path) -> Launch {
    Launch::new("rust-nginx-0").arg(format!("--manifests={}", path.display()))
}
