//! The watches without a connection, for fuzzing.

use super::watch::{HeadWatch, USUAL_FIELDS};
use crate::{
    frames::{Allowance, FrameWatch},
    table::HeadLimits,
};

pub(crate) fn heads(limits: HeadLimits, bytes: &[u8], piece: usize) -> Option<(usize, u8)> {
    let mut watch = HeadWatch::new(limits, USUAL_FIELDS);
    let mut before = 0;
    for mut part in bytes.chunks(piece) {
        while !part.is_empty() {
            match watch.see(part) {
                Ok(passed) => {
                    before += passed;
                    part = &part[passed..];
                }
                Err((at, verdict)) => return Some((before + at, verdict.code())),
            }
        }
    }
    None
}

pub(crate) fn frames(bytes: &[u8], piece: usize) -> (bool, bool) {
    let (mut watch, allowance) = (FrameWatch::of_client(), Allowance::default());
    let flood = bytes.chunks(piece).any(|part| watch.see(part, &allowance, 0).is_err());
    (flood, !flood && watch.is_inside())
}
