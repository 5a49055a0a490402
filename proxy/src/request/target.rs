//! Which host and which path a request is for. Everything that HTTP leaves ambiguous ends here.

use crate::{error::ProxyError, table::normalize_path};
use http::{HeaderValue, Method, Request, Version, header};
use std::borrow::Cow;

/// The host of a request as the client wrote it, with port: valid text, empty only for HTTP/1.0 without Host.
///
/// RFC 9112 §3.2: the target's authority beats the Host field; HTTP/1.1 without exactly one Host is an error. RFC 9113
/// §8.3.1: Host and `:authority` must not differ.
pub(super) fn host<B>(request: &Request<B>) -> Result<HeaderValue, ProxyError> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(ProxyError::BadRequest("more than one Host"));
    }
    let value = match (request.uri().authority(), field) {
        (Some(authority), Some(field))
            if request.version() == Version::HTTP_2
                && !field.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            return Err(ProxyError::BadRequest("Host differs from :authority"));
        }
        (Some(authority), _) => {
            HeaderValue::from_str(authority.as_str()).map_err(|_| ProxyError::BadRequest("invalid authority"))?
        }
        (None, Some(field)) => field.clone(),
        (None, None) if request.version() < Version::HTTP_11 => return Ok(HeaderValue::from_static("")),
        (None, None) => return Err(ProxyError::BadRequest("no Host")),
    };
    if is_host(value.as_bytes()) { Ok(value) } else { Err(ProxyError::BadRequest("invalid Host")) }
}

/// The path of a request in normal form.
pub(super) fn path<B>(request: &Request<B>) -> Result<Cow<'_, str>, ProxyError> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(ProxyError::MethodNotAllowed);
    }
    let path = request.uri().path();
    if !path.starts_with('/') {
        return Err(ProxyError::BadRequest("the target is not a path"));
    }
    normalize_path(path).map_err(ProxyError::BadPath)
}

/// As nginx validates it: no blank, control or separator, no empty label, something before the port.
fn is_host(value: &[u8]) -> bool {
    let name_end = if value.first() == Some(&b'[') {
        value.iter().position(|&b| b == b']').map_or(0, |end| end + 1)
    } else {
        value.iter().position(|&b| b == b':').unwrap_or(value.len())
    };
    name_end > 0
        && value[..name_end] != *b"."
        && !value.windows(2).any(|pair| pair == b"..")
        && value
            .iter()
            .all(|&b| b.is_ascii_graphic() && !matches!(b, b'/' | b'\\' | b'@' | b'?' | b'#' | b'"' | b'<' | b'>'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, target: &str, hosts: &[&str]) -> Request<()> {
        let mut builder = Request::builder().version(version).uri(target);
        for host in hosts {
            builder = builder.header(header::HOST, *host);
        }
        builder.body(()).expect("a request")
    }

    #[test]
    fn one_host_and_nothing_ambiguous() {
        let ok = |version, target, hosts: &[&str]| {
            host(&request(version, target, hosts)).map(|value| value.to_str().expect("text").to_owned()).ok()
        };
        assert_eq!(ok(Version::HTTP_11, "/", &["A.example:80"]), Some("A.example:80".to_owned()));
        assert_eq!(ok(Version::HTTP_11, "http://b.example/x", &["a.example"]), Some("b.example".to_owned()));
        assert_eq!(ok(Version::HTTP_2, "http://b.example/x", &[]), Some("b.example".to_owned()));
        assert_eq!(ok(Version::HTTP_2, "http://b.example/x", &["B.example"]), Some("b.example".to_owned()));
        assert_eq!(ok(Version::HTTP_2, "http://b.example/x", &["c.example"]), None);
        assert_eq!(ok(Version::HTTP_10, "/", &[]), Some(String::new()));
        for hosts in [&[][..], &["a", "a"], &[""], &[":80"], &["a b"], &["a/b"], &["a..b"], &["u@a"]] {
            assert_eq!(ok(Version::HTTP_11, "/", hosts), None, "{hosts:?}");
        }
    }
}
