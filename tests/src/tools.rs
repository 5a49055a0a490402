//! Where the programs are that the tests start: those that `control-plane/build.sh`
//! provides, and the subject itself.
//!
//! Invariant: a program that is not there is an error that says how to get it.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow, ensure};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// The repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in a folder of the repository")
}

/// The path of a program that `control-plane/build.sh` provides, built if it must be.
///
/// # Errors
/// When it cannot be built; what the script says goes to the terminal.
pub async fn tool(name: &str) -> Result<PathBuf> {
    static TOOLS: OnceCell<BTreeMap<String, PathBuf>> = OnceCell::const_new();
    let tools = TOOLS.get_or_try_init(build).await?;
    tools.get(name).cloned().ok_or_else(|| anyhow!("tests/control-plane/build.sh does not provide `{name}`"))
}

async fn build() -> Result<BTreeMap<String, PathBuf>> {
    let script = repository().join("tests/control-plane/build.sh");
    let output = Command::new(&script).stderr(Stdio::inherit()).output().await;
    let output = output.with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(output.status.success(), "{} failed, see above", script.display());
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, path)| (name.to_owned(), path.into()))
        .collect())
}

/// The binary under test: `RUST_NGINX_BIN`, else the one that cargo builds next to this program.
///
/// # Errors
/// When there is none.
pub fn subject() -> Result<PathBuf> {
    if let Some(path) = env::var_os("RUST_NGINX_BIN").map(PathBuf::from) {
        ensure!(path.is_file(), "RUST_NGINX_BIN={} is not a file", path.display());
        return Ok(path);
    }
    let this = env::current_exe()?;
    // TARGET/PROFILE/deps/suite-HASH
    let profile = this.ancestors().nth(2).context("this program does not lie in cargo's target directory")?;
    let path = profile.join("rust-nginx");
    let name = profile.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let flag = if name == "debug" { String::new() } else { format!(" --profile {name}") };
    ensure!(
        path.is_file(),
        "there is no {}: run `cargo build -p rust-nginx{flag}`, or set RUST_NGINX_BIN",
        path.display()
    );
    Ok(path)
}
