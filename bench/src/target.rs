//! A peer that runs and has been proven to do the same work as the others.
//!
//! `Target::start` returns only after the target has answered in every protocol, with the site's
//! certificate, with all the headers that ingress-nginx would send to the origin, and with 404 for a
//! host that it was not told about. A number is never taken from a target that skips work.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::load::client::{Connector, Reply};
use crate::peer::{Addresses, Found, Peer};
use crate::process::{self, CpuTime, Memory, Process};
use crate::site::{self, ECHO_SEGMENT, Site, UNKNOWN_HOST};
use crate::work::{Lifetime, Protocol, Size, Work};

/// How long a peer may take from its start to its first right answer.
const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Header names that reach the origin with every request of every target.
const REQUEST_HEADERS: [&str; 8] = [
    "x-request-id",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-scheme",
];

/// A running peer.
pub(crate) struct Target {
    pub(crate) peer: Peer,
    addresses: Addresses,
    process: Process,
}

// === impl Target ===

impl Target {
    /// Starts `found` below `directory`, waits until it serves and checks what it serves.
    pub(crate) fn start(found: &Found, directory: &Path, site: &Site, workers: usize) -> Result<Self> {
        Self::start_under(None, found, directory, site, workers)
    }

    /// The same with a program, such as valgrind, that runs the peer.
    pub(crate) fn start_under(
        wrapper: Option<&process::Launch>,
        found: &Found,
        directory: &Path,
        site: &Site,
        workers: usize,
    ) -> Result<Self> {
        let name = found.peer.name();
        let directory = directory.join(name);
        std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let addresses = Addresses::free()?;
        let mut launch = found.prepare(&directory, site, addresses, workers)?;
        if let Some(wrapper) = wrapper {
            launch = launch.under(wrapper);
        }
        let process = Process::start(name, &launch, &directory.join("log"))?;
        let mut target = Self { peer: found.peer, addresses, process };
        target.wait_until_ready(site)?;
        target.check(site).with_context(|| format!("{name} does not serve the site"))?;
        Ok(target)
    }

    /// Where this work is sent.
    pub(crate) fn address(&self, work: Work) -> std::net::SocketAddr {
        self.address_for(work.protocol())
    }

    pub(crate) fn address_for(&self, protocol: Protocol) -> std::net::SocketAddr {
        if protocol.is_tls() { self.addresses.https } else { self.addresses.http }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        self.process.cpu()
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        self.process.memory()
    }

    pub(crate) fn check_alive(&mut self) -> Result<()> {
        self.process.check_alive()
    }

    fn wait_until_ready(&mut self, site: &Site) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            process::check_interrupted()?;
            self.check_alive()?;
            let error = match self.is_ready(site) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                bail!("{} is not ready after {START_LIMIT:?}: {error:#}\n{}", self.peer, self.process.last_words());
            }
            thread::sleep(POLL);
        }
    }

    /// Asks rust-nginx for its metrics, as Prometheus does.
    pub(crate) fn scrape(&self, site: &Site) -> Result<()> {
        self.inspect("/metrics", site)
    }

    fn inspect(&self, page: &str, site: &Site) -> Result<()> {
        let admin = Connector::new(self.addresses.admin, Protocol::Http1, site)?;
        let reply = admin.connect("localhost")?.exchange("localhost", page, Lifetime::OneRequest, &mut |_| {})?;
        if reply.status != 200 {
            bail!("{page} answers {}", reply.status);
        }
        Ok(())
    }

    fn is_ready(&self, site: &Site) -> Result<()> {
        if matches!(self.peer, Peer::RustNginx | Peer::Baseline) {
            self.inspect("/readyz", site)?;
        }
        let (host, target) = site::target(0, Size::Small);
        let (reply, _) = self.get(site, Protocol::Http1, &host, &target)?;
        expect(200, &reply)
    }

    fn check(&self, site: &Site) -> Result<()> {
        let host = site::host(site::HOSTS - 1);
        for protocol in [Protocol::Http1, Protocol::Http1Tls, Protocol::Http2Tls] {
            let check = || {
                for size in [Size::Small, Size::Large] {
                    let target = format!("{}/{}", site::path(site::PATHS - 1), size.segment());
                    let (reply, body) = self.get(site, protocol, &host, &target)?;
                    expect(200, &reply)?;
                    if body.len() != size.bytes() {
                        bail!("{} bytes for {target} instead of {}", body.len(), size.bytes());
                    }
                }
                let target = format!("{}/{ECHO_SEGMENT}", site::path(0));
                let (reply, head) = self.get(site, protocol, &host, &target)?;
                expect(200, &reply)?;
                check_head(&String::from_utf8_lossy(&head), &host)?;
                if reply.hsts.is_some_and(|hsts| hsts != protocol.is_tls()) {
                    bail!("Strict-Transport-Security must come with TLS and only then");
                }
                let (reply, _) = self.get(site, protocol, &host, "/elsewhere")?;
                expect(404, &reply)?;
                let (reply, _) = self.get(site, protocol, UNKNOWN_HOST, "/app0/1k")?;
                expect(404, &reply)
            };
            check().with_context(|| format!("{protocol:?}"))?;
        }
        Ok(())
    }

    fn get(&self, site: &Site, protocol: Protocol, host: &str, target: &str) -> Result<(Reply, Vec<u8>)> {
        let connector = Connector::new(self.address_for(protocol), protocol, site)?;
        // The server name is always one of the site's: an unknown one has no certificate to check.
        let mut connection = connector.connect(&site::host(1))?;
        let mut body = Vec::new();
        let reply = connection.exchange(host, target, Lifetime::KeepAlive, &mut |bytes| {
            body.extend_from_slice(bytes);
        })?;
        Ok((reply, body))
    }
}

fn expect(status: u16, reply: &Reply) -> Result<()> {
    if reply.status != status {
        bail!("status {} where {status} is right", reply.status);
    }
    Ok(())
}

/// Checks the request head that the origin has seen.
fn check_head(head: &str, host: &str) -> Result<()> {
    let value = |name: &str| {
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    if value("host") != Some(host) {
        bail!("the origin did not see the Host of the client:\n{head}");
    }
    for name in REQUEST_HEADERS {
        if value(name).is_none_or(str::is_empty) {
            bail!("the origin did not see {name}:\n{head}");
        }
    }
    if value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        bail!("connections to the origin are not kept:\n{head}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_without_one_of_the_headers_is_refused() {
        let lines: String = REQUEST_HEADERS.map(|name| format!("{name}: v\r\n")).concat();
        let head = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n");
        assert!(check_head(&head, "a.example").is_ok());
        assert!(check_head(&head, "b.example").is_err());
        let error = check_head(&head.replace("x-scheme: v", "x-scheme:"), "a.example").unwrap_err();
        assert!(error.to_string().contains("did not see x-scheme"), "{error}");
        let closing = head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        assert!(check_head(&closing, "a.example").is_err());
    }
}
