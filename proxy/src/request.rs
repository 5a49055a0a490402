//! The life of a request, top to bottom.
//!
//! [`handle`] and [`answer`] read as a list of phases; each has its own file or function. The order is ingress-nginx's
//! order of execution, because it decides what beats what (a redirect beats authentication, a missing endpoint beats
//! both).

mod target;

use crate::{
    access_log::RequestFields,
    body::{Progress, RequestBody, ResponseBody},
    error::ProxyError,
    exchange::Exchange,
    filter::RequestView,
    forwarded, hop,
    listener::{Connection, Scheme},
    respond,
    retry::Tries,
    table::{Backend, BackendIndex, Endpoint, HostMatch, Policy, Route, Settings, Table, Target, VirtualHost},
    timeout::Deadline,
    upgrade::{self, Tunnel},
    upstream::{self, connect::connect},
    worker::View,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use std::{convert::Infallible, rc::Rc};

/// Prefix of the health check on the traffic ports, for hosts that nobody declared.
const HEALTH_CHECK: &str = "/healthz";

/// What becomes of a request.
enum Answer {
    /// The proxy answers.
    Local(Response<ResponseBody>),
    /// The endpoint answers.
    Endpoint(Response<ResponseBody>),
    /// The endpoint switches protocols with a 101: the connection leaves HTTP.
    Switched(Response<ResponseBody>, Tunnel),
}

/// Where a request is sent, and under which terms.
struct Destination<'a> {
    connection: &'a Rc<Connection>,
    policy: &'a Policy,
    index: BackendIndex,
    backend: &'a Backend,
    deadline: Rc<Deadline>,
    /// The client's body while it is streamed; `None` when there is none.
    progress: Option<Rc<Progress>>,
}

/// A response head, and the connection that delivers the rest.
type Answered = (Response<Incoming>, Box<upstream::Connection>);

/// Answers one request. The account of the exchange goes with the response body; when the client goes away first, this
/// future is dropped and the account closes with it.
pub(crate) async fn handle(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut exchange = Exchange::open(&connection, request.method().clone());
    // One table for the whole request, whatever is installed meanwhile.
    let view = connection.worker().view();
    let answer = answer(&connection, &view, request, &mut exchange).await;
    let settings = view.table().settings();
    let response = match answer {
        Ok(Answer::Local(response)) => local(response, &connection, settings),
        Ok(Answer::Endpoint(mut response)) => {
            add_hsts(&mut response, &connection, settings);
            response
        }
        Ok(Answer::Switched(response, tunnel)) => {
            exchange.answered(response.status());
            upgrade::spawn(connection.worker(), tunnel, exchange);
            return Ok(response);
        }
        Err(error) => local(failed(&error), &connection, settings),
    };
    exchange.answered(response.status());
    Ok(response.map(|body| body.with_exchange(exchange)))
}

/// From the request to the answer, a phase a line.
async fn answer(
    connection: &Rc<Connection>,
    view: &View,
    mut request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Result<Answer, ProxyError> {
    let (table, settings) = (view.table(), view.table().settings());

    // Identify and route.
    let worker = connection.worker();
    let id = forwarded::request_id(request.headers_mut(), settings.generate_request_id, || worker.random());
    let log = settings.access_log.then(|| log_fields(connection, &request, id));
    let (host, virtual_host, route) = match find(table, &request) {
        Ok(Found::Route(host, virtual_host, route)) => (host, virtual_host, route),
        Ok(Found::HealthCheck) => return Ok(Answer::Local(respond::healthy())),
        Err(error) => {
            log.into_iter().for_each(|fields| exchange.set_log(fields));
            return Err(error);
        }
    };
    account(exchange, view, connection, virtual_host, route, log);

    // Limits that hold before anything else, as nginx checks them when it has found the location.
    if declared_length(request.headers()).is_some_and(|length| route.policy.max_body.is_some_and(|max| length > max)) {
        return Err(ProxyError::BodyTooLarge);
    }

    // Filters, in the order of the route.
    let seen = RequestView { scheme: connection.scheme(), host: host.to_str().unwrap_or_default(), uri: request.uri() };
    for filter in &route.filters {
        if let Some(response) = filter.request(seen) {
            return Ok(Answer::Local(response));
        }
    }

    // Backend.
    let (index, no_endpoints) = match route.target {
        Target::Status(status) => return Ok(Answer::Local(respond::status(status))),
        Target::Backend { backend, no_endpoints } => (backend, no_endpoints),
    };
    let backend = table.backend(index).as_ref();
    if backend.endpoints().is_empty() {
        return Err(ProxyError::NoEndpoints(no_endpoints));
    }

    // The request as the endpoint gets it.
    let switch = Switch::of(&mut request);
    prepare(&mut request, connection, &host, switch.as_ref());
    let deadline = connection.request_deadline(request.version());
    let (request, progress) = outbound(request, &route.policy, &deadline, settings);
    let destination = Destination { connection, policy: &route.policy, index, backend, deadline, progress };

    // Forward, to as many endpoints as the policy allows.
    let (response, endpoint) = forward(&destination, request, exchange).await?;

    // The response as the client gets it.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switched(response, endpoint, switch, &route.policy);
    }
    let (mut parts, incoming) = response.into_parts();
    hop::strip_response(&mut parts.headers);
    parts.headers.remove(header::UPGRADE);
    parts.version = Version::HTTP_11;
    let timeout = route.policy.read_timeout;
    let body = ResponseBody::upstream(incoming, endpoint, worker, &destination.deadline, timeout);
    Ok(Answer::Endpoint(Response::from_parts(parts, body)))
}

