//! Names as Kubernetes has them (RFC 1123 §2.1, in lower case).

/// A label: the name of a Namespace, or a part of a subdomain.
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

/// Labels with dots between them.
#[must_use]
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

#[cfg(test)]
mod tests {
    use super::{is_dns_label, is_dns_subdomain};

    #[test]
    fn names_are_those_of_the_api_server() {
        let long = "a".repeat(63);
        for label in ["a", "0", "a-b", &long] {
            assert!(is_dns_label(label) && is_dns_subdomain(label), "{label}");
        }
        for other in ["", "-a", "a-", "A", "a_b", "\u{e4}", &format!("{long}a")] {
            assert!(!is_dns_label(other) && !is_dns_subdomain(other), "{other}");
        }
        let longest = [&*long, &*long, &*long, &long[2..]].join(".");
        assert!(is_dns_subdomain("nginx.ingress.kubernetes.io") && is_dns_subdomain(&longest));
        for other in ["a..b", ".a", "a.", "a.-b", &format!("{longest}a")] {
            assert!(!is_dns_subdomain(other), "{other}");
        }
    }
}
