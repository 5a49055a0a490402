//! What ends some day. Compiling knows no clock: it says what ends when, and [`due`] makes findings of that.

use crate::{
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason},
    snapshot::ObjectName,
};
use imbl::OrdSet;
use jiff::Timestamp;
use rust_nginx_proxy::tls::{Certificate, RevocationLists};
use std::ops::Range;

/// Something in a Secret that is good until a moment. The order is that of the moments from which somebody should be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    /// From then on there is a finding, in seconds since the epoch.
    warn_from: i64,
    /// The end, in seconds since the epoch.
    end: i64,
    secret: ObjectName,
    held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Certificate,
    RevocationList,
}

/// As early as ingress-nginx warns.
const EARLY: i64 = 10 * 86_400;

/// The findings of a moment, in seconds since the epoch.
pub fn due(expiries: &OrdSet<Expiry>, now: i64) -> impl Iterator<Item = Diagnostic> {
    expiries.iter().take_while(move |expiry| expiry.warn_from <= now).map(move |expiry| expiry.finding(now))
}

// === impl Expiry ===

impl Expiry {
    pub(super) fn of_certificate(certificate: &Certificate, secret: &ObjectName) -> Self {
        let info = certificate.info();
        Self::new(info.not_before..info.not_after, secret, Held::Certificate)
    }

    /// Of the list that ends first.
    pub(super) fn of_revocations(lists: &RevocationLists, secret: &ObjectName) -> Option<Self> {
        Some(Self::new(lists.validity()?, secret, Held::RevocationList))
    }

    /// What lives for less than a month is replaced in its last third, and nobody needs to hear of it before.
    fn new(Range { start, end }: Range<i64>, secret: &ObjectName, held: Held) -> Self {
        let early = EARLY.min(end.saturating_sub(start) / 3);
        Self { warn_from: end.saturating_sub(early), end, secret: secret.clone(), held }
    }

    fn finding(&self, now: i64) -> Diagnostic {
        let end = Timestamp::from_second(self.end).map_or_else(|_| self.end.to_string(), |end| end.to_string());
        let (field, message) = match (self.held, self.end <= now) {
            (Held::Certificate, false) => ("data[tls.crt]", format!("the certificate expires at {end}")),
            (Held::Certificate, true) => {
                ("data[tls.crt]", format!("the certificate has expired at {end}; it is used all the same"))
            }
            (Held::RevocationList, false) => (
                "data[ca.crl]",
                format!(
                    "a list of revoked certificates expires at {end}; after that no client certificate is accepted"
                ),
            ),
            (Held::RevocationList, true) => (
                "data[ca.crl]",
                format!(
                    "a list of revoked certificates has expired at {end}; no client certificate of its issuer is accepted"
                ),
            ),
        };
        let secret = ObjectRef::namespaced(ObjectKind::Secret, &self.secret);
        Diagnostic::warning(secret, Reason::CertificateExpiring, field, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn expiry(start: i64, end: i64, held: Held) -> OrdSet<Expiry> {
        OrdSet::unit(Expiry::new(start..end, &ObjectName::new("shop", "tls"), held))
    }

    fn said(expiries: &OrdSet<Expiry>, now: i64) -> Vec<String> {
        due(expiries, now).map(|finding| format!("{} {} {}", finding.object, finding.field, finding.message)).collect()
    }

    #[test]
    fn it_is_said_ten_days_before_the_end_and_after_it() {
        let expiries = expiry(0, 90 * DAY, Held::Certificate);
        assert_eq!(said(&expiries, 80 * DAY - 1), [""; 0]);
        let soon = "Secret shop/tls data[tls.crt] the certificate expires at 1970-04-01T00:00:00Z";
        assert_eq!(said(&expiries, 80 * DAY), [soon]);
        assert_eq!(said(&expiries, 90 * DAY - 1), [soon]);
        let [over] = said(&expiries, 90 * DAY).try_into().expect("one finding");
        assert!(over.ends_with("has expired at 1970-04-01T00:00:00Z; it is used all the same"), "{over}");
    }

    #[test]
    fn what_lives_for_days_is_not_always_about_to_end() {
        let expiries = expiry(0, 6 * DAY, Held::RevocationList);
        assert_eq!(said(&expiries, 4 * DAY - 1), [""; 0]);
        assert_eq!(said(&expiries, 4 * DAY).len(), 1);
        // Dates that nobody meant.
        for (start, end) in [(5, 4), (i64::MIN, i64::MAX), (i64::MAX, i64::MIN)] {
            let _ = said(&expiry(start, end, Held::Certificate), 0);
        }
    }
}
