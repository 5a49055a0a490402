//! Every annotation that ingress-nginx knows, declared once: name, grammar, default, reach, risk, what it does, and the
//! function that applies it. Validation, "unknown annotation" findings and the reference page derive from it.
//!
//! What guards a path and cannot be honoured closes the path. What does not guard and is not served yet is left out,
//! and said so.

mod access;
pub(super) mod affinity;
mod backend_protocol;
mod canary;
mod client_certificate;
mod cors;
mod external_auth;
mod host_ownership;
pub(super) mod proxy_ssl;
pub(super) mod proxying;
mod rate_limit;
pub(super) mod redirect;
mod response;
mod routing;
mod snippet;
mod tls;
mod unread;

use super::{
    Options, about_ingress,
    config_map::Globals,
    grammar::{self, Objection, Value},
    route::RouteSettings,
};
use crate::{
    diagnostic::{Diagnostic, Reason},
    snapshot::Ingress,
};
use http::StatusCode;
use std::{collections::HashMap, ops::Bound, sync::LazyLock};

/// One annotation.
#[derive(Clone, Copy, Debug)]
pub struct Annotation {
    /// Name, without the prefix.
    pub name: &'static str,
    /// The name that this one is another spelling of.
    pub alias_of: Option<&'static str>,
    /// Grammar.
    pub value: Value,
    /// Value without the annotation, empty for none. The ConfigMap key of the same name changes it.
    pub default: &'static str,
    /// What one value affects.
    pub reach: Reach,
    /// How much harm its author can do.
    pub risk: Risk,
    checks: bool,
    /// What it does.
    pub doc: &'static str,
    serving: Serving,
}

/// What one value of an annotation really affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The paths of its Ingress.
    Path,
    /// The whole host, every Ingress on it.
    Host,
    /// The backend, whoever refers to it.
    Backend,
}

/// How much harm the author of an annotation can do; ConfigMap `annotations-risk-level` draws the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Only to the own paths.
    Low,
    /// To the own host.
    Medium,
    /// To other hosts or services.
    High,
    /// To the controller.
    Critical,
}

/// How an annotation is applied.
pub(super) type Apply = fn(&mut RouteSettings, &str) -> Result<(), Objection>;

/// What we do about an annotation.
#[derive(Clone, Copy, Debug)]
enum Serving {
    /// We do what it says.
    Served(Apply),
    /// Not yet; the Ingress is served without it.
    NotYet,
    /// Not yet; the Ingress is closed, when the value guards anything.
    Guard(fn(&str) -> bool),
    /// Not yet; the Ingress owns no path.
    Canary,
    /// It can have no effect here; the text says why.
    Ignored(&'static str),
}

/// What the annotations of one Ingress come to.
#[derive(Debug)]
pub(super) struct Annotated {
    /// The ConfigMap's defaults with the annotations over them.
    pub(super) settings: RouteSettings,
    /// It splits the traffic of another Ingress.
    pub(super) is_canary: bool,
    /// A guard of the whole host cannot be honoured.
    pub(super) closes_hosts: bool,
}

const GROUPS: [&[Annotation]; 16] = [
    routing::ANNOTATIONS,
    redirect::ANNOTATIONS,
    access::ANNOTATIONS,
    external_auth::ANNOTATIONS,
    client_certificate::ANNOTATIONS,
    cors::ANNOTATIONS,
    rate_limit::ANNOTATIONS,
    canary::ANNOTATIONS,
    affinity::ANNOTATIONS,
    backend_protocol::ANNOTATIONS,
    proxy_ssl::ANNOTATIONS,
    proxying::ANNOTATIONS,
    response::ANNOTATIONS,
    snippet::ANNOTATIONS,
    tls::ANNOTATIONS,
    unread::ANNOTATIONS,
];

/// Prefix of the annotations that ingress-nginx does not have; it cannot be changed.
const OWN_PREFIX: &str = "rust-nginx.io";

static OWN_BY_NAME: LazyLock<HashMap<&'static str, &'static Annotation>> =
    LazyLock::new(|| own_registry().map(|annotation| (annotation.name, annotation)).collect());

static BY_NAME: LazyLock<HashMap<&'static str, &'static Annotation>> =
    LazyLock::new(|| registry().map(|annotation| (annotation.name, annotation)).collect());

/// Every annotation, by group.
pub fn registry() -> impl Iterator<Item = &'static Annotation> {
    GROUPS.iter().copied().flatten()
}

