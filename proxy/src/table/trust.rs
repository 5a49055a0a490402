//! Whom we believe what they say about a client: which peers, and which of their words.

use http::HeaderName;
use ipnet::{IpNet, Ipv4Net};
use serde::{Serialize, Serializer};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// Trust in what stands before us. Defaults are those of ingress-nginx: nothing is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trust {
    /// Address, scheme, host and port of the client are taken from the header of a request (`use-forwarded-headers`).
    pub forwarded_headers: bool,
    /// The address alone is (`enable-real-ip`).
    pub real_ip: bool,
    /// Endpoints get the whole chain of addresses, not only that of the client (`compute-full-forwarded-for`).
    pub full_forwarded_for: bool,
    /// The field with the client's address (`forwarded-for-header`). `None` where its name is not known for sure: then
    /// no field is believed.
    #[serde(serialize_with = "optional_name")]
    pub forwarded_for: Option<HeaderName>,
    /// The field that goes on as `X-Original-Forwarded-Host` (`forwarded-host-header`).
    #[serde(serialize_with = "name")]
    pub forwarded_host: HeaderName,
    /// Who is believed (`proxy-real-ip-cidr`).
    pub peers: TrustedPeers,
    /// Connections on all HTTP and HTTPS ports begin with a PROXY header (`use-proxy-protocol`).
    pub proxy_protocol: bool,
    /// Time for it to arrive (`proxy-protocol-header-timeout`).
    pub proxy_protocol_timeout: Duration,
}

/// Networks of peers that are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedPeers(Box<[IpNet]>);

// === impl Trust ===

impl Trust {
    /// The field with the client's address by default.
    pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    /// The field with the client's host by default.
    pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

    /// Whether any field of a request is believed, of whomever.
    #[must_use]
    pub fn reads_fields(&self) -> bool {
        self.forwarded_headers || self.real_ip
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            forwarded_headers: false,
            real_ip: false,
            full_forwarded_for: false,
            forwarded_for: Some(Self::X_FORWARDED_FOR),
            forwarded_host: Self::X_FORWARDED_HOST,
            peers: TrustedPeers::default(),
            proxy_protocol: false,
            proxy_protocol_timeout: Duration::from_secs(5),
        }
    }
}

// === impl TrustedPeers ===

impl TrustedPeers {
    /// These networks. None at all means that nobody is believed.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Whether the peer is believed. An IPv4 address written as IPv6 must have been unwrapped before.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&peer))
    }
}

impl Default for TrustedPeers {
    /// Everybody who comes over IPv4, as in ingress-nginx: `0.0.0.0/0` holds no IPv6 address.
    fn default() -> Self {
        Self::new([IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0))])
    }
}

impl Serialize for TrustedPeers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

fn name<S: Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

#[expect(clippy::ref_option, reason = "serde passes the field")]
fn optional_name<S: Serializer>(name: &Option<HeaderName>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_ref().map(HeaderName::as_str).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_means_everybody_over_ipv4() {
        let everybody = TrustedPeers::default();
        assert!(everybody.contains(IpAddr::from([203, 0, 113, 9])));
        assert!(!everybody.contains("2001:db8::1".parse().expect("an address")));
        assert!(!TrustedPeers::new([]).contains(IpAddr::from([127, 0, 0, 1])));
    }
}
