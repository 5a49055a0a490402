//! TLS policies → rustls configurations: runtime state that outlives tables, keyed by the policy.
//!
//! Sessions go on across tables and policies, in one bounded store. Policies that ask for other client certificates never
//! share a session: which they ask for is part of every session's name.

use super::{
    SessionSettings, TlsPolicy, TlsSettings,
    client_auth::AskClient,
    fips::check_server,
    policy::{Fingerprint, Fingerprinter},
    resolver::TableResolver,
    sessions::{Sessions, SessionsOf},
    tickets::{Keyring, Ticketer},
};
use crate::Handle;
use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use std::{collections::HashMap, fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// The configurations of a process. Shared by all workers, so that a session made on one resumes on another; each worker
/// remembers what it got, so that a handshake takes no lock here.
pub(crate) struct Configurations {
    resolver: Arc<TableResolver>,
    keyring: Arc<Keyring>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashMap<Key, Known>,
    /// Of the latest settings.
    sessions: Option<Arc<Sessions>>,
}

/// What a configuration depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    policy: Fingerprint,
    http2: bool,
}

struct Known {
    config: Arc<ServerConfig>,
    /// When a worker last came for it.
    used: Instant,
    /// How long its sessions live.
    lifetime: Duration,
}

// === impl Configurations ===

impl Configurations {
    pub(crate) fn new(handle: &Arc<Handle>) -> Arc<Self> {
        let resolver = Arc::new(TableResolver::new(Arc::clone(handle)));
        Arc::new(Self { resolver, keyring: Arc::default(), state: Mutex::default() })
    }

    /// The configuration of a policy, with or without HTTP/2.
    pub(crate) fn get(&self, policy: &TlsPolicy, http2: bool) -> Result<Arc<ServerConfig>, rustls::Error> {
        let (key, now) = (Key { policy: policy.id(), http2 }, Instant::now());
        let mut state = self.state.lock();
        if let Some(known) = state.known.get_mut(&key) {
            known.used = now;
            return Ok(Arc::clone(&known.config));
        }
        // Those of policies that are gone.
        state.known.retain(|_, known| Arc::strong_count(&known.config) > 1 || now - known.used < known.lifetime);
        let sessions = state.sessions(&policy.settings().sessions);
        let config = Arc::new(self.build(policy.settings(), http2, sessions)?);
        let lifetime = policy.settings().sessions.lifetime;
        state.known.insert(key, Known { config: Arc::clone(&config), used: now, lifetime });
        Ok(config)
    }

    fn build(
        &self,
        settings: &TlsSettings,
        http2: bool,
        store: Option<Arc<Sessions>>,
    ) -> Result<ServerConfig, rustls::Error> {
        let TlsSettings { versions, cipher_suites: _, prefer_own_order, groups: _, sessions, client_auth } = settings;
        let asking = client_auth.as_ref().filter(|auth| auth.asks());
        let verifier: Arc<dyn ClientCertVerifier> = match asking {
            Some(auth) => Arc::new(AskClient::new(auth)),
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(settings.provider()))
            .with_protocol_versions(&versions.supported())?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::<TableResolver>::clone(&self.resolver));
        config.alpn_protocols =
            if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        config.ignore_client_order = *prefer_own_order;
        let mut binding = Fingerprinter::new();
        binding.add_all(client_auth.iter().map(|auth| *auth.id().as_bytes()));
        let binding = binding.finish();
        config.session_storage = match store {
            None => Arc::new(NoServerSessionStorage {}),
            Some(store) => Arc::new(SessionsOf::new(store, binding)),
        };
        if let Some(ticketer) = Ticketer::new(&sessions.tickets, sessions.lifetime, binding, &self.keyring)? {
            config.ticketer = Arc::new(ticketer);
        } else if sessions.cache == 0 {
            config.send_tls13_tickets = 0;
        }
        check_server(&config)?;
        Ok(config)
    }
}

// === impl State ===

impl State {
    /// Where sessions are kept under these settings.
    fn sessions(&mut self, settings: &SessionSettings) -> Option<Arc<Sessions>> {
        if settings.cache == 0 {
            return None;
        }
        if self.sessions.as_ref().is_none_or(|sessions| !sessions.is_for(settings)) {
            self.sessions = Some(Arc::new(Sessions::new(settings)));
        }
        self.sessions.clone()
    }
}

impl fmt::Debug for Configurations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configurations").field("known", &self.state.lock().known.len()).finish_non_exhaustive()
    }
}
