//! What is left of a body when its request has been answered: read and thrown away beside the answer and behind it, so
//! that the next request of the connection can be read.
//!
//! The connection drives it, together with hyper: no task of its own, and nothing to wake.
//!
//! Must not know: how much that may be, and how long it may take (`body/upload.rs`).

use super::Connection;
use crate::body::Upload;
use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

impl Connection {
    /// The next request stands behind this body. HTTP/1 only.
    pub(crate) fn read_past(&self, upload: Rc<Upload>) {
        self.rest.replace(Some(upload));
    }

    pub(super) fn has_rest(&self) -> bool {
        self.rest.borrow().is_some()
    }

    /// Throws away what has come. Ready when that has come to its end, also to a premature one, on which hyper closes.
    pub(super) fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &*self.rest.borrow() {
            None => return Poll::Pending,
            Some(upload) => {
                if self.active.get() == 0 && upload.is_late(self.worker.timers().now()) {
                    upload.let_go();
                }
                ready!(upload.poll_discard(cx));
            }
        }
        self.rest.take();
        // It is not the beginning of a head.
        self.read_before.set(self.io.read());
        Poll::Ready(())
    }

    /// The client sends nothing any more.
    pub(super) fn give_up_rest(&self) {
        if let Some(upload) = &*self.rest.borrow() {
            upload.let_go();
        }
    }
}
