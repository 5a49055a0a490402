//! How much memory a process of our PID namespace takes, which `/proc` knows under another number.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::results::Memory;
use crate::process::stat;

/// Memory has settled when it has stayed within a hundredth for so long. The controller frees what it replaced a few
/// seconds later.
const STEADY: Duration = Duration::from_secs(7);

/// Longest wait for that; then it is what it is.
const LIMIT: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(250);

/// Memory when it has settled.
pub(super) async fn settled(process: u32) -> Result<Memory> {
    let outside = outside(process)?;
    let start = Instant::now();
    let mut window: VecDeque<(Instant, u64)> = VecDeque::new();
    loop {
        let memory = read(outside)?;
        let now = Instant::now();
        window.push_back((now, memory.resident));
        while window.get(1).is_some_and(|(at, _)| now - *at >= STEADY) {
            window.pop_front();
        }
        let covered = window.front().is_some_and(|(at, _)| now - *at >= STEADY);
        let sizes = || window.iter().map(|(_, size)| *size);
        let (low, high) = (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0));
        if covered && high - low <= high / 100 || now - start > LIMIT {
            return Ok(memory);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn read(process: u32) -> Result<Memory> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let memory = stat::memory(process)?;
    Ok(Memory {
        resident: kilobytes(&text, "VmRSS:").with_context(|| path.clone())? * 1024,
        proportional: memory.pss,
        peak: kilobytes(&text, "VmHWM:").with_context(|| path.clone())? * 1024,
    })
}

fn kilobytes(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no line `{name}`"))?;
    line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("`{name}` is no number: {line}"))
}

/// The number under which `/proc` lists a process of our own PID namespace. It is mounted for the namespace outside.
fn outside(process: u32) -> Result<u32> {
    let ours = fs::read_link("/proc/self/ns/pid").context("read /proc/self/ns/pid")?;
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let entry = entry.context("list /proc")?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Processes end while we look, and not all are ours to read.
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let is_it = inner(&status) == Some(process)
            && fs::read_link(entry.path().join("ns/pid")).is_ok_and(|namespace| namespace == ours);
        if is_it {
            return Ok(id);
        }
    }
    bail!("process {process} is not listed in /proc")
}

/// The number of a process in its innermost PID namespace, from the text of `/proc/PID/status`.
fn inner(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_and_read() {
        let id = outside(std::process::id()).unwrap();
        let memory = read(id).unwrap();
        assert!(memory.resident > 100_000 && memory.peak >= memory.resident, "{memory:?}");
    }

    #[test]
    fn the_innermost_number_counts() {
        assert_eq!(inner("Name:\tx\nNSpid:\t4711\t12\n"), Some(12));
        assert_eq!(inner("Name:\tx\n"), None);
    }
}
