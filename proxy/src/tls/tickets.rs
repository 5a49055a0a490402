//! Session tickets: sessions that clients keep, sealed with a key of ours.
//!
//! A ticket opens only under the client certificate policy that it was made under: the policy goes into the key. So a
//! session from before client certificates were asked for is no way around them, on any replica.

use super::policy::{Fingerprint, Tickets};
use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Prk, Salt},
    rand,
};
use rustls::{crypto::GetRandomFailed, pki_types::UnixTime, server::ProducesTickets, ticketer::TicketRotator};
use serde::{Serialize, Serializer};
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// A key for tickets, as nginx's `ssl_session_ticket_key` takes them. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey(Arc<[u8]>);

/// A key of another length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key for session tickets has 48 or 80 bytes, not {0}")]
pub struct InvalidTicketKey(usize);

/// The shared keys that were configured one after the other. Tickets under an old one open for as long as the sessions in
/// them live.
#[derive(Debug, Default)]
pub(super) struct Keyring(ArcSwap<Vec<Held>>);

#[derive(Clone, Debug)]
struct Held {
    key: TicketKey,
    /// When another key took its place.
    retired: Option<Instant>,
}

/// Seals and opens the tickets of one policy.
#[derive(Debug)]
pub(super) struct Ticketer {
    sealer: Box<dyn ProducesTickets>,
    lifetime: Duration,
    /// For tickets under other shared keys.
    older: Option<(Arc<Keyring>, Fingerprint)>,
}

/// Authenticated encryption of tickets under one key.
///
/// ```text
///  name of the key (16) | salt (32) | AES-256-GCM of the session under HKDF(key, salt), tag (16)
/// ```
///
/// Every ticket has a key of its own, so that replicas need not agree on nonces.
struct Sealer {
    name: [u8; NAME],
    prk: Prk,
}

const NAME: usize = 16;
const SALT: usize = 32;
const KEY: usize = 32;

/// Keys that are remembered; somebody who changes keys faster than that pays with full handshakes.
const MOST_KEYS: usize = 8;

// === impl TicketKey ===

impl TicketKey {
    /// A key of 48 or 80 bytes.
    ///
    /// # Errors
    /// When it has another length.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidTicketKey> {
        match bytes.len() {
            48 | 80 => Ok(Self(bytes.into())),
            other => Err(InvalidTicketKey(other)),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey")
    }
}

impl Serialize for TicketKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}

// === impl Keyring ===

impl Keyring {
    /// A key is the configured one from now on.
    fn install(&self, key: &TicketKey, lifetime: Duration) {
        self.0.rcu(|held| {
            let now = Instant::now();
            let alive = |held: &&Held| held.retired.is_none_or(|retired| retired + lifetime > now);
            let others = held.iter().filter(|held| held.key != *key).filter(alive);
            let mut next: Vec<Held> =
                others.map(|held| Held { key: held.key.clone(), retired: held.retired.or(Some(now)) }).collect();
            next.insert(0, Held { key: key.clone(), retired: None });
            next.truncate(MOST_KEYS);
            next
        });
    }

    /// Opens a ticket with any key that has not been retired for too long.
    fn open(&self, ticket: &[u8], binding: &Fingerprint, lifetime: Duration) -> Option<Vec<u8>> {
        let now = Instant::now();
        let held = self.0.load();
        let usable = held.iter().filter(|held| held.retired.is_none_or(|retired| retired + lifetime > now));
        usable.map(|held| Sealer::new(held.key.as_bytes(), binding)).find_map(|sealer| sealer.ok()?.decrypt(ticket))
    }
}

// === impl Ticketer ===

impl Ticketer {
    /// For one policy; `None` where there are no tickets.
    pub(super) fn new(
        tickets: &Tickets,
        lifetime: Duration,
        binding: Fingerprint,
        keyring: &Arc<Keyring>,
    ) -> Result<Option<Self>, rustls::Error> {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        Ok(match tickets {
            Tickets::Off => None,
            // Random keys are those of this policy alone.
            Tickets::OwnKeys => {
                let sealer = Box::new(TicketRotator::new(seconds.max(1), Sealer::random)?);
                Some(Self { sealer, lifetime, older: None })
            }
            Tickets::SharedKey(key) => {
                keyring.install(key, lifetime);
                let sealer = Sealer::new(key.as_bytes(), &binding);
                let sealer = Box::new(sealer.map_err(|error| rustls::Error::General(error.to_string()))?);
                Some(Self { sealer, lifetime, older: Some((Arc::clone(keyring), binding)) })
            }
        })
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let older = || {
            let (keyring, binding) = self.older.as_ref()?;
            keyring.open(ticket, binding, self.lifetime)
        };
        self.sealer.decrypt(ticket).or_else(older)
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    /// The time goes into the ticket: a shared key stays for longer than the sessions under it.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut dated = Vec::with_capacity(8 + plain.len());
        dated.extend_from_slice(&UnixTime::now().as_secs().to_be_bytes());
        dated.extend_from_slice(plain);
        self.sealer.encrypt(&dated)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let dated = self.open(cipher)?;
        let (date, plain) = dated.split_first_chunk()?;
        let age = UnixTime::now().as_secs().saturating_sub(u64::from_be_bytes(*date));
        (age < self.lifetime.as_secs().max(1)).then(|| plain.to_vec())
    }
}

// === impl Sealer ===

impl Sealer {
    fn new(key: &[u8], binding: &Fingerprint) -> Result<Self, Unspecified> {
        let prk = Salt::new(HKDF_SHA256, binding.as_bytes()).extract(key);
        let mut name = [0; NAME];
        prk.expand(&[b"name"], Length(NAME))?.fill(&mut name)?;
        Ok(Self { name, prk })
    }

