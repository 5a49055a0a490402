//! Answers that the proxy makes itself.

use crate::body::ResponseBody;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

const HTML: HeaderValue = HeaderValue::from_static("text/html");

/// A short page with the status, as a browser shows it. nginx's own wording, without its name.
pub(crate) fn status(status: StatusCode) -> Response<ResponseBody> {
    let title = format!("{} {}", status.as_u16(), reason(status));
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>rust-nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    let mut response = Response::new(ResponseBody::full(Bytes::from(page)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HTML);
    response
}

/// The same with a line about what is wrong.
pub(crate) fn status_with(status: StatusCode, remark: &str) -> Response<ResponseBody> {
    let (code, reason) = (status.as_u16(), reason(status));
    let page = format!(
        "<html>\r\n<head><title>{code} {remark}</title></head>\r\n<body>\r\n<center><h1>{code} {reason}</h1></center>\r\n\
         <center>{remark}</center>\r\n<hr><center>rust-nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    let mut response = self::status(status);
    *response.body_mut() = ResponseBody::full(Bytes::from(page));
    response
}

/// A redirect with its page.
pub(crate) fn redirect(code: StatusCode, location: HeaderValue) -> Response<ResponseBody> {
    let mut response = status(code);
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// 200 without a body: the health check on the traffic ports.
pub(crate) fn healthy() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    response.headers_mut().insert(header::CONTENT_TYPE, HTML);
    response
}

/// The reason phrases that nginx writes, where they differ from the registry's.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => "Service Temporarily Unavailable",
        StatusCode::GATEWAY_TIMEOUT => "Gateway Time-out",
        StatusCode::REQUEST_TIMEOUT => "Request Time-out",
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        other => other.canonical_reason().unwrap_or_default(),
    }
}
