//! Whether a host that asks for client certificates answers this request, and who its client is.

use crate::{
    error::ProxyError,
    listener::{Connection, Scheme},
    tls::{ClientAuth, ClientAuthMode, ErrorPage, Judgement, Verdict},
};
use http::{HeaderValue, Method, header, request::Parts};
use std::{rc::Rc, sync::Arc};

/// What becomes of a request to such a host.
pub(super) enum Admission {
    /// It goes on; over TLS with what is thought of its client.
    Granted(Option<Rc<Judgement>>),
    /// The client goes elsewhere.
    Redirect(HeaderValue),
    /// The client gets the answer to another request, as nginx's `error_page` does it.
    Page(Parts),
}

/// Marks the request for an error page, which needs no certificate.
#[derive(Clone, Copy)]
struct ErrorPageRequest;

/// Admits a request, or says what is wrong with its client.
///
/// In cleartext there are no certificates: where one is needed, compile sends such requests to HTTPS or closes their
/// routes.
pub(super) fn admit(
    connection: &Connection,
    auth: &Arc<ClientAuth>,
    host: &HeaderValue,
    head: &Parts,
) -> Result<Admission, ProxyError> {
    let settings = auth.settings();
    let Some(session) = connection.session().filter(|_| connection.scheme() == Scheme::Https) else {
        // nginx compares an empty subject.
        let matches = settings.subject.as_ref().is_none_or(|pattern| pattern.matches(""));
        return if matches { Ok(Admission::Granted(None)) } else { Err(ProxyError::ClientSubject) };
    };
    // The handshake must have been for this host, or the certificate was asked for under other terms, if at all.
    if session.server_name().is_some_and(|name| !is_name(host, name)) {
        return Err(ProxyError::Misdirected);
    }
    // Since the handshake the host has begun to ask: a new one will.
    if auth.asks() && !session.asked() && session.server_name().is_some() {
        return Err(ProxyError::Misdirected);
    }
    let judgement = session.judge(auth);
    let refused = match (settings.mode, judgement.verdict) {
        (ClientAuthMode::On, Verdict::Missing) => Some(ProxyError::NoClientCertificate),
        (ClientAuthMode::On | ClientAuthMode::Optional, Verdict::Failed(reason)) => {
            Some(ProxyError::BadClientCertificate(reason))
        }
        (_, Verdict::Success | Verdict::Missing) | (ClientAuthMode::Off | ClientAuthMode::OptionalNoCa, _) => None,
    };
    if let Some(error) = refused
        && head.extensions.get::<ErrorPageRequest>().is_none()
    {
        return match &settings.error_page {
            None => Err(error),
            Some(ErrorPage::Redirect(location)) => Ok(Admission::Redirect(location.clone())),
            Some(ErrorPage::Path(path)) => page(head, path.clone().into()).map(Admission::Page),
        };
    }
    if settings.subject.as_ref().is_some_and(|pattern| !pattern.matches(&judgement.subject)) {
        return Err(ProxyError::ClientSubject);
    }
    Ok(Admission::Granted(Some(judgement)))
}

/// Whether a Host is this name, whatever its case, port and trailing dot.
fn is_name(host: &HeaderValue, name: &str) -> bool {
    let host = host.as_bytes();
    let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
    let host = host[..end].strip_suffix(b".").unwrap_or(&host[..end]);
    host.eq_ignore_ascii_case(name.as_bytes())
}

/// The request for an error page: GET, without the body and what it says about one.
fn page(head: &Parts, target: http::Uri) -> Result<Parts, ProxyError> {
    let mut uri = target.into_parts();
    // HTTP/2 has the host in its target.
    (uri.scheme, uri.authority) = (head.uri.scheme().cloned(), head.uri.authority().cloned());
    let uri = http::Uri::from_parts(uri).map_err(|_| ProxyError::BadRequest("no target for the error page"))?;
    let (mut parts, ()) = http::Request::new(()).into_parts();
    (parts.method, parts.version, parts.uri, parts.headers) = (Method::GET, head.version, uri, head.headers.clone());
    for name in [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::EXPECT,
        header::TRAILER,
        header::UPGRADE,
    ] {
        parts.headers.remove(name);
    }
    parts.extensions.insert(ErrorPageRequest);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_as_they_are_routed() {
        for (host, name, same) in [
            ("a.example", "a.example", true),
            ("A.Example.:443", "a.example", true),
            ("b.example", "a.example", false),
            ("a.example.evil", "a.example", false),
            ("a.example", "aa.example", false),
            ("", "a.example", false),
            ("[::1]", "a.example", false),
        ] {
            let host = HeaderValue::from_str(host).expect("a value");
            assert_eq!(is_name(&host, name), same, "{host:?}");
        }
    }

    #[test]
    fn the_request_for_a_page_has_no_body() {
        let request = http::Request::post("https://a.example/x?y")
            .header("content-length", "5")
            .header("transfer-encoding", "chunked")
            .header("cookie", "a=b")
            .body(())
            .expect("a request");
        let (head, ()) = request.into_parts();
        let page = page(&head, http::Uri::from_static("/denied?why=cert")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((page.method, page.uri.to_string().as_str()), (Method::GET, "https://a.example/denied?why=cert"));
        let names: Vec<_> = page.headers.keys().map(header::HeaderName::as_str).collect();
        assert_eq!(names, ["cookie"]);
    }
}
