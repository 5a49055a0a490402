//! The benchmarks that need no cluster, `benches/`: runs them, and reads what they leave behind.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::results::Pure;

/// What the program that counts allocations has printed.
const ALLOCATIONS: &str = "allocations";

/// The part of criterion's `estimates.json` that is used.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Runs all of them; the results are below `directory`.
pub(crate) fn run(root: &Path, directory: &Path) -> Result<()> {
    // Results of an earlier run must not be taken for those of this one.
    if directory.exists() {
        std::fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let bench = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["bench", "--locked", "--package", "rust-nginx-bench", "--bench", name, "--"]).args(arguments);
        command.current_dir(root).env("CRITERION_HOME", directory).stderr(Stdio::inherit());
        command
    };
    let criterion = ["--warm-up-time", "1", "--measurement-time", "3", "--noplot"];
    let status = bench("scale", &criterion).status().context("start cargo")?;
    ensure!(status.success(), "the benchmarks failed: {status}");
    let counted = bench("allocations", &[]).output().context("start cargo")?;
    ensure!(counted.status.success(), "counting allocations failed: {}", counted.status);
    let path = directory.join(ALLOCATIONS);
    std::fs::write(&path, counted.stdout).with_context(|| format!("write {}", path.display()))
}

/// What the last run found.
pub(crate) fn read(directory: &Path) -> Result<Pure> {
    let median = |name: &str| -> Result<f64> {
        let path = directory.join(name).join("new/estimates.json");
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let estimates: Estimates = serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
        Ok(estimates.median.point_estimate)
    };
    let path = directory.join(ALLOCATIONS);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let counts = counts(&text).with_context(|| format!("{}", path.display()))?;
    let most = |start: &str| counts.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, count)| *count).max();
    Ok(Pure {
        host_allocations: most("host").context("no host was looked up")?,
        path_allocations: most("path").context("no path was looked up")?,
        compile_full: median("compile/full")?,
        compile_one_ingress: median("compile/one-ingress")?,
        compile_one_slice: median("compile/one-slice")?,
        host_exact: median("lookup/host-exact")?,
        host_wildcard: median("lookup/host-wildcard")?,
        host_upper_case: median("lookup/host-upper-case")?,
        host_missing: median("lookup/host-missing")?,
        path: median("lookup/path-1000")?,
    })
}

/// Lines of a name and a number.
fn counts(text: &str) -> Result<Vec<(&str, u64)>> {
    let line = |line| {
        let (name, count) =
            str::split_once(line, ' ').with_context(|| format!("`{line}` is not a name and a number"))?;
        Ok((name, count.parse().with_context(|| format!("`{count}` is not a number"))?))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn counts_are_read() {
        assert_eq!(counts("host-exact 0\npath-1000 2\n").unwrap(), [("host-exact", 0), ("path-1000", 2)]);
        assert!(counts("warning").is_err());
    }
}
