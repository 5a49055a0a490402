//! How far the body of a request has come, and whose fault it is when it comes no further.

use super::BoxError;
use crate::{error::ProxyError, table::Policy, timeout::Deadline};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

/// What is known about a client's body while it is streamed; shared with the future that waits for the response.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Bytes passed on so far.
    bytes: Cell<u64>,
    limit: u64,
    state: Cell<ProgressState>,
    failure: RefCell<Option<ProxyError>>,
    deadline: Rc<Deadline>,
    /// `None` where both sides may speak at once: then nobody is late while either does.
    client_timeout: Option<Duration>,
    send_timeout: Duration,
    read_timeout: Duration,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProgressState {
    WaitingForClient,
    Sending,
    Complete,
    /// The endpoint has answered while the body was still under way.
    Answered,
}

// === impl Progress ===

impl Progress {
    pub(crate) fn new(policy: &Policy, deadline: &Rc<Deadline>, client_timeout: Option<Duration>) -> Rc<Self> {
        Rc::new(Self {
            bytes: Cell::new(0),
            limit: policy.max_body.unwrap_or(u64::MAX),
            state: Cell::new(ProgressState::Sending),
            failure: RefCell::new(None),
            deadline: Rc::clone(deadline),
            client_timeout,
            send_timeout: policy.send_timeout,
            read_timeout: policy.read_timeout,
        })
    }

    /// Counts what comes from the client. More than the policy allows is an error.
    pub(super) fn received(&self, length: usize) -> Result<(), BoxError> {
        self.bytes.set(self.bytes.get() + length as u64);
        if self.bytes.get() > self.limit {
            return Err(self.fail(ProxyError::BodyTooLarge));
        }
        Ok(())
    }

    /// Part of an answer has come: an endpoint that has all of the request gets time for the next part.
    pub(crate) fn heard(&self) {
        if self.state.get() == ProgressState::Complete {
            self.deadline.set(self.read_timeout);
        }
    }

    /// The endpoint has answered: from here on its policy's read timeout is the only one.
    pub(super) fn answered(&self) {
        self.state.set(ProgressState::Answered);
    }

    /// The body will be sent from its beginning.
    pub(super) fn restart(&self) {
        self.state.set(ProgressState::Sending);
    }

    /// Moves the deadline to what the new state waits for.
    pub(super) fn enter(&self, state: ProgressState) {
        if state == ProgressState::WaitingForClient && self.state.get() == state {
            // Still waiting for the same bytes: the clock goes on.
            return;
        }
        if self.state.get() == ProgressState::Answered {
            // Silence of the client is no fault any more, and anything else counts like a word of the endpoint.
            if state == ProgressState::Sending {
                self.deadline.set(self.read_timeout);
            }
            return;
        }
        self.state.set(state);
        self.deadline.set(match state {
            ProgressState::WaitingForClient => self.client_timeout.unwrap_or(self.read_timeout),
            ProgressState::Sending => self.send_timeout,
            ProgressState::Complete | ProgressState::Answered => self.read_timeout,
        });
    }

    /// A part of what was read has gone to the endpoint.
    pub(super) fn moved(&self) {
        match self.state.get() {
            ProgressState::Sending => self.deadline.set(self.send_timeout),
            ProgressState::Complete | ProgressState::Answered => self.deadline.set(self.read_timeout),
            ProgressState::WaitingForClient => {}
        }
    }

    pub(super) fn fail(&self, error: ProxyError) -> BoxError {
        let text = error.to_string();
        self.failure.replace(Some(error));
        text.into()
    }

    /// What the body itself did wrong, if anything; the connection's error is then only its consequence.
    pub(crate) fn take_failure(&self) -> Option<ProxyError> {
        self.failure.take()
    }

    /// What it means that the deadline has passed.
    pub(crate) fn expired(&self) -> ProxyError {
        match self.state.get() {
            ProgressState::WaitingForClient if self.client_timeout.is_some() => ProxyError::ClientTimeout,
            ProgressState::Sending => ProxyError::SendTimeout,
            ProgressState::WaitingForClient | ProgressState::Complete | ProgressState::Answered => {
                ProxyError::ReadTimeout
            }
        }
    }
}
