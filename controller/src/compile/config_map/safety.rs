//! Admission, access, redirects.

use super::{
    super::{
        annotation::{Risk, redirect},
        grammar::{self, Objection, Value, non_empty, unless_false},
    },
    Draft, Key,
};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "annotations-risk-level",
        Value::Words(&["Low", "Medium", "High", "Critical"]),
        "High",
        "The highest risk of annotations that is accepted; an Ingress with one above is closed.",
    )
    .served(annotations_risk_level),
    Key::new(
        "annotation-value-word-blocklist",
        Value::List("words"),
        "",
        "Words that close an Ingress whose annotations hold them.",
    )
    .served(annotation_value_word_blocklist),
    Key::new("allow-snippet-annotations", Value::Bool, "false", "Whether snippet annotations are read."),
    Key::new(
        "allow-cross-namespace-resources",
        Value::Bool,
        "false",
        "Whether annotations may name Secrets and ConfigMaps of other namespaces.",
    )
    .served(allow_cross_namespace_resources),
    Key::new(
        "strict-validate-path-type",
        Value::Bool,
        "true",
        "Whether the webhook checks the characters of Exact and Prefix paths.",
    ),
    Key::new(
        "global-allowed-response-headers",
        Value::List("header names"),
        "",
        "Headers that `custom-headers` may set.",
    ),
    // Redirects.
    Key::new("ssl-redirect", Value::Bool, "true", "Default of the annotation.").route(redirect::ssl_redirect),
    Key::new("force-ssl-redirect", Value::Bool, "false", "Default of the annotation.")
        .route(redirect::force_ssl_redirect),
    Key::new("preserve-trailing-slash", Value::Bool, "false", "Default of the annotation.")
        .route(redirect::preserve_trailing_slash),
    Key::new("use-port-in-redirects", Value::Bool, "false", "Default of the annotation.")
        .route(redirect::use_port_in_redirects),
    Key::new(
        "http-redirect-code",
        Value::Words(&["301", "302", "307", "308"]),
        "308",
        "Status of redirects to HTTPS and between `www.` and the bare name.",
    )
    .route(redirect::http_redirect_code),
    Key::new(
        "no-tls-redirect-locations",
        Value::List("prefixes of declared paths"),
        "/.well-known/acme-challenge",
        "Paths that are never redirected to HTTPS.",
    )
    .route(redirect::no_tls_redirect_locations),
    Key::new("relative-redirects", Value::Bool, "false", "Redirects made by the proxy carry a path only."),
    Key::new("hsts", Value::Bool, "true", "Whether responses over TLS carry Strict-Transport-Security.").served(hsts),
    Key::new("hsts-max-age", Value::Seconds, "31536000", "How long browsers insist on HTTPS.").served(hsts_max_age),
    Key::new("hsts-include-subdomains", Value::Bool, "true", "Whether they insist for sub-domains too.")
        .served(hsts_include_subdomains),
    Key::new("hsts-preload", Value::Bool, "false", "Whether browsers may be shipped with it.").served(hsts_preload),
    // Access.
    Key::new("whitelist-source-range", Value::List("IP addresses and CIDRs"), "", "Default of the annotation.")
        .closes(non_empty),
    Key::new("denylist-source-range", Value::List("IP addresses and CIDRs"), "", "Default of the annotation.")
        .closes(non_empty),
    Key::new("block-cidrs", Value::List("IP addresses and CIDRs"), "", "Clients that are answered with 403.")
        .closes(non_empty),
    Key::new(
        "block-user-agents",
        Value::List("texts, or `~` and regular expressions"),
        "",
        "User-Agents that are answered with 403.",
    )
    .closes(non_empty),
    Key::new(
        "block-referers",
        Value::List("texts, or `~` and regular expressions"),
        "",
        "Referers that are answered with 403.",
    )
    .closes(non_empty),
    Key::new("global-auth-url", Value::Text("an absolute URL"), "", "Default of `auth-url`.").closes(non_empty),
    Key::new("global-auth-method", Value::Text("a method"), "", "Method of the request to `global-auth-url`."),
    Key::new(
        "global-auth-signin",
        Value::Text("a URL"),
        "",
        "Where clients go whom `global-auth-url` answered with 401.",
    ),
    Key::new(
        "global-auth-signin-redirect-param",
        Value::Text("a parameter name"),
        "rd",
        "The parameter that carries the way back.",
    ),
    Key::new(
        "global-auth-response-headers",
        Value::List("header names"),
        "",
        "Headers of the answer that endpoints see.",
    ),
    Key::new("global-auth-request-redirect", Value::Text("a URL"), "", "Value of X-Auth-Request-Redirect."),
    Key::new(
        "global-auth-cache-key",
        Value::Text("text with nginx variables"),
        "",
        "Remembers answers under this key.",
    ),
    Key::new(
        "global-auth-cache-duration",
        Value::List("statuses followed by a time"),
        "200 202 401 5m",
        "How long answers are remembered.",
    ),
    Key::new(
        "global-auth-always-set-cookie",
        Value::Bool,
        "false",
        "Passes cookies of `global-auth-url` on with every status.",
    ),
    Key::new(
        "global-auth-snippet",
        Value::Text("nginx configuration"),
        "",
        "Configuration of the request to `global-auth-url`.",
    )
    .closes(non_empty),
    Key::new(
        "no-auth-locations",
        Value::List("prefixes of declared paths"),
        "/.well-known/acme-challenge",
        "Paths without authentication.",
    ),
    Key::new("limit-req-status-code", Value::Integer, "503", "Status over the limit of requests."),
    Key::new("limit-conn-status-code", Value::Integer, "503", "Status over the limit of connections."),
    Key::new(
        "limit-conn-zone-variable",
        Value::Text("an nginx variable"),
        "$binary_remote_addr",
        "What limits are counted by.",
    ),
    Key::new("limit-rate", Value::Integer, "0", "Default of the annotation."),
    Key::new("limit-rate-after", Value::Integer, "0", "Default of the annotation."),
    Key::new("enable-modsecurity", Value::Bool, "false", "Switches the ModSecurity firewall on.").closes(unless_false),
    Key::new("enable-owasp-modsecurity-crs", Value::Bool, "false", "Adds the OWASP rules to the firewall.")
        .closes(unless_false),
    Key::new("modsecurity-snippet", Value::Text("ModSecurity rules"), "", "Rules of the firewall.").closes(non_empty),
    Key::new("http-snippet", Value::Text("nginx configuration"), "", "Configuration of everything.").closes(non_empty),
    Key::new("server-snippet", Value::Text("nginx configuration"), "", "Configuration of every host.")
        .closes(non_empty),
    Key::new("location-snippet", Value::Text("nginx configuration"), "", "Configuration of every path.")
        .closes(non_empty),
];

