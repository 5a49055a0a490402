//! Bytes on their way from an endpoint to a client that stay in the kernel: splice(2) moves them from the one socket into a
//! pipe, and from there into the other. Copying them into our memory and out of it again is most of what a large response
//! costs.
//!
//! hyper writes what a body yields. A body that is spliced yields stand-ins: parts of one block of memory that nobody
//! reads, as long as what waits in the pipe. The IO below hyper knows them by where they lie, and sends from the pipe
//! instead. The order of the stand-ins is that of the pipe, so that heads and framing between them stay in their places.

use parking_lot::Mutex;
use rustix::{
    fd::OwnedFd,
    net::sockopt,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};
use std::{
    fmt,
    io::{self, ErrorKind},
    os::fd::AsFd,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::{io::Interest, net::TcpStream};

/// Bytes that a body must still have. Below it copying costs as much: 1.02 of it with 64 KB, 0.90 with 128 KB, 0.70 with
/// 256 KB, 0.53 with 1 MB (docs/performance.md).
pub(crate) const LEAST: u64 = 128 << 10;

/// Room of a pipe in bytes: it counts in pages. With the usual 64 KB there are four times as many calls; more is no better.
/// No more is moved at once, and no stand-in is longer.
const ROOM: usize = 256 << 10;

/// How the names of congestion controls begin that pace what they send. They have a timer for every 64 KB that are there before
/// their time; over loopback copying, which takes its time, costs less than these.
const PACING: &str = "bbr";

/// Pipes of a worker, used and unused: each is two descriptors. Whoever gets none copies.
const MOST_PIPES: usize = 64;

/// Those that are kept for the next ones.
const KEPT: usize = 8;

/// Whether large responses stay in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Splice {
    /// Where that costs less than copying them: not with a congestion control that paces.
    #[default]
    Auto,
    /// Wherever it can be done.
    Always,
    /// All are copied.
    Never,
}

/// The pipes of a worker.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    unused: Mutex<Vec<Pipe>>,
    /// How many there are.
    all: AtomicUsize,
    /// The kernel, or what plays it, does not do it, or not well.
    off: AtomicBool,
}

/// A pipe between an endpoint and a client. `Send`, because the IO of a client has to be; it is used by one worker only.
pub(crate) struct Lane {
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    level: AtomicUsize,
    home: Arc<Pipes>,
}

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// What stands for bytes in a pipe. It is never written, so that no memory is behind it.
static STAND_IN: LazyLock<&'static [u8]> = LazyLock::new(|| Box::leak(vec![0; ROOM].into_boxed_slice()));

/// Whether these bytes only stand for others.
pub(crate) fn is_stand_in(bytes: &[u8]) -> bool {
    !bytes.is_empty() && STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}

// === impl Pipes ===

impl Pipes {
    /// What was asked for, at a socket that listens: its connections inherit its congestion control.
    pub(crate) fn suit(&self, splice: Splice, listener: impl AsFd) {
        match splice {
            Splice::Always => return,
            Splice::Never => return self.off.store(true, Relaxed),
            Splice::Auto => {}
        }
        match sockopt::tcp_congestion(listener) {
            Ok(name) if name.starts_with(PACING) => {
                tracing::debug!(congestion_control = name, "large responses are copied: they are sent at a pace");
                self.off.store(true, Relaxed);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "cannot tell which congestion control a listener has"),
        }
    }

    /// A way from an endpoint to a client; `None` where there is none, or there are too many.
    pub(crate) fn lane(self: &Arc<Self>) -> Option<Arc<Lane>> {
        if self.off.load(Relaxed) {
            return None;
        }
        let unused = self.unused.lock().pop();
        let pipe = unused.or_else(|| self.open())?;
        Some(Arc::new(Lane { pipe: Some(pipe), level: AtomicUsize::new(0), home: Arc::clone(self) }))
    }

    fn open(&self) -> Option<Pipe> {
        if self.all.load(Relaxed) >= MOST_PIPES {
            return None;
        }
        // Without it everything is copied: descriptors may be short.
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .inspect_err(|error| tracing::debug!(%error, "no pipe for a large response"))
            .ok()?;
        // What a user may have of it is limited; the usual size does, too.
        let _ = fcntl_setpipe_size(&writer, ROOM);
        self.all.fetch_add(1, Relaxed);
        Some(Pipe { reader, writer })
    }

    /// Closes a pipe that nobody uses: after a while without large responses there are none.
    pub(crate) fn close_one(&self) {
        if self.unused.lock().pop().is_some() {
            self.all.fetch_sub(1, Relaxed);
        }
    }

