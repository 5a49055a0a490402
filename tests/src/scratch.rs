//! Directories for the files of one run, all below one that is removed at its end.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};

static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// Keeps the files of a run for inspection.
const KEEP: &str = "RUST_NGINX_TESTS_KEEP";

/// Makes the directory of this run.
///
/// # Errors
/// When the directory for temporary files cannot be written.
pub fn create() -> Result<()> {
    let root =
        tempfile::Builder::new().prefix("rust-nginx-tests-").tempdir().context("cannot make a temporary directory")?;
    ROOT.get_or_init(|| root.keep());
    Ok(())
}

/// Removes the directory of this run with all in it.
pub fn remove() {
    let Some(root) = ROOT.get() else { return };
    if env::var_os(KEEP).is_some() {
        println!("{KEEP} is set: the files are in {}", root.display());
    } else if let Err(error) = std::fs::remove_dir_all(root) {
        eprintln!("cannot remove {}: {error}", root.display());
    }
}

/// A new, empty directory.
///
/// # Errors
/// When it cannot be made.
pub fn directory(name: &str) -> Result<PathBuf> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let root = ROOT.get().context("the run has no directory yet: scratch::create comes first")?;
    let path = root.join(format!("{}-{name}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// Replaces a file so that a reader sees the old content or the new, never a part.
///
/// # Errors
/// When it cannot be written.
pub fn replace(path: &Path, content: &str) -> Result<()> {
    // A name that no reader of manifests takes for one.
    let new = path.with_extension("new~");
    std::fs::write(&new, content)
        .and_then(|()| std::fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
