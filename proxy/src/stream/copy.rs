//! Bytes both ways between two connections: tunnels, TCP services, TLS that is passed through.

use crate::timeout::Deadline;
use bytes::{Buf as _, Bytes};
use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What has been carried, also when the end is an error.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// Bytes of the client.
    pub(crate) received: Cell<u64>,
    /// Bytes for the client.
    pub(crate) sent: Cell<u64>,
}

/// Where everything that a worker carries lies between reading and writing it. A connection on which nothing moves holds
/// no memory for it: two buffers for each were two thirds of what an idle WebSocket cost.
#[derive(Debug)]
pub(crate) struct Scratch(RefCell<Box<[u8]>>);

/// A record of TLS at most, and few system calls for much data.
const SCRATCH: usize = 16 << 10;

/// One of the two directions.
struct Direction<'a> {
    state: State,
    /// Read, and not taken by the other side yet.
    rest: Bytes,
    /// Something was written since the last flush.
    unflushed: bool,
    /// Bytes that were read.
    read: &'a Cell<u64>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    /// The end was read, and the other side is being told.
    Ending,
    Closed,
}

/// Carries bytes both ways until both sides have closed or nothing moves for longer than `idle`, if there is such a limit.
/// A side that closes its half of the connection closes that half on the other side only.
pub(crate) async fn copy<C, E>(
    mut client: C,
    mut endpoint: E,
    scratch: &Scratch,
    deadline: &Deadline,
    idle: Option<Duration>,
    carried: &Carried,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    deadline.clear();
    let moved = || {
        if let Some(idle) = idle {
            deadline.set(idle);
        }
    };
    moved();
    let (mut there, mut back) = (Direction::new(&carried.received), Direction::new(&carried.sent));
    std::future::poll_fn(|cx| {
        let there = there.poll(cx, &mut client, &mut endpoint, scratch, moved)?;
        let back = back.poll(cx, &mut endpoint, &mut client, scratch, moved)?;
        if there.is_ready() && back.is_ready() {
            return Poll::Ready(Ok(()));
        }
        deadline.poll_expired(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

// === impl Scratch ===

impl Default for Scratch {
    fn default() -> Self {
        Self(RefCell::new(vec![0; SCRATCH].into()))
    }
}

// === impl Direction ===

impl<'a> Direction<'a> {
    fn new(read: &'a Cell<u64>) -> Self {
        Self { state: State::Open, rest: Bytes::new(), unflushed: false, read }
    }

    /// Ready once the end has been passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &Scratch,
        moved: impl Fn(),
    ) -> Poll<io::Result<()>> {
        loop {
            match self.state {
                State::Open => {
                    while self.rest.has_remaining() {
                        let written = ready!(write(cx, to, &self.rest))?;
                        self.rest.advance(written);
                        self.unflushed = true;
                        moved();
                    }
                    // Not before everything is written: an empty piece still holds its memory.
                    self.rest = Bytes::new();
                    let mut scratch = scratch.0.borrow_mut();
                    let mut buffer = ReadBuf::new(&mut scratch);
                    if Pin::new(&mut *from).poll_read(cx, &mut buffer)?.is_pending() {
                        ready!(self.flush(cx, to))?;
                        return Poll::Pending;
                    }
                    moved();
                    let mut fresh = buffer.filled();
                    self.read.set(self.read.get() + fresh.len() as u64);
                    if fresh.is_empty() {
                        self.state = State::Ending;
                    }
                    while !fresh.is_empty() {
                        let Poll::Ready(written) = write(cx, to, fresh)? else {
                            self.rest = Bytes::copy_from_slice(fresh);
                            return Poll::Pending;
                        };
                        fresh = &fresh[written..];
                        self.unflushed = true;
                        moved();
                    }
                }
                State::Ending => {
                    ready!(self.flush(cx, to))?;
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Closed;
                }
                State::Closed => return Poll::Ready(Ok(())),
            }
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes at least a byte.
fn write(cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(Ok(written)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeout::Timers;
    use std::rc::Rc;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        task::LocalSet,
        time::{Instant, timeout},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn silence_ends_what_has_a_limit_and_nothing_else() {
        let timers = Timers::new();
        let local = LocalSet::new();
        local.spawn_local(Rc::clone(&timers).drive());
        local
            .run_until(async {
                let (deadline, scratch) = (timers.deadline(), Scratch::default());
                // The other ends stay open and say nothing.
                let ((client, _downstream), (endpoint, _upstream)) = (duplex(64), duplex(64));
                let start = Instant::now();
                let idle = Some(Duration::from_secs(10));
                let end = copy(client, endpoint, &scratch, &deadline, idle, &Carried::default()).await;
                assert_eq!(end.unwrap_err().kind(), io::ErrorKind::TimedOut);
                assert!((10..12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());

                // Whatever the deadline was for before.
                deadline.set(Duration::from_secs(1));
                let ((client, mut downstream), (endpoint, mut upstream)) = (duplex(64), duplex(64));
                let carried = Carried::default();
                let mut copying = std::pin::pin!(copy(client, endpoint, &scratch, &deadline, None, &carried));
                assert!(timeout(HOUR, copying.as_mut()).await.is_err(), "it ended by itself");
                downstream.write_all(b"late").await.unwrap();
                downstream.shutdown().await.unwrap();
                upstream.shutdown().await.unwrap();
                copying.await.unwrap();
                let mut got = Vec::new();
                upstream.read_to_end(&mut got).await.unwrap();
                assert_eq!((&*got, carried.received.get()), (&b"late"[..], 4));
            })
            .await;
    }

    #[tokio::test]
    async fn much_goes_both_ways_in_order_past_sides_that_take_little_at_a_time() {
        const MUCH: usize = 300_000;
        let (timers, scratch, carried) = (Timers::new(), Scratch::default(), Carried::default());
        let deadline = timers.deadline();
        // Pieces larger than what the other side takes, and smaller than what is read at once.
        let ((client, downstream), (endpoint, upstream)) = (duplex(40_000), duplex(333));
        let bytes = |factor: usize| (0..MUCH).map(|at| (at * factor / 251) as u8).collect::<Vec<u8>>();
        let side = |stream, factor| async move {
            let (mut read, mut write) = tokio::io::split(stream);
            let mut got = Vec::new();
            let send = async {
                write.write_all(&bytes(factor)).await?;
                write.shutdown().await
            };
            let (sent, received) = tokio::join!(send, read.read_to_end(&mut got));
            sent.and(received).unwrap();
            got
        };
        let copying = copy(client, endpoint, &scratch, &deadline, None, &carried);
        let (end, at_client, at_endpoint) = tokio::join!(copying, side(downstream, 3), side(upstream, 5));
        end.unwrap();
        assert!(at_client == bytes(5) && at_endpoint == bytes(3), "what arrives is not what was sent");
        assert_eq!((carried.received.get(), carried.sent.get()), (MUCH as u64, MUCH as u64));
    }

    #[tokio::test]
    async fn a_side_that_has_gone_ends_it() {
        let (timers, scratch) = (Timers::new(), Scratch::default());
        let deadline = timers.deadline();
        let ((client, mut downstream), (endpoint, upstream)) = (duplex(64), duplex(64));
        drop(upstream);
        downstream.write_all(b"for nobody").await.unwrap();
        let end = copy(client, endpoint, &scratch, &deadline, None, &Carried::default()).await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
