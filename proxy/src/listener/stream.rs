//! One stream of an HTTP/2 connection: runs on the worker of its connection, and ends when its client stalls it.
//!
//! A stream whose client opens no window is not polled by h2, and does not poll its body: no deadline in the body or
//! the request could notice. The deadline of the stream is therefore looked at here, around everything else. Inside, the
//! phases of the request move it and act on it themselves; out here it means that the client does not take what was
//! handed over, and dropping the stream resets it.

use super::connection::Connection;
use crate::metrics::Refusal;
use std::{
    rc::Rc,
    task::{Context, Poll},
};

/// Runs the streams of one connection.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor {
    connection: Rc<Connection>,
}

// === impl StreamExecutor ===

impl StreamExecutor {
    pub(super) fn new(connection: &Rc<Connection>) -> Self {
        Self { connection: Rc::clone(connection) }
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        let connection = Rc::clone(&self.connection);
        tokio::task::spawn_local(async move {
            let mut deadline = Some(Rc::new(connection.worker().timers().deadline()));
            let mut future = std::pin::pin!(future);
            std::future::poll_fn(|cx: &mut Context<'_>| {
                connection.swap_stream(deadline.take());
                let polled = future.as_mut().poll(cx);
                deadline = connection.swap_stream(None);
                if polled.is_ready() {
                    return Poll::Ready(());
                }
                let expired = deadline.as_ref().map_or(Poll::Pending, |deadline| deadline.poll_expired(cx));
                if expired.is_ready() {
                    tracing::debug!(peer = %connection.peer(), "client stalled a stream");
                    connection.refused(Refusal::Stalled);
                }
                expired
            })
            .await;
        });
    }
}
