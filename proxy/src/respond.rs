//! Answers that the proxy makes itself.

use crate::{body::ResponseBody, metrics::Totals};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

const HTML: HeaderValue = HeaderValue::from_static("text/html");

/// A short page with the status, as a browser shows it.
pub(crate) fn status(status: StatusCode) -> Response<ResponseBody> {
    let title = title(status);
    html(status, page(&title, &title, None))
}

/// The same with a line about what is wrong.
pub(crate) fn status_with(status: StatusCode, remark: &str) -> Response<ResponseBody> {
    html(status, remarked(status, remark))
}

/// No page at all.
pub(crate) fn bare(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
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

/// How busy the process is, in the form of nginx's `stub_status`.
pub(crate) fn stub_status(totals: Totals) -> Response<ResponseBody> {
    let Totals { accepted, handled, requests, open, busy } = totals;
    let text = format!(
        "Active connections: {open} \nserver accepts handled requests\n {accepted} {handled} {requests} \n\
         Reading: 0 Writing: {busy} Waiting: {} \n",
        open - busy
    );
    let mut response = Response::new(ResponseBody::full(Bytes::from(text)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// A page whose title and text say what is wrong.
pub(crate) fn remarked(status: StatusCode, remark: &str) -> String {
    page(&format!("{} {remark}", status.as_u16()), &title(status), Some(remark))
}

/// Every page that we make. nginx's own wording, without its name.
pub(crate) fn page(title: &str, heading: &str, remark: Option<&str>) -> String {
    let (before, remark, after) = remark.map_or(("", "", ""), |remark| ("<center>", remark, "</center>\r\n"));
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{heading}</h1></center>\r\n\
         {before}{remark}{after}<hr><center>rust-nginx</center>\r\n</body>\r\n</html>\r\n"
    )
}

/// The last answer of a connection as it goes over the wire, where there is no request that hyper could answer.
pub(crate) fn last(status: StatusCode, page: &str) -> String {
    let length = page.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
    )
}

fn html(status: StatusCode, page: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(Bytes::from(page)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HTML);
    response
}

fn title(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), reason(status))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_one_shape() {
        assert_eq!(
            page("a", "b", None),
            "<html>\r\n<head><title>a</title></head>\r\n<body>\r\n<center><h1>b</h1></center>\r\n\
             <hr><center>rust-nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        assert_eq!(
            remarked(StatusCode::BAD_REQUEST, "why"),
            "<html>\r\n<head><title>400 why</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n\
             <center>why</center>\r\n<hr><center>rust-nginx</center>\r\n</body>\r\n</html>\r\n"
        );
    }

    #[test]
    fn a_last_answer_has_its_length_and_closes() {
        assert_eq!(
            last(StatusCode::URI_TOO_LONG, "page"),
            "HTTP/1.1 414 URI Too Long\r\nContent-Type: text/html\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage"
        );
    }
}
