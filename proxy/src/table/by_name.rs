//! Host names → values, in pieces that tables share.

use super::{HostName, packed::Packed};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::{
    hash::{BuildHasher as _, Hasher as _},
    sync::Arc,
};

/// A hash map in [`SHARDS`] pieces: a clone is one pointer, and a change copies one piece. Looking a name up costs what
/// it costs in a map that is not shared; a persistent tree took twice as long among 20,000 hosts.
///
/// Its hash is fast rather than hard to attack: names come from the control plane, and a request can only look one up.
#[derive(Clone, Debug)]
pub(super) struct ByName<V> {
    shards: Arc<[Arc<HashTable<Entry<V>>>]>,
    hasher: DefaultHashBuilder,
    len: usize,
}

/// A value under its name. Most names lie here, so that comparing one costs no wait for memory of its own.
#[derive(Clone, Debug)]
struct Entry<V> {
    name: Packed<SHORT>,
    value: V,
}

/// A piece holds 80 hosts where there are 20,000.
const SHARDS: usize = 256;

/// Longer names are rare, and an entry should not take a whole cache line.
const SHORT: usize = 38;

// === impl ByName ===

impl<V: Clone> ByName<V> {
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        let hash = hash(&self.hasher, name.as_bytes());
        self.shards[shard(hash)].find(hash, |entry| entry.is(name)).map(|entry| &entry.value)
    }

    pub(super) fn insert(&mut self, name: &HostName, value: V) {
        let name = name.as_str();
        let hash = hash(&self.hasher, name.as_bytes());
        let hasher = self.hasher.clone();
        let piece = Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[shard(hash)]);
        match piece.find_mut(hash, |known| known.is(name)) {
            Some(known) => known.value = value,
            None => {
                let entry = Entry { name: Packed::new(name.as_bytes()), value };
                piece.insert_unique(hash, entry, |entry| self::hash(&hasher, entry.name.as_bytes()));
                self.len += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.get(name).is_none() {
            return;
        }
        let hash = hash(&self.hasher, name.as_bytes());
        let piece = Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[shard(hash)]);
        if let Ok(entry) = piece.find_entry(hash, |entry| entry.is(name)) {
            entry.remove();
            self.len -= 1;
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|entry| &entry.value)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether both are the same in memory.
    pub(super) fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shards, &other.shards)
    }
}

impl<V> Default for ByName<V> {
    fn default() -> Self {
        let empty = Arc::new(HashTable::new());
        Self {
            shards: (0..SHARDS).map(|_| Arc::clone(&empty)).collect(),
            hasher: DefaultHashBuilder::default(),
            len: 0,
        }
    }
}

// === impl Entry ===

impl<V> Entry<V> {
    fn is(&self, name: &str) -> bool {
        self.name.as_bytes() == name.as_bytes()
    }
}

/// The bytes and nothing else: a name has no end to mark.
fn hash(hasher: &DefaultHashBuilder, name: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(name);
    state.finish()
}

/// The piece of a hash. The table itself uses the lowest and the highest bits.
fn shard(hash: u64) -> usize {
    usize::try_from(hash >> 32).unwrap_or_default() % SHARDS
}
