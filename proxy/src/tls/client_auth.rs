//! Client certificates: what a host asks for, and what is thought of what a client shows.
//!
//! A bad certificate is answered over HTTP, so the handshake only proves that the client has the key of its certificate
//! ([`handshake`]). The chain is judged once per connection, when its first request for the host comes, and again when
//! the host's settings change. A resumed session brings the old chain along and is judged like any other.

mod handshake;
mod name;

pub(super) use self::handshake::AskClient;
use super::{
    Authorities,
    authorities::seconds,
    pem::BadPem,
    policy::{Fingerprint, Fingerprinter, provider},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, uri::PathAndQuery};
use regex::Regex;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject};
use serde::{Serialize, Serializer};
use std::{cmp::Reverse, fmt, ops::Range, sync::Arc};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationOptions,
    RevocationOptionsBuilder,
};
use x509_parser::{
    oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT,
    prelude::{FromDer, ParsedExtension, X509Certificate},
    revocation_list::CertificateRevocationList,
};

/// What a host asks of client certificates.
pub struct ClientAuth {
    settings: ClientAuthSettings,
    fingerprint: Fingerprint,
}

/// What can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientAuthSettings {
    /// Who must show a certificate.
    pub mode: ClientAuthMode,
    /// Who must have signed it.
    #[serde(serialize_with = "count")]
    pub authorities: Arc<Authorities>,
    /// What is not valid any more; `None` checks no revocation.
    #[serde(serialize_with = "presence")]
    pub revoked: Option<Arc<RevocationLists>>,
    /// Most intermediate certificates between a client's and an authority's.
    pub depth: u32,
    /// Whether endpoints get the certificate itself.
    pub pass_certificate: bool,
    /// What the subject must match, and else 403.
    pub subject: Option<SubjectPattern>,
    /// What clients get instead of 400.
    pub error_page: Option<ErrorPage>,
}

/// Who must show a certificate (nginx `ssl_verify_client`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// Everybody, and a valid one.
    On,
    /// Nobody is asked.
    Off,
    /// Nobody must, but what is shown must be valid.
    Optional,
    /// Whatever is shown passes; endpoints are told what is wrong with it.
    OptionalNoCa,
}

/// A pattern for subjects, searched in the whole of their text form.
#[derive(Clone, Debug)]
pub struct SubjectPattern(Regex);

/// Where clients go whose certificate is missing or bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorPage {
    /// Elsewhere, with a 302.
    Redirect(HeaderValue),
    /// The answer of another path of the host.
    Path(PathAndQuery),
}

/// Lists of revoked certificates (RFC 5280 §5).
pub struct RevocationLists {
    lists: Vec<CertificateRevocationListDer<'static>>,
    parsed: Vec<List>,
}

/// One of them.
struct List {
    parsed: CertRevocationList<'static>,
    /// Whose certificates it is about, and which of them (its issuing distribution point, §5.2.5).
    scope: (Box<[u8]>, Box<[u8]>),
    /// Of the authority (§5.2.1), which may have had several.
    key: Option<Box<[u8]>>,
    /// When it was made and when the next one is due, in seconds since the epoch.
    made: i64,
    end: Option<i64>,
}

/// Why lists of revoked certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RevocationListsError {
    /// No `X509 CRL` block.
    #[error("holds no PEM block X509 CRL")]
    Empty,
    /// A PEM block that cannot be decoded.
    #[error("is not valid PEM: {0}")]
    Pem(BadPem),
    /// A list that cannot be used.
    #[error("list {number} cannot be used: {reason}")]
    Unusable {
        /// Position, counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: Error,
    },
}

/// What is thought of a client.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// Subject and issuer in the form of RFC 2253, empty without a certificate.
    pub(crate) subject: Box<str>,
    pub(crate) issuer: Box<str>,
    /// The certificate in PEM, escaped for a header field, where endpoints get it.
    pub(crate) certificate: Option<HeaderValue>,
}

/// The heart of a [`Judgement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A valid certificate.
    Success,
    /// No certificate.
    Missing,
    /// A certificate with something wrong, in OpenSSL's words.
    Failed(&'static str),
}

// === impl ClientAuth ===

impl ClientAuth {
    /// What these settings ask for.
    #[must_use]
    pub fn new(settings: ClientAuthSettings) -> Self {
        let fingerprint = settings.fingerprint();
        Self { settings, fingerprint }
    }

    /// What it was made from.
    #[must_use]
    pub fn settings(&self) -> &ClientAuthSettings {
        &self.settings
    }

