//! What a [`Compiler`](super::Compiler) remembers from one compile to the next, by the inputs it was made from.
//!
//! A memo only ever saves time: an entry is used when the input it was made from is the same object or equal to it.
//! Entries that one compile did not use are dropped after it.

use crate::snapshot::{ObjectName, Secret};
use rust_nginx_proxy::tls::Certificate;
use std::{collections::HashMap, sync::Arc};

/// All memories of one compiler.
#[derive(Debug, Default)]
pub(super) struct Memo {
    pub(super) certificates: CertificateMemo,
}

/// Parsed Secrets. Parsing one and checking its key against its certificate takes a tenth of a millisecond, so that
/// thousands of them would hold up every change of anything.
#[derive(Debug, Default)]
pub(super) struct CertificateMemo {
    entries: HashMap<ObjectName, Entry>,
}

#[derive(Debug)]
struct Entry {
    secret: Arc<Secret>,
    outcome: Result<Arc<Certificate>, Arc<str>>,
    used: bool,
}

// === impl CertificateMemo ===

impl CertificateMemo {
    /// The outcome of parsing the Secret.
    pub(super) fn get_or_parse(
        &mut self,
        secret: &Arc<Secret>,
        parse: impl FnOnce(&Secret) -> Result<Arc<Certificate>, Arc<str>>,
    ) -> Result<Arc<Certificate>, Arc<str>> {
        if let Some(entry) = self.entries.get_mut(&secret.name)
            && (Arc::ptr_eq(&entry.secret, secret) || entry.secret == *secret)
        {
            entry.used = true;
            return entry.outcome.clone();
        }
        let outcome = parse(secret);
        let entry = Entry { secret: secret.clone(), outcome: outcome.clone(), used: true };
        self.entries.insert(secret.name.clone(), entry);
        outcome
    }

    /// Drops what was not asked for since the last call.
    pub(super) fn forget_unused(&mut self) {
        self.entries.retain(|_, entry| std::mem::take(&mut entry.used));
    }
}