/// Tries endpoints until one answers or the policy gives up.
async fn forward(
    destination: &Destination<'_>,
    request: Request<RequestBody>,
    exchange: &mut Exchange,
) -> Result<Answered, ProxyError> {
    let worker = destination.connection.worker();
    let balancer = worker.balancer(destination.index, destination.backend);
    let mut tries = Tries::new(&destination.policy.retry, request.method());
    let mut tried: Vec<Endpoint> = Vec::new();
    let mut request = Some(request);
    // After a stale connection the same endpoint is asked again, on a connection that cannot be stale.
    let mut again: Option<Endpoint> = None;
    while let Some(outgoing) = request.take() {
        let fresh_only = again.is_some();
        let endpoint = match again.take() {
            Some(endpoint) => endpoint,
            None => balancer
                .pick(destination.backend, &tried)
                .ok_or(ProxyError::NoEndpoints(StatusCode::SERVICE_UNAVAILABLE))?,
        };
        tries.begin();
        exchange.try_started();
        let spare = spare(&outgoing, &tries);
        let (error, unsent, stale) = match attempt(destination, endpoint, outgoing, fresh_only, exchange).await {
            Ok(answered) => return Ok(answered),
            Err(Failed { error, unsent, stale }) => (error, unsent, stale),
        };
        request = unsent.or(spare);
        if stale && request.is_some() {
            tries.forgive();
            again = Some(endpoint);
            continue;
        }
        exchange.try_ended(endpoint, None);
        tracing::debug!(%error, endpoint = %endpoint.address, backend = %destination.backend.key(), "try failed");
        if request.is_none() || !tries.goes_on_after(&error) {
            return Err(error);
        }
        tried.push(endpoint);
    }
    Err(ProxyError::NoEndpoints(StatusCode::SERVICE_UNAVAILABLE))
}

/// A try that gave no response.
struct Failed {
    error: ProxyError,
    /// The request, when not a byte of it was sent.
    unsent: Option<Request<RequestBody>>,
    /// The connection came from the pool and the endpoint had closed it: says nothing about the endpoint.
    stale: bool,
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
    let pooled = if fresh_only { None } else { worker.take(endpoint) };
    let is_fresh = pooled.is_none();
    let mut upstream = match pooled {
        Some(connection) => connection,
        None => {
            let limit = destination.policy.connect_timeout;
            match connect(endpoint, limit, &destination.deadline, worker.http1_client()).await {
                Ok(connection) => connection,
                Err(error) => return Err(Failed { error, unsent: Some(request), stale: false }),
            }
        }
    };
    exchange.connected(is_fresh);
    let progress = destination.progress.as_ref();
    match progress {
        None => destination.deadline.set(destination.policy.read_timeout),
        Some(_) => destination.deadline.set(destination.policy.send_timeout),
    }
    let expired = || progress.map_or(ProxyError::ReadTimeout, |progress| progress.expired());
    match upstream.send(request, &destination.deadline, expired).await {
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

/// A copy for another try, where the request may be repeated and has no body that would have to be kept.
fn spare(request: &Request<RequestBody>, tries: &Tries<'_>) -> Option<Request<RequestBody>> {
    if !tries.may_repeat() || !matches!(request.body(), RequestBody::Empty) {
        return None;
    }
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Where a request belongs.
enum Found<'a> {
    Route(HeaderValue, &'a VirtualHost, &'a Route),
    HealthCheck,
}

fn find<'a>(table: &'a Table, request: &Request<Incoming>) -> Result<Found<'a>, ProxyError> {
    let host = target::host(request)?;
    let path = target::path(request)?;
    let virtual_host = table.virtual_host(host.to_str().unwrap_or_default());
    if *virtual_host.host() == HostMatch::Any && path.starts_with(HEALTH_CHECK) {
        return Ok(Found::HealthCheck);
    }
    match virtual_host.route(&path) {
        Some(route) => Ok(Found::Route(host, virtual_host, route)),
        None => Err(ProxyError::BadRequest("the target is not a path")),
    }
}

