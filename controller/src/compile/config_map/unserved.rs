//! Keys about the insides of nginx, or that nothing reads any more.

use super::{super::grammar::Value, Key};

const ANYTHING: Value = Value::Text("anything");
const INSIDE: &str = "it concerns the insides of nginx";
const GONE: &str = "ingress-nginx does not read it any more";

const fn ignored(name: &'static str, why: &'static str) -> Key {
    Key::new(name, ANYTHING, "", "Without effect here.").ignored(why)
}

pub(super) const KEYS: &[Key] = &[
    ignored("access-log-params", INSIDE),
    ignored("app-root", "only the annotation has an effect"),
    ignored("debug-connections", INSIDE),
    ignored("disable-ipv6-dns", INSIDE),
    ignored("enable-aio-write", INSIDE),
    ignored("enable-multi-accept", INSIDE),
    ignored("enable-serial-reloads", "there are no reloads"),
    ignored("forwarded-for-proxy-protocol-header", INSIDE),
    ignored("geoip2-autoreload-in-minutes", INSIDE),
    ignored("http2-max-field-size", GONE),
    ignored("http2-max-header-size", GONE),
    ignored("http2-max-requests", GONE),
    ignored("lua-shared-dicts", INSIDE),
    ignored("main-snippet", INSIDE),
    ignored("map-hash-bucket-size", INSIDE),
    ignored("max-worker-open-files", "the limit of the process holds"),
    ignored("nginx-status-ipv4-whitelist", INSIDE),
    ignored("nginx-status-ipv6-whitelist", INSIDE),
    ignored("opentelemetry-config", INSIDE),
    ignored("proxy-busy-buffers-size", INSIDE),
    ignored("proxy-headers-hash-bucket-size", INSIDE),
    ignored("proxy-headers-hash-max-size", INSIDE),
    ignored("reuse-port", "every worker has its own listeners"),
    ignored("server-name-hash-bucket-size", INSIDE),
    ignored("server-name-hash-max-size", INSIDE),
    ignored("ssl-buffer-size", INSIDE),
    ignored("ssl-dh-param", "rustls has no finite-field key exchange"),
    ignored("stream-snippet", INSIDE),
    ignored("upstream-hash-by", "only the annotation has an effect"),
    ignored("upstream-hash-by-subset", "only the annotation has an effect"),
    ignored("upstream-hash-by-subset-size", "only the annotation has an effect"),
    ignored("use-geoip2", INSIDE),
    ignored("variables-hash-bucket-size", INSIDE),
    ignored("variables-hash-max-size", INSIDE),
    ignored("worker-cpu-affinity", INSIDE),
    ignored("use-geoip", GONE),
    ignored("enable-opentracing", GONE),
];