    /// Under a key that nobody else has.
    fn random() -> Result<Box<dyn ProducesTickets>, GetRandomFailed> {
        let mut key = [0; KEY];
        let mut salt = [0; SALT];
        rand::fill(&mut key).and_then(|()| rand::fill(&mut salt)).map_err(|_| GetRandomFailed)?;
        let prk = Salt::new(HKDF_SHA256, &salt).extract(&key);
        let mut name = [0; NAME];
        rand::fill(&mut name).map_err(|_| GetRandomFailed)?;
        Ok(Box::new(Self { name, prk }))
    }

    /// The key of one ticket. It is used once, so that the nonce need not differ.
    fn key(&self, salt: &[u8]) -> Result<LessSafeKey, Unspecified> {
        let mut key = [0; KEY];
        self.prk.expand(&[b"ticket", salt], Length(KEY))?.fill(&mut key)?;
        UnboundKey::new(&AES_256_GCM, &key).map(LessSafeKey::new)
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut salt = [0; SALT];
        rand::fill(&mut salt)?;
        let mut ticket = Vec::with_capacity(NAME + SALT + plain.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&self.name);
        ticket.extend_from_slice(&salt);
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let (_, sealed) = ticket.split_at_mut(NAME + SALT);
        let tag = self.key(&salt)?.seal_in_place_separate_tag(nonce, Aad::from(self.name), sealed)?;
        ticket.extend_from_slice(tag.as_ref());
        Ok(ticket)
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (salt, sealed) = rest.split_at_checked(SALT)?;
        if name != self.name {
            return None;
        }
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let length = self.key(salt).ok()?.open_in_place(nonce, Aad::from(self.name), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl ProducesTickets for Sealer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::MAX
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain).ok()
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

/// Length of what HKDF gives.
#[derive(Clone, Copy)]
struct Length(usize);

impl aws_lc_rs::hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{super::policy::Fingerprinter, *};

    const LIFETIME: Duration = Duration::from_secs(600);

    fn binding(text: &str) -> Fingerprint {
        let mut hash = Fingerprinter::new();
        hash.add(text.as_bytes());
        hash.finish()
    }

    fn shared(byte: u8) -> Tickets {
        Tickets::SharedKey(TicketKey::new(&[byte; 80]).expect("80 bytes"))
    }

    fn ticketer(tickets: &Tickets, policy: &str, keyring: &Arc<Keyring>) -> Ticketer {
        Ticketer::new(tickets, LIFETIME, binding(policy), keyring).expect("a ticketer").expect("tickets are on")
    }

    #[test]
    fn replicas_open_each_others_tickets_and_nobody_elses() {
        let [here, there, elsewhere] = [1, 1, 2].map(|byte| ticketer(&shared(byte), "a", &Arc::default()));
        let ticket = here.encrypt(b"session").expect("sealed");
        assert_eq!(there.decrypt(&ticket), Some(b"session".to_vec()));
        assert_eq!(elsewhere.decrypt(&ticket), None);
        // Another client certificate policy, the same key.
        assert_eq!(ticketer(&shared(1), "b", &Arc::default()).decrypt(&ticket), None);
        assert_ne!(here.encrypt(b"session"), Some(ticket));
    }

    #[test]
    fn whatever_is_not_a_ticket_is_refused() {
        let ticketer = ticketer(&shared(1), "a", &Arc::default());
        let ticket = ticketer.encrypt(b"session").expect("sealed");
        for length in 0..ticket.len() {
            assert_eq!(ticketer.decrypt(&ticket[..length]), None);
        }
        for index in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[index] ^= 1;
            assert_eq!(ticketer.decrypt(&forged), None, "byte {index}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_replaced_opens_until_its_sessions_end() {
        let keyring = Arc::default();
        let ticket = ticketer(&shared(1), "a", &keyring).encrypt(b"session").expect("sealed");
        let next = ticketer(&shared(2), "a", &keyring);
        assert_eq!(next.decrypt(&ticket), Some(b"session".to_vec()));
        assert_eq!(ticketer(&shared(2), "b", &keyring).decrypt(&ticket), None);
        tokio::time::advance(LIFETIME).await;
        assert_eq!(next.decrypt(&ticket), None);
    }

    #[test]
    fn a_ticket_ends_in_time() {
        let sealer = |lifetime| {
            let ticketer = Ticketer::new(&shared(1), lifetime, binding("a"), &Arc::default());
            ticketer.expect("a ticketer").expect("tickets are on")
        };
        let mut dated = (UnixTime::now().as_secs() - 60).to_be_bytes().to_vec();
        dated.extend_from_slice(b"session");
        let ticket = sealer(LIFETIME).sealer.encrypt(&dated).expect("sealed");
        assert_eq!(sealer(Duration::from_secs(61 + 60)).decrypt(&ticket), Some(b"session".to_vec()));
        assert_eq!(sealer(Duration::from_secs(60)).decrypt(&ticket), None);
    }

    #[test]
    fn own_keys_stay_with_their_policy() {
        let keyring = Arc::default();
        let [a, b] = [(); 2].map(|()| ticketer(&Tickets::OwnKeys, "a", &keyring));
        let ticket = a.encrypt(b"session").expect("sealed");
        assert_eq!(a.decrypt(&ticket), Some(b"session".to_vec()));
        assert_eq!(b.decrypt(&ticket), None);
        assert!(TicketKey::new(&[0; 47]).is_err());
    }
}
