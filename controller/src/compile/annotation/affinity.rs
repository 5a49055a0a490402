//! Which endpoint of a backend.

use super::{
    super::{
        grammar::{self, Objection, Value},
        route::{RouteSettings, SUBSET_SIZE},
    },
    Annotation, Reach, Risk,
};
use rust_nginx_proxy::{
    table::{AffinityMode, LoadBalancing, SameSite},
    variable::Template,
};
use std::num::{NonZeroU32, NonZeroUsize};

const MODE: Value = Value::Words(&["balanced", "persistent"]);
const NAME: Value = Value::Text("letters, digits and -._~/:");
const COOKIE_PATH: Value = Value::Text("a path without blanks and semicolons");
const SIGNED_SECONDS: Value = Value::Text("a whole number of seconds, without unit");
const SAME_SITE: Value = Value::Words(&["None", "Lax", "Strict"]);
const HASH_BY: Value = Value::Text("letters, digits, - and nginx variables such as $request_uri or ${http_x_user}");
/// The first two are ways to pick an endpoint, the last is ours. The others say again what affinity and
/// upstream-hash-by say.
const LOAD_BALANCE: Value = Value::Words(&[
    "round_robin",
    "ewma",
    "chash",
    "chashsubset",
    "sticky_balanced",
    "sticky_persistent",
    "least_request",
]);
pub(in crate::compile) const PERCENT: Value = Value::Text("a whole number from 1 to 100");

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("affinity", Value::Words(&["cookie"]), "")
        .doc("Keeps a client on one endpoint by a cookie. It comes before upstream-hash-by and load-balance.")
        .served(affinity),
    Annotation::new("affinity-mode", MODE, "balanced")
        .risk(Risk::Medium)
        .doc("Whether some sessions move when endpoints are added, or none.")
        .served(affinity_mode),
    Annotation::new("affinity-canary-behavior", Value::Words(&["sticky", "legacy"]), "sticky")
        .reach(Reach::Backend)
        .doc("Whether affinity also keeps a client on the canary."),
    Annotation::new("session-cookie-name", NAME, "INGRESSCOOKIE")
        .risk(Risk::Medium)
        .doc("Name of the affinity cookie.")
        .served(session_cookie_name),
    Annotation::new("session-cookie-path", COOKIE_PATH, "")
        .risk(Risk::Medium)
        .doc("Path of the affinity cookie, without it the path of the rule.")
        .served(session_cookie_path),
    Annotation::new("session-cookie-domain", NAME, "")
        .risk(Risk::Medium)
        .doc("Domain of the affinity cookie.")
        .served(session_cookie_domain),
    Annotation::new("session-cookie-samesite", SAME_SITE, "")
        .doc("SameSite of the affinity cookie.")
        .served(session_cookie_samesite),
    Annotation::new("session-cookie-conditional-samesite-none", Value::Bool, "false")
        .doc("Leaves `SameSite=None` out for browsers that misread it.")
        .served(session_cookie_conditional_samesite_none),
    Annotation::new("session-cookie-secure", Value::Bool, "false")
        .doc("Makes the affinity cookie Secure also on plain HTTP.")
        .served(session_cookie_secure),
    Annotation::new("session-cookie-expires", SIGNED_SECONDS, "")
        .risk(Risk::Medium)
        .doc("Expires of the affinity cookie, from now.")
        .served(session_cookie_expires),
    Annotation::new("session-cookie-max-age", SIGNED_SECONDS, "")
        .risk(Risk::Medium)
        .doc("Max-Age of the affinity cookie.")
        .served(session_cookie_max_age),
    Annotation::new("session-cookie-change-on-failure", Value::Bool, "false")
        .doc("Moves the session to another endpoint when its own fails.")
        .served(session_cookie_change_on_failure),
    Annotation::new("load-balance", LOAD_BALANCE, "round_robin")
        .doc("How an endpoint is picked: in turn, by response time, or the one with fewer requests under way.")
        .served(load_balance),
    Annotation::new("upstream-hash-by", HASH_BY, "")
        .risk(Risk::High)
        .doc("Picks the endpoint by a consistent hash of this text. It comes before load-balance.")
        .served(upstream_hash_by),
    Annotation::new("upstream-hash-by-subset", Value::Bool, "false")
        .doc("Hashes to a group of endpoints, and picks one of them at random.")
        .served(upstream_hash_by_subset),
    Annotation::new("upstream-hash-by-subset-size", Value::Integer, "3")
        .doc("Size of such a group; 0 is 3.")
        .served(upstream_hash_by_subset_size),
    Annotation::new("service-upstream", Value::Bool, "false")
        .reach(Reach::Backend)
        .doc("Connects to the Service's own address instead of its endpoints.")
        .served(service_upstream),
];

