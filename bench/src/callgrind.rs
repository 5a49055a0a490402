//! Counts the instructions that rust-nginx spends on a request, with valgrind's callgrind.
//!
//! Instruction counts hardly vary between runs and machines, so they show a change of a percent that
//! no clock would show here. They leave out the kernel. Counting is cleared before the counted
//! requests and read after them, so start-up and the compilation of the table are not in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::load::{self, Pace, Plan, Until};
use crate::peer::{self, Found};
use crate::process::{self, Launch};
use crate::run::Origin;
use crate::site::{self, Site};
use crate::target::Target;
use crate::work::Work;

/// Requests before the counted ones: connections, caches and lazily built state.
const WARM_UP: u64 = 100;
const CONTROL_LIMIT: Duration = Duration::from_secs(60);

/// Instructions per request of each work. Profiles for `callgrind_annotate` are left in `output`,
/// one file per work.
pub(crate) fn run(found: &Found, works: &[Work], requests: u64, output: &Path) -> Result<Vec<(Work, u64)>> {
    let valgrind = peer::installed("valgrind", "valgrind")?;
    fs::create_dir_all(output).with_context(|| format!("create {}", output.display()))?;
    let output = output.canonicalize().with_context(|| format!("{}", output.display()))?;
    let directory =
        tempfile::Builder::new().prefix("rust-nginx-bench-").tempdir().context("make a temporary directory")?;
    let origin = Origin::start(directory.path())?;
    let site = Site::new(directory.path(), origin.address)?;
    let profile = directory.path().join("profile");
    let valgrind =
        Launch::new(valgrind).arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", profile.display()));
    let target = Target::start_under(Some(&valgrind), found, directory.path(), &site, 1).context("under valgrind")?;

    let mut counts = Vec::new();
    for (index, &work) in works.iter().enumerate() {
        let plan = |count| Plan {
            address: target.address(work),
            work,
            connections: 1,
            pace: Pace::Closed,
            until: Until::Count(count),
        };
        load::run(&plan(WARM_UP), &site).context("warm up")?;
        control("--zero", &target, directory.path())?;
        let outcome = load::run(&plan(requests), &site)?;
        outcome.check("rust-nginx", work)?;
        control("--dump", &target, directory.path())?;
        // Dumps are numbered in the order they are asked for.
        let dump = PathBuf::from(format!("{}.{}", profile.display(), index + 1));
        let text = fs::read_to_string(&dump).with_context(|| format!("read {}", dump.display()))?;
        let total = totals(&text).with_context(|| format!("{}", dump.display()))?;
        let kept = output.join(format!("{work}.callgrind"));
        site::write(&kept, &without_open_frames(&text))?;
        counts.push((work, total / outcome.requests));
    }
    Ok(counts)
}

fn control(action: &str, target: &Target, directory: &Path) -> Result<()> {
    let launch = Launch::new("callgrind_control").arg(action).arg(target.id().to_string());
    process::run("callgrind_control", &launch, CONTROL_LIMIT, directory)?;
    Ok(())
}

/// The profile without the calls that were under way when counting began. They stand there as calls
/// made 0 times, with all that happened below them, and `callgrind_annotate` takes that for the
/// cost of the calling function itself.
fn without_open_frames(profile: &str) -> String {
    let mut kept = String::with_capacity(profile.len());
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("calls=0 ") {
            // The cost of a call is the line after it.
            lines.next();
        } else {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The instruction count of a profile, which stands in its line `totals: N` or `summary: N`.
fn totals(profile: &str) -> Result<u64> {
    let line = profile.lines().find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")));
    let Some(number) = line.and_then(|line| line.split_whitespace().next()) else {
        bail!("no line `totals:` or `summary:`");
    };
    number.parse().with_context(|| format!("`{number}` is not a count"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        let profile = "# callgrind format\nevents: Ir\nsummary: 123456\n\nfn=(1) main\n1 5\n";
        assert_eq!(totals(profile).unwrap(), 123_456);
        assert_eq!(totals("events: Ir\nfn=(1)\ntotals: 77\n").unwrap(), 77);
        assert!(totals("events: Ir\n").is_err());
    }

    #[test]
    fn calls_under_way_are_left_out() {
        let profile = "fn=(1) clone\ncfn=(2)\ncalls=0 336 \n100 900\n+1 5\ncfn=(3)\ncalls=2 7\n* 30\n";
        assert_eq!(without_open_frames(profile), "fn=(1) clone\ncfn=(2)\n+1 5\ncfn=(3)\ncalls=2 7\n* 30\n");
    }
}
