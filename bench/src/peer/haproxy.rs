//! HAProxy: one map from host and path to the backend, as the ingress controllers built on it do.

use std::path::Path;

use anyhow::Result;

use super::Addresses;
use crate::process::Launch;
use crate::site::{self, HOSTS, PATHS, Site};

pub(super) fn prepare(
    program: Launch,
    directory: &Path,
    site: &Site,
    addresses: Addresses,
    workers: usize,
) -> Result<Launch> {
    let map = directory.join("haproxy.map");
    let pairs = (0..HOSTS).flat_map(|host| (0..PATHS).map(move |path| (host, path)));
    let lines: String =
        pairs.map(|(host, path)| format!("{}{}/ origin\n", site::host(host), site::path(path))).collect();
    site::write(&map, &lines)?;
    let path = directory.join("haproxy.cfg");
    site::write(&path, &configuration(&map, site, addresses, workers))?;
    Ok(program.arg("-db").arg("-q").arg("-f").arg(path.to_string_lossy()))
}

/// `map_beg` finds the longest prefix in a tree, so the size of the map costs next to nothing.
fn configuration(map: &Path, site: &Site, addresses: Addresses, workers: usize) -> String {
    format!(
        r#"global
  nbthread {workers}
  maxconn 8000
  tune.ssl.cachesize 0
  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets

defaults
  mode http
  maxconn 8000
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  timeout http-request 60s
  timeout http-keep-alive 75s
  option http-keep-alive
  http-reuse always

frontend clients
  bind {http} backlog 4096
  bind {https} backlog 4096 ssl crt {certificate} alpn h2,http/1.1
  http-request set-var(txn.path) path
  http-request set-var(txn.base) req.hdr(host),field(1,:),lower,concat(,txn.path)
  http-request set-header X-Request-ID %[uuid()] unless {{ req.hdr(X-Request-ID) -m found }}
  http-request set-header X-Original-Forwarded-For %[req.hdr(X-Forwarded-For)] if {{ req.hdr(X-Forwarded-For) -m found }}
  http-request set-header X-Original-Forwarded-Host %[req.hdr(X-Forwarded-Host)] if {{ req.hdr(X-Forwarded-Host) -m found }}
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port 443 if {{ ssl_fc }}
  http-request set-header X-Forwarded-Port %[dst_port] unless {{ ssl_fc }}
  http-request set-var(txn.scheme) str(https) if {{ ssl_fc }}
  http-request set-var(txn.scheme) str(http) unless {{ ssl_fc }}
  http-request set-header X-Forwarded-Proto %[var(txn.scheme)]
  http-request set-header X-Forwarded-Scheme %[var(txn.scheme)]
  http-request set-header X-Scheme %[var(txn.scheme)]
  http-request del-header Proxy
  http-response set-header Strict-Transport-Security "max-age=31536000; includeSubDomains" if {{ ssl_fc }}
  http-response del-header Server
  use_backend %[var(txn.base),map_beg({map},nothing)]

backend origin
  server origin {origin} pool-max-conn 320 pool-purge-delay 60s

backend nothing
  http-request return status 404
"#,
        http = addresses.http,
        https = addresses.https,
        certificate = site.certificate_and_key_path().display(),
        map = map.display(),
        origin = site.origin,
    )
}
