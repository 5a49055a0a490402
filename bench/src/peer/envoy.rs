//! Envoy: one virtual host per host, one route per path, without its own response headers.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Addresses;
use crate::process::Launch;
use crate::site::{self, HOSTS, PATHS, Site};

/// Where `bench/setup.sh` installs Envoy.
pub(super) fn program() -> Result<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME") {
        Some(cache) if !cache.is_empty() => PathBuf::from(cache),
        _ => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let lib = cache.join("rust-nginx/envoy/lib");
    let missing = || format!("no Envoy below {}; get it with: bench/setup.sh", lib.display());
    // The directory between is named after the version of Python.
    for python in fs::read_dir(&lib).with_context(missing)? {
        let python = python.with_context(missing)?.path();
        let program = python.join("site-packages/envoy/_bin/envoy");
        if program.is_file() {
            return Ok(program);
        }
    }
    anyhow::bail!(missing())
}

pub(super) fn version(program: &Path) -> Result<String> {
    let words = super::version(program, "--version", "version: ")?;
    // commit/1.40.0/Clean/RELEASE/BoringSSL
    let number = words.split('/').nth(1);
    Ok(number.with_context(|| format!("Envoy's version `{words}`"))?.to_owned())
}

pub(super) fn prepare(
    program: Launch,
    directory: &Path,
    site: &Site,
    addresses: Addresses,
    workers: usize,
) -> Result<Launch> {
    let path = directory.join("envoy.json");
    let text = serde_json::to_string(&configuration(site, addresses)).context("Envoy's JSON")?;
    site::write(&path, &text)?;
    Ok(program
        .arg("--concurrency")
        .arg(workers.to_string())
        .arg("--disable-hot-restart")
        .arg("--log-level")
        .arg("error")
        .arg("-c")
        .arg(path.to_string_lossy()))
}

fn configuration(site: &Site, addresses: Addresses) -> Value {
    let tls = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "tls_certificates": [{
                    "certificate_chain": {"filename": site.certificate_path()},
                    "private_key": {"filename": site.key_path()},
                }],
            },
            "disable_stateless_session_resumption": true,
            "disable_stateful_session_resumption": true,
        },
    });
    let mut http = listener("http", addresses.http.port());
    let mut https = listener("https", addresses.https.port());
    http["filter_chains"] = json!([{"filters": [connection_manager("http", false)]}]);
    https["filter_chains"] = json!([
        {"filters": [connection_manager("https", true)], "transport_socket": tls}
    ]);
    json!({
        "static_resources": {
            "listeners": [http, https],
            "clusters": [{
                "name": "origin",
                "type": "STATIC",
                "connect_timeout": "5s",
                "lb_policy": "ROUND_ROBIN",
                "circuit_breakers": {"thresholds": [{
                    "max_connections": 8000, "max_pending_requests": 8000, "max_requests": 8000,
                }]},
                "load_assignment": {
                    "cluster_name": "origin",
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                        "socket_address": {
                            "address": site.origin.ip().to_string(),
                            "port_value": site.origin.port(),
                        },
                    }}}]}],
                },
            }],
        },
    })
}

fn listener(name: &str, port: u16) -> Value {
    json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "enable_reuse_port": true,
        "tcp_backlog_size": 4096,
    })
}

fn connection_manager(name: &str, tls: bool) -> Value {
    let hosts: Vec<Value> = (0..HOSTS).map(virtual_host).collect();
    let scheme = if tls { "https" } else { "http" };
    let port = if tls { "443" } else { "%DOWNSTREAM_LOCAL_PORT%" };
    let client = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%";
    let mut routes = json!({
        "name": name,
        "virtual_hosts": hosts,
        "ignore_port_in_host_matching": true,
        "request_headers_to_add": [
            set("X-Original-Forwarded-For", "%REQ(X-FORWARDED-FOR)%"),
            set("X-Original-Forwarded-Host", "%REQ(X-FORWARDED-HOST)%"),
            set("X-Real-IP", client),
            set("X-Forwarded-For", client),
            set("X-Forwarded-Host", "%REQ(:AUTHORITY)%"),
            set("X-Forwarded-Port", port),
            set("X-Forwarded-Proto", scheme),
            set("X-Forwarded-Scheme", scheme),
            set("X-Scheme", scheme),
        ],
        "request_headers_to_remove": ["proxy"],
    });
    if tls {
        routes["response_headers_to_add"] =
            json!([set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")]);
    }
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "codec_type": "AUTO",
            // X-Forwarded-For is replaced by the headers above, as in the other configurations, so
            // Envoy need not work on it too.
            "use_remote_address": false,
            "skip_xff_append": true,
            "generate_request_id": true,
            "preserve_external_request_id": true,
            "server_header_transformation": "PASS_THROUGH",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "stream_idle_timeout": "60s",
            "request_timeout": "0s",
            "http2_protocol_options": {"max_concurrent_streams": 128},
            "common_http_protocol_options": {"idle_timeout": "75s"},
            "route_config": routes,
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": true,
                },
            }],
        },
    })
}

fn virtual_host(index: usize) -> Value {
    let routes: Vec<Value> = (0..PATHS)
        .map(|index| {
            json!({
                "match": {"path_separated_prefix": site::path(index)},
                "route": {"cluster": "origin", "timeout": "0s"},
            })
        })
        .collect();
    let host = site::host(index);
    json!({"name": host, "domains": [host], "routes": routes})
}

fn set(name: &str, value: &str) -> Value {
    json!({
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    })
}
