//! The watch over frames of HTTP/2: pieces make no difference, and as many bytes as a client likes cost no more frames
//! than it may send.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rust_nginx_proxy::fuzzing;

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    let whole = fuzzing::frames(bytes, usize::MAX);
    assert_eq!(whole, fuzzing::frames(bytes, usize::from(*piece) + 1));
    // Repeated often enough, frames that ask for nothing run out.
    if bytes.len() > 24 {
        let _ = fuzzing::frames(&bytes.repeat(50), 4096);
    }
});