/// Under `rust-nginx.io/`.
pub(super) const OWN: &[Annotation] = &[
    Annotation::new("upstream-ejection-failures", Value::Integer, "0")
        .doc("Failures one after the other, after which an endpoint gets no requests for a while; 0 is never.")
        .served(upstream_ejection_failures),
    Annotation::new("upstream-ejection-time", Value::Time, "30s")
        .doc("How long such an endpoint gets no requests.")
        .served(upstream_ejection_time),
    Annotation::new("upstream-ejection-percent", PERCENT, "50")
        .doc("Largest share of the endpoints that gets no requests at a time; at least one endpoint, never all.")
        .served(upstream_ejection_percent),
    Annotation::new("upstream-slow-start", Value::Time, "0s")
        .doc("Time in which the share of a new endpoint grows to that of the others; 0 is at once. Hashes and sessions do not wait.")
        .served(upstream_slow_start),
];

fn affinity(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    if text != "cookie" {
        return Err(Value::Words(&["cookie"]).rejects(text));
    }
    settings.balancing.affinity = true;
    Ok(())
}

fn affinity_mode(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.balancing.session().mode = match text {
        "balanced" => AffinityMode::Balanced,
        "persistent" => AffinityMode::Persistent,
        _ => return Err(MODE.rejects(text)),
    };
    Ok(())
}

fn session_cookie_name(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.balancing.session().name = plain(text)?.into();
    Ok(())
}

fn session_cookie_path(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b'"' | b'\\')) {
        return Err(COOKIE_PATH.rejects(text));
    }
    settings.balancing.session().path = Some(text.into());
    Ok(())
}

fn session_cookie_domain(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.balancing.session().domain = Some(plain(text)?.into());
    Ok(())
}

fn session_cookie_samesite(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let session = settings.balancing.session();
    session.same_site = match text {
        "None" => Some(SameSite::None),
        "Lax" => Some(SameSite::Lax),
        "Strict" => Some(SameSite::Strict),
        // ingress-nginx takes it in any case, and then leaves the attribute out.
        _ if ["none", "lax", "strict"].iter().any(|word| text.eq_ignore_ascii_case(word)) => {
            return Err(Objection::Partly(format!("{text:?} is not {SAME_SITE}, in just this case; it is left out")));
        }
        _ => return Err(SAME_SITE.rejects(text)),
    };
    Ok(())
}

fn session_cookie_conditional_samesite_none(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.balancing.session().conditional_same_site_none = grammar::boolean(text)?;
    Ok(())
}

fn session_cookie_secure(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.balancing.session().secure = grammar::boolean(text)?;
    Ok(())
}

fn session_cookie_expires(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.balancing.session().expires = Some(signed(text)?);
    Ok(())
}

fn session_cookie_max_age(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.balancing.session().max_age = Some(signed(text)?);
    Ok(())
}

fn session_cookie_change_on_failure(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.balancing.session().change_on_failure = grammar::boolean(text)?;
    Ok(())
}

pub(in crate::compile) fn load_balance(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.balancing.load_balance = match text {
        // The last four are what other annotations switch on; alone they have no endpoint to lead to.
        "round_robin" | "chash" | "chashsubset" | "sticky_balanced" | "sticky_persistent" => LoadBalancing::RoundRobin,
        "ewma" => LoadBalancing::Ewma,
        "least_request" => LoadBalancing::LeastRequest,
        _ => return Err(LOAD_BALANCE.rejects(text)),
    };
    Ok(())
}

fn upstream_hash_by(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'$' | b'{' | b'}')) {
        return Err(HASH_BY.rejects(text));
    }
    let template = Template::parse(text)
        .map_err(|error| Objection::Malformed(format!("{text:?} is not {HASH_BY}: it has {error}")))?;
    let unknown: Vec<_> = template.unknown().map(|name| format!("${name}")).collect();
    settings.balancing.hash_by = Some(template);
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Objection::Partly(format!("{} is no variable that is known here, and always empty", unknown.join(", "))))
}

fn upstream_hash_by_subset(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.balancing.subset = grammar::boolean(text)?;
    Ok(())
}

fn upstream_hash_by_subset_size(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let size = usize::try_from(grammar::count(text)?).ok().and_then(NonZeroUsize::new);
    settings.balancing.subset_size = size.unwrap_or(SUBSET_SIZE);
    Ok(())
}

pub(in crate::compile) fn service_upstream(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.service_upstream = grammar::boolean(text)?;
    Ok(())
}

pub(in crate::compile) fn upstream_ejection_failures(
    settings: &mut RouteSettings,
    text: &str,
) -> Result<(), Objection> {
    settings.balancing.ejection_failures = NonZeroU32::new(grammar::count(text)?);
    Ok(())
}

pub(in crate::compile) fn upstream_ejection_time(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.balancing.ejection_time = grammar::time(text)?;
    Ok(())
}

pub(in crate::compile) fn upstream_ejection_percent(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    let percent = text.parse().ok().filter(|percent| (1..=100).contains(percent));
    settings.balancing.ejection_percent = percent.ok_or_else(|| PERCENT.rejects(text))?;
    Ok(())
}

pub(in crate::compile) fn upstream_slow_start(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.policy.slow_start = Some(grammar::time(text)?).filter(|time| !time.is_zero());
    Ok(())
}

fn plain(text: &str) -> Result<&str, Objection> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':');
    if text.bytes().all(valid) { Ok(text) } else { Err(NAME.rejects(text)) }
}

fn signed(text: &str) -> Result<i64, Objection> {
    text.parse::<i64>().map_err(|_| SIGNED_SECONDS.rejects(text))
}
