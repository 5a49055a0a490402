//! Secrets → certificates, and which one a host gets.

use super::{Options, about_ingress, expiry::Expiry, host::HostId, ingress::a_labels};
use crate::{
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::{Ingress, ObjectName, Secret, Snapshot},
};
use imbl::OrdSet;
use rust_nginx_proxy::{
    table::HostMatch,
    tls::{Authorities, Certificate, KeyType, RevocationLists},
};
use std::{collections::HashMap, sync::Arc};

/// What happens instead of an unusable Secret.
const DEFAULT_SERVED: &str = "; the default certificate is served";

/// The Secrets that somebody looks into.
///
/// Parsing one and checking its key against its certificate takes a tenth of a millisecond, so it is done once per Secret
/// and not per host or change.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    entries: HashMap<ObjectName, Entry>,
    /// What ends some day, of all that is looked for.
    expiries: OrdSet<Expiry>,
}

/// What there may be in one Secret.
#[derive(Debug, Default)]
struct Entry {
    served: Part<Arc<Certificate>>,
    authorities: Part<ClientAuthorities>,
    for_endpoints: Part<EndpointMaterial>,
    /// `--default-ssl-certificate` names it.
    is_default: bool,
    /// Its share of all expiries.
    expiries: Vec<Expiry>,
}

#[derive(Debug)]
struct Part<T> {
    /// What came of the Secret, and of which state of it.
    parsed: Option<(Arc<Secret>, Outcome<T>)>,
    /// Hosts that depend on it, sorted.
    users: Vec<HostId>,
}

type Outcome<T> = Result<T, Arc<str>>;

/// What a host looks for in a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What it is served with.
    Certificate,
    /// Who signs for its clients. Its routes depend on it.
    Authorities,
    /// What its endpoints are shown and must show. Its routes depend on it.
    EndpointMaterial,
}

/// What is shown to endpoints, and who signs for them.
pub(super) type EndpointMaterial = (Option<Arc<Certificate>>, Option<Arc<Authorities>>);

/// Who signs client certificates, and what they have revoked.
pub(super) type ClientAuthorities = (Arc<Authorities>, Option<Arc<RevocationLists>>);

// === impl Certificates ===

impl Certificates {
    /// The certificate of a Secret, or what is wrong with it.
    pub(super) fn load(
        &mut self,
        name: &ObjectName,
        snapshot: &Snapshot,
    ) -> Result<Arc<Certificate>, (Reason, String)> {
        self.parsed(name, snapshot, |entry| &mut entry.served, parse)
    }

    /// Who signs client certificates according to a Secret, or what is wrong with it.
    pub(super) fn load_authorities(
        &mut self,
        name: &ObjectName,
        snapshot: &Snapshot,
    ) -> Result<ClientAuthorities, (Reason, String)> {
        self.parsed(name, snapshot, |entry| &mut entry.authorities, parse_authorities)
    }

    /// What a Secret has for TLS to endpoints, or what is wrong with it.
    pub(super) fn load_for_endpoints(
        &mut self,
        name: &ObjectName,
        snapshot: &Snapshot,
    ) -> Result<EndpointMaterial, (Reason, String)> {
        self.parsed(name, snapshot, |entry| &mut entry.for_endpoints, parse_for_endpoints)
    }

    fn parsed<T: Clone>(
        &mut self,
        name: &ObjectName,
        snapshot: &Snapshot,
        part: fn(&mut Entry) -> &mut Part<T>,
        parse: fn(&Secret) -> Outcome<T>,
    ) -> Result<T, (Reason, String)> {
        let secret = snapshot.secrets.get(name);
        let entry = self.entries.entry(name.clone()).or_default();
        let known = &mut part(entry).parsed;
        if known.as_ref().map(|(parsed, _)| parsed) != secret {
            *known = secret.map(|secret| (Arc::clone(secret), parse(secret)));
            entry.follow_expiries(name, &mut self.expiries);
        }
        let Some((_, outcome)) = &part(entry).parsed else {
            return Err((Reason::SecretNotFound, format!("Secret {name} does not exist")));
        };
        let outcome = outcome.clone();
        outcome.map_err(|problem| (Reason::InvalidCertificate, format!("Secret {name} cannot be used: {problem}")))
    }

    /// The default certificate stands here.
    fn load_default(&mut self, name: &ObjectName, snapshot: &Snapshot) -> Result<Arc<Certificate>, (Reason, String)> {
        self.entries.entry(name.clone()).or_default().is_default = true;
        self.load(name, snapshot)
    }

    /// A host looks for something here.
    pub(super) fn add_user(&mut self, name: &ObjectName, wanted: Wanted, user: HostId) {
        let users = self.entries.entry(name.clone()).or_default().users(wanted);
        if let Err(position) = users.binary_search(&user) {
            users.insert(position, user);
        }
    }