/// Every annotation under `rust-nginx.io/`.
pub fn own_registry() -> impl Iterator<Item = &'static Annotation> {
    affinity::OWN.iter().chain(host_ownership::OWN)
}

/// Applies the annotations of an Ingress to the ConfigMap's defaults.
pub(super) fn read(
    ingress: &Ingress,
    globals: &Globals,
    options: &Options,
    findings: &mut Vec<Diagnostic>,
) -> Annotated {
    let settings = globals.routes.clone();
    let mut reading =
        Reading { ingress, globals, findings, outcome: Annotated { settings, is_canary: false, closes_hosts: false } };
    for (key, name, text) in prefixed(ingress, &options.flags.annotations_prefix) {
        let known = BY_NAME.get(name).copied();
        reading.annotation(key, known, text, || grammar::hint(name, registry().map(|known| known.name)));
    }
    for (key, name, text) in prefixed(ingress, OWN_PREFIX) {
        let known = OWN_BY_NAME.get(name).copied();
        if known.is_some() || &*options.flags.annotations_prefix != OWN_PREFIX {
            reading.annotation(key, known, text, || grammar::hint(name, own_registry().map(|known| known.name)));
        }
    }
    let mut outcome = reading.outcome;
    outcome.settings.finish();
    outcome.settings.host_tls.confine(ingress, globals, options, reading.findings);
    if let Some(proxy_ssl) = &mut outcome.settings.proxy_ssl {
        proxy_ssl.confine(ingress, globals.cross_namespace, options, reading.findings);
    }
    outcome
}

/// The annotations of a prefix: key, name, value.
fn prefixed<'a>(ingress: &'a Ingress, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    let ours = ingress.annotations.range::<str, _>(from).take_while(move |(key, _)| key.starts_with(prefix));
    ours.filter_map(move |(key, text)| {
        let name = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'))?;
        Some((key.as_str(), name, text.as_str()))
    })
}

/// The state of reading one Ingress.
struct Reading<'a> {
    ingress: &'a Ingress,
    globals: &'a Globals,
    findings: &'a mut Vec<Diagnostic>,
    outcome: Annotated,
}

// === impl Reading ===

impl Reading<'_> {
    fn annotation(&mut self, key: &str, known: Option<&Annotation>, text: &str, hint: impl FnOnce() -> String) {
        let text = trim_lines(text);
        if let Some(word) = self.globals.blocked_words.iter().find(|word| text.contains(&***word)) {
            let message = format!("the value holds {word:?}, which annotation-value-word-blocklist forbids");
            self.close(key, &message, known.map_or(Reach::Path, Annotation::reach_when_refused));
            return;
        }
        let Some(annotation) = known else {
            let hint = hint();
            let object = about_ingress(&self.ingress.name);
            // Most likely a mistake, and perhaps a guard that is not there; everything else may be somebody else's.
            let diagnostic = if hint.is_empty() { Diagnostic::info } else { Diagnostic::warning };
            let message = format!("no annotation has this name{hint}");
            self.findings.push(diagnostic(object, Reason::UnknownKey, field(key), message));
            return;
        };
        match annotation.serving {
            Serving::Guard(guards) if guards(&text) => {
                self.close(key, "it guards access and is not served by this version", annotation.reach);
            }
            _ if annotation.risk > self.globals.max_risk && !text.is_empty() => {
                let (risk, max) = (annotation.risk, self.globals.max_risk);
                let message = format!("its risk is {risk:?}, and annotations-risk-level accepts no more than {max:?}");
                self.close(key, &message, annotation.reach_when_refused());
            }
            // As in ingress-nginx it counts as absent, guards included; but a template may have forgotten the value.
            Serving::Served(_) | Serving::Guard(_) if text.is_empty() => {
                self.warn(key, Reason::AnnotationParsingFailed, "the value is empty; the default holds".to_owned());
            }
            Serving::Served(apply) => match apply(&mut self.outcome.settings, &text) {
                Ok(()) => {}
                Err(Objection::Malformed(message)) => {
                    self.warn(key, Reason::AnnotationParsingFailed, format!("{message}; the default holds"));
                }
                Err(Objection::Partly(message)) => self.warn(key, Reason::UnsupportedValue, message),
            },
            Serving::NotYet | Serving::Canary
                if text.is_empty() || annotation.value.means(&text, annotation.default) => {}
            // What guards nothing is not missed.
            Serving::Guard(_) => {}
            Serving::Canary => {
                self.outcome.is_canary = true;
                let message = "canaries are not served by this version: the main Ingress gets every request".to_owned();
                self.warn(key, Reason::UnsupportedValue, message);
            }
            Serving::NotYet => {
                let message = "not served by this version; the Ingress is served without it".to_owned();
                self.warn(key, Reason::UnsupportedValue, message);
            }
            Serving::Ignored(why) => {
                let object = about_ingress(&self.ingress.name);
                let message = format!("has no effect: {why}");
                self.findings.push(Diagnostic::info(object, Reason::UnsupportedValue, field(key), message));
            }
        }
    }

    /// Closes what the annotation reaches.
    fn close(&mut self, key: &str, why: &str, reach: Reach) {
        self.outcome.settings.refuse = Some(StatusCode::SERVICE_UNAVAILABLE);
        self.outcome.closes_hosts |= reach == Reach::Host;
        let what = match reach {
            Reach::Host => "every path of its hosts",
            Reach::Path | Reach::Backend => "every path of the Ingress",
        };
        self.warn(key, Reason::UnsupportedValue, format!("{why}: {what} answers 503"));
    }

    fn warn(&mut self, key: &str, reason: Reason, message: String) {
        let object = about_ingress(&self.ingress.name);
        self.findings.push(Diagnostic::warning(object, reason, field(key), message));
    }
}

