//! Text with nginx variables, such as `$request_uri` or `${http_x_user}`, expanded per request.
//!
//! A variable that is not set is empty, as in nginx. Expanding allocates nothing: the pieces are handed on as they are.

use crate::{
    listener::Scheme,
    table::{RouteLabels, normalize_path},
};
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use serde::Serialize;
use std::{fmt, net::IpAddr};

/// A text with variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

/// Why a text is no template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// `$` that no name follows.
    #[error("a $ without the name of a variable")]
    NoName,
    /// `${` without its end.
    #[error("${{ without }}")]
    Unclosed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Variable {
    RequestUri,
    Uri,
    Args,
    IsArgs,
    Arg(Box<str>),
    Host,
    HttpHost,
    Http(HeaderName),
    Cookie(Box<str>),
    RemoteAddr,
    BinaryRemoteAddr,
    Scheme,
    RequestMethod,
    ServerPort,
    RequestId,
    Namespace,
    IngressName,
    ServiceName,
    ServicePort,
    /// None of those that are known here.
    Unknown(Box<str>),
}

/// What variables take their values from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The head of the request as the client sent it.
    pub(crate) head: &'a Parts,
    /// The host as the client wrote it, with port.
    pub(crate) host: &'a HeaderValue,
    /// The address of the client, and as text.
    pub(crate) remote: IpAddr,
    pub(crate) remote_text: &'a HeaderValue,
    pub(crate) scheme: Scheme,
    /// The port that the client came to.
    pub(crate) port: &'a HeaderValue,
    pub(crate) request_id: Option<&'a HeaderValue>,
    pub(crate) labels: &'a RouteLabels,
}

// === impl Template ===

impl Template {
    /// Reads `$name`, `${name}` and the text around them.
    ///
    /// # Errors
    /// When a `$` begins no variable.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            if dollar > 0 {
                parts.push(Part::Text(rest[..dollar].into()));
            }
            rest = &rest[dollar + 1..];
            let name;
            if let Some(braced) = rest.strip_prefix('{') {
                let end = braced.find('}').ok_or(BadTemplate::Unclosed)?;
                (name, rest) = (&braced[..end], &braced[end + 1..]);
            } else {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                (name, rest) = rest.split_at(end);
            }
            if name.is_empty() || name.contains(['$', '{']) {
                return Err(BadTemplate::NoName);
            }
            parts.push(Part::Variable(Variable::named(name)));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// Names of variables that are not known here, and therefore always empty.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(Variable::Unknown(name)) => Some(&**name),
            Part::Variable(_) | Part::Text(_) => None,
        })
    }

    /// Hands on what the text is for a request, piece by piece.
    pub(crate) fn expand(&self, scope: &Scope<'_>, mut out: impl FnMut(&[u8])) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out(text.as_bytes()),
                Part::Variable(variable) => variable.value(scope, &mut out),
            }
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Variable(variable) => write!(f, "${{{variable}}}"),
        })
    }
}

impl Serialize for Template {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl Variable ===

/// The variables without an argument.
const FIXED: [(&str, Variable); 20] = [
    ("request_uri", Variable::RequestUri),
    ("uri", Variable::Uri),
    ("document_uri", Variable::Uri),
    ("args", Variable::Args),
    ("query_string", Variable::Args),
    ("is_args", Variable::IsArgs),
    ("host", Variable::Host),
    ("http_host", Variable::HttpHost),
    ("best_http_host", Variable::HttpHost),
    ("remote_addr", Variable::RemoteAddr),
    ("binary_remote_addr", Variable::BinaryRemoteAddr),
    ("scheme", Variable::Scheme),
    ("request_method", Variable::RequestMethod),
    ("server_port", Variable::ServerPort),
    ("request_id", Variable::RequestId),
    ("req_id", Variable::RequestId),
    ("namespace", Variable::Namespace),
    ("ingress_name", Variable::IngressName),
    ("service_name", Variable::ServiceName),
    ("service_port", Variable::ServicePort),
];

impl Variable {
    /// Names are compared without case, as nginx does.
    fn named(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        if let Some((_, variable)) = FIXED.iter().find(|(known, _)| *known == name) {
            return variable.clone();
        }
        if let Some(argument) = name.strip_prefix("arg_").filter(|argument| !argument.is_empty()) {
            return Self::Arg(argument.into());
        }
        if let Some(cookie) = name.strip_prefix("cookie_").filter(|cookie| !cookie.is_empty()) {
            return Self::Cookie(cookie.into());
        }
        let header = name.strip_prefix("http_").map(|header| header.replace('_', "-"));
        match header.and_then(|header| HeaderName::try_from(header).ok()) {
            Some(header) => Self::Http(header),
            None => Self::Unknown(name.into()),
        }
    }

