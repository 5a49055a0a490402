//! Asks DNS, as the resolver configuration of this machine says: servers, search domains, `ndots`.

use super::{Lookup, names::Outcome};
use arc_swap::ArcSwapOption;
use futures::{FutureExt as _, future::BoxFuture};
use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolveHosts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    system_conf::parse_resolv_conf,
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// Time for a server to answer, and how often it is asked again, as ingress-nginx does: five times in all.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 4;

/// Longest time for a lookup, whatever the number of servers and search domains.
const LIMIT: Duration = Duration::from_secs(10);

/// Looks names up in DNS.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    /// In the format of resolv.conf(5).
    path: PathBuf,
    current: ArcSwapOption<Configured>,
}

struct Configured {
    /// What the file held.
    text: Vec<u8>,
    resolver: TokioResolver,
}

// === impl Resolver ===

impl Resolver {
    /// A resolver for a configuration in the format of resolv.conf(5). It is read at every lookup, so that a change of it
    /// counts at once.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(Arc::new(Shared { path, current: ArcSwapOption::empty() }))
    }
}

impl Lookup for Resolver {
    fn lookup(&self, host_name: Arc<str>) -> BoxFuture<'static, Outcome> {
        let shared = Arc::clone(&self.0);
        async move {
            let configured = match shared.configured().await {
                Ok(configured) => configured,
                Err(problem) => return Outcome::Failed(problem.into()),
            };
            let Ok(answer) = timeout(LIMIT, configured.resolver.lookup_ip(&*host_name)).await else {
                return Outcome::Failed("DNS gives no answer in time".into());
            };
            match answer {
                Ok(found) => {
                    let addresses = reachable(found.iter().collect());
                    let ttls = found.as_lookup().answers().iter().map(|record| record.ttl);
                    let ttl = Duration::from_secs(ttls.min().unwrap_or_default().into());
                    Outcome::Found(addresses, ttl)
                }
                Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
                    Outcome::Missing(format!("DNS answers {}", nothing.response_code).into())
                }
                Err(error) => Outcome::Failed(error.to_string().into()),
            }
        }
        .boxed()
    }
}

// === impl Shared ===

impl Shared {
    async fn configured(&self) -> Result<Arc<Configured>, String> {
        let shown = self.path.display();
        let text = tokio::fs::read(&self.path).await.map_err(|error| format!("{shown} cannot be read: {error}"))?;
        if let Some(current) = self.current.load_full().filter(|current| current.text == text) {
            return Ok(current);
        }
        let (config, mut options) = parse_resolv_conf(&text).map_err(|error| format!("{shown}: {error}"))?;
        options.timeout = TIMEOUT;
        options.attempts = ATTEMPTS;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Names of the pod's own /etc/hosts mean nothing to others, and answers are kept by us.
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        // The time that an alias holds counts, too.
        options.preserve_intermediates = true;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| format!("{shown}: {error}"))?;
        let configured = Arc::new(Configured { text, resolver });
        self.current.store(Some(Arc::clone(&configured)));
        Ok(configured)
    }
}

/// Leaves out a family that this machine has no way to, as long as the other one has an address: most clusters have no
/// IPv6, and most names have.
fn reachable(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (usable, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| has_route(*address));
    if usable.is_empty() { other } else { usable }
}

/// Whether the kernel knows where a packet to the address would go. Nothing is sent.
fn has_route(address: IpAddr) -> bool {
    let from: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(from, 0));
    socket.is_ok_and(|socket| socket.connect(SocketAddr::new(address, 9)).is_ok())
}
