//! One Ingress by itself: hosts and paths in typed form, annotations over the ConfigMap's defaults, and what is wrong
//! with it that needs no other object to see.
//!
//! The result depends on the Ingress, the ConfigMap and the options alone.

use super::{Options, about_ingress, annotation, config_map::Globals, findings::Owned, route::RouteSettings};
use crate::{
    diagnostic::{Diagnostic, Reason},
    snapshot::{Ingress, IngressPath, ObjectName, PathType},
};
use rust_nginx_proxy::table::{HostMatch, PathMatch, Policy, normalize_path};
use std::{borrow::Cow, sync::Arc};

/// An Ingress in typed form.
#[derive(Debug)]
pub(super) struct Translated {
    /// The object.
    pub(super) ingress: Arc<Ingress>,
    /// What applies to its routes; shared by all Ingresses that change nothing about it.
    pub(super) settings: Arc<RouteSettings>,
    /// `settings.policy`, shared likewise.
    pub(super) policy: Arc<Policy>,
    /// A guard that reaches the whole host cannot be honoured: its hosts are closed, not only its paths.
    pub(super) closes_hosts: bool,
    /// Its usable rules.
    pub(super) rules: Box<[Rule]>,
    /// A canary owns nothing: it would fight with its main Ingress for the same paths.
    pub(super) is_canary: bool,
    /// What is wrong with it, once it is part of all findings.
    pub(super) findings: Owned,
}

/// One entry of `spec.rules`.
#[derive(Debug)]
pub(super) struct Rule {
    /// Position in `spec.rules`.
    pub(super) index: u32,
    /// Its host.
    pub(super) host: HostMatch,
    /// Its usable paths; none when the rule has no `http`.
    pub(super) paths: Box<[DeclaredPath]>,
}

/// One entry of `http.paths`.
#[derive(Debug)]
pub(super) struct DeclaredPath {
    /// Position in `http.paths`.
    pub(super) index: u32,
    /// The predicate.
    pub(super) path: PathMatch,
}

/// Translates an Ingress, and says what is wrong with it.
pub(super) fn translate(ingress: &Arc<Ingress>, globals: &Globals, options: &Options) -> (Translated, Vec<Diagnostic>) {
    let mut findings = Vec::new();
    let annotated = annotation::read(ingress, globals, options, &mut findings);
    let rules = if annotated.is_canary { Vec::new() } else { rules(ingress, &mut findings) };
    let (settings, policy) = if annotated.settings == *globals.finished_routes {
        (globals.finished_routes.clone(), globals.policy.clone())
    } else if annotated.settings.policy == *globals.policy {
        (Arc::new(annotated.settings), globals.policy.clone())
    } else {
        let policy = Arc::new(annotated.settings.policy.clone());
        (Arc::new(annotated.settings), policy)
    };
    let translated = Translated {
        ingress: ingress.clone(),
        settings,
        policy,
        closes_hosts: annotated.closes_hosts,
        rules: rules.into(),
        is_canary: annotated.is_canary,
        findings: Owned::default(),
    };
    (translated, findings)
}

// === impl Translated ===

impl Translated {
    /// The Secrets that it refers to.
    pub(super) fn secrets(&self) -> impl Iterator<Item = ObjectName> {
        let to_endpoints = self.settings.proxy_ssl.iter().filter_map(|says| says.secret.clone());
        self.ingress.tls_secrets().chain(self.settings.host_tls.secrets().cloned()).chain(to_endpoints)
    }

    /// The host patterns that it claims, each with the position of the rule.
    pub(super) fn claims(&self) -> impl Iterator<Item = (&HostMatch, Option<u32>)> {
        let alone = self.ingress.rules.is_empty() && self.ingress.default_backend.is_some() && !self.is_canary;
        let default_backend = alone.then_some((&HostMatch::Any, None));
        default_backend.into_iter().chain((0..).zip(&self.rules).map(|(index, rule)| (&rule.host, Some(index))))
    }

    /// The field of a claim.
    pub(super) fn field_of(&self, rule: Option<u32>) -> String {
        match rule {
            Some(rule) => format!("spec.rules[{}]", self.rules[rule as usize].index),
            None => "spec.defaultBackend".to_owned(),
        }
    }
}

fn rules(ingress: &Ingress, findings: &mut Vec<Diagnostic>) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(ingress.rules.len());
    for (index, rule) in (0..).zip(&ingress.rules) {
        let host = match host(&rule.host) {
            Ok(host) => host,
            Err(message) => {
                let field = format!("spec.rules[{index}].host");
                let message = format!("{message}; the rule is ignored");
                findings.push(Diagnostic::warning(about_ingress(&ingress.name), Reason::InvalidHost, field, message));
                continue;
            }
        };
        let mut paths = Vec::new();
        for (number, entry) in (0..).zip(rule.paths.iter().flatten()) {
            let mut warn = |message| {
                let field = format!("spec.rules[{index}].http.paths[{number}].path");
                findings.push(Diagnostic::warning(about_ingress(&ingress.name), Reason::InvalidPath, field, message));
            };
            match path(entry) {
                Ok((path, remark)) => {
                    paths.push(DeclaredPath { index: number, path });
                    if let Some(remark) = remark {
                        warn(remark);
                    }
                }
                Err(message) => warn(format!("{message}; the path is ignored")),
            }
        }
        rules.push(Rule { index, host, paths: paths.into() });
    }
    rules
}

fn host(text: &str) -> Result<HostMatch, String> {
    // A port would parse as part of the name and never match, because a request's port is cut off first.
    if text.contains(':') && !text.starts_with('[') {
        return Err(format!("{text:?} is not a host name: a rule's host has no port"));
    }
    HostMatch::parse(&a_labels(text)?).map_err(|error| error.to_string())
}

/// A host name as DNS and clients write it: labels beyond ASCII become A-labels (RFC 5890 §2.3.2.1, UTS 46). An API
/// server takes no others; files may say `bücher.example`.
pub(super) fn a_labels(text: &str) -> Result<Cow<'_, str>, String> {
    if text.is_ascii() {
        return Ok(text.into());
    }
    let (wildcard, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
    let name = idna::domain_to_ascii(name).map_err(|_| format!("{text:?} is not a host name: it is no valid IDN"))?;
    Ok(format!("{wildcard}{name}").into())
}

/// The predicate, and a remark when it is not what is written.
fn path(entry: &IngressPath) -> Result<(PathMatch, Option<String>), String> {
    let written = if entry.path.is_empty() { "/" } else { &*entry.path };
    if !written.starts_with('/') {
        return Err(format!("{written:?} does not start with \"/\""));
    }
    let normal = normalize_path(written).map_err(|error| format!("{written:?} cannot be matched: {error}"))?;
    if normal.contains(char::REPLACEMENT_CHARACTER) && !written.contains(char::REPLACEMENT_CHARACTER) {
        return Err(format!("{written:?} cannot be matched: it is not UTF-8 when decoded"));
    }
    let remark = (normal != written)
        .then(|| format!("{written:?} is served as {normal:?}: paths are compared decoded and in normal form"));
    // As written: the text is there already.
    let path = if *normal == *entry.path { entry.path.clone() } else { normal.into() };
    let path = match entry.path_type {
        PathType::Exact => PathMatch::Exact(path),
        PathType::Prefix | PathType::ImplementationSpecific => PathMatch::Prefix(path),
    };
    Ok((path, remark))
}
