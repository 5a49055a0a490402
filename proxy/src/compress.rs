//! Compression of responses on their way to clients: which coding a response gets, if any, and what that does to its
//! head (RFC 9110 §8.4, §12.5.3).
//!
//! A response is compressed when all of this is true, which is nginx's rule but for the last: its status is 200, 403 or
//! 404, it is long enough and of one of the types, it has no coding yet, nobody forbids to transform it, and no field
//! holds a digest of its bytes. Everybody who could have got another form of it is told so by `Vary`.

mod accept;
mod encoder;

use self::accept::Accepted;
pub(crate) use self::encoder::Encoder;
use crate::{
    body::ResponseBody,
    table::{CodingSettings, Compression},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request, response};

/// A content coding that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

/// What a request says about the coding of its response; kept while the endpoint answers.
#[derive(Debug)]
pub(crate) struct Wish {
    accepted: Accepted,
    /// gzip is not for this program.
    no_gzip: bool,
}

/// The one that a response gets, and how hard it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    coding: Coding,
    level: u32,
}

const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");

/// How all media types of gRPC begin.
const GRPC: &str = "application/grpc";

/// Fields that speak about the bytes as the endpoint sent them (RFC 9530, RFC 3230, RFC 1864).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

// === impl Coding ===

impl Coding {
    /// In the order of preference where clients have none. ingress-nginx prefers brotli to gzip.
    const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Its name (IANA registry of content codings).
    fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    fn settings(self, settings: &Compression) -> Option<&CodingSettings> {
        match self {
            Self::Brotli => settings.brotli.as_ref(),
            Self::Zstd => settings.zstd.as_ref(),
            Self::Gzip => settings.gzip.as_ref(),
        }
    }
}

// === impl Wish ===

impl Wish {
    /// `None` for a request whose response is never compressed: compression is off, there will be no body, or the client
    /// is of HTTP/1.0.
    pub(crate) fn of(settings: &Compression, head: &request::Parts) -> Option<Self> {
        if settings.is_off() || head.method == Method::HEAD || head.version < Version::HTTP_11 {
            return None;
        }
        let user_agent = head.headers.get(header::USER_AGENT);
        let no_gzip = settings.not_for.as_ref().zip(user_agent).is_some_and(|(agents, agent)| agents.contains(agent));
        Some(Self { accepted: Accepted::of(&head.headers), no_gzip })
    }

    /// Compresses a response, if it is one to compress.
    pub(crate) fn apply(&self, settings: &Compression, head: &mut response::Parts, body: ResponseBody) -> ResponseBody {
        let length = body.known_length().or_else(|| declared_length(&head.headers));
        let eligible = |coding: &Coding| coding.settings(settings).is_some_and(|coding| fits(coding, head, length));
        let codings: Vec<Coding> = Coding::ALL.into_iter().filter(eligible).collect();
        if codings.is_empty() || !may_transform(head) {
            return body;
        }
        add_vary(&mut head.headers);
        let Some(choice) = self.choose(settings, &codings) else { return body };
        let Ok(encoder) = Encoder::new(choice.coding, choice.level) else { return body };
        let body = match body.compressed(encoder) {
            Ok(body) => body,
            Err(body) => return body,
        };
        change_head(choice.coding, &mut head.headers);
        if let Some(length) = body.known_length() {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        body
    }

    fn choose(&self, settings: &Compression, codings: &[Coding]) -> Option<Choice> {
        let allowed = codings.iter().copied().filter(|coding| !(self.no_gzip && *coding == Coding::Gzip));
        let weighed = allowed.map(|coding| (self.accepted.weight(coding.name()), coding));
        // Of several equals the first is the last that `max_by_key` sees.
        let (weight, coding) = weighed.rev().max_by_key(|(weight, _)| *weight)?;
        if weight == 0 || weight < self.accepted.weight_of_identity() {
            return None;
        }
        Some(Choice { coding, level: coding.settings(settings)?.level })
    }
}

/// Whether a response is long enough and of a type that is compressed.
fn fits(settings: &CodingSettings, head: &response::Parts, length: Option<u64>) -> bool {
    if length.is_some_and(|length| length < settings.min_length) {
        return false;
    }
    let Some(media_type) = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    // gRPC compresses message by message, and its clients know no other way.
    if media_type.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC)) {
        return false;
    }
    media_type.eq_ignore_ascii_case("text/html")
        || settings.types.iter().any(|known| **known == *"*" || known.eq_ignore_ascii_case(media_type))
}

fn may_transform(head: &response::Parts) -> bool {
    let headers = &head.headers;
    let forbidden = headers.get_all(header::CACHE_CONTROL).iter().any(|value| {
        value.as_bytes().split(|&byte| byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    });
    matches!(head.status, StatusCode::OK | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
        && !forbidden
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && !DIGESTS.iter().any(|name| headers.contains_key(name))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// RFC 9110 §12.5.5.
fn add_vary(headers: &mut HeaderMap) {
    let named = headers.get_all(header::VARY).iter().any(|value| {
        value.as_bytes().split(|&byte| byte == b',').any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding")
        })
    });
    if !named {
        headers.append(header::VARY, ACCEPT_ENCODING);
    }
}

/// The bytes are others now: a strong validator of the old ones becomes weak (RFC 9110 §8.8.1), and parts of them cannot
/// be asked for.
fn change_head(coding: Coding, headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    let weak = headers.get(header::ETAG).map(|tag| match tag.as_bytes() {
        strong @ [b'"', ..] => HeaderValue::from_bytes(&[b"W/", strong].concat()).ok(),
        // nginx, too, takes away what is no entity tag.
        [b'W', b'/', b'"', ..] => Some(tag.clone()),
        _ => None,
    });
    match weak {
        Some(Some(weak)) => drop(headers.insert(header::ETAG, weak)),
        Some(None) => drop(headers.remove(header::ETAG)),
        None => {}
    }
}

#[cfg(test)]
mod tests;
