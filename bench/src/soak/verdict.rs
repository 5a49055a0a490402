//! Whether anything grew: the second fifth of the run against the last one, the end against the start.

use super::samples::{Held, PARTS, Part};

/// Memory may grow by the larger of these: a share in percent, and bytes.
const MEMORY_PERCENT: u64 = 5;
const MEMORY_BYTES: u64 = 1_000_000;
/// Descriptors that may come on top of the clients that come and go.
const DESCRIPTORS: u64 = 16;
/// Descriptors that may be left over when all clients have gone.
const LEFT_OVER: u64 = 8;

/// Descriptors with no client there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Everything that is wrong with a run; nothing when it passed.
pub(super) fn judge(parts: &[Part; PARTS], idle: Idle, transient: u64) -> Vec<String> {
    let (early, late) = (parts[1].held, parts[PARTS - 1].held);
    let memory = [("RSS", early.rss, late.rss), ("PSS", early.pss, late.pss)]
        .into_iter()
        .chain([("anonymous memory", early.anonymous, late.anonymous)])
        .filter(|(_, early, late)| *late > early + (early * MEMORY_PERCENT / 100).max(MEMORY_BYTES))
        .map(|(what, early, late)| {
            format!("{what} grew from {} to {}, by {:.1} %", megabytes(early), megabytes(late), growth(early, late))
        });
    let mut failures: Vec<String> = memory.collect();
    failures.extend(descriptors(early, late, transient));
    if early.threads != late.threads {
        failures.push(format!("{} threads have become {}", early.threads, late.threads));
    }
    if !idle.is_back() {
        let Idle { start, end } = idle;
        failures.push(format!("{end} descriptors were left with all clients gone, {start} at the start"));
    }
    failures
}

fn descriptors(early: Held, late: Held, transient: u64) -> Option<String> {
    let (early, late) = (early.descriptors, late.descriptors);
    let allowed = transient + DESCRIPTORS;
    (late > early + allowed)
        .then(|| format!("open descriptors grew from {early} to {late}, more than the {allowed} that come and go"))
}

/// In percent.
pub(super) fn growth(early: u64, late: u64) -> f64 {
    (late as f64 / early as f64 - 1.0) * 100.0
}

/// In the unit of all tables.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

// === impl Idle ===

impl Idle {
    /// Whether what clients brought has gone with them.
    pub(super) fn is_back(self) -> bool {
        self.end <= self.start + LEFT_OVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Idle = Idle { start: 20, end: 28 };

    fn run(change: impl FnOnce(&mut Held)) -> Vec<String> {
        let held = Held { rss: 40_000_000, pss: 38_000_000, anonymous: 10_000_000, descriptors: 100, threads: 7 };
        let mut parts = [Part { requests: 1, held }; PARTS];
        // The warm-up is not judged, nor is what is between.
        parts[0].held = Held { descriptors: 1, threads: 1, ..Held::default() };
        parts[3].held.rss *= 2;
        change(&mut parts[PARTS - 1].held);
        judge(&parts, IDLE, 30)
    }

    #[test]
    fn a_flat_run_passes() {
        assert_eq!(run(|_| {}), Vec::<String>::new());
        assert_eq!(run(|late| late.rss /= 2), Vec::<String>::new());
    }

    #[test]
    fn memory_may_grow_by_a_share_or_by_a_megabyte() {
        assert_eq!(run(|late| late.rss = 42_000_000), Vec::<String>::new());
        let failures = run(|late| late.rss = 42_000_001);
        assert_eq!(failures, ["RSS grew from 40.0 MB to 42.0 MB, by 5.0 %"]);
        assert_eq!(run(|late| late.anonymous = 11_000_000), Vec::<String>::new());
        assert_eq!(run(|late| late.anonymous = 11_000_001).len(), 1);
        assert_eq!(run(|late| late.pss = 50_000_000).len(), 1);
    }

    #[test]
    fn descriptors_may_grow_by_what_comes_and_goes() {
        assert_eq!(run(|late| late.descriptors = 146), Vec::<String>::new());
        assert_eq!(run(|late| late.descriptors = 147).len(), 1);
    }

    #[test]
    fn threads_stay() {
        assert_eq!(run(|late| late.threads = 8), ["7 threads have become 8"]);
        assert_eq!(run(|late| late.threads = 6).len(), 1);
    }

    #[test]
    fn clients_leave_nothing_behind() {
        let parts = [Part::default(); PARTS];
        assert_eq!(judge(&parts, Idle { start: 20, end: 3 }, 0), Vec::<String>::new());
        let failures = judge(&parts, Idle { start: 20, end: 29 }, 0);
        assert_eq!(failures, ["29 descriptors were left with all clients gone, 20 at the start"]);
    }
}
