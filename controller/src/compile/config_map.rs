//! Every key of the main ConfigMap that ingress-nginx knows, declared once: name, grammar, default, what it does, and
//! the function that applies it.
//!
//! A bad value means the key's default, never the last good value: a restart gives the same table. A key that guards
//! access and is not served closes everything.

mod compression;
mod headers;
mod logging;
mod safety;
mod streams;
mod tls;
mod trust;
mod tuning;
mod unserved;

use self::tls::TlsDraft;
use self::{compression::CompressionDraft, headers::ServerDraft, logging::LogsDraft};
use super::{
    Options, ProcessSettings,
    annotation::{self, Risk},
    grammar::{self, Objection, Value},
    route::RouteSettings,
};
use crate::{
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::{ClassConfig, ConfigMap, ObjectName, Snapshot},
};
use http::StatusCode;
use imbl::OrdMap;
use rust_nginx_proxy::table::{Hsts, Policy, Settings};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, LazyLock},
};

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name.
    pub name: &'static str,
    /// Grammar.
    pub value: Value,
    /// Value without the key, empty for none.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    serving: Serving,
}

/// What we do about a key.
#[derive(Clone, Copy, Debug)]
enum Serving {
    /// We do what it says, for the whole process.
    Served(fn(&mut Draft, &str) -> Result<(), Objection>),
    /// It is the default of the annotation of the same name.
    Route(annotation::Apply),
    /// Not yet; everything is served without it.
    NotYet,
    /// Not yet; everything is closed, when the value guards anything.
    Closes(fn(&str) -> bool),
    /// It can have no effect here; the text says why.
    Ignored(&'static str),
}

/// What the ConfigMap comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Globals {
    /// Of the table.
    pub(super) settings: Arc<Settings>,
    /// Of the process.
    pub(super) process: ProcessSettings,
    /// Defaults of every Ingress.
    pub(super) routes: RouteSettings,
    /// What they come to for an Ingress without annotations, for sharing.
    pub(super) finished_routes: Arc<RouteSettings>,
    /// The policy of that.
    pub(super) policy: Arc<Policy>,
    /// The highest risk of an annotation that is accepted.
    pub(super) max_risk: Risk,
    /// Words that no annotation may hold.
    pub(super) blocked_words: Vec<Box<str>>,
    /// Annotations may name objects of other namespaces.
    pub(super) cross_namespace: bool,
    /// The Secret that was read.
    pub(super) secret: Option<ObjectName>,
    /// A guard of everything cannot be honoured.
    pub(super) closed: bool,
    /// The ConfigMaps that keys name, with their content; none while one does not exist.
    pub(super) referred: BTreeMap<ObjectName, Option<Arc<ConfigMap>>>,
}

/// [`Globals`] in the making.
struct Draft {
    config_maps: OrdMap<ObjectName, Arc<ConfigMap>>,
    referred: BTreeMap<ObjectName, Option<Arc<ConfigMap>>>,
    server: ServerDraft,
    compression: CompressionDraft,
    logs: LogsDraft,
    settings: Settings,
    process: ProcessSettings,
    routes: RouteSettings,
    hsts: HstsDraft,
    head_buffers: HeadBuffers,
    tls: TlsDraft,
    max_risk: Risk,
    blocked_words: Vec<Box<str>>,
    cross_namespace: bool,
    closed: bool,
}

/// The four keys that make one header.
struct HstsDraft {
    enabled: bool,
    max_age: u64,
    include_subdomains: bool,
    preload: bool,
}

const GROUPS: [&[Key]; 9] = [
    safety::KEYS,
    tls::KEYS,
    trust::KEYS,
    headers::KEYS,
    compression::KEYS,
    tuning::KEYS,
    streams::KEYS,
    logging::KEYS,
    unserved::KEYS,
];
/// The two keys that make the limits of request heads.
#[derive(Clone, Copy)]
struct HeadBuffers {
    /// Bytes of the first buffer.
    first: u64,
    /// Number and bytes of the large ones.
    large: (u64, u64),
}

static BY_NAME: LazyLock<HashMap<&'static str, &'static Key>> =
    LazyLock::new(|| registry().map(|key| (key.name, key)).collect());

