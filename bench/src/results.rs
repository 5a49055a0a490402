//! What one run has measured, as it is written to a result file and read back from it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::peer::Peer;
use crate::process::{CpuTime, Memory};
use crate::work::Work;

/// One run, complete.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// RFC 3339, UTC.
    pub(crate) started: String,
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    pub(crate) targets: Vec<Version>,
    pub(crate) saturations: Vec<Saturation>,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) memories: Vec<MemoryUse>,
}

/// Where the run took place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Congestion control of TCP; older files do not have it.
    pub(crate) congestion_control: Option<String>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) workers: usize,
    pub(crate) idle_connections: usize,
}

/// Which build of a peer took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) peer: Peer,
    pub(crate) version: String,
}

/// One work driven as fast as one target goes, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saturation {
    pub(crate) round: usize,
    pub(crate) work: Work,
    pub(crate) peer: Peer,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) per_second: f64,
    pub(crate) cpu: CpuTime,
    /// Processor time of the origin meanwhile: shows that it was not the bottleneck.
    pub(crate) origin_cpu: CpuTime,
}

/// One work sent to one target at a fixed rate, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) round: usize,
    pub(crate) work: Work,
    pub(crate) peer: Peer,
    /// Requests per second that were due, and that were answered.
    pub(crate) rate: f64,
    pub(crate) per_second: f64,
    pub(crate) errors: u64,
    pub(crate) p50_us: u32,
    pub(crate) p99_us: u32,
}

/// Resident memory of one fresh target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemoryUse {
    pub(crate) peer: Peer,
    pub(crate) idle: Memory,
    pub(crate) http_bytes_per_connection: f64,
    pub(crate) https_bytes_per_connection: f64,
    /// With the connection to the origin; older files do not have it.
    pub(crate) websocket_bytes: Option<f64>,
}

/// The present moment, as result files have it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads a result file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a result file of this version", path.display()))
}

/// Writes a result file.
pub(crate) fn write_json(path: &Path, results: &impl Serialize) -> Result<()> {
    let directory = path.parent().context("a result file needs a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let text = serde_json::to_string_pretty(results).context("results as JSON")?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

// === impl Results ===

impl Results {
    /// The peers that took part, nginx first.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.targets.iter().map(|target| target.peer).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The works that were measured, in the order of the tables.
    pub(crate) fn works(&self) -> Vec<Work> {
        Work::ALL.into_iter().filter(|work| self.saturations.iter().any(|sample| sample.work == *work)).collect()
    }

    pub(crate) fn version(&self, peer: Peer) -> &str {
        let found = self.targets.iter().find(|target| target.peer == peer);
        found.map_or("", |target| target.version.as_str())
    }

    /// One value per round of what `value` takes from the saturation samples.
    pub(crate) fn saturation(&self, work: Work, peer: Peer, value: impl Fn(&Saturation) -> f64) -> Series {
        Series::collect(
            self.saturations
                .iter()
                .filter(|sample| sample.work == work && sample.peer == peer)
                .map(|sample| (sample.round, value(sample))),
        )
    }

    /// One value per round of what `value` takes from the samples at a fixed rate.
    pub(crate) fn latency(&self, work: Work, peer: Peer, value: impl Fn(&Latency) -> f64) -> Series {
        Series::collect(
            self.latencies
                .iter()
                .filter(|sample| sample.work == work && sample.peer == peer)
                .map(|sample| (sample.round, value(sample))),
        )
    }
}

// === impl Saturation ===

impl Saturation {
    /// What this comparison is about: processor time of the target for each request.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu.total().as_secs_f64() * 1e6 / self.requests as f64
    }
}

/// Values by round.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series(Vec<(usize, f64)>);

// === impl Series ===

impl Series {
    pub(crate) fn collect(values: impl Iterator<Item = (usize, f64)>) -> Self {
        Self(values.collect())
    }

    /// The quotients of the rounds that both have. Dividing within a round takes out what the
    /// machine did to everybody in it.
    pub(crate) fn over(&self, other: &Self) -> Self {
        let quotient = |&(round, value): &(usize, f64)| {
            let (_, divisor) = other.0.iter().find(|(candidate, _)| *candidate == round)?;
            Some((round, value / divisor))
        };
        Self(self.0.iter().filter_map(quotient).collect())
    }

    pub(crate) fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            length if length % 2 == 1 => Some(sorted[middle]),
            _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        }
    }

    /// Smallest and largest value.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let sorted = self.sorted();
        Some((*sorted.first()?, *sorted.last()?))
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values: Vec<f64> = self.0.iter().map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[(usize, f64)]) -> Series {
        Series::collect(values.iter().copied())
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let ours = series(&[(1, 10.0), (2, 30.0), (3, 8.0)]);
        let nginx = series(&[(1, 20.0), (2, 60.0), (4, 1.0)]);
        let ratio = ours.over(&nginx);
        assert_eq!(ratio, series(&[(1, 0.5), (2, 0.5)]));
        assert_eq!(ratio.median(), Some(0.5));
    }

    #[test]
    fn medians_of_even_odd_and_none() {
        assert_eq!(series(&[]).median(), None);
        assert_eq!(series(&[(1, 3.0), (2, 1.0), (3, 2.0)]).median(), Some(2.0));
        assert_eq!(series(&[(1, 4.0), (2, 1.0), (3, 2.0), (4, 3.0)]).median(), Some(2.5));
        assert_eq!(series(&[(1, 4.0), (2, 1.0)]).range(), Some((1.0, 4.0)));
    }
}
