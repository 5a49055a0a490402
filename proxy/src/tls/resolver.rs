//! The certificate for a handshake, from the table that is installed at that moment.

use crate::Handle;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{fmt, sync::Arc};

/// Resolves by server name against the installed table, so that a new certificate serves from the next handshake on and
/// no connection notices.
pub(super) struct TableResolver {
    handle: Arc<Handle>,
}

// === impl TableResolver ===

impl TableResolver {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        Self { handle }
    }
}

impl ResolvesServerCert for TableResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.handle.load();
        let certificates = table.certificates().find(hello.server_name());
        // rustls has left only the schemes that go with a suite that both sides have.
        let can_verify = |schemes| move |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let mut keys = certificates.iter().map(|certificate| certificate.certified_key());
        let key = match certificates {
            [only] => only.certified_key(),
            [first, ..] => keys.find(can_verify(hello.signature_schemes())).unwrap_or_else(|| first.certified_key()),
            [] => return None,
        };
        Some(Arc::clone(key))
    }
}

impl fmt::Debug for TableResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableResolver").finish_non_exhaustive()
    }
}
