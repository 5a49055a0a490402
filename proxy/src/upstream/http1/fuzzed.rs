//! What reads a response, without a connection: for fuzz/.

use super::{
    decoder::{Decoded, Decoder},
    head,
};
use bytes::BytesMut;

/// What a response came to.
#[derive(Debug, PartialEq, Eq)]
pub struct FuzzedResponse {
    /// Its status, the last one where there were several.
    pub status: u16,
    /// The body as far as it is here.
    pub body: Vec<u8>,
    /// Whether that is all of it.
    pub complete: bool,
    /// Whether another request may follow.
    pub keeps_alive: bool,
    /// Bytes that belong to nothing.
    pub rest: usize,
}

/// Reads a response from bytes that come in pieces.
#[must_use]
pub(crate) fn respond(bytes: &[u8], piece: usize, after_head: bool) -> Option<FuzzedResponse> {
    let (mut read, mut seen): (_, Option<(FuzzedResponse, Decoder)>) = (BytesMut::new(), None);
    for part in bytes.chunks(piece.max(1)) {
        read.extend_from_slice(part);
        while seen.is_none() {
            let Some(head) = head::take(&mut read, 4096, after_head).ok()? else { break };
            let status = head.response.status().as_u16();
            if status / 100 != 1 || status == 101 {
                let keeps_alive = head.keeps_alive;
                let response = FuzzedResponse { status, body: Vec::new(), complete: false, keeps_alive, rest: 0 };
                seen = Some((response, head.decoder));
            }
        }
        if let Some((response, decoder)) = &mut seen {
            while let Decoded::Data(data) = decoder.decode(&mut read).ok()? {
                response.body.extend_from_slice(&data);
            }
        }
    }
    let (mut response, decoder) = seen?;
    (response.complete, response.rest) = (decoder.is_done(), read.len());
    Some(response)
}
