//! HTTP/1.1 keep-alive load by wrk, and what its report says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Outcome;
use crate::process::{self, Launch};
use crate::site::{self, HOSTS, PATHS, STRIDE};
use crate::work::Work;

/// Added to the length of the run before wrk counts as stuck.
const SLACK: Duration = Duration::from_secs(20);

/// Writes the files that wrk needs and runs it.
pub(crate) struct Wrk {
    directory: PathBuf,
    threads: usize,
}

// === impl Wrk ===

impl Wrk {
    pub(crate) fn new(directory: &Path, threads: usize) -> Result<Self> {
        let wrk = Self { directory: directory.to_owned(), threads };
        for work in Work::ALL {
            site::write(&wrk.script(work), &script(work))?;
        }
        site::write(&wrk.openssl_conf(), OPENSSL_CONF)?;
        Ok(wrk)
    }

    pub(crate) fn run(&self, work: Work, address: SocketAddr, seconds: u64) -> Result<Outcome> {
        // wrk takes the server name of TLS from the URL, so it must be a name that resolves.
        let url = if work.protocol().is_tls() {
            format!("https://localhost:{}/", address.port())
        } else {
            format!("http://{address}/")
        };
        let launch = Launch::new("wrk")
            .arg(format!("-t{}", self.threads))
            .arg(format!("-c{}", work.connections()))
            .arg(format!("-d{seconds}s"))
            .arg("-s")
            .arg(self.script(work).to_string_lossy())
            .arg(url)
            .env("OPENSSL_CONF", self.openssl_conf().to_string_lossy());
        let limit = Duration::from_secs(seconds) + SLACK;
        parse(&process::run("wrk", &launch, limit, &self.directory)?)
    }

    fn script(&self, work: Work) -> PathBuf {
        self.directory.join(format!("{work}.lua"))
    }

    fn openssl_conf(&self) -> PathBuf {
        self.directory.join("wrk-openssl.cnf")
    }
}

/// wrk has no option for the parameters of TLS; OpenSSL reads them here.
const OPENSSL_CONF: &str = "\
openssl_conf = library
[library]
ssl_conf = tls
[tls]
system_default = client
[client]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
";

/// All requests are made before the clock starts; each thread then walks them in its own order.
fn script(work: Work) -> String {
    let segment = work.size().segment();
    format!(
        r#"local requests = {{}}
local count = {HOSTS} * {PATHS}
local next = 0
local threads = 0

function setup(thread)
  thread:set("first", threads * math.floor(count / 2))
  threads = threads + 1
end

function init(args)
  for host = 0, {HOSTS} - 1 do
    for path = 0, {PATHS} - 1 do
      requests[host * {PATHS} + path] = string.format(
        "GET /app%d/{segment} HTTP/1.1\r\nHost: h%04d.bench.example\r\n" ..
        "User-Agent: rust-nginx-bench\r\nAccept: */*\r\n\r\n", path, host)
    end
  end
  next = first
end

function request()
  next = (next + {STRIDE}) % count
  return requests[next]
end
"#
    )
}

/// Reads the report. wrk counts answers of any status, so failures are subtracted.
fn parse(report: &str) -> Result<Outcome> {
    let summary = report
        .lines()
        .find(|line| line.contains(" requests in "))
        .with_context(|| format!("no count of requests in the report of wrk:\n{report}"))?;
    let (count, rest) = summary.trim().split_once(" requests in ").context("count of requests")?;
    let (elapsed, _) = rest.split_once(',').context("length of the run of wrk")?;
    let answered: u64 = count.parse().with_context(|| format!("wrk's count `{count}`"))?;
    let refused = match number_after(report, "Non-2xx or 3xx responses:") {
        Some(text) => text.parse().with_context(|| format!("wrk's count `{text}`"))?,
        None => 0,
    };
    Ok(Outcome {
        requests: answered.saturating_sub(refused),
        errors: refused + socket_errors(report)?,
        elapsed: duration(elapsed)?,
        latencies: Vec::new(),
    })
}

/// Sum of the line `Socket errors: connect 0, read 3, write 0, timeout 1`, which is only there when
/// there were any.
fn socket_errors(report: &str) -> Result<u64> {
    let Some(line) = report.lines().find_map(|line| line.trim().strip_prefix("Socket errors:")) else {
        return Ok(0);
    };
    line.split(',')
        .map(|part| {
            let number = part.split_whitespace().next_back().unwrap_or_default();
            number.parse::<u64>().with_context(|| format!("wrk's socket errors `{line}`"))
        })
        .sum()
}

fn number_after<'a>(report: &'a str, label: &str) -> Option<&'a str> {
    report.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim)
}

/// wrk's own notation: a number with two decimals and a unit.
fn duration(text: &str) -> Result<Duration> {
    let text = text.trim();
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).context("wrk's duration has no unit")?;
    let number: f64 = text[..unit].parse().with_context(|| format!("wrk's duration `{text}`"))?;
    let seconds = match &text[unit..] {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        other => anyhow::bail!("wrk's duration `{text}` has the unknown unit `{other}`"),
    };
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured from wrk 4.1.0-3 of Debian 12.
    const GOOD: &str = "\
Running 1s test @ http://127.0.0.1:18080/
  2 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   146.47us  297.90us   6.19ms   93.86%
    Req/Sec    85.52k    21.85k  115.68k    59.09%
  186955 requests in 1.10s, 27.28MB read
Requests/sec: 170036.07
Transfer/sec:     24.81MB
";

    #[test]
    fn a_good_report() {
        let outcome = parse(GOOD).unwrap();
        assert_eq!((outcome.requests, outcome.errors), (186_955, 0));
        assert_eq!(outcome.elapsed, Duration::from_millis(1100));
    }

    #[test]
    fn answers_with_a_bad_status_are_errors() {
        let report = "  60419 requests in 1.00s, 21.55MB read\n  \
                      Non-2xx or 3xx responses: 60400\nRequests/sec:  60405.11\n";
        let outcome = parse(report).unwrap();
        assert_eq!((outcome.requests, outcome.errors), (19, 60_400));
    }

    #[test]
    fn socket_errors_are_added_up() {
        let report = "  10 requests in 2.00m, 1.00KB read\n  \
                      Socket errors: connect 1, read 20, write 300, timeout 4000\n";
        let outcome = parse(report).unwrap();
        assert_eq!((outcome.requests, outcome.errors), (10, 4321));
        assert_eq!(outcome.elapsed, Duration::from_secs(120));
    }

    #[test]
    fn something_else_is_an_error() {
        assert!(parse("unable to connect to 127.0.0.1:1 Connection refused\n").is_err());
        assert!(parse("  x requests in 1.00s, 1B read\n").is_err());
        assert!(parse("  1 requests in 1.00d, 1B read\n").is_err());
    }
}
