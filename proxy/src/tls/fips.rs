//! Which cryptography this build has, and whether one for FIPS 140-3 keeps its promise.
//!
//! With the feature `fips` rustls takes everything from the validated module of aws-lc. Whether a configuration is
//! within its limits is rustls's to say; here it is asked.

use super::{TlsSettings, UpstreamTls, UpstreamTlsSettings};
use rustls::{ClientConfig, Error, ServerConfig, crypto::CryptoProvider, server::ResolvesServerCertUsingSni};
use std::sync::Arc;

/// Whether this build promises the cryptography of FIPS 140-3.
pub const FIPS: bool = cfg!(feature = "fips");

/// Why a build for FIPS 140-3 must not start.
#[derive(Debug, thiserror::Error)]
pub enum NotFips {
    /// Towards clients.
    #[error("built for FIPS 140-3, but TLS with clients would not be within its limits")]
    Server,
    /// Towards endpoints.
    #[error("built for FIPS 140-3, but TLS to pods would not be within its limits")]
    Client,
    /// There is no configuration at all.
    #[error("TLS cannot be configured: {0}")]
    Tls(Error),
}

/// The cryptography of this build.
#[must_use]
pub fn crypto_provider() -> CryptoProvider {
    #[cfg(feature = "fips")]
    let provider = rustls::crypto::default_fips_provider();
    #[cfg(not(feature = "fips"))]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
}

/// Checks what a build for FIPS 140-3 promises. Others promise nothing.
///
/// # Errors
/// When the defaults of TLS are not within its limits, as when the module fails its own tests.
pub fn check_fips() -> Result<(), NotFips> {
    if FIPS { defaults_are_fips() } else { Ok(()) }
}

/// The same for whatever is configured later.
pub(super) fn check_server(config: &ServerConfig) -> Result<(), Error> {
    if FIPS && !config.fips() { Err(Error::General(NotFips::Server.to_string())) } else { Ok(()) }
}

pub(super) fn check_client(config: &ClientConfig) -> Result<(), Error> {
    if FIPS && !config.fips() { Err(Error::General(NotFips::Client.to_string())) } else { Ok(()) }
}

fn defaults_are_fips() -> Result<(), NotFips> {
    let settings = TlsSettings::default();
    let server = ServerConfig::builder_with_provider(Arc::new(settings.provider()))
        .with_protocol_versions(&settings.versions.supported())
        .map_err(NotFips::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    if !server.fips() {
        return Err(NotFips::Server);
    }
    let client = UpstreamTls::new(UpstreamTlsSettings::default()).map_err(|_| NotFips::Client)?;
    if client.config(false).fips() { Ok(()) } else { Err(NotFips::Client) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_build_promises_nothing_and_a_build_for_fips_keeps_its_promise() {
        assert!(check_fips().is_ok());
        assert_eq!(defaults_are_fips().is_ok(), FIPS);
        assert_eq!(crypto_provider().fips(), FIPS);
    }
}
