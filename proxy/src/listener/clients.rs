//! Who is connected, and how often: for the limit of connections per client, and touched by nothing else.
//!
//! Counts are per address over all workers, as the kernel spreads the connections of one client over them. Locks are
//! taken when a connection comes and when it goes, never by a request.

use hashbrown::HashMap;
use parking_lot::Mutex;
use std::{
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

const SHARDS: usize = 16;

/// Open connections by client.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    shards: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
}

/// The place of one connection; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct ClientSlot {
    clients: Arc<Clients>,
    client: IpAddr,
}

// === impl Clients ===

impl Clients {
    /// A place for one more connection, unless the client has `most`.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, most: u32) -> Option<ClientSlot> {
        let client = client_of(address);
        let mut shard = self.shard(client).lock();
        let count = shard.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(ClientSlot { clients: Arc::clone(self), client })
    }

    fn shard(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(client);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }
}

// === impl ClientSlot ===

impl Drop for ClientSlot {
    fn drop(&mut self) {
        let mut shard = self.clients.shard(self.client).lock();
        if let Some(count) = shard.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.client);
            }
        }
    }
}

/// Whom an address counts for. IPv6 hands out networks: whoever has one address has its whole /64.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_places_and_gets_them_back() {
        let clients = Arc::<Clients>::default();
        let admit = |text: &str| clients.admit(text.parse().expect("an address"), 2);
        let (first, second) = (admit("10.0.0.1"), admit("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(admit("10.0.0.1").is_none());
        let others = [admit("10.0.0.2"), admit("2001:db8::1"), admit("2001:db8::2")];
        assert!(others.iter().all(Option::is_some));
        assert!(admit("2001:db8::3").is_none(), "one network is one client");
        assert!(admit("2001:db8:0:1::3").is_some());
        drop(first);
        assert!(admit("10.0.0.1").is_some());
        drop((second, others));
        assert!(clients.shards.iter().all(|shard| shard.lock().is_empty()), "nothing is left behind");
    }
}
