//! The programs that are compared, and how each is told to serve the site.
//!
//! Owns what makes the comparison fair: every peer gets the same hosts, paths, certificate, origin,
//! number of workers and request headers. Must not know how load is made or measured.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::{env, fmt};

use anyhow::{Context, Error, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process::Launch;
use crate::site::Site;

mod envoy;
mod haproxy;
mod nginx;
pub(crate) mod rust_nginx;

/// One program under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// What all others are divided by.
    Nginx,
    RustNginx,
    /// Another build of rust-nginx, for the cost of a change.
    Baseline,
    Haproxy,
    Envoy,
}

/// Where a peer listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// The program of a peer, found and asked for its version.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) peer: Peer,
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

/// Where the programs under test that are not in `PATH` are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    pub(crate) subject: Option<PathBuf>,
    pub(crate) baseline: Option<PathBuf>,
}

// === impl Peer ===

impl Peer {
    pub(crate) const ALL: [Self; 5] = [Self::Nginx, Self::RustNginx, Self::Baseline, Self::Haproxy, Self::Envoy];

    /// The word used on the command line and in result files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::RustNginx => "rust-nginx",
            Self::Baseline => "baseline",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// Finds the program, or says in one line how to get it.
    pub(crate) fn find(self, programs: &Programs) -> Result<Found> {
        let program = match self {
            Self::RustNginx => given(programs.subject.as_deref(), "--subject")?,
            Self::Baseline => given(programs.baseline.as_deref(), "--baseline")?,
            Self::Nginx => installed("nginx", "nginx-light")?,
            Self::Haproxy => installed("haproxy", "haproxy")?,
            Self::Envoy => envoy::program()?,
        };
        let version = match self {
            Self::RustNginx | Self::Baseline => rust_nginx::version(&program)?,
            Self::Nginx => version(&program, "-v", "nginx/")?,
            Self::Haproxy => version(&program, "-v", "version ")?,
            Self::Envoy => envoy::version(&program)?,
        };
        Ok(Found { peer: self, program, version })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Peer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match Self::ALL.into_iter().find(|peer| peer.name() == text) {
            Some(peer) => Ok(peer),
            None => bail!("unknown peer `{text}`; accepted: {}", Self::ALL.map(Self::name).join(", ")),
        }
    }
}

// === impl Found ===

impl Found {
    /// Writes the configuration into `directory` and says how to start the peer with it.
    pub(crate) fn prepare(
        &self,
        directory: &Path,
        site: &Site,
        addresses: Addresses,
        workers: usize,
    ) -> Result<Launch> {
        let program = Launch::new(&self.program);
        match self.peer {
            Peer::Nginx => nginx::prepare(program, directory, site, addresses, workers),
            Peer::Haproxy => haproxy::prepare(program, directory, site, addresses, workers),
            Peer::Envoy => envoy::prepare(program, directory, site, addresses, workers),
            Peer::RustNginx | Peer::Baseline => rust_nginx::prepare(program, directory, site, addresses, workers),
        }
    }
}

// === impl Addresses ===

impl Addresses {
    /// Three loopback ports that nothing listens on at this moment.
    pub(crate) fn free() -> Result<Self> {
        let sockets: Vec<TcpListener> = (0..3)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<Result<_, _>>()
            .context("find free ports")?;
        let address = |index: usize| sockets[index].local_addr().context("address of a socket");
        Ok(Self { http: address(0)?, https: address(1)?, admin: address(2)? })
    }
}

/// The path of a program that a Debian package installs, or one line that says how to get it.
pub(crate) fn installed(name: &str, package: &str) -> Result<PathBuf> {
    // Servers are in /usr/sbin, which is not in everybody's PATH.
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|program| program.is_file());
    found.with_context(|| format!("{name} is missing; get it with: apt-get install {package}"))
}

fn given(program: Option<&Path>, option: &str) -> Result<PathBuf> {
    let Some(program) = program else {
        bail!("no rust-nginx binary: give one with {option} PATH");
    };
    program.canonicalize().with_context(|| format!("{option} {}", program.display()))
}

/// Runs `program flag` and returns the word after `marker`.
fn version(program: &Path, flag: &str, marker: &str) -> Result<String> {
    let output = Command::new(program).arg(flag).output();
    let output = output.with_context(|| format!("start {}", program.display()))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    after(&text, marker)
        .map(str::to_owned)
        .with_context(|| format!("`{} {flag}` names no version: {text}", program.display()))
}

fn after<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(marker)?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_the_programs_print() {
        assert_eq!(after("nginx version: nginx/1.22.1\n", "nginx/"), Some("1.22.1"));
        let haproxy = "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n";
        assert_eq!(after(haproxy, "version "), Some("2.6.12-1+deb12u4"));
        assert_eq!(after("something else", "version "), None);
    }

    #[test]
    fn free_ports_differ() {
        let addresses = Addresses::free().unwrap();
        assert_ne!(addresses.http, addresses.https);
        assert_ne!(addresses.https, addresses.admin);
    }
}
