//! What the endpoint is told about the client: the header set of ingress-nginx.

mod client;
mod rfc7239;

pub(crate) use self::client::{Claims, Client};
use crate::{
    head::Head,
    hex,
    table::{self, Trust},
    tls::{Judgement, Verdict},
    variable::Scope,
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use std::borrow::Cow;

pub(crate) const X_REQUEST_ID_NAME: &str = "x-request-id";

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static(X_REQUEST_ID_NAME);
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");
const X_ORIGINAL_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-original-forwarded-for");
const X_ORIGINAL_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-original-forwarded-host");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");

const SSL_CLIENT_VERIFY: HeaderName = HeaderName::from_static("ssl-client-verify");
const SSL_CLIENT_SUBJECT_DN: HeaderName = HeaderName::from_static("ssl-client-subject-dn");
const SSL_CLIENT_ISSUER_DN: HeaderName = HeaderName::from_static("ssl-client-issuer-dn");
const SSL_CLIENT_CERT: HeaderName = HeaderName::from_static("ssl-client-cert");

/// Most fields that [`Told::add_to`] adds, for sizing the map once.
pub(crate) const MOST_FIELDS: usize = 12;

/// What is said about a client and its request.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) client: &'a Client<'a>,
    /// The value of the `Host` that the endpoint gets; may be empty.
    pub(crate) host: &'a HeaderValue,
    pub(crate) request_id: Option<&'a HeaderValue>,
    /// What came as `X-Forwarded-For` and `X-Forwarded-Host`, which goes on under other names.
    pub(crate) original: Original<'a>,
    /// The target, where endpoints are told it (`proxy-add-original-uri-header`).
    pub(crate) original_uri: Option<HeaderValue>,
    /// What is set whatever the client says (`proxy-set-headers`).
    pub(crate) set: &'a table::Fields,
    /// What is thought of the client's certificate, where the host asks for one.
    pub(crate) certificate: Option<&'a Judgement>,
}

/// The fields that go on under other names, whether they are believed or not.
#[derive(Debug, Default)]
pub(crate) struct Original<'a> {
    chain: Option<Cow<'a, HeaderValue>>,
    host: Option<Cow<'a, HeaderValue>>,
}

// === impl Told ===

impl Told<'_> {
    /// Adds what only the proxy says to a map that has none of it yet.
    pub(crate) fn add_to(&self, out: &mut impl Head) {
        let scheme = self.client.scheme();
        out.add(&header::HOST, self.host);
        if let Some(id) = self.request_id {
            out.add(&X_REQUEST_ID, id);
        }
        out.add(&X_REAL_IP, self.client.address_header());
        out.add(&Trust::X_FORWARDED_FOR, self.client.chain());
        if !self.host.is_empty() {
            out.add(&Trust::X_FORWARDED_HOST, self.host);
        }
        out.add(&X_FORWARDED_PORT, self.client.port_header());
        out.add(&X_FORWARDED_PROTO, &scheme);
        out.add(&X_FORWARDED_SCHEME, &scheme);
        out.add(&X_SCHEME, &scheme);
        if let Some(value) = &self.original.chain {
            out.add(&X_ORIGINAL_FORWARDED_FOR, value);
        }
        if let Some(value) = &self.original.host {
            out.add(&X_ORIGINAL_FORWARDED_HOST, value);
        }
        if let Some(certificate) = self.certificate {
            add_certificate(certificate, out);
        }
    }

    /// Whether some of our fields take the place of the client's: then a map is needed.
    pub(crate) fn replaces(&self) -> bool {
        self.original_uri.is_some() || !self.set.is_empty()
    }

    /// Puts our fields in place of the client's, where it may have some of the same name.
    pub(crate) fn replace_in<'s>(&self, headers: &mut HeaderMap, scope: impl FnOnce() -> Scope<'s>) {
        if let Some(uri) = &self.original_uri {
            headers.insert(X_ORIGINAL_URI, uri.clone());
        }
        self.set.apply(headers, scope);
    }
}

// === impl Original ===

impl<'a> Original<'a> {
    pub(crate) fn of(trust: &Trust, claims: &Claims<'a>, headers: &'a HeaderMap) -> Self {
        let other = |name: &HeaderName| headers.get(name).filter(|value| !value.is_empty()).map(Cow::Borrowed);
        Self {
            chain: match &trust.forwarded_for {
                Some(name) if *name != Trust::X_FORWARDED_FOR => other(name),
                _ if claims.chains > 1 => client::joined(headers, &Trust::X_FORWARDED_FOR).map(Cow::Owned),
                _ => claims.chain.map(Cow::Borrowed),
            },
            host: match &trust.forwarded_host {
                name if *name != Trust::X_FORWARDED_HOST => other(name),
                _ => claims.host.map(Cow::Borrowed),
            },
        }
    }
}

/// As nginx: what is empty is not sent.
fn add_certificate(client: &Judgement, out: &mut impl Head) {
    let verify = match client.verdict {
        Verdict::Success => HeaderValue::from_static("SUCCESS"),
        Verdict::Missing => HeaderValue::from_static("NONE"),
        failed @ Verdict::Failed(_) => {
            HeaderValue::try_from(failed.to_string()).unwrap_or(HeaderValue::from_static("FAILED"))
        }
    };
    out.add(&SSL_CLIENT_VERIFY, &verify);
    for (name, text) in [(SSL_CLIENT_SUBJECT_DN, &client.subject), (SSL_CLIENT_ISSUER_DN, &client.issuer)] {
        // The text form of a name is ASCII.
        if let Some(value) = HeaderValue::try_from(&**text).ok().filter(|value| !value.is_empty()) {
            out.add(&name, &value);
        }
    }
    if let Some(certificate) = &client.certificate {
        out.add(&SSL_CLIENT_CERT, certificate);
    }
}

/// The target as the client wrote it, as the value of a field.
pub(crate) fn original_uri(uri: &Uri) -> Option<HeaderValue> {
    HeaderValue::from_str(uri.path_and_query()?.as_str()).ok()
}

/// Fields that are set only where client certificates are checked; a backend would believe a client's own.
pub(crate) fn is_client_certificate_field(name: &str) -> bool {
    name.starts_with("ssl-client-")
}

/// A new request identifier: 128 random bits in hexadecimal, as nginx's `$request_id`.
pub(crate) fn request_id(random: [u8; 16]) -> HeaderValue {
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(random) {
        pair.copy_from_slice(&hex::digits(byte));
    }
    HeaderValue::from_bytes(&text).expect("hexadecimal digits are a valid header value")
}
