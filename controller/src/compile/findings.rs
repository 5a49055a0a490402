//! What compile has to say, by owner: whoever is compiled anew replaces only its own findings.

use super::counted::Counted;
use crate::diagnostic::{Diagnostic, Diagnostics};
use std::sync::Arc;

/// All findings of the latest compile.
#[derive(Debug, Default)]
pub(super) struct Findings(Counted<Arc<Diagnostic>>);

/// The findings of one owner. They are part of [`Findings`] until they are replaced by others.
#[derive(Debug, Default)]
pub(super) struct Owned(Box<[Arc<Diagnostic>]>);

// === impl Findings ===

impl Findings {
    /// Replaces the findings of an owner.
    pub(super) fn replace(&mut self, owned: &mut Owned, new: Vec<Diagnostic>) {
        if owned.0.iter().map(|known| &**known).eq(&new) {
            return;
        }
        let new: Box<[_]> = new.into_iter().map(Arc::new).collect();
        // Added before the old ones go: what stays does not leave the set in between.
        for diagnostic in &new {
            self.0.add(diagnostic.clone());
        }
        for diagnostic in &std::mem::replace(&mut owned.0, new) {
            self.0.remove(diagnostic);
        }
    }

    /// Ends an owner.
    pub(super) fn retract(&mut self, mut owned: Owned) {
        self.replace(&mut owned, Vec::new());
    }

    /// All of them, sorted, each once.
    pub(super) fn all(&self) -> &Diagnostics {
        self.0.members()
    }
}
