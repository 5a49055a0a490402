//! OCSP stapling (RFC 6960, RFC 6066 §8): what an authority says about the certificates that we show.
//!
//! Answers are runtime state by certificate. They are fetched when a certificate is first shown, which does not wait for
//! them, and again before they end. What cannot be verified is never stapled.

mod fetch;
mod message;

use super::Certificate;
use parking_lot::RwLock;
use rustls::{pki_types::UnixTime, sign::CertifiedKey};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// The answers of a process. Handshakes read them; one that finds something missing starts to fetch it.
#[derive(Debug, Default)]
pub(super) struct Staples(RwLock<HashMap<usize, Staple>>);

#[derive(Debug)]
struct Staple {
    /// The key of the map is its address, which is not given to another one while it is held here.
    certificate: Arc<CertifiedKey>,
    stapled: Option<Stapled>,
    /// When to ask again.
    next: Instant,
    fetching: bool,
}

#[derive(Debug)]
struct Stapled {
    key: Arc<CertifiedKey>,
    until: Instant,
}

/// Longest time that an answer is used, as in ingress-nginx.
const LONGEST: Duration = Duration::from_secs(3 * 86_400);

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(300);

// === impl Staples ===

impl Staples {
    /// The key to shake hands with: with the answer about its certificate if there is one.
    pub(super) fn with_staple(self: &Arc<Self>, certificate: &Certificate) -> Arc<CertifiedKey> {
        let key = certificate.certified_key();
        let Some(url) = certificate.ocsp_url() else { return Arc::clone(key) };
        let (address, now) = (Arc::as_ptr(key).addr(), Instant::now());
        let (stapled, due) = match self.0.read().get(&address) {
            None => (None, true),
            Some(staple) => (staple.at(now), !staple.fetching && now >= staple.next),
        };
        if due && self.claim(address, key, now) {
            let (staples, key, url) = (Arc::clone(self), Arc::clone(key), url.to_owned());
            tokio::spawn(async move { staples.refresh(address, &key, &url).await });
        }
        stapled.unwrap_or_else(|| Arc::clone(key))
    }

    /// Marks an answer as being fetched, unless somebody was faster.
    fn claim(&self, address: usize, key: &Arc<CertifiedKey>, now: Instant) -> bool {
        let mut staples = self.0.write();
        // Those of certificates that nobody shows any more.
        staples.retain(|_, staple| Arc::strong_count(&staple.certificate) > 1);
        let new = || Staple { certificate: Arc::clone(key), stapled: None, next: now, fetching: false };
        let staple = staples.entry(address).or_insert_with(new);
        !std::mem::replace(&mut staple.fetching, true)
    }

    async fn refresh(&self, address: usize, key: &Arc<CertifiedKey>, url: &str) {
        let fetched = fetch::fetch(key, url).await;
        let now = Instant::now();
        let mut staples = self.0.write();
        let Some(staple) = staples.get_mut(&address) else { return };
        staple.fetching = false;
        match fetched {
            Ok(answer) => {
                let lasts = answer.lasts(UnixTime::now()).min(LONGEST);
                staple.next = now + lasts / 2;
                let mut stapled = CertifiedKey::clone(key);
                stapled.ocsp = Some(answer.into_bytes());
                staple.stapled = Some(Stapled { key: Arc::new(stapled), until: now + lasts });
            }
            Err(error) => {
                staple.next = now + RETRY;
                tracing::warn!(%error, url, "no OCSP answer, trying again in five minutes");
            }
        }
    }
}

// === impl Staple ===

impl Staple {
    fn at(&self, now: Instant) -> Option<Arc<CertifiedKey>> {
        self.stapled.as_ref().filter(|stapled| now < stapled.until).map(|stapled| Arc::clone(&stapled.key))
    }
}