    /// A host does not look for it any more. What nobody looks for is forgotten.
    pub(super) fn remove_user(&mut self, name: &ObjectName, wanted: Wanted, user: HostId) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let users = entry.users(wanted);
        if let Ok(position) = users.binary_search(&user) {
            users.remove(position);
        }
        if entry.forget() {
            entry.follow_expiries(name, &mut self.expiries);
        }
        if entry.is_unused() {
            self.entries.remove(name);
        }
    }

    /// The hosts that look for their certificate in a Secret.
    pub(super) fn users(&self, name: &ObjectName) -> impl Iterator<Item = HostId> {
        self.entries.get(name).into_iter().flat_map(|entry| &entry.served.users).copied()
    }

    /// The hosts whose routes depend on a Secret.
    pub(super) fn route_users(&self, name: &ObjectName) -> impl Iterator<Item = HostId> {
        let entry = self.entries.get(name).into_iter();
        entry.flat_map(|entry| entry.authorities.users.iter().chain(&entry.for_endpoints.users)).copied()
    }

    /// What ends some day, of all that is looked for.
    pub(super) fn expiries(&self) -> &OrdSet<Expiry> {
        &self.expiries
    }
}

// === impl Entry ===

impl Entry {
    fn users(&mut self, wanted: Wanted) -> &mut Vec<HostId> {
        match wanted {
            Wanted::Certificate => &mut self.served.users,
            Wanted::Authorities => &mut self.authorities.users,
            Wanted::EndpointMaterial => &mut self.for_endpoints.users,
        }
    }

    /// Lets go of what nobody looks for any more; returns whether there was something.
    fn forget(&mut self) -> bool {
        let served = !self.is_default && self.served.forget();
        let (authorities, for_endpoints) = (self.authorities.forget(), self.for_endpoints.forget());
        served || authorities || for_endpoints
    }

    fn is_unused(&self) -> bool {
        let Self { served, authorities, for_endpoints, is_default, expiries: _ } = self;
        !is_default && served.users.is_empty() && authorities.users.is_empty() && for_endpoints.users.is_empty()
    }

    fn follow_expiries(&mut self, name: &ObjectName, all: &mut OrdSet<Expiry>) {
        let for_endpoints = self.for_endpoints.good().and_then(|(certificate, _)| certificate.as_ref());
        let certificate = self.served.good().or(for_endpoints).map(|held| Expiry::of_certificate(held, name));
        let revocations = self.authorities.good().and_then(|(_, lists)| lists.as_ref());
        let revocations = revocations.and_then(|lists| Expiry::of_revocations(lists, name));
        for expiry in std::mem::take(&mut self.expiries) {
            all.remove(&expiry);
        }
        self.expiries = certificate.into_iter().chain(revocations).collect();
        all.extend(self.expiries.iter().cloned());
    }
}

// === impl Part ===

impl<T> Part<T> {
    fn good(&self) -> Option<&T> {
        let (_, outcome) = self.parsed.as_ref()?;
        outcome.as_ref().ok()
    }

    fn forget(&mut self) -> bool {
        self.users.is_empty() && self.parsed.take().is_some()
    }
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self { parsed: None, users: Vec::new() }
    }
}

/// Any type of Secret will do that has both keys.
fn parse(secret: &Secret) -> Outcome<Arc<Certificate>> {
    let part = |key: &str| secret.data.get(key).ok_or_else(|| Arc::<str>::from(format!("it has no key {key}")));
    let (chain, key) = (part("tls.crt")?, part("tls.key")?);
    Certificate::from_pem(chain, key).map(Arc::new).map_err(|error| error.to_string().into())
}

/// Without authorities there is nothing to check against, so that a Secret with a certificate alone will not do.
fn parse_authorities(secret: &Secret) -> Outcome<ClientAuthorities> {
    let authorities = secret.data.get("ca.crt").ok_or_else(|| Arc::<str>::from("it has no key ca.crt"))?;
    let authorities = Authorities::from_pem(authorities).map_err(|error| format!("ca.crt {error}"))?;
    let lists = secret.data.get("ca.crl").map(|lists| RevocationLists::from_pem(lists)).transpose();
    let lists = lists.map_err(|error| format!("ca.crl {error}"))?;
    Ok((Arc::new(authorities), lists.map(Arc::new)))
}

/// A certificate with its key, authorities, or both.
fn parse_for_endpoints(secret: &Secret) -> Outcome<EndpointMaterial> {
    let has_pair = secret.data.contains_key("tls.crt") || secret.data.contains_key("tls.key");
    let certificate = has_pair.then(|| parse(secret)).transpose()?;
    let authorities = secret.data.get("ca.crt").map(|text| Authorities::from_pem(text)).transpose();
    let authorities = authorities.map_err(|error| format!("ca.crt {error}"))?.map(Arc::new);
    if certificate.is_none() && authorities.is_none() {
        return Err("it has neither tls.crt with tls.key nor ca.crt".into());
    }
    Ok((certificate, authorities))
}

/// `--default-ssl-certificate`; without it, and while it cannot be used, the certificate made at start.
pub(super) fn default_certificate(
    options: &Options,
    certificates: &mut Certificates,
    snapshot: &Snapshot,
    findings: &mut Vec<Diagnostic>,
) -> Arc<Certificate> {
    let Some(name) = &options.flags.default_ssl_certificate else { return options.fallback_certificate.clone() };
    certificates.load_default(name, snapshot).unwrap_or_else(|(reason, message)| {
        let flag = ObjectRef::named(ObjectKind::Flag, "default-ssl-certificate");
        let message = format!("{message}; a self-signed certificate is served");
        findings.push(Diagnostic::warning(flag, reason, "", message));
        options.fallback_certificate.clone()
    })
}

