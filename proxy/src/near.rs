//! Addresses that lead to this machine or to what only it can reach.
//!
//! The author of an object or of a certificate names addresses, and we connect to them. Our place in the network must not
//! become theirs: what is near is never connected to on their behalf, whether they wrote the address or a name that
//! resolves to it. The one list, for everybody who asks. Must not know: what an address is wanted for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services of clouds that are not link-local: of Alibaba, Azure (its wire server), Oracle, and Google by IPv6.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Where EC2 has its services by IPv6: metadata, credentials of pods, time and names, each at an address of its own.
const EC2: [u16; 2] = [0xfd00, 0xec2];

/// Whether an address is on this machine or its link, goes to many, or is a metadata service.
#[must_use]
pub fn is_near(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(v6) => within(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    METADATA.contains(&address)
        || match address {
            // Linux connects 0.0.0.0 to itself; the rest of 0.0.0.0/8 is "this network" (RFC 791 §3.2).
            IpAddr::V4(v4) => {
                v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0
            }
            IpAddr::V6(v6) => {
                v6.is_loopback()
                    || v6.is_unspecified()
                    || v6.is_unicast_link_local()
                    || v6.is_multicast()
                    || v6.segments()[..2] == EC2
            }
        }
}

/// The IPv4 address that an IPv6 address leads to: mapped (RFC 4291 §2.5.5.2), which is that address to the kernel; behind a
/// translator (RFC 6052 §2.1, RFC 8215); or behind a 6to4 relay (RFC 3056 §2).
fn within(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => address.to_ipv4_mapped(),
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
            "fd00:ec2::23",
            "fd20:ce::254",
        ] {
            assert!(is_near(text.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn addresses_that_hold_another_are_what_they_hold() {
        for (v4, near) in [
            ("127.0.0.1", true),
            ("0.0.0.0", true),
            ("169.254.169.254", true),
            ("224.0.0.1", true),
            ("100.100.100.200", true),
            ("192.0.0.192", true),
            ("192.0.2.1", false),
        ] {
            let v4: Ipv4Addr = v4.parse().expect("an address");
            let [high, low] = [v4.to_bits() >> 16, v4.to_bits() & 0xffff];
            let others = ["64:ff9b::", "64:ff9b:1:0:0:0:"].map(|prefix| format!("{prefix}{high:x}:{low:x}"));
            let others = others.into_iter().chain([format!("2002:{high:x}:{low:x}::1")]);
            let others = others.map(|text| text.parse::<Ipv6Addr>().expect("an address"));
            for v6 in others.chain([v4.to_ipv6_mapped()]) {
                assert_eq!(is_near(v6.into()), near, "{v6}");
            }
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
            "fd00:ec3::254",
            "64:ff9b:2::7f00:1",
            "fec0::1",
        ] {
            assert!(!is_near(text.parse().expect("an address")), "{text}");
        }
    }
}
