//! What the Ingresses of a host say about TLS with its clients, and what comes of it.
//!
//! One value of these settings is for the whole host, whichever Ingress it stands in: the oldest one that has it decides.
//! A demand for client certificates that cannot be met closes the host.

use super::{
    Options, about_ingress, annotation_field, cipher_list,
    config_map::Globals,
    host::Claim,
    ingress::Translated,
    roster::{IngressId, Roster},
    tls::ClientAuthorities,
};
use crate::{
    diagnostic::{Diagnostic, Reason},
    snapshot::{Ingress, ObjectName},
};
use http::StatusCode;
use rust_nginx_proxy::tls::{ClientAuth, ClientAuthMode, ClientAuthSettings, ErrorPage, SubjectPattern, TlsPolicy};
use rustls::CipherSuite;
use std::sync::Arc;

/// What one Ingress says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostTls {
    /// `ssl-ciphers`.
    pub(super) cipher_suites: Option<Vec<CipherSuite>>,
    /// `ssl-prefer-server-ciphers`.
    pub(super) prefer_own_order: Option<bool>,
    /// `auth-tls-*`.
    pub(super) client_certificates: Option<Box<ClientCertificates>>,
}

/// `auth-tls-*` of one Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientCertificates {
    /// `auth-tls-secret`.
    pub(super) secret: Option<ObjectName>,
    /// `auth-tls-verify-client`.
    pub(super) mode: ClientAuthMode,
    /// `auth-tls-verify-depth`.
    pub(super) depth: u32,
    /// `auth-tls-error-page`.
    pub(super) error_page: Option<ErrorPage>,
    /// `auth-tls-pass-certificate-to-upstream`.
    pub(super) pass_certificate: bool,
    /// `auth-tls-match-cn`.
    pub(super) subject: Option<SubjectPattern>,
    /// One of them demands something of clients by itself, so that it must not stand for nothing.
    pub(super) guards: bool,
    /// One of them cannot be understood: what every path of the host answers.
    pub(super) broken: Option<StatusCode>,
}

/// What comes of it for a host.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Where it is not what the ConfigMap says.
    pub(super) policy: Option<Arc<TlsPolicy>>,
    /// What every path of the host answers instead of being served.
    pub(super) refuse: Option<StatusCode>,
    /// Every client needs a certificate, so that cleartext is not served.
    pub(super) certificate_needed: bool,
}

/// Reads the authorities of a Secret.
pub(super) type Load<'a> = dyn FnMut(&ObjectName) -> Result<ClientAuthorities, (Reason, String)> + 'a;

// === impl HostTls ===

impl HostTls {
    /// Takes a Secret of another namespace back, unless that is allowed.
    pub(super) fn confine(
        &mut self,
        ingress: &Ingress,
        globals: &Globals,
        options: &Options,
        findings: &mut Vec<Diagnostic>,
    ) {
        let Some(client_certificates) = &mut self.client_certificates else { return };
        let foreign = |name: &mut ObjectName| name.namespace != ingress.name.namespace && !globals.cross_namespace;
        let Some(name) = client_certificates.secret.take_if(foreign) else { return };
        client_certificates.broken.get_or_insert(StatusCode::FORBIDDEN);
        let message = format!(
            "Secret {name} is in another namespace, and allow-cross-namespace-resources is off: every path of its hosts \
             answers 403"
        );
        let field = annotation_field(options, "auth-tls-secret");
        findings.push(Diagnostic::warning(about_ingress(&ingress.name), Reason::RefNotPermitted, field, message));
    }

    /// The Secrets that it names.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &ObjectName> {
        self.client_certificates.iter().filter_map(|client_certificates| client_certificates.secret.as_ref())
    }
}

impl Default for ClientCertificates {
    fn default() -> Self {
        Self {
            secret: None,
            mode: ClientAuthMode::On,
            depth: 1,
            error_page: None,
            pass_certificate: false,
            subject: None,
            guards: false,
            broken: None,
        }
    }
}

