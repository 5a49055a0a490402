//! The address of a client as endpoints are told it.

use http::HeaderValue;
use std::net::IpAddr;

/// An address as a header value. Formatting machinery costs more than the rest of accepting a connection.
pub(crate) fn header(address: IpAddr) -> HeaderValue {
    const EXPECT: &str = "digits, letters, dots and colons are valid in a header value";
    let IpAddr::V4(v4) = address else {
        return HeaderValue::try_from(address.to_string()).expect(EXPECT);
    };
    let mut text = [0; 15];
    let mut length = 0;
    for (index, octet) in v4.octets().into_iter().enumerate() {
        let digits = [(100, octet / 100), (10, octet / 10 % 10), (1, octet % 10)];
        let significant = digits.into_iter().filter(|(unit, _)| octet >= *unit || *unit == 1);
        let dot = (index > 0).then_some(b'.');
        for byte in dot.into_iter().chain(significant.map(|(_, digit)| b'0' + digit)) {
            text[length] = byte;
            length += 1;
        }
    }
    HeaderValue::from_bytes(&text[..length]).expect(EXPECT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_everybody_writes_them() {
        for text in ["0.0.0.0", "1.20.203.255", "127.0.0.1", "10.100.9.99", "2001:db8::1", "::1"] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(header(address), text);
        }
    }
}
