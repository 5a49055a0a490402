//! The `Forwarded` field (RFC 7239 §4): what every proxy on the way says about whom it was asked by.
//!
//! There is no maintained parser that knows quoted strings, and one that splits `for="a, for=b"` in the middle lets a
//! client forge an element. Whatever is not in the grammar is no value at all: nothing of it is believed.

use std::{borrow::Cow, net::IpAddr};

/// What one proxy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// `for`, where it is an address. Proxies may hide it: `unknown` or `_hidden` (§6).
    pub(super) client: Option<IpAddr>,
    /// `proto`: the scheme that the proxy was asked with.
    pub(super) proto: Option<Cow<'a, str>>,
    /// `host`: the Host that it was asked for.
    pub(super) host: Option<Cow<'a, str>>,
}

/// What is left to read.
struct Reader<'a>(&'a str);

/// The elements of one line, in their order. `None` where the line is malformed.
pub(super) fn parse(line: &str) -> Option<Vec<Element<'_>>> {
    let mut reader = Reader(line);
    let mut elements = Vec::new();
    loop {
        let element = reader.element()?;
        // Lists may hold empty elements (RFC 9110 §5.6.1.2).
        elements.extend(element);
        reader.blanks();
        if reader.0.is_empty() {
            return Some(elements);
        }
        reader.take(',')?;
    }
}

/// A node (§6): an address, with or without port. IPv6 stands in brackets; without, where everybody else writes it so.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        is_port(rest).then(|| address.parse().ok().map(IpAddr::V6))??
    } else if let Ok(address) = text.parse() {
        address
    } else {
        let (address, _) = text.split_once(':').filter(|(address, _)| is_port(&text[address.len()..]))?;
        address.parse().ok().map(IpAddr::V4)?
    };
    Some(address.to_canonical())
}

/// Nothing, or a colon with a port behind it, which may be hidden as well.
fn is_port(text: &str) -> bool {
    text.strip_prefix(':').map_or_else(
        || text.is_empty(),
        |port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')),
    )
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Pairs up to the next comma; the inner `None` is an element without any.
    #[expect(clippy::option_option, reason = "malformed is not empty")]
    fn element(&mut self) -> Option<Option<Element<'a>>> {
        let mut element = Element::default();
        let (mut empty, mut seen) = (true, [false; 3]);
        loop {
            self.blanks();
            if !self.0.is_empty() && !self.0.starts_with([';', ',']) {
                let (name, value) = self.pair()?;
                empty = false;
                let known = ["for", "proto", "host"].iter().position(|known| name.eq_ignore_ascii_case(known));
                // No parameter stands twice in an element (§4).
                if let Some(seen) = known.map(|known| &mut seen[known])
                    && std::mem::replace(seen, true)
                {
                    return None;
                }
                match known {
                    Some(0) => element.client = address(&value),
                    // A scheme is the same in any case (RFC 3986 §3.1).
                    Some(1) => element.proto = Some(value.to_ascii_lowercase().into()),
                    Some(2) => element.host = Some(value),
                    _ => {}
                }
                self.blanks();
            }
            if self.take(';').is_none() {
                return Some((!empty).then_some(element));
            }
        }
    }

    /// `name=value`, without blanks around the sign.
    fn pair(&mut self) -> Option<(&'a str, Cow<'a, str>)> {
        let name = self.while_true(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        self.take('=')?;
        let value = if self.0.starts_with('"') {
            self.quoted()?
        } else {
            // More than a token: many write an address with its port, or IPv6, without quotes.
            let value = self.while_true(|b| b.is_ascii_graphic() && !matches!(b, b',' | b';' | b'"'));
            (!value.is_empty()).then_some(Cow::Borrowed(value))?
        };
        (!name.is_empty()).then_some((name, value))
    }

    /// RFC 9110 §5.6.4.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let text = self.0.strip_prefix('"')?;
        let end = text.find(['"', '\\'])?;
        if text.as_bytes()[end] == b'"' {
            self.0 = &text[end + 1..];
            return Some(Cow::Borrowed(&text[..end]));
        }
        let mut value = String::new();
        let mut characters = text.char_indices();
        loop {
            match characters.next()? {
                (position, '"') => {
                    self.0 = &text[position + 1..];
                    return Some(Cow::Owned(value));
                }
                (_, '\\') => value.push(characters.next()?.1),
                (_, character) => value.push(character),
            }
        }
    }

    fn while_true(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let end = self.0.bytes().position(|byte| !belongs(byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn take(&mut self, sign: char) -> Option<()> {
        self.0 = self.0.strip_prefix(sign)?;
        Some(())
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(client: Option<&str>, proto: Option<&'static str>, host: Option<&'static str>) -> Element<'static> {
        let client = client.map(|text| text.parse().expect("an address"));
        Element { client, proto: proto.map(Cow::Borrowed), host: host.map(Cow::Borrowed) }
    }

    #[test]
    fn examples_of_the_rfc() {
        for (line, expected) in [
            (r#"for="_gazonk""#, vec![element(None, None, None)]),
            (r#"For="[2001:db8:cafe::17]:4711""#, vec![element(Some("2001:db8:cafe::17"), None, None)]),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", vec![element(Some("192.0.2.60"), Some("http"), None)]),
            (
                "for=192.0.2.43, for=198.51.100.17",
                vec![element(Some("192.0.2.43"), None, None), element(Some("198.51.100.17"), None, None)],
            ),
            (
                r#"for=_hidden, for=_SEVKISEK;host=a.example;proto=https, for=unknown"#,
                vec![
                    element(None, None, None),
                    element(None, Some("https"), Some("a.example")),
                    element(None, None, None),
                ],
            ),
        ] {
            assert_eq!(parse(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn quoted_strings_hide_what_looks_like_a_separator() {
        let line = r#"for="1.1.1.1, for=2.2.2.2";host="a\"b;proto=https", , proto=http ; for=3.3.3.3;"#;
        let elements = parse(line).expect("well formed");
        assert_eq!(elements.len(), 2);
        assert_eq!((elements[0].client, elements[0].proto.as_deref()), (None, None));
        assert_eq!(elements[0].host.as_deref(), Some("a\"b;proto=https"));
        assert_eq!(elements[1], element(Some("3.3.3.3"), Some("http"), None));
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        for line in [
            "for",
            "for=",
            "=1.1.1.1",
            "for=1.1.1.1 proto=https",
            "for =1.1.1.1",
            r#"for="1.1.1.1"#,
            r#"for="1.1.1.1\"#,
            r#"for="1.1.1.1"x"#,
            "for=1.1.1.1;for=2.2.2.2",
            "proto=http;PROTO=https",
            "for=1.1.1.1\u{e9}",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!(parse(""), Some(vec![]));
    }

    #[test]
    fn addresses_come_with_and_without_port() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("192.0.2.1:_port", Some("192.0.2.1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:", None),
            ("[192.0.2.1]", None),
            ("[2001:db8::1", None),
            ("[2001:db8::1]443", None),
            ("2001:db8::1%eth0", None),
            ("localhost", None),
            ("1.2.3", None),
            ("", None),
        ] {
            assert_eq!(address(text), expected.map(|text| text.parse().expect("an address")), "{text}");
        }
    }
}
