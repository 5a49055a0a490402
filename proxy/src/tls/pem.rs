//! What is wrong with text that should be PEM (RFC 7468), in words: the parser shows lines as lists of numbers.

use rustls::pki_types::pem::Error;
use std::fmt;

/// Text that is not PEM.
#[derive(Debug, thiserror::Error)]
pub struct BadPem(#[from] Error);

/// As much of a line as is shown.
const SHOWN: usize = 64;

impl fmt::Display for BadPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |line: &[u8]| String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).into_owned();
        match &self.0 {
            Error::MissingSectionEnd { end_marker } => {
                write!(f, "the line \"-----END {}-----\" is missing", text(end_marker))
            }
            Error::IllegalSectionStart { line } => write!(f, "the line {:?} is malformed", text(line)),
            error => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    #[test]
    fn lines_are_shown_as_text() {
        let wrong = |text: &str| {
            BadPem::from(CertificateDer::from_pem_slice(text.as_bytes()).expect_err("not a certificate")).to_string()
        };
        assert_eq!(wrong("-----BEGIN CERTIFICATE-----\nAAAA\n"), "the line \"-----END CERTIFICATE-----\" is missing");
        assert_eq!(wrong("-----BEGIN CERTIFICATE\n"), "the line \"-----BEGIN CERTIFICATE\" is malformed");
    }
}
