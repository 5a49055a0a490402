//! The request towards its backend: the head that an endpoint gets, and the tries.

use super::outbound::Outbound;
use crate::{
    balance::{Picked, Picker},
    body::{Progress, RequestBody, ResponseBody, Stored},
    error::{Outcome, ProxyError},
    exchange::Exchange,
    hop,
    listener::Connection,
    retry::Tries,
    table::{Backend, BackendIndex, Endpoint, Policy, Protocol, Route},
    timeout::Deadline,
    tls::UpstreamTls,
    upstream::{
        Clock, Target, Unanswered,
        connect::connect,
        http1::{self, Outgoing},
        http2,
    },
};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use std::{rc::Rc, sync::Arc};

/// Tries that do not count because they only met a connection that had come to its end. One is enough for HTTP/1.1, where
/// the second connection is new; an endpoint of HTTP/2 may refuse streams for as long as it is asked.
const FREE_TRIES: u32 = 3;

/// A response head, and what delivers the rest.
pub(super) enum Answered {
    Http1(Response<()>, Box<http1::Connection>),
    Http2(Response<()>, Box<http2::Exchange>),
}

/// Which connections a try may go over.
#[derive(Clone, Copy, Debug)]
enum Reuse {
    /// A new one.
    Never,
    /// One that was used before; `once` for a request that cannot be sent again.
    Pooled { once: bool },
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

/// The protocol change that a client asks for.
pub(super) struct Switch {
    pub(super) protocol: HeaderValue,
    pub(super) client: OnUpgrade,
}

// === impl Switch ===

impl Switch {
    /// Upgrades exist in HTTP/1.1 only (RFC 9110 §7.8). One to what nobody switches to makes an ordinary request.
    pub(super) fn of(version: Version, upgrade: Option<&HeaderValue>, client: Option<OnUpgrade>) -> Option<Self> {
        let (protocol, client) = (hop::upgrade(upgrade?)?, client?);
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

    /// Whether there will be a body for one more try.
    fn can_repeat_body(&self) -> bool {
        self.progress.is_none() || self.stored.is_some()
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
        if let Answered::Http1(_, upstream) = answered {
            let worker = self.connection.worker();
            let timeout = self.policy.read_timeout;
            drop(ResponseBody::upstream(upstream, worker, self.deadline, timeout));
        }
    }
}

impl Clock for Destination<'_> {
    fn heard(&self) {
        match &self.progress {
            None => self.deadline.set(self.policy.read_timeout),
            Some(progress) => progress.heard(),
        }
    }

    fn expired(&self) -> ProxyError {
        self.progress.as_ref().map_or(ProxyError::ReadTimeout, |progress| progress.expired())
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
        exchange.try_started(endpoint, picker.in_flight(&picked));
        let attempted = if destination.protocol.is_http2() {
            // Boxed, so that the requests of HTTP/1.1 are not as large as those of HTTP/2.
            Box::pin(attempt_http2(destination, endpoint, outbound.http2(body, destination), exchange)).await
        } else {
            let once = !(tries.may_repeat() && destination.can_repeat_body());
            let reuse = if fresh_only { Reuse::Never } else { Reuse::Pooled { once } };
            attempt(destination, endpoint, outbound.http1(body, destination), reuse, exchange).await
        };
        let failed = match attempted {
            Ok(answered) => {
                let status = answered.status();
                let time = exchange.try_answered(status);
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
                exchange.try_forgiven();
                free -= 1;
                again = Some(picked);
            }
            next => {
                let time = exchange.try_failed(&error);
                if error.outcome() == Outcome::Final {
                    tracing::debug!(%error, endpoint = %endpoint.address, backend = %backend.key(), "try failed");
                } else {
                    worker.endpoint_failed(backend.key(), Some(endpoint.address), &error);
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
    request: Outgoing,
    reuse: Reuse,
    exchange: &mut Exchange,
) -> Result<Answered, Box<Unanswered>> {
    let worker = destination.connection.worker();
    let (policy, deadline) = (destination.policy, destination.deadline);
    let target = destination.target(endpoint);
    let pooled = match reuse {
        Reuse::Never => None,
        Reuse::Pooled { once } => worker.take(target, once),
    };
    let mut upstream = match pooled {
        Some(connection) => {
            exchange.connected(false);
            connection
        }
        None => match connect(target, policy.connect_timeout, deadline, worker).await {
            Ok(connection) => {
                exchange.connected(true);
                connection
            }
            Err(error) => return Err(unsent(error, request.body)),
        },
    };
    destination.start_clock();
    let response = upstream.send(request, deadline, destination).await?;
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
        Ok((lease, is_new)) => {
            exchange.connected(is_new);
            lease
        }
        Err(error) => return Err(unsent(error, request.into_body())),
    };
    destination.start_clock();
    let (response, stream) = http2::send(lease, request, deadline, destination).await?;
    Ok(Answered::Http2(response, Box::new(stream)))
}

fn unsent(error: ProxyError, body: RequestBody) -> Box<Unanswered> {
    Box::new(Unanswered { error, body: Some(body), stale: false })
}
