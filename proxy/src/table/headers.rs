//! Which fields pass, and which are set, on every route alike.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

/// Settings about fields. Defaults are those of ingress-nginx with an empty ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Headers {
    /// Names of request fields that pass although they are odd.
    pub names: Names,
    /// Endpoints are told the target as `X-Original-URI` (`proxy-add-original-uri-header`).
    pub original_uri: bool,
    /// Request fields that endpoints get in place of the client's (`proxy-set-headers`).
    pub request: Fields,
    /// Response fields of endpoints that clients do not get (`hide-headers`).
    #[serde(serialize_with = "names")]
    pub hidden: Box<[HeaderName]>,
    /// Response fields that clients get in place of the endpoint's (`add-headers`).
    pub response: Fields,
    /// What the field `Server` says.
    pub server: Server,
}

/// Which odd names of request fields pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    /// Those with `_` (`enable-underscores-in-headers`).
    pub underscores: bool,
    /// Those with anything else but letters, digits and `-` (`ignore-invalid-headers`, the other way round).
    pub odd: bool,
}

/// What the field `Server` of a response says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// There is none.
    #[default]
    Nothing,
    /// Our name (`server-tokens`).
    Own,
    /// What the endpoint says; our name where we answer (`allow-backend-server-header`).
    Endpoint,
}

/// Fields with fixed values. Each name stands once; an empty value takes the field away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Box<[(HeaderName, HeaderValue)]>);

const SOFTWARE: HeaderValue = HeaderValue::from_static("rust-nginx");

// === impl Headers ===

impl Headers {
    /// Finishes a response on its way to the client.
    pub(crate) fn finish(&self, headers: &mut HeaderMap) {
        match self.server {
            Server::Nothing => {}
            Server::Own => drop(headers.insert(header::SERVER, SOFTWARE)),
            Server::Endpoint => drop(headers.entry(header::SERVER).or_insert(SOFTWARE)),
        }
        self.response.apply(headers);
    }

    /// Takes what is hidden from the response of an endpoint.
    pub(crate) fn hide(&self, headers: &mut HeaderMap) {
        for name in &self.hidden {
            headers.remove(name);
        }
    }
}

// === impl Fields ===

impl Fields {
    /// Of several fields with one name the last counts.
    #[must_use]
    pub fn new(fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Self {
        let mut unique: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (name, value) in fields {
            unique.retain(|(known, _)| *known != name);
            unique.push((name, value));
        }
        unique.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        Self(unique.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts the fields in place of those of the same names.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            if value.is_empty() {
                headers.remove(name);
            } else {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name.as_str(), &String::from_utf8_lossy(value.as_bytes()))?;
        }
        map.end()
    }
}

#[expect(clippy::borrowed_box, reason = "serde passes the field")]
fn names<S: Serializer>(names: &Box<[HeaderName]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(HeaderName::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_set_replaced_and_taken_away() {
        let field = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let fields = Fields::new([field("x-a", "1"), field("x-b", ""), field("x-a", "2")]);
        let mut headers: HeaderMap = [field("x-a", "0"), field("x-b", "0"), field("x-c", "0")].into_iter().collect();
        headers.append("x-a", HeaderValue::from_static("00"));
        fields.apply(&mut headers);
        let mut seen: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        seen.sort_unstable();
        assert_eq!(seen, [("x-a", "2"), ("x-c", "0")]);
    }
}
