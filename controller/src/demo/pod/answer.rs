//! What a pod says: JSON for programs, a page for browsers.

use super::Identity;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

/// The request as the pod saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Echo {
    pub(crate) pod: String,
    pub(crate) service: String,
    pub(crate) namespace: String,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) version: String,
    /// Whether the client came over TLS, as `X-Forwarded-Proto` says.
    pub(crate) tls: bool,
    /// `name: value`, in the order received, repeated names included.
    pub(crate) headers: Vec<String>,
    /// Bytes of the request body.
    pub(crate) body_length: u64,
}

/// Answers any request that does not ask for another protocol.
pub(super) async fn answer(request: Request<Incoming>, identity: &Identity) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let wants_page = accepts_html(&head.headers);
    let body_length = match length(body).await {
        Ok(length) => length,
        // Nobody is left to read this; hyper wants an answer nevertheless.
        Err(error) => return text(StatusCode::BAD_REQUEST, "text/plain", format!("the body ended early: {error}\n")),
    };
    let field = |name: header::HeaderName| lossy(head.headers.get(name).map_or(b"", |value| value.as_bytes()));
    let echo = Echo {
        pod: identity.name.clone(),
        service: identity.service.clone(),
        namespace: identity.namespace.clone(),
        method: head.method.to_string(),
        host: field(header::HOST),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        version: version(head.version).to_owned(),
        tls: field(header::HeaderName::from_static("x-forwarded-proto")).eq_ignore_ascii_case("https"),
        headers: head.headers.iter().map(|(name, value)| format!("{name}: {}", lossy(value.as_bytes()))).collect(),
        body_length,
    };
    let mut json = serde_json::to_string_pretty(&echo).expect("strings and numbers always serialise");
    json.push('\n');
    if wants_page {
        text(StatusCode::OK, "text/html; charset=utf-8", page(&echo, &json))
    } else {
        text(StatusCode::OK, "application/json", json)
    }
}

/// Reads the body to its end and keeps nothing of it.
async fn length(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(length)
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html")))
}

fn page(echo: &Echo, json: &str) -> String {
    // The echo goes in last: what a client sent must not be taken for one of these marks.
    include_str!("page.html")
        .replace("{{pod}}", &escape(&echo.pod))
        .replace("{{service}}", &escape(&echo.service))
        .replace("{{echo}}", &escape(json))
}

/// Text as it may stand in HTML, in attributes too.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/3",
    }
}

#[cfg(test)]
mod tests {
    use super::{accepts_html, escape};
    use http::{HeaderMap, header::ACCEPT};

    #[test]
    fn browsers_get_a_page_and_curl_does_not() {
        let accepts = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT, value.parse().unwrap());
            }
            accepts_html(&headers)
        };
        assert!(accepts(&["text/html,application/xhtml+xml,*/*;q=0.8"]));
        assert!(accepts(&["image/png", "application/json, Text/HTML;q=0.5"]));
        assert!(!accepts(&["*/*"]));
        assert!(!accepts(&["text/html-like"]));
        assert!(!accepts(&[]));
    }

    #[test]
    fn nothing_that_a_client_sends_becomes_markup() {
        assert_eq!(escape(r#"<b a="1" c='2'>&"#), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
    }
}
