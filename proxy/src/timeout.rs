//! Deadlines of connections and requests, nearly free to move.
//!
//! A connection's deadline moves with every read and write, but it almost never fires. So a [`Deadline`] is one cell:
//! moving it later is a store. Each worker's [`Timers`] looks at an entry only when the earliest time at which it might
//! fire has come, and files it again if it has moved on since. Setting one reads no clock either: the wheel's position is
//! the time. Deadlines fire up to three ticks of 50 ms late.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::Instant;

/// Resolution of deadlines.
const TICK: Duration = Duration::from_millis(TICK_MILLIS);
const TICK_MILLIS: u64 = 50;

/// A coarse point in time, in ticks since the worker started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

/// Slots of the wheel; entries that are further away wait in the last slot and are filed again from there.
const SLOTS: usize = 2048;

/// The deadlines of one worker.
#[derive(Debug)]
pub(crate) struct Timers {
    start: Instant,
    wheel: RefCell<Wheel>,
    entries: Cell<usize>,
    wake_driver: tokio::sync::Notify,
}

#[derive(Debug)]
struct Wheel {
    /// The tick up to which everything has been looked at.
    now: u64,
    slots: Box<[Vec<Rc<Entry>>]>,
}

/// A point in time that may be moved; dropping it forgets it.
#[derive(Debug)]
pub(crate) struct Deadline {
    timers: Rc<Timers>,
    entry: Rc<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Tick at which it fires; `NEVER` is off.
    at: Cell<u64>,
    /// Tick in whose slot the wheel holds this entry; `NEVER` is none.
    filed: Cell<u64>,
    /// Place in that slot.
    place: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

const NEVER: u64 = u64::MAX;

// === impl Timers ===

impl Timers {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            start: Instant::now(),
            wheel: RefCell::new(Wheel { now: 0, slots: (0..SLOTS).map(|_| Vec::new()).collect() }),
            entries: Cell::new(0),
            wake_driver: tokio::sync::Notify::new(),
        })
    }

    /// A deadline that is off.
    pub(crate) fn deadline(self: &Rc<Self>) -> Deadline {
        let entry =
            Entry { at: Cell::new(NEVER), filed: Cell::new(NEVER), place: Cell::new(0), waker: RefCell::new(None) };
        Deadline { timers: Rc::clone(self), entry: Rc::new(entry) }
    }

    /// The current tick. Reads no clock while the wheel turns, so it may lag behind by as much as the worker is busy.
    pub(crate) fn now(&self) -> Tick {
        if self.entries.get() == 0 {
            // Nothing is filed, so nothing turns the wheel.
            self.wheel.borrow_mut().now = ticks(self.start.elapsed());
        }
        Tick(self.wheel.borrow().now)
    }

    fn file(&self, entry: &Rc<Entry>, at: u64) {
        self.unfile(entry);
        let mut wheel = self.wheel.borrow_mut();
        let tick = at.clamp(wheel.now + 1, wheel.now + SLOTS as u64 - 1);
        let slot = &mut wheel.slots[slot_of(tick)];
        entry.filed.set(tick);
        entry.place.set(slot.len());
        slot.push(Rc::clone(entry));
        self.entries.set(self.entries.get() + 1);
        if self.entries.get() == 1 {
            self.wake_driver.notify_one();
        }
    }

    /// Takes an entry out of the wheel, so that a connection that is gone leaves nothing behind.
    fn unfile(&self, entry: &Entry) {
        let tick = entry.filed.replace(NEVER);
        if tick == NEVER {
            return;
        }
        let mut wheel = self.wheel.borrow_mut();
        let slot = &mut wheel.slots[slot_of(tick)];
        slot.swap_remove(entry.place.get());
        if let Some(moved) = slot.get(entry.place.get()) {
            moved.place.set(entry.place.get());
        }
        self.entries.set(self.entries.get() - 1);
    }

    /// Looks at everything that was due up to `now`.
    fn advance(&self, now: Instant) {
        let target = ticks(now.saturating_duration_since(self.start));
        loop {
            let (tick, due) = {
                let mut wheel = self.wheel.borrow_mut();
                if self.entries.get() == 0 {
                    wheel.now = wheel.now.max(target);
                }
                if wheel.now >= target {
                    return;
                }
                wheel.now += 1;
                let tick = wheel.now;
                (tick, std::mem::take(&mut wheel.slots[slot_of(tick)]))
            };
            self.entries.set(self.entries.get() - due.len());
            // Before any of them wakes somebody: none is in the wheel any more.
            due.iter().for_each(|entry| entry.filed.set(NEVER));
            for entry in due {
                self.look_at(&entry, tick);
            }
        }
    }

    fn look_at(&self, entry: &Rc<Entry>, tick: u64) {
        let at = entry.at.get();
        if at == NEVER {
            return;
        }
        if at <= tick {
            let waker = entry.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        } else {
            self.file(entry, at);
        }
    }

    /// Turns the wheel for as long as the worker lives. Sleeps without a timer while nothing is filed.
    pub(crate) async fn drive(self: Rc<Self>) {
        loop {
            if self.entries.get() == 0 {
                self.wake_driver.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.advance(Instant::now());
        }
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or_default()
}

/// Whole ticks in a time.
fn ticks(time: Duration) -> u64 {
    const PER_SECOND: u64 = 1_000 / TICK_MILLIS;
    time.as_secs() * PER_SECOND + u64::from(time.subsec_millis()) / TICK_MILLIS
}

// === impl Tick ===

impl Tick {
    /// Time since an earlier tick.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0) * TICK_MILLIS)
    }

    /// Ticks since an earlier one.
    pub(crate) fn ticks_since(self, earlier: Self) -> u32 {
        u32::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(u32::MAX)
    }

    /// The tick so much later.
    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(ticks(time)))
    }
}

