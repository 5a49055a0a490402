//! Distinguished names as text (RFC 2253), as OpenSSL's `XN_FLAG_RFC2253` writes them and `$ssl_client_s_dn` holds them.
//!
//! The text is ASCII without control characters, whatever stands in a certificate.

use std::fmt::Write as _;
use x509_parser::{
    asn1_rs::Tag,
    x509::{AttributeTypeAndValue, X509Name},
};

/// Short names of attribute types, as OpenSSL has them.
const SHORT_NAMES: [(&str, &str); 23] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

/// The last relative name first, attributes of one name joined by `+`.
pub(super) fn rfc2253(name: &X509Name<'_>) -> String {
    let relative: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, relative) in relative.into_iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let mut attributes: Vec<_> = relative.iter().collect();
        attributes.reverse();
        for (index, attribute) in attributes.into_iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            append(&mut text, attribute);
        }
    }
    text
}

fn append(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == oid).map(|(_, short)| *short);
    text.push_str(short.unwrap_or(&oid));
    text.push('=');
    let value = attribute.attr_value();
    match characters(value.tag(), value.data).filter(|_| short.is_some()) {
        Some(characters) => escape(text, &characters),
        None => hexadecimal(text, value.tag(), value.data),
    }
}

/// The characters of a string type; `None` for any other type, and for bytes that it cannot hold.
fn characters(tag: Tag, data: &[u8]) -> Option<String> {
    match tag {
        Tag::Utf8String => std::str::from_utf8(data).ok().map(str::to_owned),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString | Tag::T61String => {
            // Latin-1 where it is more than ASCII, as OpenSSL takes it.
            Some(data.iter().map(|byte| char::from(*byte)).collect())
        }
        Tag::BmpString => {
            let units = data.chunks(2).map(|pair| pair.try_into().map(u16::from_be_bytes));
            String::from_utf16(&units.collect::<Result<Vec<_>, _>>().ok()?).ok()
        }
        Tag::UniversalString => {
            let units =
                data.chunks(4).map(|four| four.try_into().map(u32::from_be_bytes).ok().and_then(char::from_u32));
            units.collect()
        }
        _ => None,
    }
}

/// RFC 2253 §2.4: special characters behind a backslash, everything else that is not plain ASCII as bytes of UTF-8.
fn escape(text: &mut String, characters: &str) {
    let last = characters.chars().count().saturating_sub(1);
    for (index, character) in characters.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => text.extend(['\\', character]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            ' '..='~' => text.push(character),
            other => {
                for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
        }
    }
}

/// `#` and the encoding (DER): for types without a short name, and values that are no text.
fn hexadecimal(text: &mut String, tag: Tag, data: &[u8]) {
    let length = data.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let _ = write!(text, "#{:02X}", tag.0);
    if data.len() >= 128 {
        let _ = write!(text, "{:02X}", 128 + significant.len());
    }
    let significant = if data.is_empty() { &[0] } else { significant };
    significant.iter().chain(data).for_each(|byte| _ = write!(text, "{byte:02X}"));
}
