//! What the process holds, every few seconds, and its medians over each fifth of the run.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::stat;

/// Parts into which a run is divided. The first one is the warm-up.
pub(super) const PARTS: usize = 5;

/// One look at the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Since the traffic began.
    pub(super) elapsed: Duration,
    /// Checked answers so far.
    pub(super) requests: u64,
    pub(super) held: Held,
}

/// Memory in bytes, open descriptors and threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) rss: u64,
    pub(super) pss: u64,
    pub(super) anonymous: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

/// A fifth of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) requests: u64,
    /// Each the median of its own.
    pub(super) held: Held,
}

/// Divides a run of this length. Fails when a part has no sample.
pub(super) fn parts(samples: &[Sample], length: Duration) -> Result<[Part; PARTS]> {
    let mut parts = [Part::default(); PARTS];
    let mut before = 0;
    // The sample at the end of a part belongs to it, though it is taken a moment later.
    let half = length.as_secs_f64() / (2 * samples.len()) as f64;
    for (index, part) in parts.iter_mut().enumerate() {
        let within = |sample: &&Sample| {
            let place = (sample.elapsed.as_secs_f64() - half) / length.as_secs_f64() * PARTS as f64;
            (place as usize).min(PARTS - 1) == index
        };
        let within: Vec<Sample> = samples.iter().filter(within).copied().collect();
        let last = within.last().with_context(|| format!("no sample in fifth {} of the run", index + 1))?;
        let median = |value: fn(&Held) -> u64| {
            let mut values: Vec<u64> = within.iter().map(|sample| value(&sample.held)).collect();
            values.sort_unstable();
            values[values.len() / 2]
        };
        part.requests = last.requests - before;
        part.held = Held {
            rss: median(|held| held.rss),
            pss: median(|held| held.pss),
            anonymous: median(|held| held.anonymous),
            descriptors: median(|held| held.descriptors),
            threads: median(|held| held.threads),
        };
        before = last.requests;
    }
    Ok(parts)
}

// === impl Held ===

impl Held {
    /// What the process holds at this moment.
    pub(super) fn by(process: u32) -> Result<Self> {
        let [rss, pss, anonymous] = stat::rollup(process, ["Rss:", "Pss:", "Anonymous:"])?;
        let (descriptors, threads) = (entries(process, "fd")?, entries(process, "task")?);
        Ok(Self { rss, pss, anonymous, descriptors, threads })
    }
}

fn entries(process: u32, directory: &str) -> Result<u64> {
    let path = format!("/proc/{process}/{directory}");
    let entries = fs::read_dir(&path).with_context(|| format!("list {path}"))?;
    Ok(entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, requests: u64, rss: u64) -> Sample {
        let held = Held { rss, ..Held::default() };
        Sample { elapsed: Duration::from_secs(seconds), requests, held }
    }

    #[test]
    fn a_part_has_its_own_requests_and_the_median_of_its_samples() {
        let mut samples: Vec<Sample> = (0..10).map(|index| sample(index * 5, index * 100, index)).collect();
        samples[3] = sample(16, 350, 999);
        // A last sample that came late belongs to the last part.
        samples.push(sample(51, 1_000, 9));
        let parts = parts(&samples, Duration::from_secs(50)).unwrap();
        assert_eq!(parts.map(|part| part.requests), [200; PARTS]);
        assert_eq!(parts.map(|part| part.held.rss), [1, 999, 6, 8, 9]);
    }

    #[test]
    fn a_part_without_a_sample_is_an_error() {
        let error = parts(&[sample(0, 0, 0)], Duration::from_secs(50)).unwrap_err();
        assert!(error.to_string().contains("fifth 2"), "{error}");
    }

    #[test]
    fn our_own_process_is_known() {
        let held = Held::by(std::process::id()).unwrap();
        assert!(held.rss >= held.anonymous && held.anonymous > 10_000, "{held:?}");
        assert!(held.descriptors >= 3 && held.threads >= 2, "{held:?}");
    }
}
