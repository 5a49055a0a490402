//! Diagnostics as log lines: each once when it appears, not on every pass.

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use imbl::ordset::DiffItem;
use tracing::{debug, info, warn};

/// The most lines that one pass writes. A cluster with thousands of broken Ingresses shows them in Events and on the
/// debug page; its log stays readable.
const LINES: usize = 100;

/// Remembers what has been logged.
#[derive(Debug, Default)]
pub(super) struct Report {
    known: Diagnostics,
}

// === impl Report ===

impl Report {
    pub(super) fn log(&mut self, diagnostics: &Diagnostics) {
        let (mut new, mut gone) = (0, 0);
        for item in self.known.diff(diagnostics) {
            let diagnostic = match item {
                DiffItem::Add(diagnostic) => diagnostic,
                DiffItem::Remove(_) => {
                    gone += 1;
                    continue;
                }
            };
            new += 1;
            if new > LINES {
                continue;
            }
            let Diagnostic { object, severity, reason, field, message } = &**diagnostic;
            match severity {
                Severity::Warning => warn!(%object, ?reason, field, "{message}"),
                Severity::Info => info!(%object, ?reason, field, "{message}"),
            }
        }
        if new > LINES {
            warn!(more = new - LINES, "there are more findings: see /debug/diagnostics of the admin listener");
        }
        if gone > 0 {
            debug!(gone, left = diagnostics.len(), "findings are resolved");
        }
        self.known = diagnostics.clone();
    }
}
