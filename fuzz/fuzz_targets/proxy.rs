//! The PROXY protocol: pieces make no difference, nothing behind the header is taken, and what follows does not count.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rust_nginx_proxy::fuzzing;

/// As nginx.
const LONGEST: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    let whole = fuzzing::proxy_header(bytes, usize::MAX);
    assert_eq!(whole, fuzzing::proxy_header(bytes, usize::from(*piece) + 1));
    if let Some((length, client)) = whole {
        assert!(length <= LONGEST && length <= bytes.len());
        assert_eq!(Some((length, client)), fuzzing::proxy_header(&bytes[..length], usize::MAX));
    }
});
