//! What a connection from a client agreed on in its handshake.

use super::{ClientAuth, Judgement, TlsPolicy, client_auth::escaped_pem};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::HeaderValue;
use rustls::{
    CipherSuite, ProtocolVersion, ServerConnection,
    pki_types::{CertificateDer, UnixTime},
};
use std::{cell::RefCell, fmt::Write as _, rc::Rc, sync::Arc};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The handshake of one connection, as far as requests ask for it.
#[derive(Debug)]
pub(crate) struct Session {
    /// In lower case.
    server_name: Option<Box<str>>,
    /// What the client showed, leaf first; of a resumed session, what it had shown then.
    chain: Box<[CertificateDer<'static>]>,
    /// Whether the client was asked to show anything.
    asked: bool,
    version: Option<ProtocolVersion>,
    suite: Option<CipherSuite>,
    /// The latest judgement, and under which settings.
    judged: RefCell<Option<(Arc<ClientAuth>, Rc<Judgement>)>>,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(server_name: Option<Box<str>>, connection: &ServerConnection, policy: &TlsPolicy) -> Self {
        let chain = connection.peer_certificates().unwrap_or_default().iter().cloned().collect();
        let asked = policy.client_auth().is_some_and(|auth| auth.asks());
        let (version, suite) = (connection.protocol_version(), connection.negotiated_cipher_suite());
        let suite = suite.map(|suite| suite.suite());
        Self { server_name, chain, asked, version, suite, judged: RefCell::new(None) }
    }

    /// The server name, where the client sent one.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Whether the client was asked for a certificate.
    pub(crate) fn asked(&self) -> bool {
        self.asked
    }

    /// The version, in OpenSSL's words.
    pub(crate) fn protocol(&self) -> &'static str {
        match self.version {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "",
        }
    }

    /// The suite, in OpenSSL's words.
    pub(crate) fn cipher(&self) -> &'static str {
        match self.suite {
            Some(CipherSuite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
            Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
            Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) => "ECDHE-ECDSA-AES128-GCM-SHA256",
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384) => "ECDHE-ECDSA-AES256-GCM-SHA384",
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-ECDSA-CHACHA20-POLY1305",
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) => "ECDHE-RSA-AES128-GCM-SHA256",
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) => "ECDHE-RSA-AES256-GCM-SHA384",
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-RSA-CHACHA20-POLY1305",
            _ => "",
        }
    }

    /// The client's certificate in PEM, escaped for a header field.
    pub(crate) fn client_certificate(&self) -> Option<HeaderValue> {
        self.chain.first().map(escaped_pem)
    }

    /// Its serial number in hexadecimal, as nginx has it.
    pub(crate) fn client_serial(&self) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(self.chain.first()?).ok()?;
        let serial = certificate.raw_serial();
        // The number is positive, and DER may need a zero to say so.
        Some(hexadecimal(serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial)).to_uppercase())
    }

    /// Its SHA-1 fingerprint in hexadecimal, as nginx has it.
    pub(crate) fn client_fingerprint(&self) -> Option<String> {
        Some(hexadecimal(digest(&SHA1_FOR_LEGACY_USE_ONLY, self.chain.first()?).as_ref()))
    }

    /// What is thought of the client under these settings. Thought of once, and again when they change.
    pub(crate) fn judge(&self, auth: &Arc<ClientAuth>) -> Rc<Judgement> {
        if let Some((under, judgement)) = &*self.judged.borrow()
            && (Arc::ptr_eq(under, auth) || under == auth)
        {
            return Rc::clone(judgement);
        }
        let judgement = Rc::new(auth.judge(&self.chain, UnixTime::now()));
        *self.judged.borrow_mut() = Some((Arc::clone(auth), Rc::clone(&judgement)));
        judgement
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
