//! Names that are seen in the wild and that ingress-nginx does not read (any more).

use super::{super::grammar::Value, Annotation};

const ANYTHING: Value = Value::Text("anything");

const fn unread(name: &'static str, why: &'static str) -> Annotation {
    Annotation::new(name, ANYTHING, "").doc("Not read by ingress-nginx either.").ignored(why)
}

pub(super) const ANNOTATIONS: &[Annotation] = &[
    unread("enable-opentracing", "OpenTracing has become OpenTelemetry, see enable-opentelemetry"),
    unread("opentracing-trust-incoming-span", "see opentelemetry-trust-incoming-span"),
    unread("secure-backends", "see backend-protocol: HTTPS"),
    unread("grpc-backend", "see backend-protocol: GRPC"),
    unread("secure-verify-ca-secret", "see proxy-ssl-secret"),
    unread("session-cookie-hash", "the cookie has one form"),
    unread("add-base-url", "it was removed from ingress-nginx long ago"),
    unread("base-url-scheme", "it was removed from ingress-nginx long ago"),
    unread("global-rate-limit", "it was removed from ingress-nginx, see limit-rps"),
    unread("global-rate-limit-window", "it was removed from ingress-nginx, see limit-rps"),
    unread("global-rate-limit-key", "it was removed from ingress-nginx, see limit-rps"),
    unread("global-rate-limit-ignored-cidrs", "it was removed from ingress-nginx, see limit-allowlist"),
    unread("enable-influxdb", "it was removed from ingress-nginx"),
    unread("influxdb-measurement", "it was removed from ingress-nginx"),
    unread("influxdb-port", "it was removed from ingress-nginx"),
    unread("influxdb-host", "it was removed from ingress-nginx"),
    unread("influxdb-server-name", "it was removed from ingress-nginx"),
    unread("rate-limit", "no version has read it, see limit-rps"),
    unread("rate-limit-window", "no version has read it, see limit-rps and limit-rpm"),
    unread("rate-limit-connections", "no version has read it, see limit-connections"),
    unread("rate-limit-requests-per-minute", "no version has read it, see limit-rpm"),
    unread("gzip", "no version has read it, see the ConfigMap key use-gzip"),
    unread("proxy-hide-headers", "no version has read it, see the ConfigMap key hide-headers"),
    unread("hsts", "it is a ConfigMap key"),
    unread("hsts-max-age", "it is a ConfigMap key"),
    unread("hsts-include-subdomains", "it is a ConfigMap key"),
    unread("hsts-preload", "it is a ConfigMap key"),
    unread("ssl-protocols", "it is a ConfigMap key"),
];
