//! Raw nginx configuration, and the firewall module that is configured by it.
//!
//! A snippet may hold `deny`, `return 403` or `auth_request`; until it is understood it counts as a guard.

use super::{
    super::grammar::{Value, non_empty, unless_false},
    Annotation, Reach, Risk,
};

const NGINX: Value = Value::Text("nginx configuration");

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("configuration-snippet", NGINX, "")
        .risk(Risk::Critical)
        .doc("Configuration of the paths.")
        .closes(non_empty),
    Annotation::new("server-snippet", NGINX, "")
        .reach(Reach::Host)
        .risk(Risk::Critical)
        .doc("Configuration of the host.")
        .closes(non_empty),
    Annotation::new("auth-snippet", NGINX, "")
        .risk(Risk::Critical)
        .doc("Configuration of the request to `auth-url`.")
        .closes(non_empty),
    Annotation::new("stream-snippet", NGINX, "")
        .risk(Risk::Critical)
        .doc("Configuration of TCP and UDP services.")
        .closes(non_empty),
    Annotation::new("enable-modsecurity", Value::Bool, "false")
        .doc("Switches the ModSecurity firewall on.")
        .closes(unless_false),
    Annotation::new("enable-owasp-core-rules", Value::Bool, "false")
        .doc("Adds the OWASP rules to the firewall.")
        .closes(unless_false),
    Annotation::new("modsecurity-transaction-id", Value::Text("text with nginx variables"), "")
        .risk(Risk::High)
        .doc("Transaction id of the firewall."),
    Annotation::new("modsecurity-snippet", Value::Text("ModSecurity rules"), "")
        .risk(Risk::Critical)
        .doc("Rules of the firewall.")
        .closes(non_empty),
];
