//! Diagnostics as log lines: each once when it appears, not on every pass.

use crate::compile::ProcessSettings;
use crate::diagnostic::{Diagnostic, Diagnostics, ObjectKind, Severity};
use imbl::ordset::DiffItem;
use tracing::{debug, info, warn};

/// The most lines that one pass writes. A cluster with thousands of broken Ingresses shows them in Events and on the
/// debug page; its log stays readable.
const LINES: usize = 100;

/// Remembers what has been logged.
#[derive(Debug, Default)]
pub(super) struct Report {
    known: Diagnostics,
    /// What the process was started with, and what was said about last.
    process: Option<(ProcessSettings, ProcessSettings)>,
}

// === impl Report ===

impl Report {
    /// Says when something changes that is read once.
    pub(super) fn process(&mut self, now: &ProcessSettings) {
        let Some((started, last)) = &mut self.process else {
            self.process = Some((now.clone(), now.clone()));
            return;
        };
        if now == last {
            return;
        }
        let ProcessSettings { workers, shutdown_timeout: _, bind_addresses, disable_ipv6 } = now;
        let keys = [
            ("worker-processes", *workers != started.workers),
            ("bind-address", *bind_addresses != started.bind_addresses),
            ("disable-ipv6", *disable_ipv6 != started.disable_ipv6),
        ];
        let keys: Vec<_> = keys.iter().filter(|(_, changed)| *changed).map(|(key, _)| *key).collect();
        if !keys.is_empty() {
            warn!(keys = keys.join(", "), "these keys of the ConfigMap are read at start: restart to apply them");
        }
        *last = now.clone();
    }

    pub(super) fn log(&mut self, diagnostics: &Diagnostics) {
        let (mut new, mut gone) = (Vec::new(), 0);
        for item in self.known.diff(diagnostics) {
            match item {
                DiffItem::Add(diagnostic) => new.push(diagnostic),
                DiffItem::Remove(_) => gone += 1,
            }
        }
        new.sort_by_key(|diagnostic| concerns_few(diagnostic.object.kind));
        for diagnostic in new.iter().take(LINES) {
            let Diagnostic { object, severity, reason, field, message } = &***diagnostic;
            match severity {
                Severity::Warning => warn!(%object, ?reason, field, "{message}"),
                Severity::Info => info!(%object, ?reason, field, "{message}"),
            }
        }
        if new.len() > LINES {
            warn!(more = new.len() - LINES, "there are more findings: see /debug/diagnostics of the admin listener");
        }
        if gone > 0 {
            debug!(gone, left = diagnostics.len(), "findings are resolved");
        }
        self.known = diagnostics.clone();
    }
}

/// Whether what is wrong with such an object concerns little else: what concerns everything is said first.
fn concerns_few(kind: ObjectKind) -> bool {
    match kind {
        ObjectKind::Flag
        | ObjectKind::ConfigMap
        | ObjectKind::IngressClass
        | ObjectKind::IngressClassConfig
        | ObjectKind::File
        | ObjectKind::Resource => false,
        ObjectKind::Ingress | ObjectKind::Service | ObjectKind::EndpointSlice | ObjectKind::Secret => true,
    }
}
