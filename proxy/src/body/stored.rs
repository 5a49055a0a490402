//! The body of a request that is read as a whole before an endpoint is asked (nginx `proxy_request_buffering on`), so that
//! a slow client holds up no endpoint, and so that it can be sent again.
//!
//! The first part is kept in memory, the rest goes to a temporary file that has no name: it is gone with the last who
//! uses it, however the process ends. Files are read and written on threads of their own, never on the worker; what waits
//! for the disk is bounded by [`PIECE`], because the client is not read from meanwhile.

use super::{
    progress::{Progress, ProgressState},
    upload::Reader,
};
use crate::{error::ProxyError, table::Policy, timeout::Deadline};
use bytes::Bytes;
use http_body::{Body, Frame};
use std::{
    fs::{File, Permissions},
    future::poll_fn,
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};

/// What is written or read at once: a trip to another thread costs more than the copy.
const PIECE: usize = 64 * 1024;

/// A body that has been read.
#[derive(Debug)]
pub(crate) struct Stored {
    memory: Bytes,
    /// What follows what is in memory.
    file: Option<Arc<File>>,
    length: u64,
}

/// Such a body on its way to an endpoint.
pub(crate) struct StoredBody {
    stored: Rc<Stored>,
    progress: Rc<Progress>,
    position: u64,
    /// Reads the next piece of the file. A task of the worker stands between it and the thread that reads: what drives
    /// connections must be woken on the worker.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

/// A body in the making.
struct Store {
    most_memory: usize,
    memory: Memory,
    /// Not written yet.
    pending: Vec<u8>,
    file: Option<Arc<File>>,
    length: u64,
}

enum Memory {
    Nothing,
    /// One frame, as it came.
    Frame(Bytes),
    /// Several: copied, because a small frame may keep a large buffer alive.
    Copied(Vec<u8>),
}

/// Whether the last file could not be written: said once, not per request.
static FAILING: AtomicBool = AtomicBool::new(false);

// === impl Stored ===

impl Stored {
    /// Reads a body to its end, within the limits of the route. Trailers end here: it goes to endpoints of HTTP/1.1,
    /// which get none, as from nginx.
    pub(crate) async fn read(
        mut incoming: Reader,
        policy: &Policy,
        client_timeout: Duration,
        deadline: &Deadline,
    ) -> Result<Self, ProxyError> {
        let limit = policy.max_body.unwrap_or(u64::MAX);
        let most_memory = usize::try_from(policy.body_buffer).unwrap_or(usize::MAX);
        let mut store = Store { most_memory, memory: Memory::Nothing, pending: Vec::new(), file: None, length: 0 };
        while let Some(frame) = next_frame(&mut incoming, client_timeout, deadline).await? {
            if let Ok(data) = frame.into_data() {
                store.length += data.len() as u64;
                if store.length > limit {
                    return Err(ProxyError::BodyTooLarge);
                }
                store.add(data).await?;
            }
            if incoming.is_end_stream() {
                break;
            }
        }
        store.finish().await
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

/// A file for nobody else. It has no name, but others can find it in /proc, and the mode that it gets by default is up to
/// the umask.
fn temporary_file() -> io::Result<File> {
    let file = tempfile::tempfile()?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

async fn next_frame(
    incoming: &mut Reader,
    timeout: Duration,
    deadline: &Deadline,
) -> Result<Option<Frame<Bytes>>, ProxyError> {
    let mut waiting = false;
    let frame = poll_fn(|cx| {
        if let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) {
            return Poll::Ready(frame.transpose().map_err(ProxyError::of_client_body));
        }
        if !waiting {
            waiting = true;
            deadline.set(timeout);
        }
        deadline.poll_expired(cx).map(|()| Err(ProxyError::ClientTimeout))
    })
    .await;
    if waiting {
        deadline.clear();
    }
    frame
}

// === impl Store ===

impl Store {
    async fn add(&mut self, mut data: Bytes) -> Result<(), ProxyError> {
        if self.file.is_none() && self.pending.is_empty() {
            let room = self.most_memory.saturating_sub(self.memory.len());
            let first = data.split_to(room.min(data.len()));
            self.memory.add(first);
        }
        while !data.is_empty() {
            let part = data.split_to(data.len().min(PIECE - self.pending.len()));
            self.pending.extend_from_slice(&part);
            if self.pending.len() == PIECE {
                self.write().await?;
            }
        }
        Ok(())
    }

    /// Writes what is pending behind what was written before.
    async fn write(&mut self) -> Result<(), ProxyError> {
        let (file, pending) = (self.file.clone(), std::mem::take(&mut self.pending));
        let written = spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(temporary_file()?),
            };
            (&*file).write_all(&pending)?;
            Ok((file, pending))
        });
        match written.await.unwrap_or_else(|error| Err(error.into())) {
            Ok((file, mut pending)) => {
                FAILING.store(false, Relaxed);
                pending.clear();
                (self.file, self.pending) = (Some(file), pending);
                Ok(())
            }
            Err(error) => {
                if !FAILING.swap(true, Relaxed) {
                    let directory = std::env::temp_dir();
                    tracing::error!(%error, directory = %directory.display(), "cannot write request bodies to temporary files");
                }
                Err(ProxyError::TemporaryFile(error))
            }
        }
    }

