//! rust-nginx.io/v1alpha1: IngressClassConfig, field by field to the key of the ConfigMap that it stands for.

use super::Unconvertible;
use crate::snapshot::ClassConfig;
use rust_nginx_crds::{IngressClassConfig, IngressClassConfigSpec, LoadBalance, RetryOn, RiskLevel};

impl TryFrom<IngressClassConfig> for ClassConfig {
    type Error = Unconvertible;

    fn try_from(config: IngressClassConfig) -> Result<Self, Unconvertible> {
        let IngressClassConfig { metadata, spec } = config;
        let name = metadata.name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Unconvertible::new("metadata.name", "is required"))?;
        let IngressClassConfigSpec {
            annotations_risk_level,
            annotation_value_word_blocklist,
            ssl_redirect,
            force_ssl_redirect,
            preserve_trailing_slash,
            use_port_in_redirects,
            http_redirect_code,
            no_tls_redirect_locations,
            proxy_connect_timeout,
            proxy_send_timeout,
            proxy_read_timeout,
            proxy_next_upstream,
            proxy_next_upstream_tries,
            proxy_next_upstream_timeout,
            retry_non_idempotent,
            proxy_body_size,
            proxy_request_buffering,
            client_body_buffer_size,
            load_balance,
            service_upstream,
        } = spec;
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let switch = |value: Option<bool>| value.map(|value| value.to_string());
        let list = |value: Option<Vec<String>>| value.map(|items| items.join(","));
        let pairs = [
            ("annotations-risk-level", annotations_risk_level.map(|level| risk(level).to_owned())),
            ("annotation-value-word-blocklist", list(annotation_value_word_blocklist)),
            ("ssl-redirect", switch(ssl_redirect)),
            ("force-ssl-redirect", switch(force_ssl_redirect)),
            ("preserve-trailing-slash", switch(preserve_trailing_slash)),
            ("use-port-in-redirects", switch(use_port_in_redirects)),
            ("http-redirect-code", http_redirect_code.map(|code| code.to_string())),
            ("no-tls-redirect-locations", list(no_tls_redirect_locations)),
            ("proxy-connect-timeout", number(proxy_connect_timeout)),
            ("proxy-send-timeout", number(proxy_send_timeout)),
            ("proxy-read-timeout", number(proxy_read_timeout)),
            ("proxy-next-upstream", proxy_next_upstream.map(|outcomes| next_upstream(&outcomes))),
            ("proxy-next-upstream-tries", number(proxy_next_upstream_tries)),
            ("proxy-next-upstream-timeout", number(proxy_next_upstream_timeout)),
            ("retry-non-idempotent", switch(retry_non_idempotent)),
            ("proxy-body-size", proxy_body_size),
            ("proxy-request-buffering", proxy_request_buffering.map(|on| if on { "on" } else { "off" }.to_owned())),
            ("client-body-buffer-size", client_body_buffer_size),
            ("load-balance", load_balance.map(|way| picking(way).to_owned())),
            ("service-upstream", switch(service_upstream)),
        ];
        let data = pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        Ok(Self { name: name.into(), data })
    }
}

fn risk(level: RiskLevel) -> &'static str {
    match level {
        RiskLevel::Low => "Low",
        RiskLevel::Medium => "Medium",
        RiskLevel::High => "High",
        RiskLevel::Critical => "Critical",
    }
}

fn picking(way: LoadBalance) -> &'static str {
    match way {
        LoadBalance::RoundRobin => "round_robin",
        LoadBalance::Ewma => "ewma",
        LoadBalance::LeastRequest => "least_request",
    }
}

fn next_upstream(outcomes: &[RetryOn]) -> String {
    if outcomes.is_empty() {
        return "off".to_owned();
    }
    let words: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            RetryOn::Error => "error",
            RetryOn::Timeout => "timeout",
            RetryOn::InvalidHeader => "invalid_header",
            RetryOn::Http500 => "http_500",
            RetryOn::Http502 => "http_502",
            RetryOn::Http503 => "http_503",
            RetryOn::Http504 => "http_504",
            RetryOn::Http403 => "http_403",
            RetryOn::Http404 => "http_404",
            RetryOn::Http429 => "http_429",
            RetryOn::NonIdempotent => "non_idempotent",
        })
        .collect();
    words.join(" ")
}
