//! What a connection from a client agreed on in its handshake.

use super::{ClientAuth, Judgement, TlsPolicy};
use rustls::{
    ServerConnection,
    pki_types::{CertificateDer, UnixTime},
};
use std::{cell::RefCell, rc::Rc, sync::Arc};

/// The handshake of one connection, as far as requests ask for it.
#[derive(Debug)]
pub(crate) struct Session {
    /// In lower case.
    server_name: Option<Box<str>>,
    /// What the client showed, leaf first; of a resumed session, what it had shown then.
    chain: Box<[CertificateDer<'static>]>,
    /// Whether the client was asked to show anything.
    asked: bool,
    /// The latest judgement, and under which settings.
    judged: RefCell<Option<(Arc<ClientAuth>, Rc<Judgement>)>>,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(server_name: Option<Box<str>>, connection: &ServerConnection, policy: &TlsPolicy) -> Self {
        let chain = connection.peer_certificates().unwrap_or_default().iter().cloned().collect();
        let asked = policy.client_auth().is_some_and(|auth| auth.asks());
        Self { server_name, chain, asked, judged: RefCell::new(None) }
    }

    /// The server name, where the client sent one.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Whether the client was asked for a certificate.
    pub(crate) fn asked(&self) -> bool {
        self.asked
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
