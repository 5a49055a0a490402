//! What a connection from a client agreed on in its handshake.

use super::{ClientAuth, Judgement, TlsPolicy, client_auth::escaped_pem, openssl_name};
use crate::hex;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::HeaderValue;
use rustls::{
    CipherSuite, ProtocolVersion, ServerConnection,
    pki_types::{CertificateDer, UnixTime},
};
use std::{cell::RefCell, rc::Rc, sync::Arc};
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
        self.suite.map_or("", openssl_name)
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
        Some(hex::text(serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial)).to_uppercase())
    }

    /// Its SHA-1 fingerprint in hexadecimal, as nginx has it.
    pub(crate) fn client_fingerprint(&self) -> Option<String> {
        Some(hex::text(digest(&SHA1_FOR_LEGACY_USE_ONLY, self.chain.first()?).as_ref()))
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