/// Every key, by group.
pub fn registry() -> impl Iterator<Item = &'static Key> {
    GROUPS.iter().copied().flatten()
}

/// Reads the ConfigMap of `--configmap`; without it, and while it does not exist, defaults.
pub(super) fn read(snapshot: &Snapshot, options: &Options, findings: &mut Vec<Diagnostic>) -> Globals {
    Draft::read(snapshot, options, findings).finish(options)
}

/// Whether the ConfigMap is not there and may be a document that cannot be read.
pub(super) fn is_unreadable(snapshot: &Snapshot, options: &Options) -> bool {
    let missing = options.flags.config_map.as_ref().filter(|name| !snapshot.config_maps.contains_key(*name));
    missing.is_some_and(|name| snapshot.may_be_unreadable(name))
}

/// The same for one class: its IngressClassConfig over the ConfigMap.
pub(super) fn read_for_class(
    config: &ClassConfig,
    snapshot: &Snapshot,
    options: &Options,
    findings: &mut Vec<Diagnostic>,
) -> Globals {
    // What is wrong with the ConfigMap has been said.
    let mut draft = Draft::read(snapshot, options, &mut Vec::new());
    let object = ObjectRef::named(ObjectKind::IngressClassConfig, config.name.clone());
    for (key, text) in &config.data {
        draft.apply(key, text, &object, findings);
    }
    draft.finish(options)
}

// === impl Globals ===

impl Globals {
    /// For Ingresses whose own defaults are not known: none of their paths is served.
    pub(super) fn closed(&self) -> Self {
        let mut routes = self.routes.clone();
        routes.refuse = Some(StatusCode::SERVICE_UNAVAILABLE);
        let mut finished = routes.clone();
        finished.finish();
        Self {
            settings: self.settings.clone(),
            process: self.process.clone(),
            policy: self.policy.clone(),
            finished_routes: Arc::new(finished),
            routes,
            max_risk: self.max_risk,
            blocked_words: self.blocked_words.clone(),
            cross_namespace: self.cross_namespace,
            secret: self.secret.clone(),
            closed: self.closed,
            referred: self.referred.clone(),
        }
    }

    /// Whether keys name ConfigMaps that have changed since.
    pub(super) fn is_outdated(&self, snapshot: &Snapshot) -> bool {
        self.referred.iter().any(|(name, known)| snapshot.config_maps.get(name) != known.as_ref())
    }
}

// === impl Draft ===

impl Draft {
    fn read(snapshot: &Snapshot, options: &Options, findings: &mut Vec<Diagnostic>) -> Self {
        let mut draft = Self::new();
        draft.config_maps = snapshot.config_maps.clone();
        let Some(name) = &options.flags.config_map else { return draft };
        if let Some(config_map) = snapshot.config_maps.get(name) {
            let object = ObjectRef::namespaced(ObjectKind::ConfigMap, name);
            for (key, text) in &config_map.data {
                draft.apply(key, text, &object, findings);
            }
            let ProcessSettings { bind_addresses, disable_ipv6, .. } = &draft.process;
            if *disable_ipv6 && !bind_addresses.is_empty() && bind_addresses.iter().all(IpAddr::is_ipv6) {
                let message = "disable-ipv6 leaves none of these addresses: every IPv4 address is bound";
                findings.push(Diagnostic::warning(object.clone(), Reason::Conflict, "data[bind-address]", message));
            }
            if let Err((reason, message)) = draft.tls.load_key(snapshot) {
                findings.push(Diagnostic::warning(object, reason, "data[ssl-session-ticket-key]", message));
            }
        } else {
            let flag = ObjectRef::named(ObjectKind::Flag, "configmap");
            let (reason, message) = if is_unreadable(snapshot, options) {
                draft.closed = true;
                let message = "is not there, and there is a document that cannot be read and may be it: nobody knows what \
                               it guards, and every path answers 503";
                (Reason::Unparsable, format!("ConfigMap {name} {message}"))
            } else {
                (Reason::RefNotFound, format!("ConfigMap {name} does not exist; the defaults hold"))
            };
            findings.push(Diagnostic::warning(flag, reason, "", message));
        }
        draft
    }

