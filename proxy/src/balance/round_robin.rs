//! In turn, from a random start.

use crate::table::Endpoint;
use std::cell::Cell;

/// A cursor over the sorted endpoints. It is a plain number, so it survives a change of the set without a bias towards
/// the first endpoint.
#[derive(Debug)]
pub(super) struct RoundRobin {
    cursor: Cell<usize>,
}

impl Default for RoundRobin {
    fn default() -> Self {
        Self { cursor: Cell::new(usize::from(rand::random::<u16>())) }
    }
}

impl RoundRobin {
    /// The next position among so many, at least one.
    pub(super) fn next(&self, count: usize) -> usize {
        let position = self.cursor.get();
        self.cursor.set(position.wrapping_add(1));
        position.checked_rem(count).unwrap_or_default()
    }

    /// The next endpoint that may be picked, else the next one. `None` when there is none at all.
    pub(super) fn pick(&self, endpoints: &[Endpoint], may_pick: impl Fn(&Endpoint) -> bool) -> Option<Endpoint> {
        let first = *endpoints.get(self.next(endpoints.len()))?;
        if may_pick(&first) {
            return Some(first);
        }
        let mut others = (1..endpoints.len()).map(|_| endpoints[self.next(endpoints.len())]);
        others.find(|endpoint| may_pick(endpoint)).or(Some(first))
    }
}
