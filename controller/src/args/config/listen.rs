//! Where traffic listens: the flags, and what the ConfigMap adds to them.

use crate::{
    args::values::{BindAddress, Values},
    compile::ProcessSettings,
};
use rust_nginx_proxy::Splice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Addresses of the traffic listeners, before the ConfigMap had its say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    http: Vec<BindAddress>,
    https: Vec<BindAddress>,
    /// Those of them where connections begin with a PROXY header.
    proxy_protocol: Vec<BindAddress>,
    http_port: u16,
    https_port: u16,
    /// `--splice`
    splice: Splice,
}

// === impl Listen ===

impl Listen {
    pub(super) fn from_values(values: &mut Values) -> Self {
        let (http, https) = (values.traffic_addresses("http-addr"), values.traffic_addresses("https-addr"));
        let plain = |addresses: &[(BindAddress, bool)]| addresses.iter().map(|(address, _)| *address).collect();
        Self {
            http: plain(&http),
            https: plain(&https),
            proxy_protocol: http
                .iter()
                .chain(&https)
                .filter(|(_, proxy)| *proxy)
                .map(|(address, _)| *address)
                .collect(),
            http_port: values.port("http-port"),
            https_port: values.port("https-port"),
            splice: values
                .word("splice", &[("auto", Splice::Auto), ("on", Splice::Always), ("off", Splice::Never)])
                .unwrap_or_default(),
        }
    }

    /// Only these addresses, whatever the ConfigMap says.
    #[must_use]
    pub fn only(http: Vec<BindAddress>, https: Vec<BindAddress>) -> Self {
        Self { http, https, proxy_protocol: Vec::new(), http_port: 80, https_port: 443, splice: Splice::Auto }
    }

    /// The addresses to bind for HTTP and HTTPS: `--http-addr`, else `--http-port` on the addresses of the ConfigMap.
    #[must_use]
    pub fn resolve(&self, process: &ProcessSettings, ipv6: bool) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let ipv6_for_ports = ipv6 && !process.disable_ipv6;
        let resolve = |given: &[BindAddress], port: u16| -> Vec<SocketAddr> {
            if !given.is_empty() {
                return given.iter().flat_map(|address| address.resolve(ipv6)).collect();
            }
            let configured: Vec<_> = process
                .bind_addresses
                .iter()
                .filter(|address| address.is_ipv4() || ipv6_for_ports)
                .map(|address| SocketAddr::new(*address, port))
                .collect();
            if configured.is_empty() { BindAddress::Every(port).resolve(ipv6_for_ports) } else { configured }
        };
        (resolve(&self.http, self.http_port), resolve(&self.https, self.https_port))
    }

    /// What becomes of large responses.
    #[must_use]
    pub fn splice(&self) -> Splice {
        self.splice
    }

    /// Those of the addresses where connections begin with a PROXY header, whatever the ConfigMap says.
    #[must_use]
    pub fn proxy_protocol(&self, ipv6: bool) -> Vec<SocketAddr> {
        self.proxy_protocol.iter().flat_map(|address| address.resolve(ipv6)).collect()
    }

    /// The addresses of services that are not HTTP: those of the ConfigMap, whatever flags say about HTTP.
    #[must_use]
    pub fn streams(process: &ProcessSettings, ipv6: bool) -> Vec<IpAddr> {
        let ipv6 = ipv6 && !process.disable_ipv6;
        let configured: Vec<_> =
            process.bind_addresses.iter().copied().filter(|address| address.is_ipv4() || ipv6).collect();
        if !configured.is_empty() {
            return configured;
        }
        BindAddress::Every(0).resolve(ipv6).iter().map(SocketAddr::ip).collect()
    }

    /// The ports that are ours.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        let of = |given: &[BindAddress], port| -> Vec<u16> {
            if given.is_empty() { vec![port] } else { given.iter().map(|address| address.port()).collect() }
        };
        of(&self.http, self.http_port).into_iter().chain(of(&self.https, self.https_port))
    }

    /// The port that redirects to HTTPS name. With a free port nobody knows it yet, so they name the usual one.
    pub(super) fn redirect_port(&self) -> u16 {
        let port = self.https.first().map_or(self.https_port, |address| address.port());
        if port == 0 { 443 } else { port }
    }
}

// === impl BindAddress ===

impl BindAddress {
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Every(port) => port,
            Self::One(address) => address.port(),
        }
    }

    /// The sockets that it takes: each family has its own.
    #[must_use]
    pub fn resolve(self, ipv6: bool) -> Vec<SocketAddr> {
        match self {
            Self::One(address) => vec![address],
            Self::Every(port) => {
                let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                let ipv6 = ipv6.then(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
                std::iter::once(ipv4).chain(ipv6).collect()
            }
        }
    }
}