/// What comes of the claims on a host, oldest first.
pub(super) fn settle(
    claims: &[Claim],
    globals: &Globals,
    options: &Options,
    roster: &Roster,
    load: &mut Load<'_>,
    found: &mut Vec<Diagnostic>,
) -> Outcome {
    let mut ids: Vec<IngressId> = Vec::new();
    for claim in claims {
        if !ids.contains(&claim.by) && roster.get(claim.by).settings.host_tls != HostTls::default() {
            ids.push(claim.by);
        }
    }
    // What nearly every host comes to.
    if ids.is_empty() {
        return Outcome::default();
    }
    let says = || ids.iter().map(|id| roster.get(*id));
    let mut settings = globals.settings.tls.settings().clone();
    if let Some(suites) = says().find_map(|by| by.settings.host_tls.cipher_suites.clone()) {
        settings.cipher_suites = Some(suites);
    }
    if let Some(own) = says().find_map(|by| by.settings.host_tls.prefer_own_order) {
        settings.prefer_own_order = own;
    }
    let (client_auth, refuse) = client_auth(says(), options, load, found);
    settings.client_auth = client_auth.map(Arc::new);
    let certificate_needed =
        settings.client_auth.as_ref().is_some_and(|auth| auth.settings().mode == ClientAuthMode::On);
    let Some(policy) = cipher_list::policy(settings) else {
        // The list has left nothing for the only version that is accepted.
        return Outcome { refuse: Some(StatusCode::SERVICE_UNAVAILABLE), ..Outcome::default() };
    };
    let policy = Some(policy).filter(|policy| *policy != globals.settings.tls);
    Outcome { policy, refuse, certificate_needed }
}

/// As in ingress-nginx, the oldest Ingress with authorities decides, and one whose Secret cannot be used closes the host.
fn client_auth<'a>(
    says: impl Iterator<Item = &'a Translated>,
    options: &Options,
    load: &mut Load<'_>,
    found: &mut Vec<Diagnostic>,
) -> (Option<ClientAuth>, Option<StatusCode>) {
    let (mut chosen, mut refuse, mut without) = (None::<(ClientAuth, &Translated)>, None, Vec::new());
    for by in says {
        let Some(says) = &by.settings.host_tls.client_certificates else { continue };
        if let Some(status) = says.broken {
            refuse.get_or_insert(status);
            continue;
        }
        let Some(secret) = &says.secret else {
            if says.guards {
                without.push(by);
            }
            continue;
        };
        match load(secret) {
            Ok(authorities) => {
                let auth = says.auth(authorities);
                match &chosen {
                    Some((known, _)) if *known == auth => {}
                    Some((_, older)) => found.push(outvoted(by, older, options)),
                    None => chosen = Some((auth, by)),
                }
            }
            Err((reason, message)) => {
                refuse.get_or_insert(StatusCode::FORBIDDEN);
                let message = format!("{message}: every path of its hosts answers 403");
                found.push(warning(by, options, reason, message));
            }
        }
    }
    for by in without {
        let Some((_, older)) = &chosen else {
            refuse.get_or_insert(StatusCode::FORBIDDEN);
            let message = "client certificates are demanded, and nobody on the host says from which authorities: every \
                           path answers 403";
            found.push(warning(by, options, Reason::AnnotationParsingFailed, message.to_owned()));
            continue;
        };
        found.push(outvoted(by, older, options));
    }
    (chosen.map(|(auth, _)| auth), refuse)
}

/// A host has one policy for client certificates.
fn outvoted(by: &Translated, decides: &Translated, options: &Options) -> Diagnostic {
    let message = format!(
        "what Ingress {} says about client certificates holds for the whole host, and the auth-tls annotations of this one \
         do not count there",
        decides.ingress.name
    );
    warning(by, options, Reason::Conflict, message)
}

fn warning(by: &Translated, options: &Options, reason: Reason, message: String) -> Diagnostic {
    Diagnostic::warning(about_ingress(&by.ingress.name), reason, annotation_field(options, "auth-tls-secret"), message)
}

// === impl ClientCertificates ===

impl ClientCertificates {
    fn auth(&self, (authorities, revoked): ClientAuthorities) -> ClientAuth {
        ClientAuth::new(ClientAuthSettings {
            mode: self.mode,
            authorities,
            revoked,
            depth: self.depth,
            pass_certificate: self.pass_certificate,
            subject: self.subject.clone(),
            error_page: self.error_page.clone(),
        })
    }
}
