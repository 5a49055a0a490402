//! Client certificates: they guard the whole host.

use super::{
    super::grammar::{Value, non_empty},
    Annotation, Reach, Risk,
};

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("auth-tls-secret", Value::Text("`namespace/name` of a Secret"), "")
        .reach(Reach::Host)
        .risk(Risk::Medium)
        .doc("The authorities that client certificates must come from.")
        .closes(non_empty),
    Annotation::new("auth-tls-verify-client", Value::Words(&["on", "off", "optional", "optional_no_ca"]), "on")
        .reach(Reach::Host)
        .risk(Risk::Medium)
        .doc("Whether a client certificate must be there, and be valid.")
        .closes(|text| non_empty(text) && text != "off"),
    Annotation::new("auth-tls-verify-depth", Value::Integer, "1")
        .reach(Reach::Host)
        .doc("Longest chain between client certificate and authority.")
        .closes(non_empty),
    Annotation::new("auth-tls-error-page", Value::Text("a URL or path"), "")
        .reach(Reach::Host)
        .risk(Risk::High)
        .doc("Where clients go whose certificate is missing or bad.")
        .closes(non_empty),
    Annotation::new("auth-tls-pass-certificate-to-upstream", Value::Bool, "false")
        .reach(Reach::Host)
        .doc("Sends the client certificate to the endpoint.")
        .closes(non_empty),
    Annotation::new("auth-tls-match-cn", Value::Text("`CN=` and a regular expression"), "")
        .reach(Reach::Host)
        .risk(Risk::High)
        .doc("What the subject of the client certificate must match.")
        .closes(non_empty),
];
