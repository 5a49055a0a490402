//! Reads what the kernel counts for each process: `/proc/PID/stat` and `/proc/PID/smaps_rollup`.
//!
//! `utime` and `stime` hold the time of all threads, also of those that have ended. The kernel
//! derives their sum from exact run times and only rounds it to ticks here.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{CpuTime, Memory};

/// Length of the ticks in which `/proc` reports processor time: `USER_HZ` is 100 on every Linux
/// architecture that Rust knows, whatever the kernel's own tick.
const TICK: Duration = Duration::from_millis(10);

/// One process of a group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: u32,
    pub(crate) cpu: CpuTime,
}

/// All live processes whose process group is `group`.
pub(crate) fn group(group: u32) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let entry = entry.context("list /proc")?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let path = entry.path().join("stat");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // The process ended between the listing and the reading.
            Err(error) if is_gone(&error) => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("read {}", path.display()));
            }
        };
        let fields =
            Fields::parse(&text).with_context(|| format!("{} has an unknown form: {text:?}", path.display()))?;
        if fields.group == group && fields.state != "Z" {
            members.push(Member {
                id,
                cpu: CpuTime { user: TICK * fields.user_ticks, system: TICK * fields.system_ticks },
            });
        }
    }
    Ok(members)
}

/// Resident memory of one process.
pub(crate) fn memory(id: u32) -> Result<Memory> {
    let [rss, pss] = rollup(id, ["Rss:", "Pss:"])?;
    Ok(Memory { rss, pss })
}

/// Sums over the mappings of one process, in bytes, all of the same moment.
pub(crate) fn rollup<const N: usize>(id: u32, names: [&str; N]) -> Result<[u64; N]> {
    let path = format!("/proc/{id}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_rollup(&text, names).with_context(|| format!("read {path}"))
}

fn is_gone(error: &std::io::Error) -> bool {
    // 3 is ESRCH: reading a file of a process that has ended after the file was opened.
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(3)
}

fn parse_rollup<const N: usize>(text: &str, names: [&str; N]) -> Result<[u64; N]> {
    let mut values = [0; N];
    for (value, name) in values.iter_mut().zip(names) {
        let Some(line) = text.lines().find_map(|line| line.strip_prefix(name)) else {
            bail!("no line `{name}`");
        };
        let number = line.trim().trim_end_matches("kB").trim();
        let kilobytes: u64 = number.parse().with_context(|| format!("`{name}` is not a number: {number:?}"))?;
        *value = kilobytes * 1024;
    }
    Ok(values)
}

/// The fields of `/proc/PID/stat` that we use.
struct Fields<'a> {
    state: &'a str,
    group: u32,
    user_ticks: u32,
    system_ticks: u32,
}

impl<'a> Fields<'a> {
    /// The command name is in parentheses and may itself hold blanks and parentheses, so fields are
    /// counted from the last one. See proc_pid_stat(5).
    fn parse(text: &'a str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse().ok();
        Some(Self { state: fields.first()?, group: number(2)?, user_ticks: number(11)?, system_ticks: number(12)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_a_nasty_command_name() {
        let text = "4242 (a) b (c)) S 1 77 77 0 -1 4194560 1 2 3 4 250 130 0 0 20 0 3 0 9 1 1\n";
        let fields = Fields::parse(text).unwrap();
        assert_eq!(fields.state, "S");
        assert_eq!((fields.group, fields.user_ticks, fields.system_ticks), (77, 250, 130));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "55d0-7ffc ---p 00000000 00:00 0    [rollup]\nRss:     1500 kB\nPss:      700 kB\n\
                    Pss_Dirty:  100 kB\n";
        assert_eq!(parse_rollup(text, ["Rss:", "Pss:"]).unwrap(), [1500 * 1024, 700 * 1024]);
        assert!(parse_rollup("Rss: 1 kB\n", ["Rss:", "Pss:"]).is_err());
    }

    #[test]
    fn our_own_memory_is_known() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.rss > 100_000 && memory.pss <= memory.rss, "{memory:?}");
    }
}
