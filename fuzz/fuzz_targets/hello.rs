//! The look at the server name before TLS: pieces make no difference, and whatever comes is read to an end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rust_nginx_proxy::fuzzing;
use std::sync::Once;

static PROVIDER: Once = Once::new();

fuzz_target!(|input: &[u8]| {
    PROVIDER.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
    let Some((piece, bytes)) = input.split_first() else { return };
    let whole = fuzzing::server_name(bytes, usize::MAX);
    let pieces = fuzzing::server_name(bytes, usize::from(*piece) + 1);
    if let (Ok(whole), Ok(pieces)) = (&whole, &pieces) {
        assert_eq!(whole, pieces);
    }
    if let Ok(Some(name)) = whole {
        assert!(bytes.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes())));
    }
});
