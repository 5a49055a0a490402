//! Cookies: every name and value is a part of the line, and none holds what separates them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rust_nginx_proxy::fuzzing;

fuzz_target!(|line: &[u8]| {
    let Some(cookies) = fuzzing::cookies(line) else { return };
    assert!(cookies.len() <= line.iter().filter(|byte| **byte == b'=').count());
    for (name, value) in cookies {
        assert!(!name.contains(&b'=') && !name.contains(&b';') && !value.contains(&b';'));
        assert_eq!((name.trim_ascii(), value.trim_ascii()), (&name[..], &value[..]));
    }
});
