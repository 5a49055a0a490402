//! The connections of one worker that may carry another request: idle HTTP/1.1 ones, the most recently used first, and
//! all HTTP/2 ones.

use super::{
    Key, Target,
    http1::Connection,
    http2::{self, Share, Shares},
};
use crate::{
    table::{Endpoint, UpstreamKeepAlive},
    timeout::Tick,
};
use hashbrown::HashMap;
use std::rc::Rc;

/// The pool of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: HashMap<Key, Vec<Idle>>,
    http2: HashMap<Key, Shares>,
    /// Connections without a request, of both protocols.
    total: usize,
    /// A connection came back from a request that is older than the table: its endpoint may be gone.
    came_late: bool,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Tick,
}

// === impl Pool ===

impl Pool {
    /// Takes an idle HTTP/1.1 connection to the target; `table` is the number of the table of this moment. `once` is for a
    /// request that cannot be sent again.
    pub(crate) fn take(&mut self, target: Target<'_>, table: u32, once: bool) -> Option<Box<Connection>> {
        let idle = self.idle.get_mut(&target)?;
        while let Some(Idle { mut connection, .. }) = idle.pop() {
            self.total -= 1;
            let is_dead = connection.is_dead() || once && connection.has_closed();
            if !is_dead {
                connection.table = table;
                return Some(connection);
            }
        }
        None
    }

    /// Gives a connection back after a complete exchange; it is closed when it may not or cannot be used again.
    pub(crate) fn give(&mut self, mut connection: Box<Connection>, limits: &UpstreamKeepAlive, now: Tick, table: u32) {
        if limits.connections == 0
            || connection.requests >= limits.requests
            || now.since(connection.created) >= limits.max_age
            || !connection.is_reusable()
        {
            return;
        }
        let full = self.total >= limits.connections as usize;
        self.came_late |= connection.table != table;
        connection.rest();
        match self.idle.get_mut(&connection.key) {
            Some(idle) => {
                if full {
                    if idle.is_empty() {
                        return;
                    }
                    // Makes room by closing the connection to the same endpoint that was idle for longest.
                    idle.remove(0);
                    self.total -= 1;
                }
                idle.push(Idle { connection, since: now });
            }
            None if full => return,
            None => {
                self.idle.insert(connection.key.clone(), vec![Idle { connection, since: now }]);
            }
        }
        self.total += 1;
    }

    /// Finds an HTTP/2 connection to the target with room for one more request, or says how to come by one. The
    /// connection that is found is no longer idle.
    pub(super) fn share(&mut self, target: Target<'_>, wait: bool, limits: &UpstreamKeepAlive, now: Tick) -> Share {
        if limits.connections == 0 {
            return Share::Connect;
        }
        if !self.http2.contains_key(&target) {
            self.http2.insert(target.to_key(), Shares::default());
        }
        let Some(shares) = self.http2.get_mut(&target) else { return Share::Connect };
        let share = shares.find(wait, limits, now, &mut self.total);
        if let Share::Use(connection) = &share
            && connection.begin()
        {
            self.total -= 1;
        }
        share
    }

    /// The HTTP/2 connections to a target.
    pub(super) fn shares(&mut self, target: Target<'_>) -> Option<&mut Shares> {
        self.http2.get_mut(&target)
    }

    /// A request on an HTTP/2 connection is over.
    pub(super) fn release(&mut self, connection: &Rc<http2::Connection>, limits: &UpstreamKeepAlive, now: Tick) {
        let last = connection.end(now);
        let Some(shares) = self.http2.get_mut(&connection.key) else { return };
        if !shares.contains(connection) {
            return;
        }
        if !last {
            shares.changed();
            return;
        }
        // Like the connections of HTTP/1.1: one that may not be kept is closed, others make room for it.
        let full = self.total >= limits.connections as usize;
        if !connection.is_usable(limits, now) || (full && !shares.close_oldest_idle(connection, &mut self.total)) {
            shares.remove(connection);
        } else {
            self.total += 1;
        }
        shares.changed();
    }

    /// True when connections may lead to endpoints that the table of the last sweep no longer has.
    pub(crate) fn take_late(&mut self) -> bool {
        std::mem::take(&mut self.came_late)
    }

    /// Closes connections that are dead, idle for too long, or lead to an endpoint that `keep` no longer knows. What is
    /// still under way on an HTTP/2 connection comes to its end.
    pub(crate) fn sweep(&mut self, limits: &UpstreamKeepAlive, now: Tick, keep: impl Fn(&Endpoint) -> bool) {
        self.idle.retain(|key, idle| {
            if !keep(&key.endpoint) {
                return false;
            }
            idle.retain_mut(|idle| now.since(idle.since) < limits.timeout && !idle.connection.is_dead());
            !idle.is_empty()
        });
        self.http2.retain(|key, shares| shares.sweep(keep(&key.endpoint), limits, now));
        self.total =
            self.idle.values().map(Vec::len).sum::<usize>() + self.http2.values().map(Shares::idle).sum::<usize>();
    }
}
