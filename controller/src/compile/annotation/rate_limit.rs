//! Limits per client address, counted in each replica by itself.

use super::{
    super::grammar::{Value, non_empty},
    Annotation,
};

/// Zero means no limit.
fn limits(text: &str) -> bool {
    non_empty(text) && text != "0"
}

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("limit-rps", Value::Integer, "0").doc("Requests per second.").closes(limits),
    Annotation::new("limit-rpm", Value::Integer, "0").doc("Requests per minute.").closes(limits),
    Annotation::new("limit-burst-multiplier", Value::Integer, "5").doc("How many times the limit may come at once."),
    Annotation::new("limit-connections", Value::Integer, "0").doc("Requests at the same time.").closes(limits),
    Annotation::new("limit-allowlist", Value::List("IP addresses and CIDRs"), "").doc("Clients without limits."),
    Annotation::new("limit-whitelist", Value::List("IP addresses and CIDRs"), "")
        .alias_of("limit-allowlist")
        .doc("Older name of `limit-allowlist`."),
    Annotation::new("limit-rate", Value::Integer, "0").doc("KiB of response per second and request; 0 is no limit."),
    Annotation::new("limit-rate-after", Value::Integer, "0").doc("KiB of response before `limit-rate` begins."),
];
