//! What is known of a request while it is under way.

use super::{HOSTNAME, Moment, pieces::Vocabulary};
use crate::{
    forwarded::Client,
    listener::Scheme,
    table::{RouteLabels, Trust, normalize_path},
    tls::{Judgement, Session},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header, request::Parts, uri::PathAndQuery};
use std::{fmt, net::IpAddr};

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
    /// Scheme and port of the connection, whatever a proxy in front of us says.
    pub(crate) scheme: Scheme,
    pub(crate) port: &'a HeaderValue,
    pub(crate) request_id: Option<&'a HeaderValue>,
    pub(crate) labels: &'a RouteLabels,
    /// What trusted proxies say besides.
    pub(crate) client: Option<&'a Client<'a>>,
    /// What is thought of the client's certificate, where the host asks for one.
    pub(crate) certificate: Option<&'a Judgement>,
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variable {
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
    RemoteUser,
    BinaryRemoteAddr,
    ForwardedFor,
    Scheme,
    Https,
    PassedScheme,
    PassedPort,
    Request,
    RequestMethod,
    Protocol,
    ServerName,
    ServerPort,
    RequestId,
    Namespace,
    IngressName,
    ServiceName,
    ServicePort,
    LocationPath,
    UpstreamName,
    /// Of canaries, which there are none of yet.
    AlternativeUpstreamName,
    TlsProtocol,
    TlsCipher,
    TlsServerName,
    CertificateVerdict,
    CertificateSubject,
    CertificateIssuer,
    CertificateSerial,
    CertificateFingerprint,
    EscapedCertificate,
    Hostname,
    Pid,
    Time(Moment),
}

/// The variables without an argument. Of several names of one variable the first is the one that is written.
static FIXED: [(&str, Variable); 51] = [
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
    ("the_real_ip", Variable::RemoteAddr),
    ("remote_user", Variable::RemoteUser),
    ("binary_remote_addr", Variable::BinaryRemoteAddr),
    ("proxy_add_x_forwarded_for", Variable::ForwardedFor),
    ("scheme", Variable::Scheme),
    ("https", Variable::Https),
    ("pass_access_scheme", Variable::PassedScheme),
    ("pass_server_port", Variable::PassedPort),
    ("pass_port", Variable::PassedPort),
    ("request", Variable::Request),
    ("request_method", Variable::RequestMethod),
    ("server_protocol", Variable::Protocol),
    ("server_name", Variable::ServerName),
    ("server_port", Variable::ServerPort),
    ("request_id", Variable::RequestId),
    ("req_id", Variable::RequestId),
    ("namespace", Variable::Namespace),
    ("ingress_name", Variable::IngressName),
    ("service_name", Variable::ServiceName),
    ("service_port", Variable::ServicePort),
    ("location_path", Variable::LocationPath),
    ("proxy_upstream_name", Variable::UpstreamName),
    ("proxy_alternative_upstream_name", Variable::AlternativeUpstreamName),
    ("ssl_protocol", Variable::TlsProtocol),
    ("ssl_cipher", Variable::TlsCipher),
    ("ssl_server_name", Variable::TlsServerName),
    ("ssl_client_verify", Variable::CertificateVerdict),
    ("ssl_client_s_dn", Variable::CertificateSubject),
    ("ssl_client_i_dn", Variable::CertificateIssuer),
    ("ssl_client_serial", Variable::CertificateSerial),
    ("ssl_client_fingerprint", Variable::CertificateFingerprint),
    ("ssl_client_escaped_cert", Variable::EscapedCertificate),
    ("content_type", Variable::Http(header::CONTENT_TYPE)),
    ("content_length", Variable::Http(header::CONTENT_LENGTH)),
    ("http_user_agent", Variable::Http(header::USER_AGENT)),
    ("http_referer", Variable::Http(header::REFERER)),
    ("hostname", Variable::Hostname),
    ("pid", Variable::Pid),
    ("time_local", Variable::Time(Moment::Local)),
    ("time_iso8601", Variable::Time(Moment::Iso8601)),
    ("msec", Variable::Time(Moment::Msec)),
];

