//! Which fields pass, and which are set, on every route alike.

use crate::variable::{Scope, Template};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

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

/// Fields to set. Each name stands once; an empty value takes the field away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    fixed: Box<[(HeaderName, HeaderValue)]>,
    /// Those whose value depends on the request.
    varying: Box<[(HeaderName, Template)]>,
}

/// The value of a field to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// This one.
    Fixed(HeaderValue),
    /// What the text is for the request. Where that is nothing, or nothing that a field may have, the field is taken away.
    Varying(Template),
}

/// What the varying ones of some [`Fields`] are for one request; `None` takes the field away.
#[derive(Debug)]
pub(crate) struct Expanded(Box<[(HeaderName, Option<HeaderValue>)]>);

const SOFTWARE: HeaderValue = HeaderValue::from_static("rust-nginx");

// === impl Headers ===

impl Headers {
    /// Finishes a response on its way to the client. `expanded` are its varying fields, where there are any.
    pub(crate) fn finish(&self, expanded: Option<Expanded>, headers: &mut HeaderMap) {
        match self.server {
            Server::Nothing => {}
            Server::Own => drop(headers.insert(header::SERVER, SOFTWARE)),
            Server::Endpoint => drop(headers.entry(header::SERVER).or_insert(SOFTWARE)),
        }
        self.response.apply_fixed(headers);
        if let Some(expanded) = expanded {
            expanded.apply(headers);
        }
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
    pub fn new<V: Into<FieldValue>>(fields: impl IntoIterator<Item = (HeaderName, V)>) -> Self {
        let mut unique: Vec<(HeaderName, FieldValue)> = Vec::new();
        for (name, value) in fields {
            unique.retain(|(known, _)| *known != name);
            unique.push((name, value.into()));
        }
        unique.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        let (mut fixed, mut varying) = (Vec::new(), Vec::new());
        for (name, value) in unique {
            match value {
                FieldValue::Fixed(value) => fixed.push((name, value)),
                FieldValue::Varying(template) => varying.push((name, template)),
            }
        }
        Self { fixed: fixed.into(), varying: varying.into() }
    }

    /// Whether values depend on the request.
    pub(crate) fn vary(&self) -> bool {
        !self.varying.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.varying.is_empty()
    }

    /// Puts the fields in place of those of the same names.
    pub(crate) fn apply<'s>(&self, headers: &mut HeaderMap, scope: impl FnOnce() -> Scope<'s>) {
        self.apply_fixed(headers);
        if self.vary() {
            let scope = scope();
            for (name, template) in &self.varying {
                put(name, template.value(&scope), headers);
            }
        }
    }

    /// The varying fields as they are for a request.
    pub(crate) fn expand(&self, scope: &Scope<'_>) -> Expanded {
        Expanded(self.varying.iter().map(|(name, template)| (name.clone(), template.value(scope))).collect())
    }

    fn apply_fixed(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.fixed {
            put(name, Some(value).filter(|value| !value.is_empty()).cloned(), headers);
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fixed = self.fixed.iter();
        let fixed = fixed.map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let varying = self.varying.iter().map(|(name, template)| (name.as_str(), template.to_string()));
        serializer.collect_map(fixed.chain(varying).collect::<BTreeMap<_, _>>())
    }
}

// === impl FieldValue ===

impl From<HeaderValue> for FieldValue {
    fn from(value: HeaderValue) -> Self {
        Self::Fixed(value)
    }
}

// === impl Expanded ===

impl Expanded {
    fn apply(self, headers: &mut HeaderMap) {
        for (name, value) in self.0 {
            put(&name, value, headers);
        }
    }
}

fn put(name: &HeaderName, value: Option<HeaderValue>, headers: &mut HeaderMap) {
    match value {
        Some(value) => drop(headers.insert(name.clone(), value)),
        None => drop(headers.remove(name)),
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
        fields.apply_fixed(&mut headers);
        let mut seen: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        seen.sort_unstable();
        assert_eq!(seen, [("x-a", "2"), ("x-c", "0")]);
    }
}
