//! What goes by on a connection before anybody parses it: heads of HTTP/1 requests, frames of HTTP/2
//! ([`crate::frames`]).
//!
//! hyper decides what a message means. A watch only counts, and stops the flow where hyper would be more patient than
//! we are. It holds back what it objects to and says so in [`super::counters::IoCounters`]; the connection does the rest.

mod head;

pub(super) use self::head::{HeadWatch, USUAL_FIELDS};
use crate::frames::FrameWatch;

/// Why a watch stopped the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The request line is larger than a buffer: 414.
    LongLine,
    /// A field, or the whole head, is too large: 400 with nginx's explanation.
    LargeHead,
    /// Both `Content-Length` and `Transfer-Encoding`, or a length that is none: 400.
    Framing,
    /// More fields than the parser was made for.
    ManyFields,
    /// More frames that do nothing than a connection may send in a while.
    Flood,
}

/// What is watched.
#[derive(Debug)]
pub(super) enum Watch {
    /// Nothing: the protocol is not known yet.
    Nothing,
    Heads(HeadWatch),
    Frames(Box<FrameWatch>),
}

// === impl Verdict ===

impl Verdict {
    /// As a number other than 0.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::LongLine => 1,
            Self::LargeHead => 2,
            Self::Framing => 3,
            Self::ManyFields => 4,
            Self::Flood => 5,
        }
    }

    pub(super) fn of_code(code: u8) -> Option<Self> {
        let all = [Self::LongLine, Self::LargeHead, Self::Framing, Self::ManyFields, Self::Flood];
        all.into_iter().find(|verdict| verdict.code() == code)
    }
}