    fn value(&self, scope: &Scope<'_>, out: &mut impl FnMut(&[u8])) {
        let (head, labels) = (scope.head, scope.labels);
        match self {
            Self::RequestUri => out(head.uri.path_and_query().map_or("", |target| target.as_str()).as_bytes()),
            Self::Uri => {
                if let Ok(path) = normalize_path(head.uri.path()) {
                    out(path.as_bytes());
                }
            }
            Self::Args => out(head.uri.query().unwrap_or_default().as_bytes()),
            Self::IsArgs => out(if head.uri.query().is_some_and(|query| !query.is_empty()) { b"?" } else { b"" }),
            Self::Arg(name) => out(argument(head.uri.query().unwrap_or_default(), name).as_bytes()),
            Self::Host => plain_host(scope.host.as_bytes(), out),
            Self::HttpHost => out(scope.host.as_bytes()),
            Self::Http(name) => {
                // Repeated fields are one list to nginx.
                for (index, value) in head.headers.get_all(name).iter().enumerate() {
                    if index > 0 {
                        out(b", ");
                    }
                    out(value.as_bytes());
                }
            }
            Self::Cookie(name) => {
                if let Some(value) =
                    cookies(&head.headers).find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
                {
                    out(value.1);
                }
            }
            Self::RemoteAddr => out(scope.remote_text.as_bytes()),
            Self::BinaryRemoteAddr => match scope.remote {
                IpAddr::V4(address) => out(&address.octets()),
                IpAddr::V6(address) => out(&address.octets()),
            },
            Self::Scheme => out(match scope.scheme {
                Scheme::Http => b"http",
                Scheme::Https => b"https",
            }),
            Self::RequestMethod => out(head.method.as_str().as_bytes()),
            Self::ServerPort => out(scope.port.as_bytes()),
            Self::RequestId => out(scope.request_id.map_or(b"", |id| id.as_bytes())),
            Self::Namespace => out(labels.namespace.as_bytes()),
            Self::IngressName => out(labels.ingress.as_bytes()),
            Self::ServiceName => out(labels.service.as_bytes()),
            Self::ServicePort => out(labels.service_port.as_bytes()),
            Self::Unknown(_) => {}
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arg(name) => write!(f, "arg_{name}"),
            Self::Cookie(name) => write!(f, "cookie_{name}"),
            Self::Http(name) => write!(f, "http_{}", name.as_str().replace('-', "_")),
            Self::Unknown(name) => f.write_str(name),
            fixed => {
                let known = FIXED.iter().find(|(_, variable)| variable == fixed);
                f.write_str(known.map_or("", |(name, _)| name))
            }
        }
    }
}

/// The cookies of a request in the order of its fields (RFC 6265 §4.2.1).
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = headers.get_all(header::COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|&b| b == b';'));
    pairs.filter_map(|pair| {
        let equals = pair.iter().position(|&b| b == b'=')?;
        Some((pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii()))
    })
}

/// The value of the first argument of a name, as it is written.
fn argument<'a>(query: &'a str, name: &str) -> &'a str {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

/// In lower case and without port.
fn plain_host(host: &[u8], out: &mut impl FnMut(&[u8])) {
    let end = if host.first() == Some(&b'[') {
        host.iter().position(|&b| b == b']').map_or(host.len(), |end| end + 1)
    } else {
        host.iter().position(|&b| b == b':').unwrap_or(host.len())
    };
    let mut buffer = [0; 64];
    for piece in host[..end].chunks(buffer.len()) {
        let lower = &mut buffer[..piece.len()];
        lower.copy_from_slice(piece);
        lower.make_ascii_lowercase();
        out(lower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn expanded(template: &str) -> String {
        let head = Request::builder()
            .method("PUT")
            .uri("/a%2Fb//c?x=1&Tenant=blue&empty=")
            .header("x-user", "ann")
            .header("x-many", "1")
            .header("x-many", "2")
            .header("cookie", "a=1; Session=abc")
            .header("cookie", "z=9")
            .body(())
            .expect("a request")
            .into_parts()
            .0;
        let labels = RouteLabels { namespace: "shop".into(), service: "web".into(), ..RouteLabels::default() };
        let scope = Scope {
            head: &head,
            host: &HeaderValue::from_static("A.Example:81"),
            remote: IpAddr::from([10, 0, 0, 1]),
            remote_text: &HeaderValue::from_static("10.0.0.1"),
            scheme: Scheme::Https,
            port: &HeaderValue::from_static("443"),
            request_id: None,
            labels: &labels,
        };
        let mut text = Vec::new();
        Template::parse(template).expect("a template").expand(&scope, |piece| text.extend_from_slice(piece));
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn variables_are_nginxs() {
        for (template, expected) in [
            ("$request_uri", "/a%2Fb//c?x=1&Tenant=blue&empty="),
            ("$uri", "/a/b/c"),
            ("$args$is_args", "x=1&Tenant=blue&empty=?"),
            ("$arg_tenant-$arg_empty-$arg_none", "blue--"),
            ("$host $http_host", "a.example A.Example:81"),
            ("${http_x_user}s$http_x_many", "anns1, 2"),
            ("$cookie_session$cookie_z$cookie_none", "abc9"),
            ("$remote_addr $scheme $request_method", "10.0.0.1 https PUT"),
            ("$binary_remote_addr", "\n\0\0\u{1}"),
            ("$namespace-$service_name", "shop-web"),
            ("[$request_id$never_heard_of$1]", "[]"),
        ] {
            assert_eq!(expanded(template), expected, "{template}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused_or_named() {
        assert_eq!(Template::parse("a$"), Err(BadTemplate::NoName));
        assert_eq!(Template::parse("${}"), Err(BadTemplate::NoName));
        assert_eq!(Template::parse("$-"), Err(BadTemplate::NoName));
        assert_eq!(Template::parse("${host"), Err(BadTemplate::Unclosed));
        let template = Template::parse("$host$nope").expect("a template");
        assert_eq!(template.unknown().collect::<Vec<_>>(), ["nope"]);
        assert_eq!(template.to_string(), "${host}${nope}");
    }
}
