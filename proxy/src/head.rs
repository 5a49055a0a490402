//! The head of a message in the making: bytes for HTTP/1.1, a map for HTTP/2 and for whoever has to look things up.

use http::{HeaderMap, HeaderName, HeaderValue};

/// What fields are added to.
pub(crate) trait Head {
    /// Adds a field behind those that are there, also of the same name.
    fn add(&mut self, name: &HeaderName, value: &HeaderValue);
}

impl Head for HeaderMap {
    fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name.clone(), value.clone());
    }
}

/// As RFC 9112 §5 has it; names and values are free of what would end a line by their types.
impl Head for Vec<u8> {
    fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        self.reserve(name.len() + value.len() + 4);
        self.extend_from_slice(name);
        self.extend_from_slice(b": ");
        self.extend_from_slice(value);
        self.extend_from_slice(b"\r\n");
    }
}
