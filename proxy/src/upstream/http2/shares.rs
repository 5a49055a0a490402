//! The HTTP/2 connections of one worker to one target, and who waits for one.
//!
//! Invariant: every begin has its end, so that an entry with somebody waiting or connecting is never dropped.

use super::Connection;
use crate::{table::UpstreamKeepAlive, timeout::Tick};
use std::rc::Rc;
use tokio::sync::Notify;

/// The connections to a target.
#[derive(Debug)]
pub(in crate::upstream) struct Shares {
    /// In the order of opening: the first with room takes the next request, so that the last fall idle.
    connections: Vec<Rc<Connection>>,
    connecting: usize,
    waiting: usize,
    /// Connections that could not be opened, or whose opener went away.
    failures: u64,
    /// Streams on the connection that was looked at last: what to expect of the next one.
    streams: usize,
    changed: Rc<Notify>,
}

/// How a request comes by a connection.
#[derive(Debug)]
pub(in crate::upstream) enum Share {
    /// There is one with room.
    Use(Rc<Connection>),
    /// One is being opened that will have room.
    Wait { changed: Rc<Notify>, failures: u64 },
    /// It opens one.
    Connect,
}

// === impl Shares ===

impl Shares {
    /// Finds a connection with room, or one to `wait` for. Those that take no further request are let go on the way.
    pub(in crate::upstream) fn find(
        &mut self,
        wait: bool,
        limits: &UpstreamKeepAlive,
        now: Tick,
        idle: &mut usize,
    ) -> Share {
        let mut index = 0;
        while let Some(connection) = self.connections.get(index) {
            if !connection.is_usable(limits, now) {
                *idle -= usize::from(connection.is_idle());
                self.connections.remove(index);
                continue;
            }
            self.streams = connection.most_streams();
            if connection.has_room() {
                return Share::Use(Rc::clone(connection));
            }
            index += 1;
        }
        // Whoever opens a connection has its first stream.
        if wait && self.waiting < self.connecting * self.streams.saturating_sub(1) {
            return Share::Wait { changed: Rc::clone(&self.changed), failures: self.failures };
        }
        Share::Connect
    }

    pub(super) fn add(&mut self, connection: Rc<Connection>) {
        self.streams = connection.most_streams();
        self.connections.push(connection);
    }

    pub(in crate::upstream) fn contains(&self, connection: &Rc<Connection>) -> bool {
        self.connections.iter().any(|other| Rc::ptr_eq(other, connection))
    }

    pub(in crate::upstream) fn remove(&mut self, connection: &Rc<Connection>) {
        self.connections.retain(|other| !Rc::ptr_eq(other, connection));
    }

    /// Closes the connection that was idle for longest, `except` aside; false when there is none.
    pub(in crate::upstream) fn close_oldest_idle(&mut self, except: &Rc<Connection>, idle: &mut usize) -> bool {
        let candidates = self.connections.iter().enumerate();
        let oldest = candidates
            .filter(|(_, connection)| connection.is_idle() && !Rc::ptr_eq(connection, except))
            .min_by_key(|(_, connection)| connection.idle_since.get());
        let Some((index, _)) = oldest else { return false };
        self.connections.remove(index);
        *idle -= 1;
        true
    }

    /// Lets connections go that may not be kept; false when nothing is left of the entry.
    pub(in crate::upstream) fn sweep(&mut self, keep: bool, limits: &UpstreamKeepAlive, now: Tick) -> bool {
        self.connections.retain(|connection| {
            let rests = connection.is_idle() && now.since(connection.idle_since.get()) >= limits.timeout;
            keep && !rests && connection.is_usable(limits, now)
        });
        !self.connections.is_empty() || self.connecting > 0 || self.waiting > 0
    }

    /// Connections without a request.
    pub(in crate::upstream) fn idle(&self) -> usize {
        self.connections.iter().filter(|connection| connection.is_idle()).count()
    }

    /// Those who wait look again.
    pub(in crate::upstream) fn changed(&self) {
        self.changed.notify_waiters();
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    pub(super) fn begin_waiting(&mut self) {
        self.waiting += 1;
    }

    pub(super) fn end_waiting(&mut self) {
        self.waiting -= 1;
    }

    pub(super) fn begin_connecting(&mut self) {
        self.connecting += 1;
    }

    pub(super) fn end_connecting(&mut self, successful: bool) {
        self.connecting -= 1;
        self.failures += u64::from(!successful);
        self.changed();
    }
}

impl Default for Shares {
    fn default() -> Self {
        let streams = super::MOST_STREAMS;
        Self { connections: Vec::new(), connecting: 0, waiting: 0, failures: 0, streams, changed: Rc::default() }
    }
}
