//! Lists of addresses, basic and digest authentication.

use super::{
    super::grammar::{self, Value, non_empty},
    Annotation, Risk,
};

const ADDRESSES: Value = Value::List("IP addresses and CIDRs");

pub(super) const ANNOTATIONS: &[Annotation] = &[
    Annotation::new("allowlist-source-range", ADDRESSES, "")
        .risk(Risk::Medium)
        .doc("Clients outside are answered with 403.")
        .closes(excludes_somebody),
    Annotation::new("whitelist-source-range", ADDRESSES, "")
        .alias_of("allowlist-source-range")
        .risk(Risk::Medium)
        .doc("Older name of `allowlist-source-range`.")
        .closes(|text| non_empty(text) && excludes_somebody(text)),
    Annotation::new("denylist-source-range", ADDRESSES, "")
        .risk(Risk::Medium)
        .doc("Clients inside are answered with 403.")
        // A list that is there and empty is a mistake, not a permission.
        .closes(|_| true),
    Annotation::new("satisfy", Value::Words(&["all", "any"]), "all")
        .doc("Whether all guards of the path must let a client pass, or one.")
        .closes(|text| text == "any"),
    Annotation::new("auth-type", Value::Words(&["basic", "digest"]), "")
        .doc("Asks for a user name and password.")
        .closes(non_empty),
    Annotation::new("auth-secret", Value::Text("`name` or `namespace/name` of a Secret"), "")
        .risk(Risk::Medium)
        .doc("The users and their hashed passwords.")
        .closes(non_empty),
    Annotation::new("auth-secret-type", Value::Words(&["auth-file", "auth-map"]), "auth-file")
        .doc("Whether the Secret holds one file, or one key per user.")
        .closes(non_empty),
    Annotation::new("auth-realm", Value::Text("letters, digits, blanks and -._~/:"), "")
        .risk(Risk::Medium)
        .doc("The realm that browsers show when they ask for the password.")
        .closes(non_empty),
];

/// A list that lets everybody pass guards nothing; cert-manager's solver Ingresses carry one. An empty list, or one
/// with a mistake, does not count as that.
fn excludes_somebody(text: &str) -> bool {
    let has = |range: &str| grammar::list(text).any(|item| item == range);
    !(has("0.0.0.0/0") && has("::/0") && grammar::list(text).all(is_range))
}

fn is_range(item: &str) -> bool {
    item.parse::<ipnet::IpNet>().is_ok() || item.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_of_everybody_is_open() {
        assert!(!excludes_somebody("0.0.0.0/0,::/0"));
        assert!(!excludes_somebody("::/0, 0.0.0.0/0, 10.0.0.1"));
        for closed in ["", "0.0.0.0/0", "10.0.0.0/8,::/0", "0.0.0.0/0,::/0,nonsense"] {
            assert!(excludes_somebody(closed), "{closed:?}");
        }
    }
}
