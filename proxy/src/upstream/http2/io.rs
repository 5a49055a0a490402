//! The bytes of an HTTP/2 connection to an endpoint as h2 sees them: frames that do nothing are counted, and writes do not
//! fail because the endpoint has closed.
//!
//! Must not know: requests. They tell the allowance what they ask for.

use crate::{
    frames::{Allowance, FrameWatch},
    timeout::{Tick, Timers},
    upstream::UpstreamIo,
};
use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose frames are watched. When the endpoint has used its allowance up, reading fails, and with it the
/// connection.
///
/// h2 would not look for the answer of an endpoint after a write that fails, so that none does because the endpoint has
/// closed: reading says soon enough that it is gone.
#[derive(Debug)]
pub(super) struct WatchedIo {
    io: UpstreamIo,
    watch: FrameWatch,
    allowance: Rc<Allowance>,
    timers: Rc<Timers>,
    refilled: Tick,
    written: u64,
}

// === impl WatchedIo ===

impl WatchedIo {
    pub(super) fn new(io: UpstreamIo, allowance: &Rc<Allowance>, timers: &Rc<Timers>) -> Self {
        Self {
            io,
            watch: FrameWatch::of_endpoint(),
            allowance: Rc::clone(allowance),
            timers: Rc::clone(timers),
            refilled: timers.now(),
            written: 0,
        }
    }

    fn look(&mut self, read: &[u8]) -> io::Result<()> {
        if self.allowance.is_spent() {
            let now = self.timers.now();
            self.allowance.refill(now.ticks_since(self.refilled));
            self.refilled = now;
        }
        self.watch.see(read, &self.allowance, self.written).map_err(io::Error::other)
    }

    fn wrote(&mut self, written: io::Result<usize>, length: usize) -> io::Result<usize> {
        match written {
            Ok(written) => {
                self.written += written as u64;
                Ok(written)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                Ok(length)
            }
            Err(error) => Err(error),
        }
    }
}

impl AsyncRead for WatchedIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        Poll::Ready(this.look(&buf.filled()[before..]))
    }
}

impl AsyncWrite for WatchedIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Pin::new(&mut this.io).poll_write(cx, buf).map(|written| this.wrote(written, buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = bufs.iter().map(|buf| buf.len()).sum();
        Pin::new(&mut this.io).poll_write_vectored(cx, bufs).map(|written| this.wrote(written, length))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
