//! What every target serves: the hosts, the paths, the certificate and the origin behind them.
//!
//! One `Site` is made per run and given to every target, so that all of them look up the same
//! 10,000 paths with the same certificate and reach the same origin.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;

use crate::work::Size;

/// Hosts of the table.
pub(crate) const HOSTS: usize = 1_000;
/// Paths on each host.
pub(crate) const PATHS: usize = 10;
/// A host that no target has been told about.
pub(crate) const UNKNOWN_HOST: &str = "unknown.bench.invalid";
/// The path segment that makes the origin answer with the request head it received.
pub(crate) const ECHO_SEGMENT: &str = "head";

/// Distance between two requests of one client in the list of all (host, path) pairs. Coprime with
/// the length of that list: every pair is visited, and neighbours in time share no host.
pub(crate) const STRIDE: usize = 7_919;

/// Everything about the served content that a target or a client has to know.
pub(crate) struct Site {
    pub(crate) origin: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    directory: PathBuf,
}

/// The name of host number `index`.
pub(crate) fn host(index: usize) -> String {
    format!("h{:04}.bench.example", index % HOSTS)
}

/// The Ingress path number `index`, without a slash at its end.
pub(crate) fn path(index: usize) -> String {
    format!("/app{}", index % PATHS)
}

/// Host and request target of pair number `pair`.
pub(crate) fn target(pair: usize, size: Size) -> (String, String) {
    let pair = pair % (HOSTS * PATHS);
    (host(pair / PATHS), format!("{}/{}", path(pair % PATHS), size.segment()))
}

// === impl Site ===

impl Site {
    /// Makes a P-256 certificate for all hosts and writes it to `directory`.
    pub(crate) fn new(directory: &Path, origin: SocketAddr) -> Result<Self> {
        let names = vec!["*.bench.example".to_owned(), "localhost".to_owned()];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a P-256 key")?;
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.self_signed(&key))
            .context("make the certificate of the hosts")?;
        let site = Self {
            origin,
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            directory: directory.to_owned(),
        };
        write(&site.certificate_path(), &site.certificate_pem)?;
        write(&site.key_path(), &site.key_pem)?;
        let both = format!("{}{}", site.certificate_pem, site.key_pem);
        write(&site.certificate_and_key_path(), &both)?;
        Ok(site)
    }

    pub(crate) fn certificate_path(&self) -> PathBuf {
        self.directory.join("site.crt")
    }

    pub(crate) fn key_path(&self) -> PathBuf {
        self.directory.join("site.key")
    }

    /// Certificate and key in one file, as HAProxy wants them.
    pub(crate) fn certificate_and_key_path(&self) -> PathBuf {
        self.directory.join("site.pem")
    }
}

/// Writes a generated file, naming it when that fails.
pub(crate) fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_stride_visits_every_pair() {
        let pairs = HOSTS * PATHS;
        let visited: HashSet<_> = (0..pairs).map(|step| target(step * STRIDE, Size::Small)).collect();
        assert_eq!(visited.len(), pairs);
    }
}
