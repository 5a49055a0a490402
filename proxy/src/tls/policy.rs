//! What is accepted of TLS from the clients of a host, as data.
//!
//! A policy is part of the table. What rustls makes of it, sessions included, is runtime state that outlives tables
//! (`configuration.rs`), keyed by the fingerprint that is computed here.

use super::{ClientAuth, TicketKey, TlsVersions};
use aws_lc_rs::digest::{Context, SHA256};
use rustls::{
    CipherSuite, NamedGroup, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs as provider_of_rustls},
};
use serde::{Serialize, Serializer};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Settings of TLS with clients, known to fit together. Two policies with the same settings share handshake state.
#[derive(Clone)]
pub struct TlsPolicy {
    settings: TlsSettings,
    fingerprint: Fingerprint,
}

/// What can be set. The default is that of ingress-nginx with an empty ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Accepted versions.
    pub versions: TlsVersions,
    /// Suites of TLS 1.2, most preferred first; `None` is all that we have. Those of TLS 1.3 cannot be chosen, as in nginx
    /// (`ssl_ciphers`).
    pub cipher_suites: Option<Vec<CipherSuite>>,
    /// Whether our order of suites counts rather than the client's (`ssl_prefer_server_ciphers`).
    pub prefer_own_order: bool,
    /// Groups for the key exchange, most preferred first; `None` is all that are enabled, the post-quantum hybrid
    /// X25519MLKEM768 among them (`ssl_ecdh_curve`).
    pub groups: Option<Vec<NamedGroup>>,
    /// Resumption.
    pub sessions: SessionSettings,
    /// What is asked of client certificates; `None` asks for none.
    pub client_auth: Option<Arc<ClientAuth>>,
}

/// How sessions are kept for resumption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionSettings {
    /// Bytes for sessions that we keep; 0 keeps none.
    pub cache: usize,
    /// How long a session can be resumed.
    pub lifetime: Duration,
    /// Whether clients keep their sessions themselves.
    pub tickets: Tickets,
}

/// Session tickets (RFC 5077, RFC 8446 §4.6.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tickets {
    /// None: sessions are kept here.
    Off,
    /// Under random keys of this process, replaced every lifetime of a session.
    OwnKeys,
    /// Under a key that replicas share.
    SharedKey(TicketKey),
}

/// Identity of a policy, or of a part of it: a hash of everything in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

/// Computes a [`Fingerprint`].
pub(super) struct Fingerprinter(Context);

/// Suites of TLS 1.3 in our order. AES-128 first: hardware does it, and SHA-256 makes the cheapest key schedule.
const TLS13_SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// Suites of TLS 1.2 in the order of ingress-nginx's default `ssl-ciphers`.
const TLS12_SUITES: [CipherSuite; 6] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// What is shown of the settings.
#[derive(Serialize)]
struct View<'a> {
    versions: TlsVersions,
    cipher_suites: Option<Vec<String>>,
    prefer_own_order: bool,
    groups: Option<Vec<String>>,
    sessions: &'a SessionSettings,
    client_auth: Option<&'a ClientAuth>,
}

// === impl TlsPolicy ===

impl TlsPolicy {
    /// A policy of these settings.
    ///
    /// # Errors
    /// When no version is accepted, or nothing is left of what a version needs.
    pub fn new(settings: TlsSettings) -> Result<Self, rustls::Error> {
        let provider = Arc::new(settings.provider());
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&settings.versions.supported())?;
        let fingerprint = settings.fingerprint();
        Ok(Self { settings, fingerprint })
    }

    /// What it was made from.
    #[must_use]
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// What is asked of client certificates.
    #[must_use]
    pub fn client_auth(&self) -> Option<&Arc<ClientAuth>> {
        self.settings.client_auth.as_ref()
    }

    pub(super) fn id(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl Default for TlsPolicy {
    fn default() -> Self {
        Self::new(TlsSettings::default()).expect("all that the provider has fits together")
    }
}

impl PartialEq for TlsPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for TlsPolicy {}

impl fmt::Debug for TlsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Serialize for TlsPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let TlsSettings { versions, cipher_suites, prefer_own_order, groups, sessions, client_auth } = &self.settings;
        View {
            versions: *versions,
            cipher_suites: cipher_suites.as_deref().map(names),
            prefer_own_order: *prefer_own_order,
            groups: groups.as_deref().map(names),
            sessions,
            client_auth: client_auth.as_deref(),
        }
        .serialize(serializer)
    }
}

fn names<T: fmt::Debug>(items: &[T]) -> Vec<String> {
    items.iter().map(|item| format!("{item:?}")).collect()
}

// === impl TlsSettings ===

impl TlsSettings {
    /// The algorithms of the provider that are accepted, in our order.
    pub(super) fn provider(&self) -> CryptoProvider {
        let all = provider();
        let mut some = CryptoProvider::clone(&all);
        let tls12 = self.cipher_suites.as_deref().unwrap_or(&TLS12_SUITES);
        let ordered = TLS13_SUITES.iter().chain(tls12);
        some.cipher_suites = ordered
            .filter_map(|suite| all.cipher_suites.iter().find(|known| known.suite() == *suite).copied())
            .collect();
        if let Some(groups) = &self.groups {
            let allowed = provider_of_rustls::ALL_KX_GROUPS.iter().filter(|group| group.fips() || !all.fips());
            let allowed: Vec<_> = allowed.copied().collect();
            let named = groups.iter().filter_map(|name| allowed.iter().find(|group| group.name() == *name).copied());
            some.kx_groups = named.collect();
        }
        some
    }