// === impl Variable ===

impl Variable {
    /// Names of those without an argument.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        FIXED.iter().map(|(name, _)| *name)
    }

    /// Whether ingress-nginx gives it a value, be it an empty one. To nginx's log that is another thing than none.
    pub(super) fn is_always_set(&self) -> bool {
        matches!(
            self,
            Self::IsArgs
                | Self::Namespace
                | Self::IngressName
                | Self::ServiceName
                | Self::ServicePort
                | Self::LocationPath
                | Self::AlternativeUpstreamName
                | Self::Https
                | Self::ServerName
        )
    }

    pub(super) fn value(&self, scope: &Scope<'_>, out: &mut impl FnMut(&[u8])) {
        let (head, labels) = (scope.head, scope.labels);
        match self {
            Self::RequestUri => out(target(head)),
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
                list(&head.headers, name, out);
            }
            Self::Cookie(name) => {
                if let Some(value) =
                    cookies(&head.headers).find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
                {
                    out(value.1);
                }
            }
            Self::RemoteAddr => out(scope.remote_text.as_bytes()),
            Self::RemoteUser => out(&user(&head.headers).unwrap_or_default()),
            Self::BinaryRemoteAddr => match scope.remote {
                IpAddr::V4(address) => out(&address.octets()),
                IpAddr::V6(address) => out(&address.octets()),
            },
            Self::ForwardedFor => {
                if list(&head.headers, &Trust::X_FORWARDED_FOR, out) {
                    out(b", ");
                }
                out(scope.remote_text.as_bytes());
            }
            Self::Scheme => out(scheme(scope).as_bytes()),
            Self::Https => out(if scope.scheme == Scheme::Https { b"on" } else { b"" }),
            Self::PassedScheme => match scope.client {
                Some(client) => out(client.scheme().as_bytes()),
                None => out(scheme(scope).as_bytes()),
            },
            Self::PassedPort => out(scope.client.map_or(scope.port, |client| client.port_header()).as_bytes()),
            Self::Request => {
                out(head.method.as_str().as_bytes());
                out(b" ");
                request_target(&head.uri, head.version).into_iter().for_each(|part| out(part.as_bytes()));
                out(b" ");
                out(protocol(head.version));
            }
            Self::RequestMethod => out(head.method.as_str().as_bytes()),
            Self::Protocol => out(protocol(head.version)),
            Self::ServerName => out(if labels.host.is_empty() { b"_" } else { labels.host.as_bytes() }),
            Self::ServerPort => out(scope.port.as_bytes()),
            Self::RequestId => out(scope.request_id.map_or(b"", |id| id.as_bytes())),
            Self::Namespace => out(labels.namespace.as_bytes()),
            Self::IngressName => out(labels.ingress.as_bytes()),
            Self::ServiceName => out(labels.service.as_bytes()),
            Self::ServicePort => out(labels.service_port.as_bytes()),
            Self::LocationPath => out(labels.path.as_bytes()),
            Self::UpstreamName if labels.service.is_empty() => {}
            Self::UpstreamName => {
                let pieces = [&labels.namespace, "-", &labels.service, "-", &labels.service_port];
                pieces.into_iter().for_each(|text| out(text.as_bytes()));
            }
            Self::AlternativeUpstreamName => {}
            Self::TlsProtocol => out(session(scope).map_or("", Session::protocol).as_bytes()),
            Self::TlsCipher => out(session(scope).map_or("", Session::cipher).as_bytes()),
            Self::TlsServerName => out(session(scope).and_then(Session::server_name).unwrap_or_default().as_bytes()),
            Self::CertificateVerdict => match scope.certificate {
                Some(certificate) => out(certificate.verdict.to_string().as_bytes()),
                None if scope.scheme == Scheme::Https => out(b"NONE"),
                None => {}
            },
            Self::CertificateSubject => out(scope.certificate.map_or("", |judged| &judged.subject).as_bytes()),
            Self::CertificateIssuer => out(scope.certificate.map_or("", |judged| &judged.issuer).as_bytes()),
            Self::CertificateSerial => with_session(scope, Session::client_serial, out),
            Self::CertificateFingerprint => with_session(scope, Session::client_fingerprint, out),
            Self::EscapedCertificate => {
                let escaped = |session: &Session| Some(session.client_certificate()?.to_str().ok()?.to_owned());
                with_session(scope, escaped, out);
            }
            Self::Hostname => out(HOSTNAME.as_bytes()),
            Self::Pid => out(itoa::Buffer::new().format(std::process::id()).as_bytes()),
            Self::Time(moment) => out(moment.to_string().as_bytes()),
        }
    }
}

