//! TLS policy → rustls configuration.

use super::resolver::TableResolver;
use crate::Handle;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::ServerSessionMemoryCache,
};
use std::sync::{Arc, OnceLock};

/// Sessions remembered for resumption by session identifier; about what ingress-nginx's 10 MB cache holds.
const SESSION_CACHE: usize = 40_000;

/// The configurations of a process. Shared by all workers, so that a session made on one resumes on another.
#[derive(Debug)]
pub(crate) struct Configurations {
    http2: Arc<ServerConfig>,
    http1_only: Arc<ServerConfig>,
}

// === impl Configurations ===

impl Configurations {
    pub(crate) fn new(handle: &Arc<Handle>) -> Result<Arc<Self>, rustls::Error> {
        let config = |alpn: &[&[u8]]| -> Result<Arc<ServerConfig>, rustls::Error> {
            let mut config = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(TableResolver::new(Arc::clone(handle))));
            config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            config.session_storage = ServerSessionMemoryCache::new(SESSION_CACHE);
            Ok(Arc::new(config))
        };
        Ok(Arc::new(Self { http2: config(&[b"h2", b"http/1.1"])?, http1_only: config(&[b"http/1.1"])? }))
    }

    /// The configuration for a handshake under the current settings.
    pub(crate) fn select(&self, http2: bool) -> &Arc<ServerConfig> {
        if http2 { &self.http2 } else { &self.http1_only }
    }
}

/// The one crypto provider of the process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| {
        CryptoProvider::get_default().map_or_else(|| Arc::new(aws_lc_rs::default_provider()), Arc::clone)
    }))
}
