//! Diagnostics as log lines: each once when it appears, not on every pass.

use crate::diagnostic::{Diagnostic, Severity};
use std::collections::BTreeSet;
use tracing::{debug, info, warn};

/// The most lines that one pass writes. A cluster with thousands of broken Ingresses shows them in Events and on the
/// debug page; its log stays readable.
const LINES: usize = 100;

/// Remembers what has been logged.
#[derive(Debug, Default)]
pub(super) struct Report {
    known: BTreeSet<Diagnostic>,
}

// === impl Report ===

impl Report {
    pub(super) fn log(&mut self, diagnostics: &[Diagnostic]) {
        let mut new = 0;
        for diagnostic in diagnostics.iter().filter(|diagnostic| !self.known.contains(diagnostic)) {
            new += 1;
            if new > LINES {
                continue;
            }
            let Diagnostic { object, severity, reason, field, message } = diagnostic;
            match severity {
                Severity::Warning => warn!(%object, ?reason, field, "{message}"),
                Severity::Info => info!(%object, ?reason, field, "{message}"),
            }
        }
        if new > LINES {
            warn!(more = new - LINES, "there are more findings: see /debug/diagnostics of the admin listener");
        }
        let gone = self.known.len() + new - diagnostics.len();
        if gone > 0 {
            debug!(gone, left = diagnostics.len(), "findings are resolved");
        }
        if new > 0 || gone > 0 {
            self.known = diagnostics.iter().cloned().collect();
        }
    }
}
