//! The request towards its backend: the head that an endpoint gets, and the tries.

use super::fields::Fields;
use crate::{
    balance::{Picked, Picker},
    body::{Progress, RequestBody, ResponseBody, Stored},
    error::{Outcome, ProxyError},
    exchange::Exchange,
    forwarded::{self, Told},
    listener::Connection,
    retry::Tries,
    table::{Backend, BackendIndex, Endpoint, Policy, Protocol, Route},
    timeout::Deadline,
    tls::UpstreamTls,
    upstream::{self, Target, Unanswered, connect::connect, http2},
    variable::Scope,
};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    request::Parts,
    uri::{Authority, Scheme},
};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use std::{rc::Rc, sync::Arc};

pub(super) const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
/// Tries that do not count because they only met a connection that had come to its end. One is enough for HTTP/1.1, where
/// the second connection is new; an endpoint of HTTP/2 may refuse streams for as long as it is asked.
const FREE_TRIES: u32 = 3;
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// A response head, and what delivers the rest.
pub(super) enum Answered {
    Http1(Response<Incoming>, Box<upstream::Connection>),
    Http2(Response<()>, Box<http2::Exchange>),
}

/// Where a request is sent, and under which terms.
pub(super) struct Destination<'a> {
    pub(super) connection: &'a Rc<Connection>,
    pub(super) route: &'a Route,
    pub(super) policy: &'a Policy,
    pub(super) index: BackendIndex,
    pub(super) backend: &'a Arc<Backend>,
    pub(super) protocol: Protocol,
    pub(super) deadline: &'a Rc<Deadline>,
    /// The client's body while it is sent; `None` when there is none.
    pub(super) progress: Option<Rc<Progress>>,
    /// The client's body where it was read before.
    pub(super) stored: Option<Rc<Stored>>,
}

/// The recipe for the head that an endpoint gets. It borrows the client's head, so that every try makes a fresh one.
pub(super) struct Outbound<'a> {
    head: &'a Parts,
    fields: &'a Fields<'a>,
    told: Told<'a>,
    switch: Option<&'a Switch>,
    protocol: Protocol,
    /// Length of the body, where the client's head does not say it.
    length: Option<u64>,
}

/// The protocol change that a client asks for.
pub(super) struct Switch {
    pub(super) protocol: HeaderValue,
    pub(super) client: OnUpgrade,
}

// === impl Switch ===

impl Switch {
    /// Upgrades exist in HTTP/1.1 only (RFC 9110 §7.8).
    pub(super) fn of(version: Version, upgrade: Option<&HeaderValue>, client: Option<OnUpgrade>) -> Option<Self> {
        let (protocol, client) = (upgrade?.clone(), client?);
        (version == Version::HTTP_11).then_some(Self { protocol, client })
    }
}

// === impl Answered ===

impl Answered {
    fn status(&self) -> StatusCode {
        match self {
            Self::Http1(response, _) => response.status(),
            Self::Http2(response, _) => response.status(),
        }
    }
}

// === impl Destination ===

impl<'a> Destination<'a> {
    fn target(&self, endpoint: Endpoint) -> Target<'a> {
        let tls = self.protocol.is_tls().then(|| self.policy.tls.as_ref().unwrap_or_else(|| UpstreamTls::unverified()));
        Target { endpoint, tls }
    }

    /// From now on the request waits for the endpoint; its body moves the deadline.
    fn start_clock(&self) {
        let policy = self.policy;
        self.deadline.set(if self.progress.is_some() { policy.send_timeout } else { policy.read_timeout });
    }

    /// What it means that the deadline has passed.
    fn expired(&self) -> ProxyError {
        self.progress.as_ref().map_or(ProxyError::ReadTimeout, |progress| progress.expired())
    }

    /// The body for one more try; `None` when it is gone.
    fn body_again(&self) -> Option<RequestBody> {
        match (&self.progress, &self.stored) {
            (None, _) => Some(RequestBody::Empty),
            (Some(progress), Some(stored)) => Some(RequestBody::stored(stored, progress)),
            (Some(_), None) => None,
        }
    }

    /// Lets go of a response that the client does not get. What has arrived as a whole leaves its connection usable.
    fn discard(&self, answered: Answered) {
        if let Answered::Http1(response, upstream) = answered {
            let worker = self.connection.worker();
            let timeout = self.policy.read_timeout;
            drop(ResponseBody::upstream(response.into_body(), upstream, worker, self.deadline, timeout));
        }
    }
}

