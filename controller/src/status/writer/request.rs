//! One write of a status as the API server wants it, and what its answer means.

use super::ledger::{Job, Outcome};
use crate::{status::address::Address, telemetry::chain};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use k8s_openapi::api::networking::v1::Ingress;
use kube::{
    Client, Resource as _,
    api::{Patch, PatchParams},
    client::Body,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Nobody reads the answer, so the server need not send the whole object.
const BRIEFLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// Why it was not written.
    pub(super) error: Option<String>,
    /// When the server wants to be asked again (`Retry-After`).
    pub(super) not_before: Option<Duration>,
}

/// What the server says about a request that it did not fulfil.
#[derive(Deserialize)]
struct Explanation {
    message: String,
}

/// Writes.
pub(super) async fn send(client: &Client, writer: &str, job: &Job) -> Answer {
    match timeout(TIMEOUT, exchange(client, writer, job)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer::failed(chain(&error)),
        Err(_) => Answer::failed("the API server did not answer in time".to_owned()),
    }
}

async fn exchange(client: &Client, writer: &str, job: &Job) -> Result<Answer, kube::Error> {
    let response = client.send(request(writer, job)?).await?;
    let (parts, body) = response.into_parts();
    // Read to its end, so that the connection can be used again.
    let body = body.collect().await?.to_bytes();
    Ok(Answer::read(&Response::from_parts(parts, ()), &body))
}

fn request(writer: &str, job: &Job) -> Result<Request<Body>, kube::Error> {
    let name = &job.ingress.name;
    let url = Ingress::url_path(&(), Some(&name.namespace));
    let params = PatchParams { field_manager: Some(writer.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(patch(job));
    let mut request = kube::core::Request::new(url)
        .patch_subresource("status", &name.name, &params, &patch)
        .map_err(kube::Error::BuildRequest)?;
    request.headers_mut().insert(header::ACCEPT, BRIEFLY);
    Ok(request.map(Body::from))
}

fn patch(job: &Job) -> Value {
    // Null removes the field (RFC 7396 §2).
    let entries =
        if job.addresses.is_empty() { Value::Null } else { job.addresses.iter().map(entry).collect::<Value>() };
    json!({
        "metadata": { "uid": job.ingress.uid, "resourceVersion": job.ingress.resource_version },
        "status": { "loadBalancer": { "ingress": entries } },
    })
}

fn entry((ip, hostname): &Address) -> Value {
    let entry = [("ip", ip), ("hostname", hostname)];
    entry.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))).collect()
}

// === impl Answer ===

impl Answer {
    fn failed(error: String) -> Self {
        Self { outcome: Outcome::Failed, error: Some(error), not_before: None }
    }

    fn read(response: &Response<()>, body: &[u8]) -> Self {
        let status = response.status();
        if status.is_success() {
            return Self { outcome: Outcome::Written, error: None, not_before: None };
        }
        let outcome = match status {
            StatusCode::NOT_FOUND => Outcome::Gone,
            StatusCode::CONFLICT => Outcome::Collided,
            // A token that has just expired is read anew.
            StatusCode::UNAUTHORIZED | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Outcome::Failed,
            status if status.is_client_error() => Outcome::Refused,
            _ => Outcome::Failed,
        };
        let message = match serde_json::from_slice(body) {
            Ok(Explanation { message }) => message,
            // A proxy in between answers in its own words.
            Err(_) => String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
        };
        Self { outcome, error: Some(format!("{status}: {message}")), not_before: retry_after(response.headers()) }
    }
}

/// Only seconds: the API server sends no dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::{Answer, patch};
    use crate::status::writer::{
        ledger::{Job, Outcome},
        tests::{ingress, ip},
    };
    use http::Response;
    use serde_json::json;
    use std::{sync::Arc, time::Duration};

    #[test]
    fn patches_name_addresses_and_what_they_are_meant_for() {
        let job = |addresses: &[_]| Job { ingress: Arc::new(ingress("a", "7", &[])), addresses: addresses.into() };
        let body = |entries| {
            json!({
                "metadata": { "uid": "uid-a", "resourceVersion": "7" },
                "status": { "loadBalancer": { "ingress": entries } },
            })
        };
        assert_eq!(
            patch(&job(&[(None, Some("lb.example".into())), ip("192.0.2.1")])),
            body(json!([{ "hostname": "lb.example" }, { "ip": "192.0.2.1" }]))
        );
        assert_eq!(patch(&job(&[])), body(serde_json::Value::Null));
    }

    #[test]
    fn answers_are_told_apart() {
        let read = |status: u16, body: &str| {
            let response = Response::builder().status(status).header("Retry-After", "3").body(()).unwrap();
            Answer::read(&response, body.as_bytes())
        };
        for (status, outcome) in [
            (200, Outcome::Written),
            (201, Outcome::Written),
            (404, Outcome::Gone),
            (409, Outcome::Collided),
            (403, Outcome::Refused),
            (422, Outcome::Refused),
            (401, Outcome::Failed),
            (429, Outcome::Failed),
            (503, Outcome::Failed),
        ] {
            assert_eq!(read(status, "").outcome, outcome, "{status}");
        }
        let busy = read(429, r#"{"kind":"Status","message":"slow down","code":429}"#);
        assert_eq!(busy.not_before, Some(Duration::from_secs(3)));
        assert_eq!(busy.error.as_deref(), Some("429 Too Many Requests: slow down"));
    }
}
