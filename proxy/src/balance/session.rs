//! Session affinity: what stands in the cookie, and the cookie itself (ingress-nginx `affinity: cookie`).
//!
//! The value is `key|backend`. In balanced mode the key is arbitrary text that is hashed onto the ring of the endpoints;
//! in persistent mode it names one endpoint. Both are as in ingress-nginx, so that sessions survive a migration.

use crate::{
    hex,
    table::{Affinity, Backend, PathMatch, Route, SameSite},
    variable,
};
use http::{HeaderMap, HeaderValue};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use md5::{Digest as _, Md5};
use std::collections::HashMap;

/// Names of a backend and its endpoints in cookies.
#[derive(Debug)]
pub(super) struct Sessions {
    backend: Box<str>,
    keys: Box<[Box<str>]>,
    by_key: HashMap<Box<str>, usize>,
}

/// The cookie that a response gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewCookie<'a> {
    pub(super) affinity: &'a Affinity,
    pub(super) route: &'a Route,
    pub(super) is_tls: bool,
    pub(super) user_agent: Option<&'a HeaderValue>,
}

// === impl Sessions ===

impl Sessions {
    pub(super) fn new(backend: &Backend) -> Self {
        let name = backend.key().as_str();
        let endpoints = backend.endpoints().iter();
        let keys: Box<[_]> = endpoints.map(|endpoint| md5(&format!("{name}{}", endpoint.address))).collect();
        let by_key = keys.iter().enumerate().map(|(position, key)| (key.clone(), position)).collect();
        Self { backend: md5(&format!("{}{name}", md5(name))), keys, by_key }
    }

    /// The key that a client brings; of several cookies that which names this backend, else the first.
    pub(super) fn key_of<'a>(&self, headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
        let mut found = None;
        for (known, value) in variable::cookies(headers) {
            if known != name.as_bytes() {
                continue;
            }
            let mut parts = value.split(|&b| b == b'|').filter(|part| !part.is_empty());
            let Some(key) = parts.next() else { continue };
            if parts.next() == Some(self.backend.as_bytes()) {
                return Some(key);
            }
            found.get_or_insert(key);
        }
        found
    }

    /// The position of the endpoint that a key names.
    pub(super) fn position(&self, key: &[u8]) -> Option<usize> {
        self.by_key.get(std::str::from_utf8(key).ok()?).copied()
    }

    /// The key that names the endpoint at a position.
    pub(super) fn key(&self, position: usize) -> &str {
        &self.keys[position]
    }

    /// The value of a cookie with this key.
    pub(super) fn value(&self, key: &str) -> String {
        format!("{key}|{}", self.backend)
    }
}

/// In hexadecimal, as nginx's Lua writes it.
fn md5(text: &str) -> Box<str> {
    hex::text(&Md5::digest(text.as_bytes())).into()
}

// === impl NewCookie ===

impl NewCookie<'_> {
    /// The field for a value, with its attributes in the order of ingress-nginx.
    pub(super) fn header(self, value: &str, now: Timestamp) -> Option<HeaderValue> {
        let Affinity { name, path, domain, expires, max_age, .. } = self.affinity;
        let mut text = format!("{name}={value}");
        if let Some(expires) = expires.and_then(|seconds| expiry(now, seconds)) {
            text += &format!("; Expires={expires}");
        }
        if let Some(max_age) = max_age {
            text += &format!("; Max-Age={max_age}");
        }
        if let Some(domain) = domain {
            text += &format!("; Domain={domain}");
        }
        text += &format!("; Path={}", path.as_deref().unwrap_or_else(|| declared_path(self.route)));
        if self.affinity.secure || self.is_tls {
            text += "; Secure";
        }
        text += "; HttpOnly";
        if let Some(same_site) = self.same_site() {
            text += &format!("; SameSite={}", same_site.as_str());
        }
        // Everything in it was checked when it was configured.
        HeaderValue::try_from(text).ok()
    }

    fn same_site(self) -> Option<SameSite> {
        let Affinity { same_site, conditional_same_site_none, .. } = *self.affinity;
        let user_agent = self.user_agent.and_then(|value| value.to_str().ok()).unwrap_or_default();
        same_site.filter(|value| {
            *value != SameSite::None || !conditional_same_site_none || understands_same_site_none(user_agent)
        })
    }
}

/// RFC 6265 §4.1.1 wants the date of RFC 9110. Far away ends where the calendar does.
fn expiry(now: Timestamp, seconds: i64) -> Option<String> {
    let at = Timestamp::from_second(now.as_second().saturating_add(seconds)).unwrap_or(Timestamp::MAX);
    DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()
}

/// The path under which a browser shows the cookie again. Regular expressions and what would end the attribute cannot
/// stand there.
fn declared_path(route: &Route) -> &str {
    match &route.path {
        PathMatch::Exact(_) | PathMatch::Prefix(_) => {
            let path = &*route.labels.path;
            let plain = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b';');
            if plain { path } else { "/" }
        }
    }
}

