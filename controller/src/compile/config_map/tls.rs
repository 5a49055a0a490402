//! TLS with clients.

use super::{
    super::{
        annotation::proxy_ssl,
        cipher_list,
        grammar::{self, Objection, Value, non_empty},
    },
    Draft, Key,
};
use crate::{
    diagnostic::Reason,
    snapshot::{ObjectName, Snapshot},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rust_nginx_proxy::tls::{TicketKey, Tickets, TlsPolicy, TlsSettings, TlsVersions};
use rustls::NamedGroup;
use std::sync::Arc;

const TLS_VERSIONS: &str = "TLSv1.2 TLSv1.3";

/// The key of a Secret that holds the key for session tickets.
const TICKET_KEY: &str = "ticket.key";

pub(super) const KEYS: &[Key] = &[
    Key::new("use-http2", Value::Bool, "true", "Whether HTTP/2 is offered over TLS and understood in the clear.")
        .served(use_http2),
    Key::new("ssl-protocols", Value::List("TLS versions"), TLS_VERSIONS, "TLS versions towards clients.")
        .served(ssl_protocols),
    Key::new("ssl-ciphers", Value::Text("an OpenSSL cipher list"), "", "Cipher suites of TLS 1.2 towards clients.")
        .served(ssl_ciphers),
    Key::new("ssl-ecdh-curve", Value::Text("curves separated by colons"), "auto", "Key exchange towards clients.")
        .served(ssl_ecdh_curve),
    Key::new("ssl-session-cache", Value::Bool, "true", "Whether TLS sessions are kept for resumption.")
        .served(ssl_session_cache),
    Key::new("ssl-session-cache-size", Value::Size, "10m", "Memory for TLS sessions.").served(ssl_session_cache_size),
    Key::new("ssl-session-timeout", Value::Time, "10m", "How long a TLS session can be resumed.")
        .served(ssl_session_timeout),
    Key::new("ssl-session-tickets", Value::Bool, "false", "Whether clients keep their TLS sessions themselves.")
        .served(ssl_session_tickets),
    Key::new(
        "ssl-session-ticket-key",
        Value::Text("48 or 80 bytes in base64, or `namespace/name` of a Secret that has them in `ticket.key`"),
        "",
        "The key of those tickets, the same on all replicas; without it every process has its own.",
    )
    .served(ssl_session_ticket_key),
    Key::new("ssl-early-data", Value::Bool, "false", "Whether requests are read before the TLS handshake is complete.")
        .served(ssl_early_data),
    Key::new("ssl-reject-handshake", Value::Bool, "false", "Whether handshakes for unknown hosts are refused.")
        .served(ssl_reject_handshake),
    Key::new("enable-ocsp", Value::Bool, "false", "Whether OCSP answers are stapled.").served(enable_ocsp),
    Key::new(
        "proxy-ssl-location-only",
        Value::Bool,
        "false",
        "Whether `proxy-ssl-*` reach the paths only, not the host.",
    )
    .route(proxy_ssl::proxy_ssl_location_only),
];

/// The keys that make the policy, as far as they are read.
#[derive(Debug, Default)]
pub(super) struct TlsDraft {
    settings: TlsSettings,
    /// `ssl-session-cache: false`.
    no_cache: bool,
    /// `ssl-session-tickets`.
    tickets: bool,
    key: Option<TicketKey>,
    /// The Secret that has the key.
    pub(super) key_secret: Option<ObjectName>,
}

// === impl TlsDraft ===

impl TlsDraft {
    /// The key for tickets from its Secret.
    pub(super) fn load_key(&mut self, snapshot: &Snapshot) -> Result<(), (Reason, String)> {
        let Some(name) = self.key_secret.as_ref().filter(|_| self.tickets) else { return Ok(()) };
        let outcome = match snapshot.secrets.get(name) {
            None => Err((Reason::SecretNotFound, format!("Secret {name} does not exist"))),
            Some(secret) => match secret.data.get(TICKET_KEY) {
                None => Err((Reason::UnsupportedValue, format!("Secret {name} has no key {TICKET_KEY}"))),
                Some(bytes) => TicketKey::new(bytes).map_err(|error| {
                    (Reason::UnsupportedValue, format!("{TICKET_KEY} of Secret {name} cannot be used: {error}"))
                }),
            },
        };
        self.key = None;
        self.key = Some(outcome.map_err(|(reason, message)| {
            (reason, format!("{message}; tickets are good for the process that gave them"))
        })?);
        Ok(())
    }

    /// The policy; `None` when nothing is left that a client could agree to.
    pub(super) fn finish(self) -> Option<Arc<TlsPolicy>> {
        let Self { mut settings, no_cache, tickets, key, key_secret: _ } = self;
        if no_cache {
            settings.sessions.cache = 0;
        }
        settings.sessions.tickets = match (tickets, key) {
            (false, _) => Tickets::Off,
            (true, None) => Tickets::OwnKeys,
            (true, Some(key)) => Tickets::SharedKey(key),
        };
        cipher_list::policy(settings)
    }
}

fn use_http2(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.http2 = grammar::boolean(text)?;
    Ok(())
}

/// What is not in the list is kept out, also when the list holds nothing that we have.
fn ssl_protocols(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let mut versions = TlsVersions { tls12: false, tls13: false };
    let mut others = Vec::new();
    for word in text.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|word| !word.is_empty()) {
        match word {
            "TLSv1.2" => versions.tls12 = true,
            "TLSv1.3" => versions.tls13 = true,
            _ => others.push(word),
        }
    }
    if text.is_empty() {
        return Err(Objection::Malformed(format!("the value is empty, not a list of {TLS_VERSIONS}")));
    }
    draft.tls.settings.versions = versions;
    let others = others.join(", ");
    if !versions.tls12 && !versions.tls13 {
        let message = format!("{others} is none of {TLS_VERSIONS}: every path answers 503");
        return Err(Objection::Partly(message));
    }
    if others.is_empty() {
        return Ok(());
    }
    Err(Objection::Partly(format!("{others} cannot be served, only {TLS_VERSIONS} can; the rest holds")))
}

