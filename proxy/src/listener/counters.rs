//! What is counted and known about the bytes of a client connection, shared by its IO and its protocol.

use super::watch::Verdict;
use crate::{frames::Allowance, splice::Lane};
use parking_lot::Mutex;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
};

/// Counters of a connection, above TLS unless they say otherwise. Written by its own worker only; atomics because hyper
/// wants the IO to be `Send` for upgrades.
#[derive(Debug, Default)]
pub(super) struct IoCounters {
    read: AtomicU64,
    written: AtomicU64,
    /// Bytes that the client took, below TLS.
    taken: AtomicU64,
    write_blocked: AtomicBool,
    /// The connection has left HTTP: its two directions close one by one.
    tunnel: AtomicBool,
    /// Why the watch stopped the flow, see [`Verdict::code`]; 0 while it flows.
    verdict: AtomicU8,
    /// A frame or a header block of HTTP/2 has begun and is not complete.
    inside: AtomicBool,
    given_up: AtomicBool,
    /// A request of HTTP/1 is here as a whole and not over: what comes belongs to the next one. It is kept until then: while
    /// hyper has bytes that it cannot use yet, it does not look whether the client is still there.
    ahead: AtomicBool,
    /// Streams that were reset for a mistake of the client and nobody has noted yet.
    resets: AtomicU32,
    /// Something was read that belongs to the next request.
    kept: AtomicBool,
    /// All of a request is here, of a client whose socket the reactor does not know: nothing is read until somebody says
    /// so, and nobody is woken for it.
    quiet: AtomicBool,
    allowance: Allowance,
    /// Where bytes for the client wait outside of our memory.
    lane: Mutex<Option<Arc<Lane>>>,
}

// === impl IoCounters ===

impl IoCounters {
    /// Bytes read so far.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Bytes that the client took so far, TLS included.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Whether nothing is read: it would only serve to see the client go, and the reactor would have to be told
    /// of the socket first.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.load(Relaxed)
    }

    /// From now on nothing is read, or it is again.
    pub(super) fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Relaxed);
    }

    /// The client takes nothing: what is left for it goes with the connection.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Relaxed);
    }

    /// Whether somebody has.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Relaxed)
    }

    /// True while the client does not take what we have for it.
    pub(super) fn write_blocked(&self) -> bool {
        self.write_blocked.load(Relaxed)
    }

    /// A request is here as a whole; `unwatched`: of a socket that the reactor does not know.
    pub(super) fn request_complete(&self, unwatched: bool) {
        self.ahead.store(true, Relaxed);
        if unwatched {
            self.set_quiet(true);
        }
    }

    /// What comes now belongs to the request after one that is under way.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead.load(Relaxed)
    }

    /// Something has come that belongs to the next request.
    pub(super) fn keep(&self) {
        self.kept.store(true, Relaxed);
    }

    /// A request is over: the next one may be read.
    pub(super) fn request_ended(&self) {
        self.ahead.store(false, Relaxed);
    }

    /// While no request is under way: true once when there is, or may be, one that nobody is going to be woken for.
    pub(super) fn take_due(&self) -> bool {
        // The rest of a body may have come after the answer.
        self.request_ended();
        let is_due = self.quiet.load(Relaxed) || self.kept.load(Relaxed);
        if is_due {
            self.set_quiet(false);
            self.kept.store(false, Relaxed);
        }
        is_due
    }

    /// How many streams were reset for a mistake of the client since this was last asked.
    pub(super) fn take_resets(&self) -> u32 {
        let resets = self.resets.load(Relaxed);
        if resets > 0 {
            self.resets.store(0, Relaxed);
        }
        resets
    }

    /// From now on closing one direction leaves the other open.
    pub(super) fn become_tunnel(&self) {
        self.set_quiet(false);
        self.request_ended();
        self.tunnel.store(true, Relaxed);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Relaxed)
    }

    /// Nothing is read any more.
    pub(super) fn stop(&self, verdict: Verdict) {
        self.verdict.store(verdict.code(), Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.verdict.load(Relaxed) != 0
    }

    /// The protocol is made anew.
    pub(super) fn begin_anew(&self) {
        self.verdict.store(0, Relaxed);
        self.request_ended();
    }

    /// Where bytes for the client wait outside of our memory.
    pub(super) fn lane(&self) -> Option<Arc<Lane>> {
        self.lane.lock().clone()
    }

    /// The same, opened where it is not there yet.
    pub(super) fn lane_or(&self, open: impl FnOnce() -> Option<Arc<Lane>>) -> Option<Arc<Lane>> {
        let mut lane = self.lane.lock();
        if lane.is_none() {
            *lane = open();
        }
        lane.clone()
    }

    /// Gives it back once it is empty and no body has any use for it.
    pub(super) fn release_lane(&self) {
        self.lane.lock().take_if(|lane| lane.is_empty() && Arc::strong_count(lane) == 1);
    }

    /// Where resets are counted.
    pub(super) fn resets(&self) -> &AtomicU32 {
        &self.resets
    }

    /// Why nothing is read any more, if so.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        match self.verdict.load(Relaxed) {
            0 => None,
            code => Verdict::of_code(code),
        }
    }

    /// A frame or a header block of HTTP/2 has begun and is not complete.
    pub(super) fn is_inside(&self) -> bool {
        self.inside.load(Relaxed)
    }

    pub(super) fn set_inside(&self, inside: bool) {
        self.inside.store(inside, Relaxed);
    }

    pub(super) fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    pub(super) fn add_read(&self, bytes: usize) {
        Self::add(&self.read, bytes);
    }

    fn add(counter: &AtomicU64, by: usize) {
        counter.store(counter.load(Relaxed) + by as u64, Relaxed);
    }

    pub(super) fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = result {
            Self::add(&self.written, *bytes);
        }
    }

    /// What became of a write to the socket.
    pub(super) fn took(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(bytes)) => {
                Self::add(&self.taken, *bytes);
                self.write_blocked.store(false, Relaxed);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.write_blocked.store(true, Relaxed),
        }
    }
}
