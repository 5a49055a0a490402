//! `IngressClassConfig`: what an IngressClass points at with `spec.parameters`.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defaults for the Ingresses of one class: the typed form of those ConfigMap keys that concern an Ingress rather than
/// the whole process. What is left out is as the ConfigMap of the controller says.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "rust-nginx.io",
    version = "v1alpha1",
    kind = "IngressClassConfig",
    plural = "ingressclassconfigs",
    doc = "Defaults for the Ingresses of the classes that name it in spec.parameters.",
    derive = "PartialEq",
    category = "rust-nginx"
)]
#[serde(rename_all = "camelCase")]
pub struct IngressClassConfigSpec {
    /// The highest risk of annotations that is accepted; an Ingress with one above answers 503. Key `annotations-risk-level`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations_risk_level: Option<RiskLevel>,
    /// Words that close an Ingress whose annotations hold them. Key `annotation-value-word-blocklist`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation_value_word_blocklist: Option<Vec<String>>,
    /// Redirect to HTTPS where the host has TLS. Key `ssl-redirect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_redirect: Option<bool>,
    /// Redirect to HTTPS everywhere. Key `force-ssl-redirect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_ssl_redirect: Option<bool>,
    /// Keep the slash at the end of the path in redirects to HTTPS. Key `preserve-trailing-slash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preserve_trailing_slash: Option<bool>,
    /// Name the HTTPS port in redirects. Key `use-port-in-redirects`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_port_in_redirects: Option<bool>,
    /// Status of redirects to HTTPS: 301, 302, 307 or 308. Key `http-redirect-code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [301, 302, 307, 308]))]
    pub http_redirect_code: Option<u16>,
    /// Prefixes of declared paths that are never redirected to HTTPS. Key `no-tls-redirect-locations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_tls_redirect_locations: Option<Vec<String>>,
    /// Seconds to connect to an endpoint. Key `proxy-connect-timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub proxy_connect_timeout: Option<u32>,
    /// Longest pause between two writes to an endpoint, in seconds. Key `proxy-send-timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub proxy_send_timeout: Option<u32>,
    /// Longest pause between two reads from an endpoint, in seconds. Key `proxy-read-timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub proxy_read_timeout: Option<u32>,
    /// Outcomes after which another endpoint is tried; empty for none. Key `proxy-next-upstream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_next_upstream: Option<Vec<RetryOn>>,
    /// Tries in total, 0 for as many as there are endpoints. Key `proxy-next-upstream-tries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_next_upstream_tries: Option<u32>,
    /// No new try is started after so many seconds, 0 for no limit. Key `proxy-next-upstream-timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_next_upstream_timeout: Option<u32>,
    /// Try POST, LOCK and PATCH again after they were sent. Key `retry-non-idempotent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_non_idempotent: Option<bool>,
    /// Largest request body: a number of bytes with an optional suffix k, m or g; 0 for no limit. Key `proxy-body-size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+[kKmMgG]?$"))]
    pub proxy_body_size: Option<String>,
    /// Read the whole body of a request before an endpoint is asked. Key `proxy-request-buffering`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_request_buffering: Option<bool>,
    /// Memory for such a body, at most 1m: a number of bytes with an optional suffix k, m or g. Key `client-body-buffer-size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+[kKmMgG]?$"))]
    pub client_body_buffer_size: Option<String>,
    /// How an endpoint is picked. Key `load-balance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balance: Option<LoadBalance>,
    /// Connect to the address of the Service instead of its endpoints. Key `service-upstream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_upstream: Option<bool>,
}

/// How much harm the author of an annotation can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RiskLevel {
    /// Only to the own paths.
    Low,
    /// To the own host.
    Medium,
    /// To other hosts or services.
    High,
    /// To the controller.
    Critical,
}

/// How an endpoint is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalance {
    /// In turn.
    RoundRobin,
    /// By response time.
    Ewma,
    /// The one with fewer requests under way.
    LeastRequest,
}

/// An outcome after which another endpoint is tried, in nginx's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// Connecting, sending or reading the head failed.
    Error,
    /// Connecting, sending or reading the head took too long.
    Timeout,
    /// The head of the response is none.
    InvalidHeader,
    /// The response has this status.
    #[serde(rename = "http_500")]
    Http500,
    /// The response has this status.
    #[serde(rename = "http_502")]
    Http502,
    /// The response has this status.
    #[serde(rename = "http_503")]
    Http503,
    /// The response has this status.
    #[serde(rename = "http_504")]
    Http504,
    /// The response has this status.
    #[serde(rename = "http_403")]
    Http403,
    /// The response has this status.
    #[serde(rename = "http_404")]
    Http404,
    /// The response has this status.
    #[serde(rename = "http_429")]
    Http429,
    /// Also methods that are not idempotent.
    NonIdempotent,
}
