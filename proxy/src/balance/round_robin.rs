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
    pub(super) fn next(&self, endpoints: &[Endpoint]) -> Option<Endpoint> {
        let position = self.cursor.get();
        self.cursor.set(position.wrapping_add(1));
        endpoints.get(position.checked_rem(endpoints.len())?).copied()
    }
}
