//! Asks DNS, as the resolver configuration of this machine says: servers, search domains, `ndots`.

use super::{Lookup, names::Outcome};
use arc_swap::ArcSwapOption;
use futures::{
    FutureExt as _,
    future::{BoxFuture, select},
};
use hickory_resolver::{
    TokioResolver,
    config::ResolveHosts,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RecordType},
    },
    system_conf::parse_resolv_conf,
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// Time for a server to answer, and how often it is asked again, as ingress-nginx does: five times in all.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 4;

/// Longest time for one of the names that a search list makes, whatever the number of servers.
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
    search: Vec<Name>,
    ndots: usize,
    resolver: TokioResolver,
}

/// What DNS says about one name and one family of addresses.
enum Records {
    /// These addresses, for so long.
    Found(Vec<IpAddr>, Duration),
    /// None, with this code.
    None(ResponseCode),
    /// Nobody knows.
    Failed(Arc<str>),
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
            configured.search(&host_name).await
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
        // Names of the pod's own /etc/hosts mean nothing to others, and answers are kept by us.
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        // The time that an alias holds counts, too.
        options.preserve_intermediates = true;
        let search = config.search().iter().chain(config.domain()).cloned().collect();
        let ndots = options.ndots;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| format!("{shown}: {error}"))?;
        let configured = Arc::new(Configured { text, search, ndots, resolver });
        self.current.store(Some(Arc::clone(&configured)));
        Ok(configured)
    }
}

// === impl Configured ===

impl Configured {
    /// Tries the names that the search list makes, in turn. As in glibc, one that nobody can tell anything about does not
    /// end the search, and what is found after it counts; but if nothing is, nobody can say that there is no such name.
    async fn search(&self, host_name: &str) -> Outcome {
        let candidates = match self.candidates(host_name) {
            Ok(candidates) => candidates,
            Err(problem) => return Outcome::Missing(problem.into()),
        };
        let (mut missing, mut failed) = (None, None);
        for candidate in candidates {
            match self.addresses(candidate).await {
                found @ (Outcome::Found(..) | Outcome::Partly(..)) => return found,
                Outcome::Missing(problem) => missing = Some(problem),
                Outcome::Failed(problem) => {
                    failed.get_or_insert(problem);
                }
            }
        }
        match failed {
            Some(problem) => Outcome::Failed(problem),
            None => Outcome::Missing(missing.unwrap_or_else(|| "it is no DNS name".into())),
        }
    }

    /// By the rules of resolv.conf(5): with fewer dots than `ndots`, the search list comes first, else the name itself.
    fn candidates(&self, host_name: &str) -> Result<Vec<Name>, String> {
        // The rules for names beyond ASCII know no `_`, which DNS does.
        let name = if host_name.is_ascii() { Name::from_ascii(host_name) } else { Name::from_utf8(host_name) };
        let name = name.map_err(
            |_| "it is no DNS name: labels have 1 to 63 letters, digits, `-` or `_`, and all of it at most 253 bytes",
        )?;
        if name.is_fqdn() {
            return Ok(vec![name]);
        }
        let mut itself = name.clone();
        itself.set_fqdn(true);
        let mut candidates: Vec<Name> = Vec::new();
        for domain in &self.search {
            // A name that gets too long with the domain is none in it.
            if let Ok(candidate) = name.clone().append_domain(domain)
                && !candidates.contains(&candidate)
            {
                candidates.push(candidate);
            }
        }
        let dots = usize::from(name.num_labels().saturating_sub(1));
        candidates.insert(if dots >= self.ndots { 0 } else { candidates.len() }, itself);
        Ok(candidates)
    }

    async fn addresses(&self, name: Name) -> Outcome {
        let v4 = pin!(self.records(name.clone(), RecordType::A));
        let v6 = pin!(self.records(name, RecordType::AAAA));
        let (first, rest) = select(v4, v6).await.factor_first();
        let other = if matches!(first, Records::Found(..)) {
            // There are servers that never say anything about AAAA.
            timeout(TIMEOUT, rest).await.unwrap_or_else(|_| Records::silence())
        } else {
            rest.await
        };
        match (first, other) {
            (Records::Found(mut addresses, ttl), Records::Found(others, other_ttl)) => {
                addresses.extend(others);
                Outcome::Found(reachable(addresses), ttl.min(other_ttl))
            }
            (Records::Found(addresses, ttl), Records::None(_)) | (Records::None(_), Records::Found(addresses, ttl)) => {
                Outcome::Found(addresses, ttl)
            }
            (Records::Found(addresses, _), Records::Failed(problem))
            | (Records::Failed(problem), Records::Found(addresses, _)) => Outcome::Partly(addresses, problem),
            (Records::None(code), Records::None(_)) => Outcome::Missing(format!("DNS answers {code}").into()),
            // That there is no such name at all is said for both.
            (Records::None(ResponseCode::NXDomain), Records::Failed(_))
            | (Records::Failed(_), Records::None(ResponseCode::NXDomain)) => {
                Outcome::Missing(format!("DNS answers {}", ResponseCode::NXDomain).into())
            }
            (Records::Failed(problem), _) | (_, Records::Failed(problem)) => Outcome::Failed(problem),
        }
    }

    async fn records(&self, name: Name, of_type: RecordType) -> Records {
        let Ok(answer) = timeout(LIMIT, self.resolver.lookup(name, of_type)).await else {
            return Records::silence();
        };
        match answer {
            Ok(found) => {
                let addresses: Vec<_> = found.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
                // Aliases on the way count, too.
                let ttl = found.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
                if addresses.is_empty() {
                    return Records::None(ResponseCode::NoError);
                }
                Records::Found(addresses, Duration::from_secs(ttl.into()))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => Records::None(nothing.response_code),
            Err(error) => Records::Failed(error.to_string().into()),
        }
    }
}

// === impl Records ===

impl Records {
    fn silence() -> Self {
        Self::Failed("DNS gives no answer in time".into())
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