fn field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

/// Each line trimmed, and the whole.
fn trim_lines(text: &str) -> String {
    if text.contains('\n') {
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        lines.join("\n").trim().to_owned()
    } else {
        text.trim().to_owned()
    }
}

// === impl Annotation ===

impl Annotation {
    /// Whether we do what it says.
    #[must_use]
    pub fn is_served(&self) -> bool {
        matches!(self.serving, Serving::Served(_))
    }

    /// Whether it guards access, so that its Ingress is closed while we do not serve it.
    #[must_use]
    pub fn is_guard(&self) -> bool {
        matches!(self.serving, Serving::Guard(_))
    }

    /// What is closed when somebody forbids the annotation. What checks clients or pods does so for the whole host, so that
    /// without it all of that would be open.
    fn reach_when_refused(&self) -> Reach {
        if self.checks { self.reach } else { Reach::Path }
    }

    const fn new(name: &'static str, value: Value, default: &'static str) -> Self {
        let (reach, risk, serving) = (Reach::Path, Risk::Low, Serving::NotYet);
        Self { name, alias_of: None, value, default, reach, risk, checks: false, doc: "", serving }
    }

    const fn alias_of(mut self, name: &'static str) -> Self {
        self.alias_of = Some(name);
        self
    }

    /// It takes part in checking who is on the other side of TLS.
    const fn checks(mut self) -> Self {
        self.checks = true;
        self
    }

    const fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    const fn risk(mut self, risk: Risk) -> Self {
        self.risk = risk;
        self
    }

    const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    const fn served(mut self, apply: Apply) -> Self {
        self.serving = Serving::Served(apply);
        self
    }

    const fn closes(mut self, guards: fn(&str) -> bool) -> Self {
        self.serving = Serving::Guard(guards);
        self
    }

    const fn canary(mut self) -> Self {
        self.serving = Serving::Canary;
        self
    }

    const fn ignored(mut self, why: &'static str) -> Self {
        self.serving = Serving::Ignored(why);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_annotation_is_declared_once_and_documented() {
        let mut names = BTreeSet::new();
        for annotation in registry().chain(own_registry()) {
            assert!(names.insert(annotation.name), "{} is declared twice", annotation.name);
            assert!(annotation.doc.ends_with('.'), "{} has no sentence", annotation.name);
            if let Some(original) = annotation.alias_of {
                assert!(registry().any(|other| other.name == original), "{original} is not declared");
            }
        }
        // What ingress-nginx 1.15 parses: 136 names and two aliases.
        let parsed = names.len() - unread::ANNOTATIONS.len() - own_registry().count();
        assert_eq!(parsed, 138);
    }
}
