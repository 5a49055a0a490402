//! A set whose members several owners hold: one leaves it when the last owner lets go.

use imbl::OrdSet;
use std::{collections::HashMap, hash::Hash};

/// A persistent set with counts. What is published is the set alone, so that readers see one change per member.
#[derive(Debug)]
pub(super) struct Counted<T: Ord> {
    members: OrdSet<T>,
    /// Owners beyond the first, for the few members that have some.
    more: HashMap<T, usize>,
}

// === impl Counted ===

impl<T: Clone + Ord + Hash> Counted<T> {
    /// One more owner.
    pub(super) fn add(&mut self, member: T) {
        if self.members.contains(&member) {
            *self.more.entry(member).or_default() += 1;
        } else {
            self.members.insert(member);
        }
    }

    /// One owner less.
    pub(super) fn remove(&mut self, member: &T) {
        let Some(more) = self.more.get_mut(member) else {
            self.members.remove(member);
            return;
        };
        *more -= 1;
        if *more == 0 {
            self.more.remove(member);
        }
    }

    /// The members.
    pub(super) fn members(&self) -> &OrdSet<T> {
        &self.members
    }
}

impl<T: Ord> Default for Counted<T> {
    fn default() -> Self {
        Self { members: OrdSet::default(), more: HashMap::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::Counted;

    #[test]
    fn a_member_stays_until_its_last_owner_lets_go() {
        let mut set = Counted::default();
        set.add("a");
        set.add("a");
        set.add("b");
        set.remove(&"a");
        assert_eq!(set.members().iter().copied().collect::<Vec<_>>(), ["a", "b"]);
        let before = set.members().clone();
        set.add("b");
        assert!(before.ptr_eq(set.members()));
        set.remove(&"a");
        set.remove(&"b");
        set.remove(&"b");
        assert!(set.members().is_empty() && set.more.is_empty());
    }
}
