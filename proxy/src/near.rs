//! Addresses that lead to this machine or to what only it can reach.
//!
//! The author of an object or of a certificate names addresses, and we connect to them. Our place in the network must not
//! become theirs: what is near is never connected to on their behalf, whether they wrote the address or a name that
//! resolves to it. The one list, for everybody who asks. Must not know: what an address is wanted for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services of clouds that are not link-local: of Alibaba, Azure (its wire server), Oracle, EC2 and Google by
/// IPv6.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether an address is on this machine or its link, goes to many, or is a metadata service.
#[must_use]
pub fn is_near(address: IpAddr) -> bool {
    // An IPv4-mapped address is the IPv4 address to the kernel.
    let address = address.to_canonical();
    METADATA.contains(&address)
        || match address {
            // Linux connects 0.0.0.0 to itself; the rest of 0.0.0.0/8 is "this network" (RFC 791 §3.2).
            IpAddr::V4(v4) => {
                v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0
            }
            IpAddr::V6(v6) => {
                v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast()
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_its_link_and_metadata_services_are_near() {
        for text in [
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "169.254.169.254",
            "169.254.170.2",
            "fe80::1",
            "febf::1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "ff02::1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert!(is_near(text.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn mapped_addresses_are_what_they_map() {
        for (v4, near) in [
            ("127.0.0.1", true),
            ("0.0.0.0", true),
            ("169.254.169.254", true),
            ("224.0.0.1", true),
            ("100.100.100.200", true),
            ("192.0.0.192", true),
            ("192.0.2.1", false),
        ] {
            let mapped = v4.parse::<Ipv4Addr>().expect("an address").to_ipv6_mapped();
            assert_eq!(is_near(mapped.into()), near, "{mapped}");
        }
    }

    #[test]
    fn what_others_reach_too_is_not_near() {
        for text in [
            "192.0.2.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "100.100.100.201",
            "192.0.0.193",
            "168.63.129.17",
            "2001:db8::1",
            "fd00::1",
            "fd00:ec2::255",
            "fec0::1",
        ] {
            assert!(!is_near(text.parse().expect("an address")), "{text}");
        }
    }
}