impl Vocabulary for Variable {
    fn named(name: &str) -> Option<Self> {
        if let Some((_, variable)) = FIXED.iter().find(|(known, _)| *known == name) {
            return Some(variable.clone());
        }
        let argument = |prefix| name.strip_prefix(prefix).filter(|argument: &&str| !argument.is_empty());
        if let Some(name) = argument("arg_") {
            return Some(Self::Arg(name.into()));
        }
        if let Some(name) = argument("cookie_") {
            return Some(Self::Cookie(name.into()));
        }
        HeaderName::try_from(argument("http_")?.replace('_', "-")).ok().map(Self::Http)
    }

    fn write_name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arg(name) => write!(f, "arg_{name}"),
            Self::Cookie(name) => write!(f, "cookie_{name}"),
            fixed => match (FIXED.iter().find(|(_, variable)| variable == fixed), fixed) {
                (Some((name, _)), _) => f.write_str(name),
                (None, Self::Http(name)) => write!(f, "http_{}", name.as_str().replace('-', "_")),
                (None, _) => Ok(()),
            },
        }
    }
}

/// The target as it stands in the request line, in its parts: HTTP/1 may have it with a scheme and an authority, or only
/// the latter (RFC 9112 §3.2). A fragment is not kept.
pub(crate) fn request_target(uri: &Uri, version: Version) -> [&str; 4] {
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    match (uri.authority(), uri.scheme_str()) {
        (Some(authority), Some(scheme)) if version != Version::HTTP_2 => [scheme, "://", authority.as_str(), path],
        (Some(authority), None) if version != Version::HTTP_2 => ["", "", authority.as_str(), path],
        _ => ["", "", "", if path.is_empty() { "/" } else { path }],
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

/// Repeated fields are one list to nginx. Returns whether there is any.
fn list(headers: &HeaderMap, name: &HeaderName, out: &mut impl FnMut(&[u8])) -> bool {
    let mut any = false;
    for value in headers.get_all(name) {
        if any {
            out(b", ");
        }
        out(value.as_bytes());
        any = true;
    }
    any
}

fn target(head: &Parts) -> &[u8] {
    head.uri.path_and_query().map_or("", |target| target.as_str()).as_bytes()
}

/// nginx says `HTTP/2.0`.
fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2.0",
        _ => b"HTTP/1.1",
    }
}

fn scheme(scope: &Scope<'_>) -> &'static str {
    match scope.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    }
}

fn session<'a>(scope: &Scope<'a>) -> Option<&'a Session> {
    scope.client?.session()
}

/// Of clients whom nobody has asked for a certificate nothing is said about one.
fn with_session(scope: &Scope<'_>, say: impl FnOnce(&Session) -> Option<String>, out: &mut impl FnMut(&[u8])) {
    if let Some(text) = scope.certificate.and_then(|_| say(session(scope)?)) {
        out(text.as_bytes());
    }
}

/// Who the client says to be (RFC 7617 §2).
fn user(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let mut decoded = STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    decoded.truncate(colon);
    Some(decoded)
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
