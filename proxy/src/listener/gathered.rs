//! The IO of an HTTP/2 connection: what h2 writes is gathered until the connection comes to rest.
//!
//! h2 writes and flushes after every DATA frame. Responses that come together would each be a record of TLS, a system call
//! and a packet of their own. Here flushing means nothing; whoever polls the protocol lets go of what was gathered when
//! it has come to rest ([`Gathered::release`]), before anything waits.

use super::io::ServerIo;
use crate::worker::Worker;
use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that are gathered: a record of TLS (RFC 8446 §5.1). More is written as it comes.
const MOST: usize = 16 << 10;

/// A connection to a client; the protocol has one handle, and whoever polls the protocol another.
#[derive(Clone)]
pub(super) struct Gathered(Rc<RefCell<Inner>>);

struct Inner {
    io: ServerIo,
    worker: Rc<Worker>,
    /// Bytes that h2 takes for written.
    bytes: Vec<u8>,
    /// How many of them are.
    written: usize,
    /// The IO below may hold something back, too.
    unflushed: bool,
    /// Why what was gathered could not be written. Reading says so next.
    failure: Option<io::Error>,
}

// === impl Gathered ===

impl Gathered {
    pub(super) fn new(io: ServerIo, worker: &Rc<Worker>) -> Self {
        let worker = Rc::clone(worker);
        let inner = Inner { io, worker, bytes: Vec::new(), written: 0, unflushed: false, failure: None };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Writes what was gathered. What the client does not take yet is tried again when the protocol is polled next; its
    /// task is woken for that.
    pub(super) fn release(&self, cx: &mut Context<'_>) {
        let mut inner = self.0.borrow_mut();
        if let Poll::Ready(Err(error)) = inner.poll_flush(cx) {
            inner.failure = Some(error);
            cx.waker().wake_by_ref();
        }
    }
}

// === impl Inner ===

impl Inner {
    /// Writes all that was gathered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.bytes[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        if !self.bytes.is_empty() {
            self.written = 0;
            self.bytes.clear();
            self.worker.give_buffer(std::mem::take(&mut self.bytes));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes bytes of this length, or says that they have to be written now.
    fn poll_room(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<bool>> {
        self.unflushed = true;
        if self.bytes.len() + length > MOST {
            ready!(self.poll_drain(cx))?;
        }
        if length > MOST {
            return Poll::Ready(Ok(false));
        }
        if self.bytes.capacity() == 0 {
            self.bytes = self.worker.take_buffer();
        }
        Poll::Ready(Ok(true))
    }
}

impl AsyncRead for Gathered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        match inner.failure.take() {
            Some(failure) => Poll::Ready(Err(failure)),
            None => Pin::new(&mut inner.io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        if ready!(inner.poll_room(cx, buf.len()))? {
            inner.bytes.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut inner.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if ready!(inner.poll_room(cx, length))? {
            for buf in bufs {
                inner.bytes.extend_from_slice(buf);
            }
            return Poll::Ready(Ok(length));
        }
        Pin::new(&mut inner.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_drain(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Handle,
        access_log::LogWriter,
        listener::socket::Socket,
        table::{Settings, TableBuilder},
        tls::Certificate,
    };
    use std::{io::IoSlice, sync::Arc, sync::mpsc::sync_channel};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    /// Both ends of a connection, ours and the client's.
    async fn pair() -> (Gathered, TcpStream) {
        let certificate = Certificate::self_signed().expect("a key can be made");
        let table = TableBuilder::new(Arc::new(Settings::default()), Arc::new(certificate)).build();
        let worker = Worker::new(Handle::new(table), LogWriter::to(sync_channel(1).0));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a socket");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let socket = Socket::watched(accepted.expect("a client").0, Arc::default());
        (Gathered::new(ServerIo::plain(socket, Arc::default()), &worker), client.expect("a server"))
    }

    async fn release(io: &Gathered) {
        std::future::poll_fn(|cx| {
            io.release(cx);
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_written_goes_out_when_it_is_let_go_of() {
        let (mut io, mut client) = pair().await;
        for text in ["first ", "second "] {
            io.write_all(text.as_bytes()).await.expect("room");
            io.flush().await.expect("nothing to do");
        }
        assert_eq!(io.write_vectored(&[IoSlice::new(b"th"), IoSlice::new(b"ird")]).await.expect("room"), 5);
        let nothing = client.try_read(&mut [0]).expect_err("nothing was sent");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        release(&io).await;
        let mut got = [0; 18];
        client.read_exact(&mut got).await.expect("all of it");
        assert_eq!(&got, b"first second third");
    }

    #[tokio::test]
    async fn what_does_not_fit_goes_out_in_order() {
        let (mut io, mut client) = pair().await;
        let expected: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let lengths = [1, 5000, MOST, 1, MOST + 1, 3, 100_000, MOST - 1, 2].into_iter().cycle();
        let writing = async {
            let mut left = &*expected;
            for length in lengths {
                let (part, rest) = left.split_at(length.min(left.len()));
                io.write_all(part).await.expect("it is written");
                left = rest;
                if left.is_empty() {
                    break;
                }
            }
            io.shutdown().await.expect("it is written");
        };
        let ((), got) = tokio::join!(writing, async {
            // The end comes with the connection: closing is left to whoever drops it.
            let mut got = vec![0; expected.len()];
            client.read_exact(&mut got).await.map(|_| got)
        });
        assert!(got.expect("all of it") == expected, "not what was written");
    }

    #[tokio::test]
    async fn reading_says_that_it_could_not_be_written() {
        let (mut io, client) = pair().await;
        client.set_zero_linger().expect("a socket");
        drop(client);
        // The reset may be on its way.
        let failure = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            loop {
                io.write_all(b"for nobody").await.expect("room");
                release(&io).await;
                if let Some(failure) = io.0.borrow_mut().failure.take() {
                    break failure;
                }
                tokio::task::yield_now().await;
            }
        });
        let failure = failure.await.expect("a reset connection fails");
        io.0.borrow_mut().failure = Some(failure);
        io.read_u8().await.expect_err("it is said");
    }
}
