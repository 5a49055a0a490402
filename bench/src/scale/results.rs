//! What one run of `scale` has measured, as it is written to a result file and read back from it.

use serde::{Deserialize, Serialize};

use crate::results::Machine;

/// One run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scale {
    /// RFC 3339, UTC.
    pub(crate) started: String,
    pub(crate) machine: Machine,
    pub(crate) version: String,
    /// The benchmarks that need no cluster.
    pub(crate) pure: Option<Pure>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) parts: Vec<Part>,
}

/// How long a part of the run took.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) seconds: f64,
}

/// Medians in nanoseconds, and the most that one lookup allocated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pure {
    pub(crate) compile_full: f64,
    pub(crate) compile_one_ingress: f64,
    pub(crate) compile_one_slice: f64,
    pub(crate) host_exact: f64,
    pub(crate) host_wildcard: f64,
    pub(crate) host_upper_case: f64,
    pub(crate) host_missing: f64,
    pub(crate) path: f64,
    pub(crate) host_allocations: u64,
    pub(crate) path_allocations: u64,
}

/// What was measured with one number of Ingresses.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) ingresses: usize,
    /// Of all Ingresses being new at once; only the first stage has it.
    pub(crate) status: Option<StatusWork>,
    /// From the start of the process to ready, in seconds.
    pub(crate) ready: f64,
    /// After the start, when memory has settled.
    pub(crate) fresh: Memory,
    /// One change after the other.
    pub(crate) idle: Option<Churned>,
    /// Changes at a rate.
    pub(crate) churn: Option<Churned>,
    /// After the changes, when memory has settled.
    pub(crate) worn: Option<Memory>,
}

/// Memory of the process in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
    pub(crate) peak: u64,
}

/// How long it took to write the status of new Ingresses, in seconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct StatusWork {
    pub(crate) ingresses: usize,
    /// From the first to the last call that created one.
    pub(crate) created: f64,
    /// From the last such call to the last status.
    pub(crate) written: f64,
    /// From an Ingress with a mistake, in the middle of it, to the Event about it.
    pub(crate) event: f64,
    /// Longest time between two renewals of the Lease meanwhile.
    pub(crate) renewal: f64,
}

/// Changes while clients ask.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Churned {
    /// Changes per second that were due; none when one followed the other.
    pub(crate) rate: Option<u32>,
    /// From the first change to the last that began.
    pub(crate) seconds: f64,
    /// Requests for hosts that nothing changed.
    pub(crate) requests: u64,
    pub(crate) lost: u64,
    pub(crate) first_loss: Option<String>,
    pub(crate) samples: Vec<Sample>,
}

/// One change: times in milliseconds since the API call was sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) kind: ChangeKind,
    /// To the answer of the API server.
    pub(crate) answered: f64,
    /// To the moment when a bare watcher saw it.
    pub(crate) bare: f64,
    /// To the first answer that shows it.
    pub(crate) ours: f64,
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ChangeKind {
    /// A new Ingress with a new host.
    New,
    /// A path leads to another Service.
    Path,
    /// Other endpoints behind a Service.
    Endpoints,
    /// Another certificate for a host.
    Certificate,
    /// An Ingress is gone.
    Deleted,
}

// === impl Churned ===

impl Churned {
    /// The `share` of the smallest values of what `value` takes from the samples: 0.5 is the median.
    pub(crate) fn quantile(&self, share: f64, value: impl Fn(&Sample) -> f64) -> f64 {
        quantile(self.samples.iter().map(value).collect(), share)
    }

    /// The same for one kind.
    pub(crate) fn quantile_of(&self, kind: ChangeKind, share: f64, value: impl Fn(&Sample) -> f64) -> f64 {
        let samples = self.samples.iter().filter(|sample| sample.kind == kind);
        quantile(samples.map(value).collect(), share)
    }

    /// Changes per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.samples.len() as f64 / self.seconds
    }
}

/// The nearest rank; NaN of nothing.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil().max(1.0) as usize;
    values.get(rank - 1).copied().unwrap_or(f64::NAN)
}

// === impl Sample ===

impl Sample {
    /// What we add to what a bare watcher needs.
    pub(crate) fn on_top(&self) -> f64 {
        self.ours - self.bare
    }
}

// === impl ChangeKind ===

impl ChangeKind {
    pub(crate) const ALL: [Self; 5] = [Self::New, Self::Path, Self::Endpoints, Self::Certificate, Self::Deleted];

    /// For people.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::New => "new Ingress",
            Self::Path => "path to another Service",
            Self::Endpoints => "endpoint replaced",
            Self::Certificate => "certificate replaced",
            Self::Deleted => "Ingress deleted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((quantile(values.clone(), 0.5) - 50.0).abs() < f64::EPSILON);
        assert!((quantile(values, 0.99) - 99.0).abs() < f64::EPSILON);
        assert!((quantile(vec![7.0], 0.99) - 7.0).abs() < f64::EPSILON);
        assert!(quantile(vec![], 0.5).is_nan());
    }
}
