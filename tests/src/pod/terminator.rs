//! TLS in front of a pod, on an address of its own: what the pod then speaks is up to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::PORT;
use crate::address;
use crate::certificate::Pair;

/// A listener that ends TLS; runs until it is dropped.
pub struct Terminator {
    /// Where it listens.
    pub address: SocketAddr,
    handshakes: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

// === impl Terminator ===

impl Terminator {
    /// Passes on what comes to `to`, after a handshake with this certificate and these protocols.
    ///
    /// # Errors
    /// When the certificate is none, or no address can be bound.
    pub async fn start(to: SocketAddr, pair: &Pair, alpn: &[&str]) -> Result<Self> {
        let address = SocketAddr::new(address::pod(), PORT);
        Self::start_with(address, to, pair, alpn, WebPkiClientVerifier::no_client_auth()).await
    }

    /// The same for clients with a certificate of this authority (PEM), and nobody else.
    ///
    /// # Errors
    /// As above.
    pub async fn start_for_clients_of(authority: &str, to: SocketAddr, pair: &Pair) -> Result<Self> {
        Self::start_for_clients_of_on(SocketAddr::new(address::pod(), PORT), authority, to, pair).await
    }

    /// The same on an address that is given.
    ///
    /// # Errors
    /// As above.
    pub async fn start_for_clients_of_on(
        address: SocketAddr,
        authority: &str,
        to: SocketAddr,
        pair: &Pair,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        Self::start_with(address, to, pair, &[], WebPkiClientVerifier::builder(Arc::new(roots)).build()?).await
    }

    async fn start_with(
        address: SocketAddr,
        to: SocketAddr,
        pair: &Pair,
        alpn: &[&str],
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
        let mut config = ServerConfig::builder().with_client_cert_verifier(clients).with_single_cert(chain, key)?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind(address).await.with_context(|| format!("binding {address}"))?;
        let handshakes = Arc::new(AtomicUsize::new(0));
        let server = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), to, Arc::clone(&handshakes)));
        Ok(Self { address, handshakes, server })
    }

    /// Connections that have come to speak TLS.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(SeqCst)
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr, handshakes: Arc<AtomicUsize>) {
    // Connections end with the task that owns this set.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let (acceptor, handshakes) = (acceptor.clone(), Arc::clone(&handshakes));
        connections.spawn(async move {
            // Whoever speaks no TLS to it is cut off, as by any server.
            let Ok(mut outside) = acceptor.accept(stream).await else { return };
            handshakes.fetch_add(1, SeqCst);
            if let Ok(mut inside) = TcpStream::connect(to).await {
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
    }
}