    fn fingerprint(&self) -> Fingerprint {
        let Self { versions, cipher_suites, prefer_own_order, groups, sessions, client_auth } = self;
        let SessionSettings { cache, lifetime, tickets } = sessions;
        let mut hash = Fingerprinter::new();
        hash.add(&[versions.tls12.into(), versions.tls13.into(), (*prefer_own_order).into()]);
        hash.add_all(cipher_suites.iter().flatten().map(|suite| u16::from(*suite).to_be_bytes()));
        hash.add(&[cipher_suites.is_some().into()]);
        hash.add_all(groups.iter().flatten().map(|group| u16::from(*group).to_be_bytes()));
        hash.add(&[groups.is_some().into()]);
        hash.add(&cache.to_be_bytes());
        hash.add(&lifetime.as_nanos().to_be_bytes());
        match tickets {
            Tickets::Off => hash.add(b"off"),
            Tickets::OwnKeys => hash.add(b"own"),
            Tickets::SharedKey(key) => {
                hash.add(b"key");
                hash.add(key.as_bytes());
            }
        }
        if let Some(client_auth) = client_auth {
            hash.add(&client_auth.id().0);
        }
        hash.finish()
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            versions: TlsVersions::default(),
            cipher_suites: None,
            prefer_own_order: true,
            groups: None,
            sessions: SessionSettings::default(),
            client_auth: None,
        }
    }
}

// === impl SessionSettings ===

impl Default for SessionSettings {
    fn default() -> Self {
        Self { cache: 10 * 1024 * 1024, lifetime: Duration::from_secs(600), tickets: Tickets::Off }
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

// === impl Fingerprinter ===

impl Fingerprinter {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds one part, with its length, so that parts cannot run into each other.
    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// Adds a list.
    pub(super) fn add_all<T: AsRef<[u8]>>(&mut self, parts: impl Iterator<Item = T>) {
        let mut count = 0_u64;
        for part in parts {
            self.add(part.as_ref());
            count += 1;
        }
        self.add(&count.to_be_bytes());
    }

    pub(super) fn finish(self) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        Fingerprint(bytes)
    }
}

/// The one crypto provider of the process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(
        PROVIDER.get_or_init(|| {
            CryptoProvider::get_default().map_or_else(|| Arc::new(super::crypto_provider()), Arc::clone)
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_order_of_suites_and_groups_is_what_was_asked_for() {
        let settings = TlsSettings {
            cipher_suites: Some(vec![CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]),
            groups: Some(vec![NamedGroup::secp384r1, NamedGroup::X25519]),
            ..TlsSettings::default()
        };
        let provider = settings.provider();
        let suites: Vec<_> = provider.cipher_suites.iter().map(|suite| suite.suite()).collect();
        let mut expected = TLS13_SUITES.to_vec();
        expected.push(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384);
        assert_eq!(suites, expected);
        let groups: Vec<_> = provider.kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups, [NamedGroup::secp384r1, NamedGroup::X25519]);
    }

    #[test]
    fn the_post_quantum_group_comes_first_by_default() {
        let provider = TlsSettings::default().provider();
        assert_eq!(provider.kx_groups.first().map(|group| group.name()), Some(NamedGroup::X25519MLKEM768));
    }

    #[test]
    fn settings_that_leave_nothing_are_no_policy() {
        let none = TlsVersions { tls12: false, tls13: false };
        assert!(TlsPolicy::new(TlsSettings { versions: none, ..TlsSettings::default() }).is_err());
        let only = TlsVersions { tls12: true, tls13: false };
        let settings = TlsSettings { versions: only, cipher_suites: Some(Vec::new()), ..TlsSettings::default() };
        assert!(TlsPolicy::new(settings).is_err());
    }

    #[test]
    fn whatever_differs_makes_another_policy() {
        let key = |byte| TicketKey::new(&[byte; 48]).expect("48 bytes");
        let sessions = |tickets| SessionSettings { tickets, ..SessionSettings::default() };
        let variants = [
            TlsSettings::default(),
            TlsSettings { versions: TlsVersions { tls12: false, tls13: true }, ..TlsSettings::default() },
            TlsSettings { cipher_suites: Some(TLS12_SUITES.to_vec()), ..TlsSettings::default() },
            TlsSettings { prefer_own_order: false, ..TlsSettings::default() },
            TlsSettings { groups: Some(vec![NamedGroup::X25519]), ..TlsSettings::default() },
            TlsSettings { sessions: sessions(Tickets::OwnKeys), ..TlsSettings::default() },
            TlsSettings { sessions: sessions(Tickets::SharedKey(key(1))), ..TlsSettings::default() },
            TlsSettings { sessions: sessions(Tickets::SharedKey(key(2))), ..TlsSettings::default() },
        ];
        let policies: Vec<_> =
            variants.iter().map(|settings| TlsPolicy::new(settings.clone()).expect("fits")).collect();
        for (index, policy) in policies.iter().enumerate() {
            assert_eq!(*policy, TlsPolicy::new(variants[index].clone()).expect("fits"));
            assert!(policies.iter().skip(index + 1).all(|other| other != policy), "{policy:?}");
        }
    }
}