/// Browsers that take `SameSite=None` for something else: ingress-nginx's list, after Chromium's "incompatible clients".
fn understands_same_site_none(user_agent: &str) -> bool {
    let has = |text| user_agent.contains(text);
    let old_chrome = has("Chrome/4") || has("Chrome/5") || has("Chrome/6");
    let ios_12 = has("CPU iPhone OS 12") || has("iPad; CPU OS 12");
    let mojave = has("Macintosh") && has("Intel Mac OS X 10_14") && has("Safari") && !has("Chrome");
    !old_chrome && !ios_12 && !mojave
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{BackendKey, Endpoint, Protocol, RouteLabels, Target};
    use http::{StatusCode, header};
    use std::sync::Arc;

    fn route(path: &str) -> Route {
        Route {
            path: PathMatch::Prefix(path.into()),
            labels: Arc::new(RouteLabels { path: path.into(), ..RouteLabels::default() }),
            target: Target::Status(StatusCode::OK),
            filters: Box::default(),
            policy: Arc::default(),
        }
    }

    fn cookie(affinity: &Affinity, path: &str, is_tls: bool, user_agent: &str) -> String {
        let user_agent = HeaderValue::from_str(user_agent).expect("text");
        let new = NewCookie { affinity, route: &route(path), is_tls, user_agent: Some(&user_agent) };
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        new.header("k|b", now).expect("a field").to_str().expect("text").to_owned()
    }

    #[test]
    fn attributes_come_in_ingress_nginxs_order() {
        let plain = Affinity::default();
        assert_eq!(cookie(&plain, "/app", false, ""), "INGRESSCOOKIE=k|b; Path=/app; HttpOnly");
        assert_eq!(cookie(&plain, "/app", true, ""), "INGRESSCOOKIE=k|b; Path=/app; Secure; HttpOnly");
        let full = Affinity {
            name: "s".into(),
            path: Some("/x".into()),
            domain: Some("a.example".into()),
            same_site: Some(SameSite::None),
            conditional_same_site_none: true,
            secure: true,
            expires: Some(60),
            max_age: Some(-1),
            ..Affinity::default()
        };
        assert_eq!(
            cookie(&full, "/app", false, "curl"),
            "s=k|b; Expires=Tue, 14 Nov 2023 22:14:20 GMT; Max-Age=-1; Domain=a.example; Path=/x; Secure; HttpOnly; \
             SameSite=None"
        );
        for old in [
            "Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 Chrome/60.0 Safari/537.36",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 12_1 like Mac OS X) Safari/604.1",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) Version/13 Safari/605.1",
        ] {
            assert!(cookie(&full, "/app", true, old).ends_with("; HttpOnly"), "{old}");
        }
        assert!(cookie(&full, "/app", true, "Chrome/120.0").ends_with("SameSite=None"));
        assert_eq!(cookie(&plain, "/a;b", false, ""), "INGRESSCOOKIE=k|b; Path=/; HttpOnly");
    }

    #[test]
    fn dates_that_no_calendar_has_are_no_reason_to_fail() {
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        assert_eq!(expiry(now, 0).as_deref(), Some("Tue, 14 Nov 2023 22:13:20 GMT"));
        assert!(expiry(now, i64::MAX).is_some());
    }

    #[test]
    fn keys_are_those_of_ingress_nginx() {
        let endpoint = Endpoint { address: "10.0.0.1:8080".parse().expect("an address") };
        let backend = Backend::new(BackendKey::new("default-web-80"), Protocol::Http1, vec![endpoint]);
        let sessions = Sessions::new(&backend);
        // md5 of "default-web-80" + "10.0.0.1:8080", and md5(md5(name) + name), by md5sum.
        assert_eq!(sessions.key(0), "0aa3b49d3795ad62718deaa56ec75fae");
        assert_eq!(sessions.value("x"), "x|6cde5721ec2c7e2bce07cff7d0e4ac37");
        assert_eq!(sessions.position(sessions.key(0).as_bytes()), Some(0));
        assert_eq!(sessions.position(b"gone"), None);
    }

    #[test]
    fn of_several_cookies_the_one_of_the_backend_counts() {
        let backend = Backend::new(BackendKey::new("default-web-80"), Protocol::Http1, Vec::new());
        let sessions = Sessions::new(&backend);
        let mine = sessions.value("mine");
        for (line, expected) in [
            (format!("INGRESSCOOKIE=other|x; INGRESSCOOKIE={mine}"), Some("mine")),
            ("INGRESSCOOKIE=first|x; INGRESSCOOKIE=second".to_owned(), Some("first")),
            ("INGRESSCOOKIE=; a=INGRESSCOOKIE".to_owned(), None),
            ("INGRESSCOOKIE=|x".to_owned(), Some("x")),
            ("XINGRESSCOOKIE=a|b".to_owned(), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::try_from(line.as_str()).expect("text"));
            let key = sessions.key_of(&headers, "INGRESSCOOKIE").map(|key| String::from_utf8_lossy(key).into_owned());
            assert_eq!(key.as_deref(), expected, "{line}");
        }
    }
}
