//! The watch over heads of HTTP/1: pieces make no difference, and no head that it lets pass has two framings or is too
//! large, as httparse reads it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rust_nginx_proxy::{fuzzing, table::HeadLimits};

const LIMITS: HeadLimits = HeadLimits { line: 128, total: 512 };

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    let whole = fuzzing::heads(LIMITS, bytes, usize::MAX);
    let pieces = fuzzing::heads(LIMITS, bytes, usize::from(*piece) + 1);
    assert_eq!(whole.map(|(_, verdict)| verdict), pieces.map(|(_, verdict)| verdict));
    let passed = whole.map_or(bytes.len(), |(at, _)| at);
    check(&bytes[..passed]);
});

/// Reads what passed as a server would.
fn check(mut rest: &[u8]) {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut head = httparse::Request::new(&mut fields);
        let Ok(httparse::Status::Complete(end)) = head.parse(rest) else { return };
        let values = |name: &str| {
            let named = head.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
            named.map(|field| field.value).collect::<Vec<_>>()
        };
        let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
        assert!(lengths.is_empty() || codings.is_empty(), "two framings passed");
        assert!(codings.len() <= 1, "two codings passed");
        assert!(end <= LIMITS.total as usize, "a head of {end} bytes passed");
        assert!(
            rest[..end].split(|byte| *byte == b'\n').all(|line| line.len() < LIMITS.line as usize),
            "a long line passed"
        );
        // Chunks and odd lengths are hyper's to judge.
        let length = match lengths[..] {
            [] if codings.is_empty() => 0,
            [length] => match std::str::from_utf8(length.trim_ascii()).ok().and_then(|text| text.parse().ok()) {
                Some(length) => length,
                None => return,
            },
            _ => return,
        };
        let Some(next) = end.checked_add(length).and_then(|next| rest.get(next..)) else { return };
        rest = next;
    }
}
