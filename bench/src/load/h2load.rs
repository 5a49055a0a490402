//! HTTP/2 load by h2load, and what its report says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Outcome;
use crate::process::{self, Launch};
use crate::site::{self, PATHS};
use crate::work::Work;

/// Added to the length of the run before h2load counts as stuck.
const SLACK: Duration = Duration::from_secs(20);

/// Writes the list of URLs that h2load walks and runs it.
pub(crate) struct H2load {
    directory: PathBuf,
    threads: usize,
}

// === impl H2load ===

impl H2load {
    pub(crate) fn new(directory: &Path, threads: usize) -> Self {
        Self { directory: directory.to_owned(), threads }
    }

    /// h2load keeps the authority of the first URL for all requests, so this is one host and all
    /// of its paths.
    pub(crate) fn run(&self, work: Work, address: SocketAddr, seconds: u64) -> Result<Outcome> {
        let host = site::host(0);
        let urls: String = (0..PATHS)
            .map(|path| {
                let (_, target) = site::target(path, work.size());
                format!("https://{host}:{}{target}\n", address.port())
            })
            .collect();
        let list = self.directory.join(format!("{work}.urls"));
        site::write(&list, &urls)?;
        let launch = Launch::new("h2load")
            .arg(format!("-t{}", self.threads))
            .arg(format!("-c{}", work.connections()))
            .arg(format!("-m{}", work.streams()))
            .arg(format!("-D{seconds}"))
            .arg("--tls13-ciphers=TLS_AES_128_GCM_SHA256")
            .arg("--groups=X25519")
            .arg(format!("--connect-to={address}"))
            .arg(format!("--header=:authority: {host}"))
            .arg(format!("--input-file={}", list.display()));
        let limit = Duration::from_secs(seconds) + SLACK;
        let report = process::run("h2load", &launch, limit, &self.directory)?;
        if !report.contains("Application protocol: h2\n") {
            bail!("h2load did not speak HTTP/2 over TLS:\n{report}");
        }
        let mut outcome = parse(&report)?;
        // The report's own time has two digits only, and the run length is what was asked for.
        outcome.elapsed = Duration::from_secs(seconds);
        Ok(outcome)
    }
}

/// Reads the line `requests: 404 total, 404 started, 400 done, 400 succeeded, 0 failed, …`.
///
/// Requests in flight when the time is up are neither done nor failed.
fn parse(report: &str) -> Result<Outcome> {
    let line = report
        .lines()
        .find_map(|line| line.strip_prefix("requests:"))
        .with_context(|| format!("no line `requests:` in the report of h2load:\n{report}"))?;
    let count = |name: &str| -> Result<u64> {
        line.split(',')
            .filter_map(|part| part.trim().split_once(' '))
            .find(|(_, word)| *word == name)
            .and_then(|(number, _)| number.parse().ok())
            .with_context(|| format!("no count `{name}` in h2load's `requests:{line}`"))
    };
    Ok(Outcome {
        requests: count("succeeded")?,
        errors: count("failed")? + count("errored")? + count("timeout")?,
        ..Outcome::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured from nghttp2 1.52.0 of Debian 12.
    const GOOD: &str = "\
Application protocol: http/1.1
Main benchmark duration is over for thread #0. Stopping all clients.
Stopped all clients for thread #0

finished in 1.20s, 400.00 req/s, 59.77KB/s
requests: 400 total, 404 started, 400 done, 400 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 400 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 59.77KB (61200) total, 50.63KB (51840) headers (space savings 0.00%), 2.81KB (2880) data
                     min         max         mean         sd        +/- sd
time for request:       18us       314us        41us        35us    92.00%
";

    #[test]
    fn a_good_report() {
        let outcome = parse(GOOD).unwrap();
        assert_eq!((outcome.requests, outcome.errors), (400, 0));
    }

    #[test]
    fn answers_with_a_bad_status_are_errors() {
        let report = "finished in 649us, 15408.32 req/s, 4.24MB/s\n\
             requests: 10 total, 10 started, 10 done, 1 succeeded, 9 failed, 2 errored, 3 timeout\n\
             status codes: 0 2xx, 0 3xx, 0 4xx, 10 5xx\n";
        let outcome = parse(report).unwrap();
        assert_eq!((outcome.requests, outcome.errors), (1, 14));
    }

    #[test]
    fn something_else_is_an_error() {
        assert!(parse("failed to resolve\n").is_err());
        assert!(parse("requests: many\n").is_err());
    }
}
