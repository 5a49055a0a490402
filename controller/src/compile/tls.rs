//! Secrets → certificates, and which one a host gets.

use super::{Options, about_ingress, host::HostId, ingress::a_labels};
use crate::{
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::{Ingress, ObjectName, Secret, Snapshot},
};
use rust_nginx_proxy::{table::HostMatch, tls::Certificate};
use std::{collections::HashMap, sync::Arc};

/// What happens instead of an unusable Secret.
const DEFAULT_SERVED: &str = "; the default certificate is served";

/// The Secrets that somebody looks for a certificate in.
///
/// Parsing one and checking its key against its certificate takes a tenth of a millisecond, so it is done once per Secret
/// and not per host or change.
#[derive(Debug, Default)]
pub(super) struct Certificates(HashMap<ObjectName, Entry>);

#[derive(Debug, Default)]
struct Entry {
    parsed: Option<(Arc<Secret>, Outcome)>,
    /// Hosts that look for their certificate here, sorted.
    users: Vec<HostId>,
}

type Outcome = Result<Arc<Certificate>, Arc<str>>;

// === impl Certificates ===

impl Certificates {
    /// The certificate of a Secret, or what is wrong with it.
    pub(super) fn load(
        &mut self,
        name: &ObjectName,
        snapshot: &Snapshot,
    ) -> Result<Arc<Certificate>, (Reason, String)> {
        let Some(secret) = snapshot.secrets.get(name) else {
            return Err((Reason::SecretNotFound, format!("Secret {name} does not exist")));
        };
        let entry = self.0.entry(name.clone()).or_default();
        let known = entry.parsed.as_ref().filter(|(parsed, _)| parsed == secret).map(|(_, outcome)| outcome.clone());
        let outcome = known.unwrap_or_else(|| {
            let outcome = parse(secret);
            entry.parsed = Some((secret.clone(), outcome.clone()));
            outcome
        });
        outcome.map_err(|problem| (Reason::InvalidCertificate, format!("Secret {name} cannot be used: {problem}")))
    }

    /// A host looks here.
    pub(super) fn add_user(&mut self, name: &ObjectName, user: HostId) {
        let users = &mut self.0.entry(name.clone()).or_default().users;
        if let Err(position) = users.binary_search(&user) {
            users.insert(position, user);
        }
    }

    /// A host does not look here any more. What nobody looks for is forgotten.
    pub(super) fn remove_user(&mut self, name: &ObjectName, user: HostId) {
        let Some(entry) = self.0.get_mut(name) else { return };
        if let Ok(position) = entry.users.binary_search(&user) {
            entry.users.remove(position);
        }
        if entry.users.is_empty() {
            self.0.remove(name);
        }
    }

    /// The hosts that look for their certificate in a Secret.
    pub(super) fn users(&self, name: &ObjectName) -> &[HostId] {
        self.0.get(name).map_or(&[], |entry| &entry.users)
    }
}

/// Any type of Secret will do that has both keys.
fn parse(secret: &Secret) -> Result<Arc<Certificate>, Arc<str>> {
    let part = |key: &str| secret.data.get(key).ok_or_else(|| Arc::<str>::from(format!("it has no key {key}")));
    let (chain, key) = (part("tls.crt")?, part("tls.key")?);
    Certificate::from_pem(chain, key).map(Arc::new).map_err(|error| error.to_string().into())
}

/// `--default-ssl-certificate`; without it, and while it cannot be used, the certificate made at start.
pub(super) fn default_certificate(
    options: &Options,
    certificates: &mut Certificates,
    snapshot: &Snapshot,
    findings: &mut Vec<Diagnostic>,
) -> Arc<Certificate> {
    let Some(name) = &options.default_ssl_certificate else { return options.fallback_certificate.clone() };
    certificates.load(name, snapshot).unwrap_or_else(|(reason, message)| {
        let flag = ObjectRef::named(ObjectKind::Flag, "default-ssl-certificate");
        let message = format!("{message}; a self-signed certificate is served");
        findings.push(Diagnostic::warning(flag, reason, "", message));
        options.fallback_certificate.clone()
    })
}

/// The certificate of a host whose TLS this Ingress settles; `None` for the default certificate.
///
/// As in ingress-nginx: the Secret of the first entry that lists the host (an empty name asks for the default
/// certificate); when no entry lists it, the first Secret that covers the host.
pub(super) fn choose(
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
    let lists_host = |host: &String| {
        let host = a_labels(host).unwrap_or_default();
        host.strip_suffix('.').unwrap_or(&host).eq_ignore_ascii_case(&pattern)
    };
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
