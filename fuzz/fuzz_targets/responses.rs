//! Responses of endpoints over HTTP/1.1: pieces make no difference, and nothing is made up or taken twice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rust_nginx_proxy::fuzzing;

/// Framing has bounds of its own, which depend on how it is cut.
const MOST: usize = 8 << 10;

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    if bytes.len() > MOST {
        return;
    }
    let after_head = piece & 1 == 1;
    let whole = fuzzing::response(bytes, usize::MAX, after_head);
    let pieces = fuzzing::response(bytes, usize::from(piece >> 1) + 1, after_head);
    assert_eq!(whole, pieces);
    if let Some(response) = whole {
        assert!((200..=999).contains(&response.status) || response.status == 101);
        assert!(response.body.len() + response.rest <= bytes.len());
        assert!(!after_head || response.body.is_empty(), "a body after HEAD");
    }
});
