//! Idle connections of one worker, per endpoint, the most recently used first.

use super::Connection;
use crate::{
    table::{Endpoint, UpstreamKeepAlive},
    timeout::Tick,
};
use hashbrown::HashMap;

/// The pool of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: HashMap<Endpoint, Vec<Idle>>,
    total: usize,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Tick,
}

// === impl Pool ===

impl Pool {
    /// Takes an idle connection to the endpoint.
    pub(crate) fn take(&mut self, endpoint: Endpoint) -> Option<Box<Connection>> {
        let idle = self.idle.get_mut(&endpoint)?;
        while let Some(Idle { mut connection, .. }) = idle.pop() {
            self.total -= 1;
            if connection.is_reusable() {
                return Some(connection);
            }
        }
        None
    }

    /// Gives a connection back after a complete exchange; it is closed when it may not or cannot be used again.
    pub(crate) fn give(&mut self, mut connection: Box<Connection>, limits: &UpstreamKeepAlive, now: Tick) {
        if limits.connections == 0
            || connection.requests >= limits.requests
            || now.since(connection.created) >= limits.max_age
            || !connection.is_reusable()
        {
            return;
        }
        if self.total >= limits.connections as usize && !self.evict_oldest(connection.endpoint) {
            return;
        }
        connection.relay.mute();
        self.total += 1;
        self.idle.entry(connection.endpoint).or_default().push(Idle { connection, since: now });
    }

    /// Makes room by closing the connection to the same endpoint that was idle for longest.
    fn evict_oldest(&mut self, endpoint: Endpoint) -> bool {
        match self.idle.get_mut(&endpoint) {
            Some(idle) if !idle.is_empty() => {
                idle.remove(0);
                self.total -= 1;
                true
            }
            _ => false,
        }
    }

    /// Closes connections that are dead, idle for too long, or lead to an endpoint that `keep` no longer knows.
    pub(crate) fn sweep(&mut self, limits: &UpstreamKeepAlive, now: Tick, keep: impl Fn(&Endpoint) -> bool) {
        self.idle.retain(|endpoint, idle| {
            if !keep(endpoint) {
                return false;
            }
            idle.retain_mut(|idle| now.since(idle.since) < limits.timeout && !idle.connection.is_dead());
            !idle.is_empty()
        });
        self.total = self.idle.values().map(Vec::len).sum();
    }
}