    fn new() -> Self {
        Self {
            config_maps: OrdMap::new(),
            referred: BTreeMap::new(),
            server: ServerDraft::default(),
            compression: CompressionDraft::default(),
            logs: LogsDraft::default(),
            settings: Settings::default(),
            process: ProcessSettings::default(),
            routes: RouteSettings::default(),
            hsts: HstsDraft { enabled: true, max_age: 31_536_000, include_subdomains: true, preload: false },
            head_buffers: HeadBuffers { first: 1 << 10, large: (4, 8 << 10) },
            tls: TlsDraft::default(),
            max_risk: Risk::High,
            blocked_words: Vec::new(),
            cross_namespace: false,
            closed: false,
        }
    }

    /// The content of a ConfigMap that a key names; `None` for no name.
    fn refer(&mut self, text: &str) -> Result<Option<&BTreeMap<String, String>>, Objection> {
        if text.is_empty() {
            return Ok(None);
        }
        let reject = || Value::Text("the `namespace/name` of a ConfigMap").rejects(text);
        let name = ObjectName::parse(text).ok_or_else(reject)?;
        let found = self.config_maps.get(&name).cloned();
        match self.referred.entry(name).insert_entry(found).into_mut() {
            Some(config_map) => Ok(Some(&config_map.data)),
            None => Err(Objection::Malformed(format!("ConfigMap {text} does not exist"))),
        }
    }

    fn apply(&mut self, name: &str, text: &str, object: &ObjectRef, findings: &mut Vec<Diagnostic>) {
        let field = match object.kind {
            ObjectKind::IngressClassConfig => format!("spec.{}", camel_case(name)),
            _ => format!("data[{name}]"),
        };
        let mut warn = |reason, message: String| {
            findings.push(Diagnostic::warning(object.clone(), reason, field.clone(), message));
        };
        let Some(key) = BY_NAME.get(name).copied() else {
            warn(
                Reason::UnknownKey,
                format!("nothing reads this key{}", grammar::hint(name, registry().map(|known| known.name))),
            );
            return;
        };
        let text = normalize(key.value, text.trim());
        let outcome = match key.serving {
            Serving::Served(apply) => apply(self, &text),
            Serving::Route(apply) => apply(&mut self.routes, &text),
            Serving::Closes(guards) if guards(&text) => {
                self.closed = true;
                let message = "it guards access and is not served by this version: every path answers 503".to_owned();
                warn(Reason::UnsupportedValue, message);
                return;
            }
            Serving::NotYet | Serving::Closes(_) => {
                if !text.is_empty() && !key.value.means(&text, key.default) {
                    warn(Reason::UnsupportedValue, "not served by this version; the default holds".to_owned());
                }
                return;
            }
            Serving::Ignored(why) => {
                let message = format!("has no effect: {why}");
                findings.push(Diagnostic::info(object.clone(), Reason::UnsupportedValue, field, message));
                return;
            }
        };
        match outcome {
            Ok(()) => {}
            Err(Objection::Malformed(message)) => {
                let instead = match object.kind {
                    ObjectKind::IngressClassConfig => "it is as if it were left out".to_owned(),
                    _ => key.instead(),
                };
                warn(Reason::UnsupportedValue, format!("{message}; {instead}"));
            }
            Err(Objection::Partly(message)) => warn(Reason::UnsupportedValue, message),
        }
    }

    fn finish(mut self, options: &Options) -> Globals {
        let HstsDraft { enabled, max_age, include_subdomains, preload } = self.hsts;
        self.settings.headers.server = self.server.finish();
        self.settings.compression = self.compression.finish();
        let logs = &mut self.settings.logs;
        (logs.requests, logs.sessions) = self.logs.finish();
        self.settings.hsts = enabled.then(|| Hsts::new(max_age, include_subdomains, preload));
        self.settings.passthrough = options.flags.ssl_passthrough;
        let secret = self.tls.key_secret.clone();
        match self.tls.finish() {
            Some(policy) => self.settings.tls = policy,
            None => self.closed = true,
        }
        let mut defaults = self.routes.clone();
        defaults.finish();
        Globals {
            settings: Arc::new(self.settings),
            process: self.process,
            policy: Arc::new(defaults.policy.clone()),
            finished_routes: Arc::new(defaults),
            routes: self.routes,
            max_risk: self.max_risk,
            blocked_words: self.blocked_words,
            cross_namespace: self.cross_namespace,
            secret,
            closed: self.closed,
            referred: self.referred,
        }
    }
}

