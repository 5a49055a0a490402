//! Addresses of the suite's network namespace: every pod and every subject has one
//! of its own, so that each can use the ports it would use in a cluster.
//!
//! Invariant: no address is handed out twice in a run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU16, Ordering};

/// The networks of which every address is local inside the namespace.
pub const LOCAL_NETWORKS: [(IpAddr, u8); 3] = [
    (IpAddr::V4(Ipv4Addr::new(10, 244, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(10, 250, 0, 0)), 16),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0244, 0, 0, 0, 0, 0, 0)), 64),
];

static POD: AtomicU16 = AtomicU16::new(256);
static HOST: AtomicU16 = AtomicU16::new(256);

/// An address for a pod, where a cluster would have it.
#[must_use]
pub fn pod() -> IpAddr {
    let [high, low] = next(&POD);
    Ipv4Addr::new(10, 244, high, low).into()
}

/// The same in the pods' IPv6 network.
#[must_use]
pub fn pod_v6() -> IpAddr {
    let [high, low] = next(&POD);
    Ipv6Addr::new(0xfd00, 0x0244, 0, 0, 0, 0, 0, u16::from_be_bytes([high, low])).into()
}

/// An address for anything that is not a pod: a subject, a client, a server.
#[must_use]
pub fn host() -> IpAddr {
    let [high, low] = next(&HOST);
    Ipv4Addr::new(10, 250, high, low).into()
}

/// Steps over the addresses that end in 0 or 255, which people read as networks.
fn next(counter: &AtomicU16) -> [u8; 2] {
    loop {
        let bytes = counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        if !matches!(bytes[1], 0 | 255) {
            return bytes;
        }
    }
}
