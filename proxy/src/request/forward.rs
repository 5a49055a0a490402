//! The request towards its backend: the head that an endpoint gets, and the tries.

use super::fields::Fields;
use crate::{
    body::{Progress, RequestBody},
    error::ProxyError,
    exchange::Exchange,
    forwarded::{self, Told},
    listener::Connection,
    retry::Tries,
    table::{Backend, BackendIndex, Endpoint, Policy},
    timeout::Deadline,
    upstream::{self, connect::connect},
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request::Parts};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use std::rc::Rc;

pub(super) const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// A response head, and the connection that delivers the rest.
pub(super) type Answered = (Response<Incoming>, Box<upstream::Connection>);

/// Where a request is sent, and under which terms.
pub(super) struct Destination<'a> {
    pub(super) connection: &'a Rc<Connection>,
    pub(super) policy: &'a Policy,
    pub(super) index: BackendIndex,
    pub(super) backend: &'a Backend,
    pub(super) deadline: &'a Rc<Deadline>,
    /// The client's body while it is streamed; `None` when there is none.
    pub(super) progress: Option<Rc<Progress>>,
}

/// The recipe for the head that an endpoint gets. It borrows the client's head, so that every try makes a fresh one.
pub(super) struct Outbound<'a> {
    head: &'a Parts,
    fields: &'a Fields<'a>,
    told: Told<'a>,
    switch: Option<&'a Switch>,
}

/// The protocol change that a client asks for.
pub(super) struct Switch {
    pub(super) protocol: HeaderValue,
    pub(super) client: OnUpgrade,
}

/// A try that gave no response.
struct Failed {
    error: ProxyError,
    /// The request, when not a byte of it was sent.
    unsent: Option<Request<RequestBody>>,
    /// The connection came from the pool and the endpoint had closed it: says nothing about the endpoint.
    stale: bool,
}

// === impl Switch ===

impl Switch {
    /// Upgrades exist in HTTP/1.1 only (RFC 9110 §7.8).
    pub(super) fn of(version: Version, upgrade: Option<&HeaderValue>, client: Option<OnUpgrade>) -> Option<Self> {
        let (protocol, client) = (upgrade?.clone(), client?);
        (version == Version::HTTP_11).then_some(Self { protocol, client })
    }
}

// === impl Outbound ===

impl<'a> Outbound<'a> {
    pub(super) fn new(head: &'a Parts, fields: &'a Fields<'a>, told: Told<'a>, switch: Option<&'a Switch>) -> Self {
        Self { head, fields, told, switch }
    }

    fn request(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.uri();
        *request.headers_mut() = self.headers();
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
        self.fields.pass(&self.head.headers, &mut headers);
        if let Some(switch) = self.switch {
            headers.append(header::CONNECTION, UPGRADE);
            headers.append(header::UPGRADE, switch.protocol.clone());
        }
        headers
    }
}

/// Tries endpoints until one answers or the policy gives up.
pub(super) async fn forward(
    destination: &Destination<'_>,
    outbound: &Outbound<'_>,
    body: RequestBody,
    exchange: &mut Exchange,
) -> Result<Answered, ProxyError> {
    let worker = destination.connection.worker();
    let balancer = worker.balancer(destination.index, destination.backend);
    let mut tries = Tries::new(&destination.policy.retry, &outbound.head.method, exchange.start());
    let repeatable = tries.may_repeat() && matches!(body, RequestBody::Empty);
    let mut tried: Vec<Endpoint> = Vec::new();
    let mut request = outbound.request(body);
    // After a stale connection the same endpoint is asked again, on a connection that cannot be stale.
    let mut again: Option<Endpoint> = None;
    loop {
        let fresh_only = again.is_some();
        let picked = again.take().or_else(|| balancer.pick(destination.backend, &tried));
        let endpoint = picked.ok_or(ProxyError::NoEndpoints(StatusCode::SERVICE_UNAVAILABLE))?;
        tries.begin();
        exchange.try_started();
        let failed = match attempt(destination, endpoint, request, fresh_only, exchange).await {
            Ok(answered) => return Ok(answered),
            Err(failed) => failed,
        };
        let next = failed.unsent.or_else(|| repeatable.then(|| outbound.request(RequestBody::Empty)));
        match next {
            Some(next) if failed.stale => {
                request = next;
                tries.forgive();
                again = Some(endpoint);
            }
            next => {
                exchange.try_ended(endpoint, None);
                let (error, backend) = (failed.error, destination.backend.key());
                tracing::debug!(%error, endpoint = %endpoint.address, %backend, "try failed");
                match next {
                    Some(next) if tries.goes_on_after(&error) => request = next,
                    _ => return Err(error),
                }
                tried.push(endpoint);
            }
        }
    }
}

/// One try of one endpoint.
async fn attempt(
    destination: &Destination<'_>,
    endpoint: Endpoint,
    request: Request<RequestBody>,
    fresh_only: bool,
    exchange: &mut Exchange,
) -> Result<Answered, Failed> {
    let worker = destination.connection.worker();
    let (policy, deadline) = (destination.policy, destination.deadline);
    let pooled = if fresh_only { None } else { worker.take(endpoint) };
    let mut upstream = match pooled {
        Some(connection) => connection,
        None => match connect(endpoint, policy.connect_timeout, deadline, worker).await {
            Ok(connection) => {
                exchange.connected();
                connection
            }
            Err(error) => return Err(Failed { error, unsent: Some(request), stale: false }),
        },
    };
    let progress = destination.progress.as_ref();
    deadline.set(if progress.is_some() { policy.send_timeout } else { policy.read_timeout });
    let expired = || progress.map_or(ProxyError::ReadTimeout, |progress| progress.expired());
    match upstream.send(request, deadline, expired).await {
        Ok(response) => {
            exchange.try_ended(endpoint, Some(response.status()));
            Ok((response, upstream))
        }
        Err(unanswered) => {
            // What went wrong with the client's body explains the connection's error.
            let failure = progress.and_then(|progress| progress.take_failure());
            let stale =
                upstream.is_reused() && failure.is_none() && matches!(unanswered.error, ProxyError::Upstream(_));
            Err(Failed { error: failure.unwrap_or(unanswered.error), unsent: unanswered.request, stale })
        }
    }
}