/// `proxy-body-size` → `proxyBodySize`.
fn camel_case(key: &str) -> String {
    let mut words = key.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| {
        let mut characters = word.chars();
        text + &characters.next().map(|first| first.to_ascii_uppercase().to_string()).unwrap_or_default()
            + characters.as_str()
    })
}

/// What the ConfigMap reads more liberally than annotations do: an empty boolean is false, and numbers may be written in
/// Go's other bases.
fn normalize(value: Value, text: &str) -> Cow<'_, str> {
    match value {
        Value::Bool if text.is_empty() => "false".into(),
        Value::Integer | Value::Seconds => {
            let radix = |prefixes: [&str; 2], radix| {
                let digits = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix))?;
                u64::from_str_radix(digits, radix).ok()
            };
            let octal = || u64::from_str_radix(text.strip_prefix('0').filter(|rest| !rest.is_empty())?, 8).ok();
            let number = radix(["0x", "0X"], 16).or_else(|| radix(["0o", "0O"], 8)).or_else(|| radix(["0b", "0B"], 2));
            number.or_else(octal).map_or(Cow::Borrowed(text), |number| number.to_string().into())
        }
        _ => text.into(),
    }
}

// === impl Key ===

impl Key {
    /// Whether we do what it says.
    #[must_use]
    pub fn is_served(&self) -> bool {
        matches!(self.serving, Serving::Served(_) | Serving::Route(_))
    }

    /// Whether it guards access, so that everything is closed while we do not serve it.
    #[must_use]
    pub fn is_guard(&self) -> bool {
        matches!(self.serving, Serving::Closes(_))
    }

    /// What holds where the value says nothing.
    fn instead(&self) -> String {
        if self.default.is_empty() {
            "nothing is done".to_owned()
        } else {
            format!("the default {} holds", self.default)
        }
    }

    const fn new(name: &'static str, value: Value, default: &'static str, doc: &'static str) -> Self {
        Self { name, value, default, doc, serving: Serving::NotYet }
    }

    const fn served(mut self, apply: fn(&mut Draft, &str) -> Result<(), Objection>) -> Self {
        self.serving = Serving::Served(apply);
        self
    }

    const fn route(mut self, apply: annotation::Apply) -> Self {
        self.serving = Serving::Route(apply);
        self
    }

    const fn closes(mut self, guards: fn(&str) -> bool) -> Self {
        self.serving = Serving::Closes(guards);
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
    fn every_key_is_declared_once_and_documented() {
        let mut names = BTreeSet::new();
        for key in registry() {
            assert!(names.insert(key.name), "{} is declared twice", key.name);
            assert!(key.doc.ends_with('.'), "{} has no sentence", key.name);
        }
    }

    /// The declared defaults are what holds without a ConfigMap.
    #[test]
    fn applying_every_default_changes_nothing() {
        let mut draft = Draft::new();
        let mut findings = Vec::new();
        let object = ObjectRef::named(ObjectKind::ConfigMap, "test");
        for key in registry().filter(|key| !key.default.is_empty() && !matches!(key.serving, Serving::Ignored(_))) {
            draft.apply(key.name, key.default, &object, &mut findings);
        }
        assert_eq!(findings, []);
        let options = super::super::tests::options("");
        let (changed, empty) = (draft.finish(&options), Draft::new().finish(&options));
        assert_eq!(changed.settings, empty.settings);
        assert_eq!(changed.process, empty.process);
        assert_eq!(changed.routes, empty.routes);
        assert_eq!(changed.max_risk, empty.max_risk);
        assert!(!changed.closed);
    }

    #[test]
    fn numbers_come_in_gos_bases() {
        assert_eq!(normalize(Value::Integer, "0x10"), "16");
        assert_eq!(normalize(Value::Seconds, "010"), "8");
        assert_eq!(normalize(Value::Integer, "0b11"), "3");
        assert_eq!(normalize(Value::Integer, "0"), "0");
        assert_eq!(normalize(Value::Integer, "75"), "75");
        assert_eq!(normalize(Value::Integer, "09"), "09");
        assert_eq!(normalize(Value::Bool, ""), "false");
    }
}