/// The certificates of a host whose TLS this Ingress settles, the preferred one first; none for the default certificate.
///
/// As in ingress-nginx: the Secret of the first entry that lists the host (an empty name asks for the default
/// certificate); when no entry lists it, the first Secret that covers the host. Beside it, further Secrets with a key of
/// another type serve the clients that can verify them, where entries for the host name them: in this Ingress, and in
/// those of the same namespace.
pub(super) fn choose<'a>(
    host: &HostMatch,
    ingress: &'a Ingress,
    claimants: impl Iterator<Item = &'a Ingress>,
    load: &mut impl FnMut(&ObjectName) -> Result<Arc<Certificate>, (Reason, String)>,
    findings: &mut Vec<Diagnostic>,
) -> Box<[Arc<Certificate>]> {
    let Some(first) = choose_first(host, ingress, load, findings) else { return Box::default() };
    let same_namespace =
        |other: &&Ingress| other.name.namespace == ingress.name.namespace && other.name != ingress.name;
    let pattern = host.to_string();
    let mut chosen = vec![first];
    for entry in std::iter::once(ingress).chain(claimants.filter(same_namespace)).flat_map(|other| &other.tls) {
        if entry.secret_name.is_empty() || !entry.hosts.iter().any(|name| is_listed(name, &pattern)) {
            continue;
        }
        let name = ObjectName { namespace: ingress.name.namespace.clone(), name: entry.secret_name.clone() };
        if let Ok(certificate) = load(&name)
            && covers(&certificate, host)
            && chosen.iter().all(|other| other.key_type() != certificate.key_type())
        {
            chosen.push(certificate);
        }
    }
    // What is not RSA is cheaper for both sides; a client that cannot verify it gets the next one.
    chosen.sort_by_key(|certificate| certificate.key_type() == KeyType::Rsa);
    chosen.into()
}

/// Whether a name in `spec.tls[].hosts` is this host.
fn is_listed(name: &str, pattern: &str) -> bool {
    let name = a_labels(name).unwrap_or_default();
    name.strip_suffix('.').unwrap_or(&name).eq_ignore_ascii_case(pattern)
}

fn choose_first(
    host: &HostMatch,
    ingress: &Ingress,
    load: &mut impl FnMut(&ObjectName) -> Result<Arc<Certificate>, (Reason, String)>,
    findings: &mut Vec<Diagnostic>,
) -> Option<Arc<Certificate>> {
    let pattern = host.to_string();
    let secret_of = |name: &Arc<str>| ObjectName { namespace: ingress.name.namespace.clone(), name: name.clone() };
    let mut warn = |reason, field: String, message: String| {
        findings.push(Diagnostic::warning(about_ingress(&ingress.name), reason, field, message));
    };
    let lists_host = |name: &String| is_listed(name, &pattern);
    let entries = || ingress.tls.iter().enumerate();
    if let Some((index, entry)) = entries().find(|(_, entry)| entry.hosts.iter().any(lists_host)) {
        if entry.secret_name.is_empty() {
            return None;
        }
        let field = secret_field(index);
        let name = secret_of(&entry.secret_name);
        return match load(&name) {
            Ok(certificate) if covers(&certificate, host) => Some(certificate),
            Ok(certificate) => {
                let names = certificate.info().dns_names.join(", ");
                let message = format!(
                    "the certificate in Secret {name} is for {}, not for {pattern}, which gets the default certificate",
                    if names.is_empty() { "no host" } else { &names }
                );
                warn(Reason::CertificateMismatch, field, message);
                None
            }
            Err((reason, message)) => {
                warn(reason, field, format!("{message}{DEFAULT_SERVED}"));
                None
            }
        };
    }
    let named: Vec<_> = entries().filter(|(_, entry)| !entry.secret_name.is_empty()).collect();
    for (index, entry) in &named {
        match load(&secret_of(&entry.secret_name)) {
            Ok(certificate) if covers(&certificate, host) => return Some(certificate),
            Ok(_) => {}
            Err((reason, message)) => warn(reason, secret_field(*index), format!("{message}{DEFAULT_SERVED}")),
        }
    }
    if !named.is_empty() {
        let message =
            format!("no entry lists {pattern} and no Secret named here covers it; it gets the default certificate");
        warn(Reason::CertificateMismatch, "spec.tls".to_owned(), message);
    }
    None
}

fn secret_field(index: usize) -> String {
    format!("spec.tls[{index}].secretName")
}

/// A wildcard host needs a certificate for just that wildcard.
fn covers(certificate: &Certificate, host: &HostMatch) -> bool {
    match host {
        HostMatch::Exact(name) => certificate.covers(name),
        HostMatch::Wildcard(_) => {
            let pattern = host.to_string();
            certificate.info().dns_names.iter().any(|name| **name == *pattern)
        }
        HostMatch::Any => false,
    }
}
