//! How many retries a backend is worth: so few that an outage is not made worse by its own retries.
//!
//! A fifth of the requests may be sent once more, and ten more a second whatever the traffic, so that a few requests have
//! all their tries. What is left over is kept for the moment when an endpoint takes a connection full of requests down
//! with it. Only tries that an endpoint may have worked on are counted; one that could not be reached costs nobody
//! anything, and going on to one that was not asked yet is no retry for that one.

use crate::timeout::Tick;
use std::{cell::Cell, time::Duration};

/// What a retry costs, and what a request pays in.
const RETRY: u32 = 100;
const PER_REQUEST: u32 = 20;
const PER_SECOND: u32 = 10 * RETRY;
/// At the start, and at most.
const FIRST: u32 = 100 * RETRY;
const MOST: u32 = 1000 * RETRY;

/// The retries that are left to one backend on one worker.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<u32>,
    refilled: Cell<Tick>,
}

// === impl Budget ===

impl Budget {
    /// A request came.
    pub(crate) fn deposit(&self) {
        self.left.set((self.left.get() + PER_REQUEST).min(MOST));
    }

    /// Takes what a retry costs; false when too little is left.
    pub(crate) fn withdraw(&self, now: Tick) -> bool {
        let passed = now.since(self.refilled.get()).min(Duration::from_secs(60));
        let refill = u32::try_from(passed.as_millis()).unwrap_or(u32::MAX) * PER_SECOND / 1000;
        if refill > 0 {
            self.refilled.set(now);
            // Time alone does not save up for a burst; only requests do.
            let left = self.left.get();
            self.left.set(left.max((left + refill).min(FIRST)));
        }
        let left = self.left.get().checked_sub(RETRY);
        if let Some(left) = left {
            self.left.set(left);
        }
        left.is_some()
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: Cell::new(FIRST), refilled: Cell::new(Tick::default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_retried_for_a_fifth_of_the_requests() {
        let budget = Budget::default();
        let now = Tick::default();
        let mut retries = 0;
        for _ in 0..10_000 {
            budget.deposit();
            retries += u32::from(budget.withdraw(now)) + u32::from(budget.withdraw(now));
        }
        assert!((2000..=2100).contains(&retries), "{retries}");
    }

    #[test]
    fn light_traffic_has_all_its_tries() {
        let budget = Budget::default();
        let mut now = Tick::default();
        for _ in 0..1000 {
            now = now.after(Duration::from_millis(200));
            budget.deposit();
            assert!(budget.withdraw(now) && budget.withdraw(now));
        }
    }

    #[test]
    fn quiet_times_save_up_for_a_burst_but_not_for_more() {
        let budget = Budget::default();
        (0..1_000_000).for_each(|_| budget.deposit());
        let now = Tick::default().after(Duration::from_secs(100_000));
        assert_eq!((0..5000).filter(|_| budget.withdraw(now)).count(), 1000);
    }
}