// === impl Outbound ===

impl<'a> Outbound<'a> {
    pub(super) fn new(
        head: &'a Parts,
        fields: &'a Fields<'a>,
        told: Told<'a>,
        switch: Option<&'a Switch>,
        protocol: Protocol,
        length: Option<u64>,
    ) -> Self {
        Self { head, fields, told, switch, protocol, length }
    }

    /// What variables stand for. Scheme and port are those of the connection, whatever a proxy in front of us says.
    fn scope(&self, route: &'a Route, connection: &'a Connection) -> Scope<'a> {
        let Told { client, host, request_id, .. } = self.told;
        Scope {
            head: self.head,
            host,
            remote: client.address(),
            remote_text: client.address_header(),
            scheme: connection.scheme(),
            port: connection.port_header(),
            request_id,
            labels: &route.labels,
        }
    }

    fn request(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.uri();
        *request.headers_mut() = self.headers();
        if self.protocol.is_http2() {
            self.make_http2(&mut request);
        } else if self.fields.content_length.is_none()
            && self.length.is_none()
            && matches!(self.head.method, Method::GET | Method::HEAD)
            && !matches!(request.body(), RequestBody::Empty)
        {
            // hyper drops a body without a length of these methods unless it is told how to frame it.
            request.headers_mut().insert(header::TRANSFER_ENCODING, CHUNKED);
        }
        request
    }

    /// Origin form, byte for byte as the client wrote it.
    fn uri(&self) -> Uri {
        if self.head.uri.authority().is_none() {
            return self.head.uri.clone();
        }
        self.head.uri.path_and_query().map_or_else(Uri::default, |target| target.clone().into())
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.head.headers.len() + forwarded::MOST_FIELDS);
        self.told.add_to(&mut headers);
        self.fields.pass(&self.head.headers, self.told.client.keeps_forwarded(), &mut headers);
        self.told.replace_in(&mut headers);
        if let Some(switch) = self.switch {
            headers.append(header::CONNECTION, UPGRADE);
            headers.append(header::UPGRADE, switch.protocol.clone());
        }
        if let Some(length) = self.length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        headers
    }

    /// RFC 9113 §8.3.1: `:authority` says what Host would, and `:scheme` how we reach the endpoint, as in nginx.
    fn make_http2(&self, request: &mut Request<RequestBody>) {
        let scheme = if self.protocol.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        if let Ok(authority) = Authority::try_from(self.told.host.as_bytes()) {
            (parts.scheme, parts.authority) = (Some(scheme), Some(authority));
            request.headers_mut().remove(header::HOST);
            *request.version_mut() = Version::HTTP_2;
        } else if self.told.host.is_empty() {
            request.headers_mut().remove(header::HOST);
        }
        // What is no authority by RFC 3986, and yet a Host that nginx takes, stays in Host. h2 adds the scheme.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        if self.protocol.is_grpc() || self.wants_trailers() {
            request.headers_mut().insert(header::TE, TRAILERS);
        }
    }

    /// RFC 9110 §10.1.4, and of its values the only one that HTTP/2 has.
    fn wants_trailers(&self) -> bool {
        let values = self.head.headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("trailers"))
    }
}

