//! Maps whose clone is one pointer: a table that differs from the one before in one host shares the rest with it.

use hashbrown::DefaultHashBuilder;

/// A persistent hash map. Its hash is fast rather than hard to attack: keys come from the control plane, and a request
/// can only look one up.
pub(super) type Map<K, V> = imbl::GenericHashMap<K, V, DefaultHashBuilder, imbl::shared_ptr::DefaultSharedPtr>;