    /// Whether the error is not of a connection, but of the kernel: an old one, a sandbox, a filter of system calls. Everything
    /// is copied from then on.
    fn turned_off_by(&self, error: &io::Error) -> bool {
        let is_refusal =
            matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied);
        if is_refusal && !self.off.swap(true, Relaxed) {
            tracing::warn!(%error, "splice(2) does not work here: large responses are copied");
        }
        is_refusal
    }
}

// === impl Lane ===

impl Lane {
    /// Nothing is in the pipe.
    pub(crate) fn is_empty(&self) -> bool {
        self.level.load(Relaxed) == 0
    }

    /// Moves up to `most` bytes from an endpoint into the pipe and returns what stands for them; nothing at the end, and
    /// [`ErrorKind::Unsupported`] where they have to be copied. Waits while there are others in the pipe: whoever empties it
    /// wakes the task, which is the same.
    pub(crate) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        most: u64,
    ) -> Poll<io::Result<&'static [u8]>> {
        let Some(pipe) = self.pipe.as_ref().filter(|_| self.is_empty()) else { return Poll::Pending };
        let most = usize::try_from(most).unwrap_or(ROOM).min(ROOM);
        loop {
            ready!(from.poll_read_ready(cx))?;
            match from.try_io(Interest::READABLE, || move_bytes(from, &pipe.writer, most)) {
                Ok(moved) => {
                    self.level.store(moved, Relaxed);
                    return Poll::Ready(Ok(&STAND_IN[..moved]));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if self.home.turned_off_by(&error) => {
                    return Poll::Ready(Err(ErrorKind::Unsupported.into()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Moves up to `most` bytes from the pipe to a client.
    pub(crate) fn send(&self, to: impl AsFd, most: usize) -> io::Result<usize> {
        let level = self.level.load(Relaxed);
        let (Some(pipe), true) = (&self.pipe, most <= level) else {
            return Err(io::Error::other("a response is not where it was put"));
        };
        // What is in the pipe is lost then, and what comes after it is copied.
        let moved = move_bytes(&pipe.reader, to, most).inspect_err(|error| {
            self.home.turned_off_by(error);
        })?;
        self.level.store(level - moved, Relaxed);
        Ok(moved)
    }
}

/// One call of splice(2).
fn move_bytes(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    loop {
        match splice(&from, None, &to, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Err(rustix::io::Errno::INTR) => {}
            moved => return Ok(moved?),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        let mut unused = self.home.unused.lock();
        if self.is_empty() && unused.len() < KEPT {
            unused.push(pipe);
        } else {
            self.home.all.fetch_sub(1, Relaxed);
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("level", &self.level).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_comes_back_empty_or_not_at_all() {
        let pipes = Arc::<Pipes>::default();
        let lanes: Vec<_> = (0..MOST_PIPES).map(|_| pipes.lane().expect("a pipe")).collect();
        assert!(pipes.lane().is_none(), "more than {MOST_PIPES}");
        lanes[0].level.store(1, Relaxed);
        drop(lanes);
        assert_eq!((pipes.unused.lock().len(), pipes.all.load(Relaxed)), (KEPT, KEPT));
        for left in (0..KEPT).rev() {
            pipes.close_one();
            assert_eq!((pipes.unused.lock().len(), pipes.all.load(Relaxed)), (left, left));
        }
        pipes.close_one();
        assert_eq!(pipes.all.load(Relaxed), 0);
    }

    #[test]
    fn a_kernel_that_refuses_is_not_asked_again() {
        let pipes = Arc::<Pipes>::default();
        assert!(!pipes.turned_off_by(&ErrorKind::ConnectionReset.into()));
        assert!(pipes.lane().is_some());
        assert!(pipes.turned_off_by(&rustix::io::Errno::INVAL.into()));
        assert!(pipes.lane().is_none());
    }

    #[test]
    fn more_than_is_in_the_pipe_is_not_sent() {
        let pipes = Arc::<Pipes>::default();
        let lane = pipes.lane().expect("a pipe");
        let (to, _from) = std::os::unix::net::UnixStream::pair().expect("sockets");
        lane.send(&to, 1).expect_err("nothing is in it");
        assert!(is_stand_in(&STAND_IN[..1]) && is_stand_in(&STAND_IN[ROOM - 1..]));
        assert!(!is_stand_in(&STAND_IN[..0]) && !is_stand_in(b"bytes"));
    }
}
