//! nginx: one server per host, one location per path, and around them the settings and the request
//! headers that ingress-nginx renders by default, without its Lua.

use std::fmt::Write as _;
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
    let path = directory.join("nginx.conf");
    site::write(&path, &configuration(directory, site, addresses, workers))?;
    Ok(program.arg("-p").arg(directory.to_string_lossy()).arg("-e").arg("stderr").arg("-c").arg(path.to_string_lossy()))
}

fn configuration(directory: &Path, site: &Site, addresses: Addresses, workers: usize) -> String {
    let mut text = format!(
        r#"daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log stderr error;

events {{
  multi_accept on;
  worker_connections 16384;
  use epoll;
}}

http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  scgi_temp_path {directory}/scgi;
  uwsgi_temp_path {directory}/uwsgi;

  server_tokens off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  reset_timedout_connection on;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  client_header_buffer_size 1k;
  large_client_header_buffers 4 8k;
  http2_max_concurrent_streams 128;
  server_names_hash_max_size 4096;
  server_names_hash_bucket_size 64;
  variables_hash_max_size 2048;

  ssl_certificate {certificate};
  ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_prefer_server_ciphers on;
  ssl_ecdh_curve auto;
  ssl_buffer_size 4k;
  ssl_session_cache off;
  ssl_session_tickets off;

  map $http_upgrade $connection_upgrade {{
    default upgrade;
    '' '';
  }}
  map $http_x_request_id $req_id {{
    default $http_x_request_id;
    '' $request_id;
  }}
  map $https $hsts {{
    on 'max-age=31536000; includeSubDomains';
    default '';
  }}
  map $https $forwarded_port {{
    on 443;
    default $server_port;
  }}

  upstream origin {{
    server {origin} max_fails=0;
    keepalive 320;
    keepalive_time 1h;
    keepalive_timeout 60s;
    keepalive_requests 10000;
  }}

  proxy_http_version 1.1;
  proxy_connect_timeout 5s;
  proxy_send_timeout 60s;
  proxy_read_timeout 60s;
  proxy_buffering off;
  proxy_buffer_size 4k;
  proxy_buffers 4 4k;
  proxy_busy_buffers_size 8k;
  proxy_request_buffering on;
  proxy_redirect off;
  proxy_next_upstream error timeout;
  proxy_next_upstream_tries 3;

  proxy_set_header Host $http_host;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $connection_upgrade;
  proxy_set_header X-Request-ID $req_id;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Port $forwarded_port;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Scheme $scheme;
  proxy_set_header X-Scheme $scheme;
  proxy_set_header X-Original-Forwarded-For $http_x_forwarded_for;
  proxy_set_header X-Original-Forwarded-Host $http_x_forwarded_host;
  proxy_set_header Proxy '';
  add_header Strict-Transport-Security $hsts always;

  server {{
    listen {http} default_server reuseport backlog=4096;
    listen {https} default_server reuseport ssl http2 backlog=4096;
    server_name _;
    return 404;
  }}
"#,
        directory = directory.display(),
        certificate = site.certificate_path().display(),
        key = site.key_path().display(),
        origin = site.origin,
        http = addresses.http,
        https = addresses.https,
    );
    for index in 0..HOSTS {
        write!(
            text,
            "  server {{\n    listen {};\n    listen {} ssl http2;\n    server_name {};\n",
            addresses.http,
            addresses.https,
            site::host(index)
        )
        .expect("writing to a String cannot fail");
        for index in 0..PATHS {
            let path = site::path(index);
            // The two forms of one Prefix path: the element itself and what is below it.
            for matcher in [format!("= {path}"), format!("{path}/")] {
                writeln!(text, "    location {matcher} {{ proxy_pass http://origin; }}")
                    .expect("writing to a String cannot fail");
            }
        }
        text.push_str("    location / { return 404; }\n  }\n");
    }
    text.push_str("}\n");
    text
}
