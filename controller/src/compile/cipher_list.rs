//! OpenSSL cipher lists (`man ciphers`) → cipher suites of TLS 1.2, as far as we have them.
//!
//! A list can only take away from what we have: what it names and we lack is said, and never replaced by something else.

use super::grammar::Objection;
use rust_nginx_proxy::tls::{TlsPolicy, TlsSettings, openssl_name};
use rustls::CipherSuite;
use std::sync::Arc;

/// A suite with what lists may call it by.
struct Known {
    suite: CipherSuite,
    name: &'static str,
    /// The words of which it has all, for lists like `ECDHE+AESGCM`.
    words: &'static [&'static str],
}

const fn known(suite: CipherSuite, words: &'static [&'static str]) -> Known {
    Known { suite, name: openssl_name(suite), words }
}

/// Ours, in OpenSSL's order.
const SUITES: [Known; 6] = [
    known(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        &["aECDSA", "ECDSA", "AES", "AESGCM", "AES256", "SHA384"],
    ),
    known(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, &["aRSA", "AES", "AESGCM", "AES256", "SHA384"]),
    known(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, &["aECDSA", "ECDSA", "CHACHA20", "SHA256"]),
    known(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, &["aRSA", "CHACHA20", "SHA256"]),
    known(
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        &["aECDSA", "ECDSA", "AES", "AESGCM", "AES128", "SHA256"],
    ),
    known(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, &["aRSA", "AES", "AESGCM", "AES128", "SHA256"]),
];

/// Words that all of ours have.
const COMMON: [&str; 9] = ["ALL", "DEFAULT", "HIGH", "FIPS", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2"];

/// Words of suites that we lack, so that lists which exclude or include them need no remark.
const FOREIGN: [&str; 39] = [
    "aNULL",
    "eNULL",
    "NULL",
    "EXPORT",
    "EXP",
    "LOW",
    "MEDIUM",
    "DES",
    "3DES",
    "RC4",
    "RC2",
    "IDEA",
    "MD5",
    "PSK",
    "SRP",
    "DSS",
    "aDSS",
    "aDH",
    "ADH",
    "AECDH",
    "DH",
    "DHE",
    "EDH",
    "kDHE",
    "kEDH",
    "kDH",
    "RSA",
    "kRSA",
    "CAMELLIA",
    "SEED",
    "ARIA",
    "GOST",
    "SHA",
    "SHA1",
    "AESCCM",
    "AESCCM8",
    "SSLv3",
    "TLSv1.0",
    "COMPLEMENTOFDEFAULT",
];

/// The suites of a list, the preferred one first, and what there is to say against it.
pub(super) fn parse(text: &str) -> Result<(Vec<CipherSuite>, Option<Objection>), Objection> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" -+:_.,!@=".contains(&byte);
    if let Some(character) = text.chars().find(|c| !c.is_ascii() || !allowed(*c as u8)) {
        return Err(Objection::Malformed(format!("{character:?} cannot stand in an OpenSSL cipher list")));
    }
    let (mut chosen, mut excluded, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for item in text.split([':', ',', ' ']).filter(|item| !item.is_empty()) {
        // Orders and security levels of OpenSSL; all of ours are above any of them.
        if item.starts_with('@') {
            continue;
        }
        let (sign, words) = match item.split_at_checked(1) {
            Some((sign @ ("!" | "-" | "+"), words)) => (sign, words),
            _ => ("", item),
        };
        let Some(matching) = matching(words) else {
            if sign.is_empty() {
                others.push(words);
            }
            continue;
        };
        match sign {
            "!" => {
                chosen.retain(|suite| !matching.contains(suite));
                excluded.extend(matching);
            }
            "-" => chosen.retain(|suite| !matching.contains(suite)),
            // To the end.
            "+" => {
                let (moved, stay): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|suite| matching.contains(suite));
                chosen = stay.into_iter().chain(moved).collect();
            }
            _ => {
                let new: Vec<_> =
                    matching.into_iter().filter(|suite| !chosen.contains(suite) && !excluded.contains(suite)).collect();
                chosen.extend(new);
            }
        }
    }
    let objection = if chosen.is_empty() {
        let ours = SUITES.iter().map(|known| known.name).collect::<Vec<_>>().join(", ");
        Some(Objection::Partly(format!("none of {ours} is in the list: TLS 1.2 is not accepted")))
    } else if others.is_empty() {
        None
    } else {
        Some(Objection::Partly(format!("{} cannot be served; the rest of the list holds", others.join(", "))))
    };
    Ok((chosen, objection))
}

/// The suites that a word, or some joined by `+`, stands for; `None` when nobody knows it.
fn matching(words: &str) -> Option<Vec<CipherSuite>> {
    if let Some(known) = SUITES.iter().find(|known| known.name == words) {
        return Some(vec![known.suite]);
    }
    let words: Vec<_> = words.split('+').collect();
    let is_word = |word: &&str| {
        COMMON.contains(word) || FOREIGN.contains(word) || SUITES.iter().any(|known| known.words.contains(word))
    };
    if !words.iter().all(is_word) {
        return None;
    }
    let has = |known: &&Known| words.iter().all(|word| COMMON.contains(word) || known.words.contains(word));
    Some(SUITES.iter().filter(has).map(|known| known.suite).collect())
}

/// The policy of settings whose list may have left nothing for TLS 1.2; `None` when nothing is left at all.
pub(super) fn policy(mut settings: TlsSettings) -> Option<Arc<TlsPolicy>> {
    if settings.cipher_suites.as_ref().is_some_and(Vec::is_empty) {
        settings.versions.tls12 = false;
    }
    TlsPolicy::new(settings).ok().map(Arc::new)
}

/// The same for what clients may use: of a list that is none, nothing.
pub(super) fn parse_closed(text: &str) -> (Vec<CipherSuite>, Option<Objection>) {
    parse(text).unwrap_or_else(|objection| (Vec::new(), Some(objection.closing("TLS 1.2 is not accepted"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        let (suites, _) = parse(text).expect("a list");
        let name = |suite| SUITES.iter().find(|known| known.suite == suite).expect("one of ours").name;
        suites.into_iter().map(name).collect()
    }

    #[test]
    fn lists_mean_what_openssl_makes_of_them() {
        for (text, expected) in [
            ("ECDHE-RSA-AES128-GCM-SHA256", &["ECDHE-RSA-AES128-GCM-SHA256"][..]),
            (
                "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256",
                &["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            ),
            ("EECDH+AESGCM:!AES256", &["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]),
            ("HIGH:!aNULL:!MD5:-AESGCM:@STRENGTH", &["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"]),
            ("!aRSA:ALL:-AES", &["ECDHE-ECDSA-CHACHA20-POLY1305"]),
            (
                "ECDHE+AES256,ECDHE+aRSA+AES128 +aECDSA",
                &["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"],
            ),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
        assert_eq!(names("DEFAULT").len(), 6);
    }

    #[test]
    fn what_cannot_be_served_is_said_once() {
        let remark = |text| match parse(text) {
            Ok((_, None)) => None,
            Ok((_, Some(Objection::Partly(message)))) | Err(Objection::Malformed(message)) => Some(message),
            other => panic!("{other:?}"),
        };
        assert_eq!(remark("HIGH:!aNULL"), None);
        let message = remark("ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA:NONSENSE").expect("a remark");
        assert!(message.starts_with("AES128-SHA, NONSENSE cannot be served"), "{message}");
        assert!(remark("AES128-SHA").expect("a remark").contains("TLS 1.2 is not accepted"));
        assert!(remark("HIGH;\n").expect("a remark").contains("cannot stand"));
    }
}
