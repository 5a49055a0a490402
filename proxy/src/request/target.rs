//! Which host and which path a request is for. Everything that HTTP leaves ambiguous ends here.

use super::fields::Fields;
use crate::{
    error::ProxyError,
    table::{HeadLimits, normalize_path},
};
use http::{HeaderValue, Method, Version, request::Parts};
use std::borrow::Cow;

/// The host of a request as the client wrote it, with port: valid text, empty only for HTTP/1.0 without Host.
///
/// RFC 9112 §3.2: the target's authority beats the Host field; HTTP/1.1 without exactly one Host is an error. RFC 9113
/// §8.3.1: Host and `:authority` must not differ.
pub(super) fn host(head: &Parts, fields: &Fields<'_>) -> Result<HeaderValue, ProxyError> {
    if fields.hosts > 1 {
        return Err(ProxyError::BadRequest("more than one Host"));
    }
    if fields.hosts == 0 && head.version == Version::HTTP_11 {
        return Err(ProxyError::BadRequest("no Host"));
    }
    let value = match (head.uri.authority(), fields.host) {
        (Some(authority), Some(field))
            if head.version == Version::HTTP_2
                && !field.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            return Err(ProxyError::BadRequest("Host differs from :authority"));
        }
        (Some(authority), _) => {
            HeaderValue::from_str(authority.as_str()).map_err(|_| ProxyError::BadRequest("invalid authority"))?
        }
        (None, Some(field)) => field.clone(),
        (None, None) if head.version < Version::HTTP_11 => return Ok(HeaderValue::from_static("")),
        (None, None) => return Err(ProxyError::BadRequest("no Host")),
    };
    if is_host(value.as_bytes()) { Ok(value) } else { Err(ProxyError::BadRequest("invalid Host")) }
}

/// The path of a request in normal form.
pub(super) fn path<'a>(head: &'a Parts, limits: &HeadLimits) -> Result<Cow<'a, str>, ProxyError> {
    if head.uri.path_and_query().is_some_and(|target| target.as_str().len() > limits.line as usize) {
        return Err(ProxyError::TargetTooLong);
    }
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(ProxyError::MethodNotAllowed);
    }
    let path = head.uri.path();
    if !path.starts_with('/') {
        return Err(ProxyError::BadRequest("the target is not a path"));
    }
    normalize_path(path).map_err(ProxyError::BadPath)
}

/// As nginx validates it: no blank, control or separator, no empty label, something before the port.
pub(crate) fn is_host(value: &[u8]) -> bool {
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
    use crate::table::Names;
    use http::{Request, header};

    fn request(version: Version, target: &str, hosts: &[&str]) -> Parts {
        let mut builder = Request::builder().version(version).uri(target);
        for host in hosts {
            builder = builder.header(header::HOST, *host);
        }
        builder.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn one_host_and_nothing_ambiguous() {
        let ok = |version, target, hosts: &[&str]| {
            let head = request(version, target, hosts);
            host(&head, &Fields::of(&head.headers, Names::default()))
                .map(|value| value.to_str().expect("text").to_owned())
                .ok()
        };
        assert_eq!(ok(Version::HTTP_11, "/", &["A.example:80"]), Some("A.example:80".to_owned()));
        assert_eq!(ok(Version::HTTP_11, "http://b.example/x", &["a.example"]), Some("b.example".to_owned()));
        assert_eq!(ok(Version::HTTP_11, "http://b.example/x", &[]), None);
        assert_eq!(ok(Version::HTTP_2, "http://b.example/x", &[]), Some("b.example".to_owned()));
        assert_eq!(ok(Version::HTTP_2, "http://b.example/x", &["B.example"]), Some("b.example".to_owned()));
        assert_eq!(ok(Version::HTTP_2, "http://b.example/x", &["c.example"]), None);
        assert_eq!(ok(Version::HTTP_10, "/", &[]), Some(String::new()));
        for hosts in [&[][..], &["a", "a"], &[""], &[":80"], &["a b"], &["a/b"], &["a..b"], &["u@a"]] {
            assert_eq!(ok(Version::HTTP_11, "/", hosts), None, "{hosts:?}");
        }
    }
}
