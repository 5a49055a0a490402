//! Listening, client connections, timeouts, endpoints.

use super::{
    super::{
        annotation::{affinity, proxying},
        grammar::{self, Objection, Value},
        route::RouteSettings,
    },
    Draft, HeadBuffers, Key,
};
use rust_nginx_proxy::table::{HeadLimits, Limits};
use std::{net::IpAddr, num::NonZeroUsize};

const ROUTE_DEFAULT: &str = "Default of the annotation.";
const OWN_DEFAULT: &str = "Default of the annotation of this name under rust-nginx.io.";

const BUFFERS: Value = Value::Text("a number and a size, such as `4 8k`");

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "worker-processes",
        Value::Text("`auto` or a whole number"),
        "auto",
        "Number of workers, one thread each; read at start.",
    )
    .served(worker_processes),
    Key::new("worker-shutdown-timeout", Value::Time, "240s", "How long requests may take to finish at shutdown.")
        .served(worker_shutdown_timeout),
    Key::new("bind-address", Value::List("IP addresses"), "", "Addresses to listen on, all without it; read at start.")
        .served(bind_address),
    Key::new("disable-ipv6", Value::Bool, "false", "Listens on IPv4 only; read at start.").served(disable_ipv6),
    Key::new("keep-alive", Value::Seconds, "75", "Idle time of a client connection; 0 closes after each request.")
        .served(keep_alive),
    Key::new("keep-alive-requests", Value::Integer, "1000", "Requests per client connection.")
        .served(keep_alive_requests),
    Key::new("client-header-timeout", Value::Seconds, "60", "Time for a complete request head.")
        .served(client_header_timeout),
    Key::new("client-body-timeout", Value::Seconds, "60", "Longest pause between two reads of a request body; 408.")
        .served(client_body_timeout),
    Key::new(
        "large-client-header-buffers",
        BUFFERS,
        "4 8k",
        "Limits of request heads: a line fits into one buffer (else 414 or 400), the head into all.",
    )
    .served(large_client_header_buffers),
    Key::new(
        "client-header-buffer-size",
        Value::Size,
        "1k",
        "Limits of request heads too, where it is larger than the large buffers.",
    )
    .served(client_header_buffer_size),
    Key::new("max-worker-connections", Value::Integer, "16384", "Client connections per worker; more are closed.")
        .served(max_worker_connections),
    Key::new(
        "max-connections-per-client",
        Value::Integer,
        "0",
        "Client connections per address, or per /64 network of IPv6, over all workers; 0 is no limit.",
    )
    .served(max_connections_per_client),
    Key::new("http2-max-concurrent-streams", Value::Integer, "128", "Requests at the same time per HTTP/2 connection.")
        .served(http2_max_concurrent_streams),
    Key::new("generate-request-id", Value::Bool, "true", "Gives requests without X-Request-ID one.")
        .served(generate_request_id),
    Key::new("proxy-connect-timeout", Value::Seconds, "5", ROUTE_DEFAULT).route(proxying::proxy_connect_timeout),
    Key::new("proxy-send-timeout", Value::Seconds, "60", ROUTE_DEFAULT).route(proxying::proxy_send_timeout),
    Key::new("proxy-read-timeout", Value::Seconds, "60", ROUTE_DEFAULT).route(proxying::proxy_read_timeout),
    Key::new("proxy-next-upstream", proxying::NEXT_UPSTREAM_WORDS, "error timeout", ROUTE_DEFAULT)
        .route(proxying::proxy_next_upstream),
    Key::new("proxy-next-upstream-tries", Value::Integer, "3", ROUTE_DEFAULT)
        .route(proxying::proxy_next_upstream_tries),
    Key::new("proxy-next-upstream-timeout", Value::Seconds, "0", ROUTE_DEFAULT)
        .route(proxying::proxy_next_upstream_timeout),
    Key::new(
        "retry-non-idempotent",
        Value::Bool,
        "false",
        "Lets POST, LOCK and PATCH be tried again after they were sent.",
    )
    .route(proxying::retry_non_idempotent),
    Key::new("proxy-body-size", Value::Size, "1m", ROUTE_DEFAULT).route(proxying::proxy_body_size),
    Key::new(
        "upstream-keepalive-connections",
        Value::Integer,
        "320",
        "Idle connections per backend and worker; 0 keeps none.",
    )
    .served(upstream_keepalive_connections),
    Key::new("upstream-keepalive-timeout", Value::Seconds, "60", "How long an idle connection to an endpoint is kept.")
        .served(upstream_keepalive_timeout),
    Key::new(
        "upstream-keepalive-time",
        Value::Time,
        "1h",
        "Longest age of a connection to an endpoint that is used again.",
    )
    .served(upstream_keepalive_time),
    Key::new("upstream-keepalive-requests", Value::Integer, "10000", "Requests per connection to an endpoint.")
        .served(upstream_keepalive_requests),
    Key::new(
        "load-balance",
        Value::Words(&["round_robin", "ewma", "least_request"]),
        "round_robin",
        "How an endpoint is picked; default of the annotation.",
    )
    .route(load_balance),
    Key::new("client-body-buffer-size", Value::Size, "8k", ROUTE_DEFAULT).route(proxying::client_body_buffer_size),
    Key::new("proxy-request-buffering", Value::Words(&["on", "off"]), "on", ROUTE_DEFAULT)
        .route(proxying::proxy_request_buffering),
    Key::new("proxy-buffering", Value::Words(&["on", "off"]), "off", ROUTE_DEFAULT).ignored(proxying::STREAMED),
    Key::new("proxy-buffer-size", Value::Size, "4k", ROUTE_DEFAULT).route(proxying::proxy_buffer_size),
    Key::new("proxy-buffers-number", Value::Integer, "4", ROUTE_DEFAULT).ignored(proxying::STREAMED),
    Key::new("proxy-max-temp-file-size", Value::Size, "1024m", ROUTE_DEFAULT).ignored(proxying::STREAMED),
    // Ours.
    Key::new("upstream-ejection-failures", Value::Integer, "0", OWN_DEFAULT)
        .route(affinity::upstream_ejection_failures),
    Key::new("upstream-ejection-time", Value::Time, "30s", OWN_DEFAULT).route(affinity::upstream_ejection_time),
    Key::new("upstream-ejection-percent", affinity::PERCENT, "50", OWN_DEFAULT)
        .route(affinity::upstream_ejection_percent),
    Key::new("upstream-slow-start", Value::Time, "0s", OWN_DEFAULT).route(affinity::upstream_slow_start),
    // Not served yet.
    Key::new("proxy-http-version", Value::Words(&["1.0", "1.1"]), "1.1", ROUTE_DEFAULT),
    Key::new("proxy-cookie-domain", Value::Text("`off`, or two words"), "off", ROUTE_DEFAULT),
    Key::new("proxy-cookie-path", Value::Text("`off`, or two words"), "off", ROUTE_DEFAULT),
    Key::new("proxy-redirect-from", Value::Text("`off`, `default` or a prefix"), "off", ROUTE_DEFAULT),
    Key::new("proxy-redirect-to", Value::Text("a prefix"), "off", ROUTE_DEFAULT),
    Key::new("service-upstream", Value::Bool, "false", ROUTE_DEFAULT).route(affinity::service_upstream),
    Key::new("grpc-buffer-size-kb", Value::Integer, "0", "Buffer of gRPC responses."),
];

