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

    /// The next endpoint that was not tried. When all were they go on in turn, but not with the one that was tried last.
    /// `None` when there is none at all.
    pub(super) fn pick(&self, endpoints: &[Endpoint], tried: &[Endpoint]) -> Option<Endpoint> {
        let start = self.next(endpoints.len());
        let first = *endpoints.get(start)?;
        if !tried.contains(&first) {
            return Some(first);
        }
        let at = |steps: usize| endpoints[(start + steps) % endpoints.len()];
        let untried = (1..endpoints.len()).find(|steps| !tried.contains(&at(*steps)));
        let steps = untried.or_else(|| (0..endpoints.len()).find(|steps| tried.last() != Some(&at(*steps))));
        let steps = steps.unwrap_or_default();
        // Whoever comes next begins behind it.
        self.cursor.set(self.cursor.get().wrapping_add(steps));
        Some(at(steps))
    }
}