    async fn finish(mut self) -> Result<Stored, ProxyError> {
        if !self.pending.is_empty() {
            self.write().await?;
        }
        let memory = match self.memory {
            Memory::Nothing => Bytes::new(),
            Memory::Frame(frame) => frame,
            Memory::Copied(bytes) => bytes.into(),
        };
        Ok(Stored { memory, file: self.file, length: self.length })
    }
}

// === impl Memory ===

impl Memory {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Frame(frame) => frame.len(),
            Self::Copied(bytes) => bytes.len(),
        }
    }

    fn add(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        match self {
            Self::Nothing => *self = Self::Frame(data),
            Self::Frame(frame) => *self = Self::Copied([&**frame, &*data].concat()),
            Self::Copied(bytes) => bytes.extend_from_slice(&data),
        }
    }
}

// === impl StoredBody ===

impl StoredBody {
    pub(super) fn new(stored: Rc<Stored>, progress: Rc<Progress>) -> Self {
        progress.restart();
        Self { stored, progress, position: 0, reading: None }
    }

    /// The same from its beginning.
    pub(super) fn again(self) -> Self {
        Self::new(self.stored, self.progress)
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.position == self.stored.length
    }

    pub(super) fn remaining(&self) -> u64 {
        self.stored.length - self.position
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, super::BoxError>>> {
        if self.position == self.stored.length {
            self.progress.enter(ProgressState::Complete);
            return Poll::Ready(None);
        }
        let data = match std::task::ready!(self.poll_data(cx)) {
            Ok(data) => data,
            Err(error) => {
                let error = self.progress.fail(ProxyError::TemporaryFile(error));
                return Poll::Ready(Some(Err(error)));
            }
        };
        self.position += data.len() as u64;
        self.progress.enter(if self.is_end_stream() { ProgressState::Complete } else { ProgressState::Sending });
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let in_memory = self.stored.memory.len() as u64;
        if self.position < in_memory {
            // Sent from the beginning, so this is all of it.
            return Poll::Ready(Ok(self.stored.memory.clone()));
        }
        let Some(file) = &self.stored.file else { return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())) };
        let reading = self.reading.get_or_insert_with(|| {
            let (file, offset) = (Arc::clone(file), self.position - in_memory);
            let length = usize::try_from(self.stored.length - self.position).unwrap_or(PIECE).min(PIECE);
            spawn_local(async move {
                let read = spawn_blocking(move || {
                    let mut piece = vec![0; length];
                    file.read_exact_at(&mut piece, offset).map(|()| Bytes::from(piece))
                });
                read.await.unwrap_or_else(|error| Err(error.into()))
            })
        });
        let read = std::task::ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(read.unwrap_or_else(|error| Err(error.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_file_is_for_nobody_else() {
        let mode = temporary_file().expect("a file").metadata().expect("its mode").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{mode:o}");
    }
}
