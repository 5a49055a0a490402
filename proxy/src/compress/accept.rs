//! `Accept-Encoding` (RFC 9110 §12.5.3): which codings a client takes, and which it prefers.

use http::{HeaderMap, header};

/// Weights in thousandths; 0 is not acceptable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    named: Vec<(Box<str>, u16)>,
    /// The weight of `*`.
    others: Option<u16>,
}

// === impl Accepted ===

impl Accepted {
    /// What all lines of the field say. An entry that is malformed says nothing.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
        for entry in lines.flat_map(|line| line.split(',')) {
            let mut parts = entry.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = match parts.next() {
                None => Some(1000),
                Some(parameter) => weight(parameter),
            };
            let Some(weight) = weight.filter(|_| !name.is_empty() && parts.next().is_none()) else { continue };
            if name == "*" {
                accepted.others = Some(weight);
            } else if accepted.named.len() < 32 {
                // `x-gzip` is another name for `gzip` (§8.4.1.3).
                let name = name.to_ascii_lowercase();
                accepted.named.push((if name == "x-gzip" { "gzip".into() } else { name.into() }, weight));
            }
        }
        accepted
    }

    /// How much the client likes a coding. What it does not name it does not know, unless it says otherwise.
    pub(super) fn weight(&self, coding: &str) -> u16 {
        self.find(coding).or(self.others).unwrap_or(0)
    }

    /// How much it likes none at all, where it says so.
    pub(super) fn weight_of_identity(&self) -> u16 {
        self.find("identity").unwrap_or(0)
    }

    fn find(&self, coding: &str) -> Option<u16> {
        self.named.iter().find(|(name, _)| **name == *coding).map(|(_, weight)| *weight)
    }
}

/// `q=` and a number from 0 to 1 with at most three digits behind the point (§12.4.2).
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    let value = value.trim();
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if !name.trim().eq_ignore_ascii_case("q") || fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn accepted(lines: &[&'static str]) -> Accepted {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        Accepted::of(&headers)
    }

    #[test]
    fn weights_are_read_as_written() {
        for (lines, gzip, br) in [
            (&[][..], 0, 0),
            (&[""], 0, 0),
            (&["gzip, br"], 1000, 1000),
            (&["GZIP;Q=0.5,br ; q=1.000"], 500, 1000),
            (&["gzip;q=0", "br;q=0.001"], 0, 1),
            (&["*"], 1000, 1000),
            (&["*;q=0.2, gzip"], 1000, 200),
            (&["gzip, *;q=0"], 1000, 0),
            (&["x-gzip"], 1000, 0),
            (&["gzip;q=2, br;q=0.1234"], 0, 0),
            (&["gzip;q=, br;q"], 0, 0),
            (&["gzip;level=9, br;q=0.5;x"], 0, 0),
        ] {
            let accepted = accepted(lines);
            assert_eq!((accepted.weight("gzip"), accepted.weight("br")), (gzip, br), "{lines:?}");
        }
        assert_eq!(accepted(&["gzip;q=0.5, identity"]).weight_of_identity(), 1000);
        assert_eq!(accepted(&["gzip;q=0.5, *"]).weight_of_identity(), 0);
    }
}