/// Tries endpoints until one answers or the policy gives up. The client gets the cookie, too.
pub(super) async fn forward(
    destination: &Destination<'_>,
    outbound: &Outbound<'_>,
    mut body: RequestBody,
    exchange: &mut Exchange,
) -> Result<(Answered, Option<HeaderValue>), ProxyError> {
    let Destination { connection, route, policy, backend, .. } = *destination;
    let worker = connection.worker();
    let mut picker = Picker::new(worker.balancer(destination.index, backend), backend, policy, worker.timers());
    let mut tries = Tries::new(&policy.retry, &outbound.head.method, exchange.start());
    let mut tried: Vec<Endpoint> = Vec::new();
    // After a stale connection the same endpoint is asked again, over HTTP/1.1 on a connection that cannot be stale.
    let mut again: Option<Picked> = None;
    let mut free = FREE_TRIES;
    loop {
        let fresh_only = again.is_some();
        let picked = again.take().or_else(|| picker.pick(&tried, || outbound.scope(route, destination.connection)));
        let picked = picked.ok_or(ProxyError::NoEndpoints(StatusCode::SERVICE_UNAVAILABLE))?;
        let endpoint = picked.endpoint;
        tries.begin();
        exchange.try_started(picker.in_flight(&picked));
        let request = outbound.request(body);
        let attempted = if destination.protocol.is_http2() {
            // Boxed, so that the requests of HTTP/1.1 are not as large as those of HTTP/2.
            Box::pin(attempt_http2(destination, endpoint, request, exchange)).await
        } else {
            attempt(destination, endpoint, request, fresh_only, exchange).await
        };
        let failed = match attempted {
            Ok(answered) => {
                let status = answered.status();
                let time = exchange.try_ended(endpoint, Some(status));
                if policy.retry.on.statuses.contains(status) {
                    picker.failed(&picked, time);
                    let next = if tries.may_repeat() { destination.body_again() } else { None };
                    if let Some(next) = next.filter(|_| tries.are_left() && picker.may_retry()) {
                        tracing::debug!(%status, endpoint = %endpoint.address, backend = %backend.key(), "trying another");
                        destination.discard(answered);
                        body = next;
                        tried.push(endpoint);
                        continue;
                    }
                } else {
                    picker.answered(&picked, time);
                }
                let cookie = picker.cookie(route, connection.scheme(), &outbound.head.headers);
                return Ok((answered, cookie));
            }
            Err(failed) => failed,
        };
        // What went wrong with the client's body explains the connection's error.
        let failure = destination.progress.as_ref().and_then(|progress| progress.take_failure());
        let stale = failed.stale && failure.is_none() && free > 0;
        let error = failure.unwrap_or(failed.error);
        let unsent = failed.body.is_some();
        let next = failed.body.or_else(|| if tries.may_repeat() { destination.body_again() } else { None });
        match next {
            Some(next) if stale => {
                body = next;
                tries.forgive();
                free -= 1;
                again = Some(picked);
            }
            next => {
                let time = exchange.try_ended(endpoint, None);
                tracing::debug!(%error, endpoint = %endpoint.address, backend = %backend.key(), "try failed");
                if error.outcome() != Outcome::Final {
                    picker.failed(&picked, time);
                }
                tried.push(endpoint);
                // Whoever was not reached has no work with it, and whoever was not asked yet no second one.
                let is_free = unsent && tried.len() < backend.endpoints().len();
                match next {
                    Some(next) if tries.goes_on_after(&error) && (is_free || picker.may_retry()) => body = next,
                    _ => return Err(error),
                }
            }
        }
    }
}

/// One try of one endpoint over HTTP/1.1.
async fn attempt(
    destination: &Destination<'_>,
    endpoint: Endpoint,
    request: Request<RequestBody>,
    fresh_only: bool,
    exchange: &mut Exchange,
) -> Result<Answered, Box<Unanswered>> {
    let worker = destination.connection.worker();
    let (policy, deadline) = (destination.policy, destination.deadline);
    let target = destination.target(endpoint);
    let pooled = if fresh_only { None } else { worker.take(target) };
    let mut upstream = match pooled {
        Some(connection) => connection,
        None => match connect(target, policy.connect_timeout, deadline, worker).await {
            Ok(connection) => {
                exchange.connected();
                connection
            }
            Err(error) => return Err(unsent(error, request)),
        },
    };
    destination.start_clock();
    let response = upstream.send(request, deadline, || destination.expired()).await?;
    Ok(Answered::Http1(response, upstream))
}

/// One try of one endpoint over HTTP/2.
async fn attempt_http2(
    destination: &Destination<'_>,
    endpoint: Endpoint,
    request: Request<RequestBody>,
    exchange: &mut Exchange,
) -> Result<Answered, Box<Unanswered>> {
    let (worker, deadline) = (destination.connection.worker(), destination.deadline);
    let acquired = http2::acquire(worker, destination.target(endpoint));
    let acquired = deadline.limit(destination.policy.connect_timeout, acquired).await;
    let lease = match acquired.unwrap_or(Err(ProxyError::ConnectTimeout)) {
        Ok((lease, connected)) => {
            if connected {
                exchange.connected();
            }
            lease
        }
        Err(error) => return Err(unsent(error, request)),
    };
    destination.start_clock();
    let (response, stream) = http2::send(lease, request, deadline, || destination.expired()).await?;
    Ok(Answered::Http2(response, Box::new(stream)))
}

fn unsent(error: ProxyError, request: Request<RequestBody>) -> Box<Unanswered> {
    Box::new(Unanswered { error, body: Some(request.into_body()), stale: false })
}
