//! What reads the bytes of strangers, for fuzz/: built with the feature `fuzzing` alone.

use crate::{listener::watched, table::HeadLimits};

/// Shows bytes to the watch over heads, in pieces: from which byte on it held them back, and why.
#[must_use]
pub fn heads(limits: HeadLimits, bytes: &[u8], piece: usize) -> Option<(usize, u8)> {
    watched::heads(limits, bytes, piece)
}

/// Shows bytes to the watch over frames, in pieces: whether it is a flood, and whether something is incomplete.
#[must_use]
pub fn frames(bytes: &[u8], piece: usize) -> (bool, bool) {
    watched::frames(bytes, piece)
}
