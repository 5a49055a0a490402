//! Sessions that clients may resume, kept by us (RFC 5246 §7.3 session identifiers; tickets of TLS 1.3 that are only names).
//!
//! Bounded in bytes and in time. Shared by all workers, so that a session made on one resumes on another: the locks are
//! taken twice per handshake, never by a request, and are split so that workers seldom meet.

use super::{SessionSettings, policy::Fingerprint};
use parking_lot::Mutex;
use rustls::server::StoresServerSessions;
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// A bounded store.
pub(super) struct Sessions {
    shards: [Mutex<Shard>; SHARDS],
    lifetime: Duration,
    bytes: usize,
}

/// The sessions of a store that belong to one policy of client certificates; nobody else's can be reached.
#[derive(Debug)]
pub(super) struct SessionsOf {
    store: Arc<Sessions>,
    prefix: [u8; PREFIX],
}

#[derive(Default)]
struct Shard {
    sessions: HashMap<Vec<u8>, Session>,
    /// Oldest first. What was taken out of the map before its time stays here until its turn comes.
    order: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

struct Session {
    since: Instant,
    value: Vec<u8>,
}

const SHARDS: usize = 16;
const PREFIX: usize = 16;

/// What a session costs besides its value: two copies of its key, their allocations and the places in both collections.
const OVERHEAD: usize = 200;

// === impl Sessions ===

impl Sessions {
    pub(super) fn new(settings: &SessionSettings) -> Self {
        Self { shards: Default::default(), lifetime: settings.lifetime, bytes: settings.cache }
    }

    pub(super) fn is_for(&self, settings: &SessionSettings) -> bool {
        self.bytes == settings.cache && self.lifetime == settings.lifetime
    }

    /// Keys end with random bytes that we chose.
    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        &self.shards[usize::from(key.last().copied().unwrap_or_default()) % SHARDS]
    }

    fn is_alive(&self, session: &Session) -> bool {
        session.since.elapsed() < self.lifetime
    }

    fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        let since = Instant::now();
        let mut shard = self.shard(&key).lock();
        shard.bytes += value.len() + OVERHEAD;
        shard.order.push_back((since, key.clone()));
        if let Some(replaced) = shard.sessions.insert(key, Session { since, value }) {
            shard.bytes -= replaced.value.len();
        }
        shard.trim(self.bytes / SHARDS, since.checked_sub(self.lifetime));
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let shard = self.shard(key).lock();
        shard.sessions.get(key).filter(|session| self.is_alive(session)).map(|session| session.value.clone())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut shard = self.shard(key).lock();
        let session = shard.sessions.remove(key)?;
        shard.bytes -= session.value.len();
        self.is_alive(&session).then_some(session.value)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("lifetime", &self.lifetime).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

// === impl SessionsOf ===

impl SessionsOf {
    pub(super) fn new(store: Arc<Sessions>, policy: Fingerprint) -> Self {
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&policy.as_bytes()[..PREFIX]);
        Self { store, prefix }
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }
}

impl StoresServerSessions for SessionsOf {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.store.put(self.key(&key), value);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.store.get(&self.key(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.store.take(&self.key(key))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

// === impl Shard ===

impl Shard {
    /// Forgets what is too old, and of the rest the oldest until it fits.
    fn trim(&mut self, limit: usize, oldest: Option<Instant>) {
        while let Some((since, _)) = self.order.front() {
            if self.bytes <= limit && oldest.is_none_or(|oldest| *since > oldest) {
                return;
            }
            let Some((since, key)) = self.order.pop_front() else { return };
            self.bytes -= OVERHEAD;
            // A key that was used again has a later turn.
            if self.sessions.get(&key).is_some_and(|session| session.since == since)
                && let Some(session) = self.sessions.remove(&key)
            {
                self.bytes -= session.value.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::policy::Fingerprinter, *};

    const LIFETIME: Duration = Duration::from_secs(600);

    fn store(cache: usize) -> Sessions {
        Sessions::new(&SessionSettings { cache, lifetime: LIFETIME, ..SessionSettings::default() })
    }

    /// All in one shard.
    fn key(number: u16) -> Vec<u8> {
        number.to_le_bytes().to_vec()
    }

    #[test]
    fn the_oldest_sessions_make_room() {
        let sessions = store(SHARDS * 3 * (OVERHEAD + 100));
        for number in 0..5 {
            sessions.put(key(number), vec![0; 100]);
        }
        let kept: Vec<_> = (0..5).filter(|number| sessions.get(&key(*number)).is_some()).collect();
        assert_eq!(kept, [2, 3, 4]);
        assert!(sessions.take(&key(2)).is_some());
        assert!(sessions.take(&key(2)).is_none());
    }

    #[test]
    fn a_key_that_is_used_again_is_young_again() {
        let sessions = store(SHARDS * 3 * (OVERHEAD + 100));
        for number in [0, 1, 0, 2] {
            sessions.put(key(number), vec![0; 100]);
        }
        assert!(sessions.get(&key(0)).is_some() && sessions.get(&key(2)).is_some());
    }

    #[test]
    fn nobody_reaches_the_sessions_of_another_policy() {
        let store = Arc::new(store(1 << 20));
        let of = |name: &str| {
            let mut hash = Fingerprinter::new();
            hash.add(name.as_bytes());
            SessionsOf::new(Arc::clone(&store), hash.finish())
        };
        of("a").put(key(1), vec![1]);
        assert_eq!(of("b").take(&key(1)), None);
        assert_eq!(of("a").get(&key(1)), Some(vec![1]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_in_time() {
        let sessions = store(1 << 20);
        sessions.put(key(1), vec![1]);
        tokio::time::advance(LIFETIME - Duration::from_secs(1)).await;
        assert_eq!(sessions.get(&key(1)), Some(vec![1]));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sessions.get(&key(1)), None);
        assert_eq!(sessions.take(&key(1)), None);
        // What nobody comes back for goes when somebody else comes.
        sessions.put(key(2), vec![2]);
        tokio::time::advance(LIFETIME + Duration::from_secs(1)).await;
        sessions.put(key(3), vec![3]);
        let shard = sessions.shards[0].lock();
        assert_eq!((shard.order.len(), shard.sessions.len(), shard.bytes), (1, 1, OVERHEAD + 1));
    }
}