/// Anything but the four words counts as the strictest, as in ingress-nginx.
fn annotations_risk_level(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    let words: [(&str, Risk); 4] =
        [("low", Risk::Low), ("medium", Risk::Medium), ("high", Risk::High), ("critical", Risk::Critical)];
    let found = words.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
    draft.max_risk = found.map_or(Risk::Low, |(_, risk)| *risk);
    match found {
        Some(_) => Ok(()),
        None => Err(Objection::Partly(format!("{text:?} is not one of Low, Medium, High, Critical and counts as Low"))),
    }
}

fn annotation_value_word_blocklist(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.blocked_words = grammar::list(text).map(Into::into).collect();
    Ok(())
}

fn allow_cross_namespace_resources(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.cross_namespace = grammar::boolean(text)?;
    Ok(())
}

fn hsts(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.hsts.enabled = grammar::boolean(text)?;
    Ok(())
}

fn hsts_max_age(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.hsts.max_age = grammar::seconds(text)?.as_secs();
    Ok(())
}

fn hsts_include_subdomains(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.hsts.include_subdomains = grammar::boolean(text)?;
    Ok(())
}

fn hsts_preload(draft: &mut Draft, text: &str) -> Result<(), Objection> {
    draft.hsts.preload = grammar::boolean(text)?;
    Ok(())
}
