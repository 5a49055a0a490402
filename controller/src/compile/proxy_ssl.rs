//! TLS to endpoints as `proxy-ssl-*` say: from one Ingress for its own paths, and from the oldest that has it for the
//! paths of its host that have none of their own.
//!
//! What is demanded and cannot be met closes the paths that it is for.

use super::{Options, about_ingress, annotation_field, ingress::Translated, tls::EndpointMaterial};
use crate::{
    diagnostic::{Diagnostic, Reason},
    snapshot::{Ingress, ObjectName},
};
use rust_nginx_proxy::tls::{TlsVersions, UpstreamTls, UpstreamTlsSettings, Verification};
use rustls::{CipherSuite, pki_types::ServerName};
use std::sync::Arc;

/// What one Ingress says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProxySsl {
    /// `proxy-ssl-secret`; without it the others have no effect.
    pub(super) secret: Option<ObjectName>,
    /// `proxy-ssl-verify`.
    pub(super) verify: bool,
    /// `proxy-ssl-verify-depth`.
    pub(super) depth: Option<u32>,
    /// `proxy-ssl-name`.
    pub(super) name: Option<ServerName<'static>>,
    /// `proxy-ssl-server-name`.
    pub(super) send_name: bool,
    /// `proxy-ssl-protocols`.
    pub(super) versions: Option<TlsVersions>,
    /// Suites of TLS 1.2 in `proxy-ssl-ciphers`.
    pub(super) cipher_suites: Option<Vec<CipherSuite>>,
    /// Whether or how endpoints are checked cannot be understood.
    pub(super) broken: bool,
    /// One of the others cannot be understood; it only counts with a Secret, as they do.
    pub(super) broken_detail: bool,
}

/// TLS to the endpoints of some paths; an error closes them.
pub(super) type EndpointTls = Result<Option<Arc<UpstreamTls>>, Closed>;

/// Reads what a Secret has for TLS to endpoints.
pub(super) type Load<'a> = dyn FnMut(&ObjectName) -> Result<EndpointMaterial, (Reason, String)> + 'a;

/// What is demanded cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// Suites of TLS 1.3, which lists do not choose among.
const TLS13: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

const CLOSED: &str = ": its paths answer 503";

// === impl ProxySsl ===

impl ProxySsl {
    /// Takes a Secret of another namespace back, unless that is allowed.
    pub(super) fn confine(
        &mut self,
        ingress: &Ingress,
        cross_namespace: bool,
        options: &Options,
        findings: &mut Vec<Diagnostic>,
    ) {
        let foreign = |name: &mut ObjectName| name.namespace != ingress.name.namespace && !cross_namespace;
        let Some(name) = self.secret.take_if(foreign) else { return };
        self.broken = true;
        let message =
            format!("Secret {name} is in another namespace, and allow-cross-namespace-resources is off{CLOSED}");
        let field = annotation_field(options, "proxy-ssl-secret");
        findings.push(Diagnostic::warning(about_ingress(&ingress.name), Reason::RefNotPermitted, field, message));
    }

    /// Whether it takes part in what holds for a host.
    pub(super) fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// What endpoints get, or why they get nothing.
    fn settings(&self, (certificate, authorities): EndpointMaterial) -> Result<UpstreamTlsSettings, String> {
        let verification = if self.verify {
            let Some(authorities) = authorities else {
                return Err("proxy-ssl-verify is on, and the Secret of proxy-ssl-secret has no key ca.crt".to_owned());
            };
            if self.name.is_none() {
                return Err(
                    "proxy-ssl-verify is on, and no proxy-ssl-name says which name certificates must carry".to_owned()
                );
            }
            Some(Verification { authorities, depth: self.depth.unwrap_or(1) })
        } else {
            None
        };
        let mut versions = self.versions.unwrap_or_default();
        versions.tls12 &= self.cipher_suites.as_ref().is_none_or(|suites| !suites.is_empty());
        Ok(UpstreamTlsSettings {
            name: self.name.clone(),
            send_name: self.send_name,
            verification,
            certificate,
            versions,
            cipher_suites: self.cipher_suites.as_ref().map(|suites| suites.iter().chain(&TLS13).copied().collect()),
        })
    }

    fn build(&self, material: EndpointMaterial) -> Result<UpstreamTls, String> {
        UpstreamTls::new(self.settings(material)?).map_err(|error| error.to_string())
    }
}

/// TLS to the endpoints of an Ingress, where it says something of its own. `whole_host` when another Ingress of the host
/// speaks for those that do not.
pub(super) fn of_ingress(
    by: &Translated,
    whole_host: bool,
    options: &Options,
    load: &mut Load<'_>,
    found: &mut Vec<Diagnostic>,
) -> EndpointTls {
    let Some(says) = &by.settings.proxy_ssl else { return Ok(None) };
    if says.broken || says.broken_detail && says.has_secret() {
        return Err(Closed);
    }
    let mut close = |name, reason, message: String| {
        let field = annotation_field(options, name);
        let message = format!("{message}{CLOSED}");
        found.push(Diagnostic::warning(about_ingress(&by.ingress.name), reason, field, message));
        Err(Closed)
    };
    let Some(secret) = &says.secret else {
        if says.verify && !whole_host {
            let message = "nothing says who must have signed certificates of endpoints: proxy-ssl-secret is missing";
            return close("proxy-ssl-verify", Reason::AnnotationParsingFailed, message.to_owned());
        }
        return Ok(None);
    };
    match load(secret) {
        Err((reason, message)) => close("proxy-ssl-secret", reason, message),
        Ok(material) => match says.build(material) {
            Ok(tls) => Ok(Some(Arc::new(tls))),
            Err(message) => close("proxy-ssl-secret", Reason::UnsupportedValue, message),
        },
    }
}