/// Opens the books of the route: who is counted and what is logged.
fn account(
    exchange: &mut Exchange,
    view: &View,
    connection: &Connection,
    host: &VirtualHost,
    route: &Route,
    log: Option<RequestFields>,
) {
    // As ingress-nginx counts: only hosts that are declared literally, or a client could make up series at will.
    let counted = matches!(host.host(), HostMatch::Exact(_));
    exchange.set_route(view.stats(&route.labels, connection.worker()), counted);
    let declared = *host.host() != HostMatch::Any || !route.labels.ingress.is_empty();
    if let Some(fields) = log.filter(|_| declared && route.policy.access_log) {
        exchange.set_log(fields);
    }
}

/// The protocol change that a client asks for.
struct Switch {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Switch {
    fn of(request: &mut Request<Incoming>) -> Option<Self> {
        let protocol = hop::strip_request(request.headers_mut())?;
        (request.version() == Version::HTTP_11).then(|| Self { protocol, client: hyper::upgrade::on(request) })
    }
}

/// Makes the head that the endpoint gets: only what may pass, plus what we know about the client.
fn prepare(request: &mut Request<Incoming>, connection: &Connection, host: &HeaderValue, switch: Option<&Switch>) {
    hop::drop_odd_names(request.headers_mut());
    if request.version() == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    forwarded::apply(request.headers_mut(), connection, host);
    if let Some(switch) = switch {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(header::UPGRADE, switch.protocol.clone());
    }
    // Origin form, byte for byte as the client wrote it.
    if request.uri().authority().is_some() {
        *request.uri_mut() = request.uri().path_and_query().map_or_else(Uri::default, |target| target.clone().into());
    }
    *request.version_mut() = Version::HTTP_11;
}

/// Gives the request its outbound body.
fn outbound(
    request: Request<Incoming>,
    policy: &Policy,
    deadline: &Rc<Deadline>,
    settings: &Settings,
) -> (Request<RequestBody>, Option<Rc<Progress>>) {
    let (mut parts, incoming) = request.into_parts();
    // Extensions hold hyper's own handles, which end with this connection.
    parts.extensions = http::Extensions::new();
    let (body, progress) = RequestBody::new(incoming, policy, deadline, settings.client_body_timeout);
    (Request::from_parts(parts, body), progress)
}

/// Lets both sides leave HTTP.
fn switched(
    response: Response<Incoming>,
    endpoint: Box<upstream::Connection>,
    switch: Option<Switch>,
    policy: &Policy,
) -> Result<Answer, ProxyError> {
    let switch = switch.ok_or(ProxyError::UnaskedSwitch)?;
    let (mut parts, _) = response.into_parts();
    let protocol = parts.headers.remove(header::UPGRADE);
    hop::strip_response(&mut parts.headers);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, protocol.unwrap_or(switch.protocol));
    parts.version = Version::HTTP_11;
    let tunnel = Tunnel { client: switch.client, endpoint, idle: policy.read_timeout.max(policy.send_timeout) };
    Ok(Answer::Switched(Response::from_parts(parts, ResponseBody::empty()), tunnel))
}

/// The answer to a request that failed.
fn failed(error: &ProxyError) -> Response<ResponseBody> {
    let mut response = respond::status(error.status());
    if error.closes_connection() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Finishes an answer of our own.
fn local(mut response: Response<ResponseBody>, connection: &Connection, settings: &Settings) -> Response<ResponseBody> {
    // ingress-nginx sends no HSTS with its own redirects and 400s.
    if !response.status().is_redirection() && response.status() != StatusCode::BAD_REQUEST {
        add_hsts(&mut response, connection, settings);
    }
    response
}

fn add_hsts(response: &mut Response<ResponseBody>, connection: &Connection, settings: &Settings) {
    if connection.scheme() == Scheme::Https
        && let Some(hsts) = &settings.hsts
    {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts.header().clone());
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// HTTP/2 clients may send one field per cookie; HTTP/1.1 wants one line (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

fn log_fields(connection: &Connection, request: &Request<Incoming>, id: Option<HeaderValue>) -> RequestFields {
    RequestFields {
        remote: connection.peer(),
        method: request.method().clone(),
        uri: request.uri().clone(),
        version: request.version(),
        referer: request.headers().get(header::REFERER).cloned(),
        user_agent: request.headers().get(header::USER_AGENT).cloned(),
        request_id: id,
    }
}
