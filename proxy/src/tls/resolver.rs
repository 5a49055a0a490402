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
        Some(Arc::clone(table.certificates().find(hello.server_name()).certified_key()))
    }
}

impl fmt::Debug for TableResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableResolver").finish_non_exhaustive()
    }
}