    pub(super) fn id(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether handshakes ask for a certificate.
    pub(crate) fn asks(&self) -> bool {
        self.settings.mode != ClientAuthMode::Off
    }

    /// Judges the chain that a client showed, leaf first.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Judgement {
        let Some((leaf, intermediates)) = chain.split_first().filter(|_| self.asks()) else {
            return Judgement::nobody();
        };
        let verdict = match self.verify(leaf, intermediates, now) {
            Ok(()) => Verdict::Success,
            Err(error) => {
                tracing::debug!(%error, "client certificate refused");
                Verdict::Failed(reason(&error, leaf))
            }
        };
        let names = X509Certificate::from_der(leaf);
        let (subject, issuer) = names.map_or_else(
            |_| Default::default(),
            |(_, parsed)| (name::rfc2253(parsed.subject()), name::rfc2253(parsed.issuer())),
        );
        let certificate = self.settings.pass_certificate.then(|| escaped_pem(leaf));
        Judgement { verdict, subject: subject.into(), issuer: issuer.into(), certificate }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let leaf = EndEntityCert::try_from(leaf)?;
        let verify = |revocation: Option<RevocationOptions<'_>>| {
            let authorities = &self.settings.authorities;
            let verified = leaf.verify_for_usage(
                provider().signature_verification_algorithms.all,
                authorities.anchors(),
                intermediates,
                now,
                KeyUsage::client_auth(),
                revocation,
                Some(&authorities.accept(self.settings.depth, now)),
            );
            verified.map(|_| ())
        };
        let Some(revoked) = &self.settings.revoked else { return verify(None) };
        let mut result = Err(Error::UnknownRevocationStatus);
        for lists in revoked.choices(seconds(now)) {
            // Everybody in the chain must be on the books of one that is up to date (OpenSSL's CRL_CHECK_ALL).
            let options = RevocationOptionsBuilder::new(&lists).map_err(|_| Error::UnknownRevocationStatus)?;
            result = verify(Some(options.with_expiration_policy(ExpirationPolicy::Enforce).build()));
            // The next one may be of the key that has signed. Of authorities of one name, either error may be the one given.
            if !matches!(result, Err(Error::InvalidCrlSignatureForPublicKey | Error::InvalidSignatureForPublicKey)) {
                break;
            }
        }
        result
    }
}

impl PartialEq for ClientAuth {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for ClientAuth {}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Serialize for ClientAuth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.settings.serialize(serializer)
    }
}

fn count<S: Serializer>(authorities: &Arc<Authorities>, serializer: S) -> Result<S::Ok, S::Error> {
    authorities.certificates().len().serialize(serializer)
}

fn presence<S: Serializer>(lists: &Option<Arc<RevocationLists>>, serializer: S) -> Result<S::Ok, S::Error> {
    lists.as_ref().map(|lists| lists.lists.len()).serialize(serializer)
}

/// OpenSSL's words, which users know from `ssl-client-verify`.
fn reason(error: &Error, leaf: &CertificateDer<'_>) -> &'static str {
    match error {
        Error::UnknownIssuer if is_self_issued(leaf) => "self-signed certificate",
        Error::UnknownIssuer => "unable to verify the first certificate",
        Error::CertExpired { .. } => "certificate has expired",
        Error::CertNotValidYet { .. } => "certificate is not yet valid",
        Error::CertRevoked => "certificate revoked",
        Error::UnknownRevocationStatus => "unable to get certificate CRL",
        Error::CrlExpired { .. } => "CRL has expired",
        Error::InvalidCrlSignatureForPublicKey => "CRL signature failure",
        Error::MaximumPathDepthExceeded => "certificate chain too long",
        Error::RequiredEkuNotFoundContext(_) | Error::CaUsedAsEndEntity => "unsuitable certificate purpose",
        Error::EndEntityUsedAsCa => "invalid CA certificate",
        Error::PathLenConstraintViolated => "path length constraint exceeded",
        Error::NameConstraintViolation => "permitted subtree violation",
        Error::InvalidSignatureForPublicKey => "certificate signature failure",
        _ => "certificate rejected",
    }
}

fn is_self_issued(leaf: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(leaf).is_ok_and(|(_, parsed)| parsed.subject().as_raw() == parsed.issuer().as_raw())
}

/// nginx's `$ssl_client_escaped_cert`: PEM, with everything but unreserved characters (RFC 3986 §2.3) escaped.
pub(super) fn escaped_pem(certificate: &CertificateDer<'_>) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let pem = pem(certificate);
    let mut escaped = Vec::with_capacity(pem.len() * 5 / 4);
    for byte in pem.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(byte);
        } else {
            escaped.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
    HeaderValue::from_bytes(&escaped).expect("unreserved characters and escapes are valid in a header value")
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    // 48 bytes make a line of 64 characters (RFC 7468 §2).
    for line in certificate.chunks(48) {
        STANDARD.encode_string(line, &mut pem);
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

// === impl ClientAuthSettings ===

impl ClientAuthSettings {
    fn fingerprint(&self) -> Fingerprint {
        let Self { mode, authorities, revoked, depth, pass_certificate, subject, error_page } = self;
        let mut hash = Fingerprinter::new();
        hash.add(&[*mode as u8, (*pass_certificate).into(), revoked.is_some().into(), subject.is_some().into()]);
        hash.add_all(authorities.certificates().iter());
        hash.add_all(revoked.iter().flat_map(|revoked| &revoked.lists));
        hash.add(&depth.to_be_bytes());
        hash.add(subject.as_ref().map(|SubjectPattern(pattern)| pattern.as_str()).unwrap_or_default().as_bytes());
        match error_page {
            None => hash.add(b"none"),
            Some(ErrorPage::Redirect(location)) => hash.add_all([b"redirect", location.as_bytes()].iter()),
            Some(ErrorPage::Path(path)) => hash.add_all([b"path", path.as_str().as_bytes()].iter()),
        }
        hash.finish()
    }
}

// === impl SubjectPattern ===

impl SubjectPattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is no regular expression, or needs what only backtracking can do.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        Regex::new(text).map(Self)
    }

    pub(crate) fn matches(&self, subject: &str) -> bool {
        self.0.is_match(subject)
    }
}

impl PartialEq for SubjectPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for SubjectPattern {}

impl Serialize for SubjectPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

// === impl ErrorPage ===

impl Serialize for ErrorPage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Redirect(location) => serializer.collect_str(&String::from_utf8_lossy(location.as_bytes())),
            Self::Path(path) => serializer.serialize_str(path.as_str()),
        }
    }
}

