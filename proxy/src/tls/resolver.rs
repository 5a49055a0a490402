//! The certificate for a handshake, from the table that is installed at that moment.

use super::{Certificate, ocsp::Staples};
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
    staples: Arc<Staples>,
}

// === impl TableResolver ===

impl TableResolver {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        Self { handle, staples: Arc::default() }
    }
}

impl ResolvesServerCert for TableResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.handle.load();
        let certificates = table.certificates().find(hello.server_name());
        // rustls has left only the schemes that go with a suite that both sides have.
        let schemes = hello.signature_schemes();
        let can_verify = |known: &&Arc<Certificate>| known.certified_key().key.choose_scheme(schemes).is_some();
        let certificate = match certificates {
            [only] => only,
            [first, ..] => certificates.iter().find(can_verify).unwrap_or(first),
            [] => return None,
        };
        if table.settings().ocsp {
            return Some(self.staples.with_staple(certificate));
        }
        Some(Arc::clone(certificate.certified_key()))
    }
}

impl fmt::Debug for TableResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableResolver").finish_non_exhaustive()
    }
}
