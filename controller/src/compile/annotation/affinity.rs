//! Which endpoint of a backend.

use super::{
    super::{
        grammar::{self, Objection, Value},
        route::RouteSettings,
    },
    Annotation, Reach, Risk,
};

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("affinity", Value::Words(&["cookie"]), "")
        .reach(Reach::Backend)
        .doc("Keeps a client on one endpoint by a cookie."),
    Annotation::new("affinity-mode", Value::Words(&["balanced", "persistent"]), "balanced")
        .reach(Reach::Backend)
        .risk(Risk::Medium)
        .doc("Whether some sessions move when endpoints are added, or none."),
    Annotation::new("affinity-canary-behavior", Value::Words(&["sticky", "legacy"]), "sticky")
        .reach(Reach::Backend)
        .doc("Whether affinity also keeps a client on the canary."),
    Annotation::new("session-cookie-name", Value::Text("a cookie name"), "INGRESSCOOKIE")
        .reach(Reach::Backend)
        .risk(Risk::Medium)
        .doc("Name of the affinity cookie."),
    Annotation::new("session-cookie-path", Value::Text("a path"), "")
        .reach(Reach::Backend)
        .risk(Risk::Medium)
        .doc("Path of the affinity cookie."),
    Annotation::new("session-cookie-domain", Value::Text("a host name"), "")
        .reach(Reach::Backend)
        .risk(Risk::Medium)
        .doc("Domain of the affinity cookie."),
    Annotation::new("session-cookie-samesite", Value::Words(&["None", "Lax", "Strict"]), "")
        .reach(Reach::Backend)
        .doc("SameSite of the affinity cookie."),
    Annotation::new("session-cookie-conditional-samesite-none", Value::Bool, "false")
        .reach(Reach::Backend)
        .doc("Leaves `SameSite=None` out for browsers that misread it."),
    Annotation::new("session-cookie-secure", Value::Bool, "false")
        .reach(Reach::Backend)
        .doc("Makes the affinity cookie Secure also on plain HTTP."),
    Annotation::new("session-cookie-expires", Value::Seconds, "")
        .reach(Reach::Backend)
        .risk(Risk::Medium)
        .doc("Expires of the affinity cookie, from now."),
    Annotation::new("session-cookie-max-age", Value::Seconds, "")
        .reach(Reach::Backend)
        .risk(Risk::Medium)
        .doc("Max-Age of the affinity cookie."),
    Annotation::new("session-cookie-change-on-failure", Value::Bool, "false")
        .reach(Reach::Backend)
        .doc("Moves the session to another endpoint when its own fails."),
    Annotation::new(
        "load-balance",
        Value::Words(&["round_robin", "chash", "chashsubset", "sticky_balanced", "sticky_persistent", "ewma"]),
        "round_robin",
    )
    .reach(Reach::Backend)
    .doc("How an endpoint is picked."),
    Annotation::new("upstream-hash-by", Value::Text("text with nginx variables"), "")
        .reach(Reach::Backend)
        .risk(Risk::High)
        .doc("Picks the endpoint by a consistent hash of this text."),
    Annotation::new("upstream-hash-by-subset", Value::Bool, "false")
        .reach(Reach::Backend)
        .doc("Hashes to a group of endpoints, and picks one of them at random."),
    Annotation::new("upstream-hash-by-subset-size", Value::Integer, "3")
        .reach(Reach::Backend)
        .doc("Size of such a group."),
    Annotation::new("service-upstream", Value::Bool, "false")
        .reach(Reach::Backend)
        .doc("Connects to the Service's own address instead of its endpoints.")
        .served(service_upstream),
];

pub(in crate::compile) fn service_upstream(settings: &mut RouteSettings, text: &str) -> Result<(), Objection> {
    settings.service_upstream = grammar::boolean(text)?;
    Ok(())
}