// === impl Deadline ===

impl Deadline {
    /// Moves the deadline to `after` from now. Later than before costs a store.
    pub(crate) fn set(&self, after: Duration) {
        // The current tick has begun already, and `after` need not be whole ticks: round both up.
        let tick = self.timers.now().0 + ticks(after) + 2;
        self.entry.at.set(tick);
        if tick < self.entry.filed.get() {
            self.timers.file(&self.entry, tick);
        }
    }

    /// Switches the deadline off.
    pub(crate) fn clear(&self) {
        self.entry.at.set(NEVER);
    }

    /// Wakes the task that waits for the deadline, passed or not.
    pub(crate) fn wake(&self) {
        let waker = self.entry.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ready once the deadline has passed; wakes the task then.
    pub(crate) fn poll_expired(&self, cx: &Context<'_>) -> Poll<()> {
        let at = self.entry.at.get();
        if at != NEVER && self.timers.wheel.borrow().now >= at {
            return Poll::Ready(());
        }
        let mut waker = self.entry.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until the deadline has passed.
    #[cfg(test)]
    pub(crate) async fn expired(&self) {
        std::future::poll_fn(|cx| self.poll_expired(cx)).await;
    }

    /// Runs `future` until it is done or the deadline has passed (`None`).
    pub(crate) async fn limit<F: Future>(&self, after: Duration, future: F) -> Option<F::Output> {
        self.set(after);
        let mut future = std::pin::pin!(future);
        let output = std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll_expired(cx).map(|()| None)
        })
        .await;
        self.clear();
        output
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.timers.unfile(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fires_late_by_at_most_one_tick_and_never_early() {
        let timers = Timers::new();
        let local = tokio::task::LocalSet::new();
        local.spawn_local(Rc::clone(&timers).drive());
        local
            .run_until(async {
                for millis in [1, 49, 50, 51, 120, 5_000, 200_000] {
                    let deadline = timers.deadline();
                    let start = Instant::now();
                    deadline.set(Duration::from_millis(millis));
                    deadline.expired().await;
                    let late = start.elapsed().checked_sub(Duration::from_millis(millis)).expect("not early");
                    assert!(late <= 3 * TICK, "{millis} ms fired {late:?} late");
                }
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn moving_works_in_both_directions() {
        let timers = Timers::new();
        let local = tokio::task::LocalSet::new();
        local.spawn_local(Rc::clone(&timers).drive());
        local
            .run_until(async {
                let deadline = timers.deadline();
                let start = Instant::now();
                deadline.set(Duration::from_secs(1));
                deadline.set(Duration::from_secs(10));
                deadline.expired().await;
                assert!(start.elapsed() >= Duration::from_secs(10));

                let start = Instant::now();
                deadline.set(Duration::from_secs(60));
                deadline.set(Duration::from_millis(100));
                deadline.expired().await;
                assert!(start.elapsed() < Duration::from_secs(1));

                deadline.set(Duration::from_millis(100));
                deadline.clear();
                let quiet = tokio::time::timeout(Duration::from_secs(5), deadline.expired()).await;
                assert!(quiet.is_err(), "a cleared deadline does not fire");
            })
            .await;
    }

    #[test]
    fn a_deadline_that_is_gone_leaves_nothing_in_the_wheel() {
        let timers = Timers::new();
        let mut kept = Vec::new();
        for number in 0..1000u64 {
            let deadline = timers.deadline();
            deadline.set(Duration::from_secs(60 + number % 3));
            deadline.set(Duration::from_secs(1));
            if number % 10 == 0 {
                kept.push(deadline);
            }
        }
        assert_eq!(timers.entries.get(), kept.len());
        assert_eq!(timers.wheel.borrow().slots.iter().map(Vec::len).sum::<usize>(), kept.len());
        drop(kept);
        assert_eq!(timers.entries.get(), 0);
    }
}