impl Draft {
    /// nginx's buffers for a request head, of which each key says a part.
    fn head_buffers(&mut self, buffers: HeadBuffers) -> Result<(), Objection> {
        let HeadBuffers { first, large: (number, size) } = buffers;
        self.settings.limits.head = HeadLimits::of_buffers(first, number, size).ok_or_else(|| {
            Objection::Malformed(format!(
                "heads of {number} × {size} bytes, or one buffer of {first}, are not between 1 byte and {} MiB",
                HeadLimits::MOST >> 20
            ))
        })?;
        self.head_buffers = buffers;
        Ok(())
    }
}

fn worker_processes(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.process.workers = match text {
        "auto" => None,
        _ => {
            let number = text.parse::<NonZeroUsize>();
            Some(number.map_err(|_| Value::Text("auto or a whole number from 1").rejects(text))?)
        }
    };
    Ok(())
}

fn worker_shutdown_timeout(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.process.shutdown_timeout = grammar::time(text)?;
    Ok(())
}

fn bind_address(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let mut bad = Vec::new();
    draft.process.bind_addresses.clear();
    for item in grammar::list(text) {
        match item.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) if draft.process.bind_addresses.contains(&address) => {}
            Ok(address) => draft.process.bind_addresses.push(address),
            Err(_) => bad.push(item),
        }
    }
    if bad.is_empty() {
        return Ok(());
    }
    let instead = if draft.process.bind_addresses.is_empty() { "every address is bound" } else { "the rest holds" };
    Err(Objection::Partly(format!("{:?} is not an IP address; {instead}", bad.join(", "))))
}

fn disable_ipv6(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.process.disable_ipv6 = grammar::boolean(text)?;
    Ok(())
}

fn keep_alive(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.keep_alive = grammar::seconds(text)?;
    Ok(())
}

fn keep_alive_requests(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.keep_alive_requests = grammar::positive(text)?.get();
    Ok(())
}

fn client_header_timeout(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.client_header_timeout = grammar::time_limit(text)?;
    Ok(())
}

fn client_body_timeout(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.client_body_timeout = grammar::time_limit(text)?;
    Ok(())
}

fn http2_max_concurrent_streams(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.http2_max_concurrent_streams = grammar::positive(text)?.get();
    Ok(())
}

fn large_client_header_buffers(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let buffers = match text.split_whitespace().collect::<Vec<_>>()[..] {
        [number, size] => (grammar::positive(number)?.get().into(), grammar::size(size)?),
        _ => return Err(BUFFERS.rejects(text)),
    };
    draft.head_buffers(HeadBuffers { large: buffers, ..draft.head_buffers })
}

fn client_header_buffer_size(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.head_buffers(HeadBuffers { first: grammar::size(text)?, ..draft.head_buffers })
}

fn max_worker_connections(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    // ingress-nginx: 0 is the default.
    draft.settings.limits.connections = match grammar::count(text)? {
        0 => Limits::default().connections,
        count => count,
    };
    Ok(())
}

fn max_connections_per_client(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.limits.connections_per_client = grammar::count(text)?;
    Ok(())
}

fn generate_request_id(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.generate_request_id = grammar::boolean(text)?;
    Ok(())
}

fn upstream_keepalive_connections(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.upstream_keep_alive.connections = grammar::count(text)?;
    Ok(())
}

fn upstream_keepalive_timeout(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.upstream_keep_alive.timeout = grammar::seconds(text)?;
    Ok(())
}

fn upstream_keepalive_time(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.upstream_keep_alive.max_age = grammar::time(text)?;
    Ok(())
}

fn upstream_keepalive_requests(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.settings.upstream_keep_alive.requests = grammar::positive(text)?.get();
    Ok(())
}

/// The words of the annotation that need no further setting.
fn load_balance(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    match text {
        "round_robin" | "ewma" | "least_request" => affinity::load_balance(settings, text),
        _ => Err(Value::Words(&["round_robin", "ewma", "least_request"]).rejects(text)),
    }
}