// === impl RevocationLists ===

impl RevocationLists {
    /// Parses one or more lists.
    ///
    /// # Errors
    /// See [`RevocationListsError`]; messages fit behind the name of the field that holds the text.
    pub fn from_pem(text: &[u8]) -> Result<Self, RevocationListsError> {
        let lists = CertificateRevocationListDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
        let lists = lists.map_err(|error| RevocationListsError::Pem(error.into()))?;
        if lists.is_empty() {
            return Err(RevocationListsError::Empty);
        }
        let parsed = lists.iter().enumerate().map(|(index, list)| {
            List::new(list).map_err(|reason| RevocationListsError::Unusable { number: index + 1, reason })
        });
        let mut parsed = parsed.collect::<Result<Vec<_>, _>>()?;
        parsed.sort_by_key(|list| Reverse(list.made));
        Ok(Self { parsed, lists })
    }

    /// When the list that ends first was made, and when it ends, in seconds since the epoch, of those that count.
    #[must_use]
    pub fn validity(&self) -> Option<Range<i64>> {
        let latest = self.latest(i64::MAX).into_iter().flatten();
        latest.filter_map(|list| Some(list.made..list.end?)).min_by_key(|validity| validity.end)
    }

    /// The latest list of each scope at a moment, in seconds since the epoch, and of each key that an authority has had.
    /// Older ones lack what was revoked since. Where a list does not say by which key it is, there can be only one.
    fn latest(&self, now: i64) -> Vec<Vec<&List>> {
        let mut scopes: Vec<Vec<&List>> = Vec::new();
        for list in self.parsed.iter().filter(|list| list.made <= now) {
            match scopes.iter_mut().find(|scope| scope.iter().any(|known| known.scope == list.scope)) {
                None => scopes.push(vec![list]),
                Some(scope) if scope.iter().all(|known| known.has_other_key(list)) => scope.push(list),
                Some(_) => {}
            }
        }
        scopes
    }

    /// What to check against: one list of each scope, and with each of the keys once.
    fn choices(&self, now: i64) -> impl Iterator<Item = Vec<&CertRevocationList<'static>>> {
        let latest = self.latest(now);
        let most = latest.iter().map(Vec::len).max().unwrap_or_default();
        (0..most).map(move |turn| latest.iter().map(|keys| &keys[turn % keys.len()].parsed).collect())
    }
}

impl List {
    fn new(der: &CertificateRevocationListDer<'_>) -> Result<Self, Error> {
        let parsed = CertRevocationList::from(OwnedCertRevocationList::from_der(der)?);
        let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| Error::BadDer)?;
        let key = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.as_ref()?.0.into()),
            _ => None,
        });
        let part = list.extensions().iter().find(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
        let part = part.map(|part| part.value).unwrap_or_default();
        Ok(Self {
            scope: (list.issuer().as_raw().into(), part.into()),
            key,
            made: list.last_update().timestamp(),
            end: list.next_update().map(|end| end.timestamp()),
            parsed,
        })
    }

    fn has_other_key(&self, other: &Self) -> bool {
        matches!((&self.key, &other.key), (Some(key), Some(other)) if key != other)
    }
}

impl PartialEq for RevocationLists {
    fn eq(&self, other: &Self) -> bool {
        self.lists == other.lists
    }
}

impl Eq for RevocationLists {}

impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationLists").field("lists", &self.lists.len()).finish()
    }
}

// === impl Verdict ===

/// nginx's `$ssl_client_verify`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("SUCCESS"),
            Self::Missing => f.write_str("NONE"),
            Self::Failed(reason) => write!(f, "FAILED:{reason}"),
        }
    }
}

// === impl Judgement ===

impl Judgement {
    fn nobody() -> Self {
        Self { verdict: Verdict::Missing, subject: Box::default(), issuer: Box::default(), certificate: None }
    }
}

#[cfg(test)]
mod tests;