fn ssl_ciphers(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    if text.is_empty() {
        return Ok(());
    }
    let (suites, objection) = cipher_list::parse_closed(text);
    draft.tls.settings.cipher_suites = Some(suites);
    objection.map_or(Ok(()), Err)
}

fn ssl_ecdh_curve(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    const GROUPS: [(&[&str], NamedGroup); 5] = [
        (&["X25519MLKEM768"], NamedGroup::X25519MLKEM768),
        (&["SecP256r1MLKEM768"], NamedGroup::secp256r1MLKEM768),
        (&["X25519"], NamedGroup::X25519),
        (&["prime256v1", "P-256", "secp256r1"], NamedGroup::secp256r1),
        (&["secp384r1", "P-384"], NamedGroup::secp384r1),
    ];
    if text == "auto" {
        draft.tls.settings.groups = None;
        return Ok(());
    }
    let (mut groups, mut others) = (Vec::new(), Vec::new());
    for word in text.split(':').map(str::trim).filter(|word| !word.is_empty()) {
        let known = GROUPS.iter().find(|(names, _)| names.iter().any(|name| name.eq_ignore_ascii_case(word)));
        match known {
            Some((_, group)) if !groups.contains(group) => groups.push(*group),
            Some(_) => {}
            None => others.push(word),
        }
    }
    let known = GROUPS.iter().map(|(names, _)| names[0]).collect::<Vec<_>>().join(", ");
    if groups.is_empty() {
        return Err(Objection::Malformed(format!("{text:?} names none of {known}")));
    }
    draft.tls.settings.groups = Some(groups);
    if others.is_empty() {
        return Ok(());
    }
    Err(Objection::Partly(format!("{} cannot be served, only {known} can; the rest holds", others.join(", "))))
}

fn ssl_session_cache(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.tls.no_cache = !grammar::boolean(text)?;
    Ok(())
}

fn ssl_session_cache_size(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let size = grammar::size(text)?;
    draft.tls.settings.sessions.cache = usize::try_from(size).map_err(|_| Value::Size.rejects(text))?;
    Ok(())
}

fn ssl_session_timeout(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let lifetime = grammar::time(text)?;
    if lifetime.as_secs() == 0 {
        return Err(Objection::Malformed(format!("{text:?} is not at least one second")));
    }
    // RFC 8446 §4.6.1: no ticket lives longer than seven days.
    draft.tls.settings.sessions.lifetime = lifetime.min(std::time::Duration::from_secs(7 * 86_400));
    Ok(())
}

fn ssl_session_tickets(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.tls.tickets = grammar::boolean(text)?;
    Ok(())
}

/// The value is a secret: no message repeats it.
fn ssl_session_ticket_key(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    if !non_empty(text) {
        return Ok(());
    }
    let decoded = STANDARD.decode(text).ok();
    if let Some(key) = decoded.as_ref().and_then(|bytes| TicketKey::new(bytes).ok()) {
        draft.tls.key = Some(key);
        return Ok(());
    }
    if let Some(name) = ObjectName::parse(text).filter(|_| !text.ends_with('=')) {
        draft.tls.key_secret = Some(name);
        return Ok(());
    }
    Err(Objection::Malformed("the value is neither 48 or 80 bytes in base64 nor the name of a Secret".to_owned()))
}

fn ssl_early_data(_: &mut Draft, text: &str) -> Result<(), Objection> {
    if grammar::boolean(text)? {
        let message = "early data can be replayed by anybody who sees it, and is not accepted";
        return Err(Objection::Malformed(message.to_owned()));
    }
    Ok(())
}

fn enable_ocsp(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.ocsp = grammar::boolean(text)?;
    Ok(())
}

fn ssl_reject_handshake(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.reject_unknown_names = true;
    draft.settings.reject_unknown_names =
        grammar::boolean(text).map_err(|objection| objection.closing("handshakes for unknown hosts are refused"))?;
    Ok(())
}
