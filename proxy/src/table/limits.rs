//! What a client may ask of a listener before there is a request.

use serde::Serialize;
use std::time::Duration;

/// Limits of the listeners. Defaults are those of ingress-nginx with an empty ConfigMap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Request heads.
    pub head: HeadLimits,
    /// Client connections per worker (nginx's `worker_connections`).
    pub connections: u32,
    /// Client connections per address, over all workers; 0 is off.
    pub connections_per_client: u32,
    /// How long a client may take none of the bytes that it asked for: nginx's `send_timeout`, which ingress-nginx
    /// leaves at its default.
    pub send_timeout: Duration,
}

/// How large a request head may be, in bytes. There is no limit on the number of fields but these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeadLimits {
    /// One line with its end: the request line, or one field. nginx: a line must fit into one buffer.
    pub line: u32,
    /// All lines together.
    pub total: u32,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: HeadLimits::default(),
            connections: 16_384,
            connections_per_client: 0,
            send_timeout: Duration::from_secs(60),
        }
    }
}

// === impl HeadLimits ===

impl HeadLimits {
    /// What a head is never allowed to exceed, whatever is configured: it is held in memory.
    pub const MOST: u32 = 16 << 20;

    /// The limits that nginx's buffers amount to: the first one of `first` bytes, then `number` of `size` bytes. `None`
    /// when they are none, or more than [`HeadLimits::MOST`].
    #[must_use]
    pub fn of_buffers(first: u64, number: u64, size: u64) -> Option<Self> {
        let line = u32::try_from(first.max(size)).ok()?;
        let total = u32::try_from(number.checked_mul(size)?.max(first)).ok()?;
        (number > 0 && size > 0 && total <= Self::MOST).then_some(Self { line, total })
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { line: 8 << 10, total: 32 << 10 }
    }
}
