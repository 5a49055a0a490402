//! The life of a request, top to bottom.
//!
//! [`handle`] and [`answer`] read as a list of phases; each has its own file or function. The order is ingress-nginx's
//! order of execution, because it decides what beats what (a redirect beats authentication, a missing endpoint beats
//! both).

mod client_certificate;
mod fields;
mod forward;
mod outbound;
mod target;

pub(crate) use self::target::is_host;
use self::{
    client_certificate::Admission,
    fields::Fields,
    forward::{Answered, Destination, Switch},
    outbound::{Outbound, UPGRADE},
};
use crate::{
    access_log::{Logged, RequestFields},
    body::{Progress, Reader, RequestBody, ResponseBody, Stored, Upload},
    compress::Wish,
    error::ProxyError,
    exchange::Exchange,
    filter::RequestView,
    forwarded::{self, Client, Original, Told},
    hop,
    listener::{Connection, Scheme},
    respond,
    table::{Headers, HostMatch, Logs, Policy, Route, RouteLabels, Settings, Table, Target, VirtualHost},
    upgrade::{self, Tunnel},
    upstream,
    variable::Scope,
    worker::View,
};
use http::{HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use http_body::Body as _;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    rc::Rc,
};

/// Prefix of the health check on the traffic ports, for hosts that nobody declared; and of nginx's `stub_status` there.
const HEALTH_CHECK: &str = "/healthz";
const STUB_STATUS: &str = "/nginx_status";

/// What becomes of a request.
enum Answer {
    /// The proxy answers.
    Local(Response<ResponseBody>),
    /// The endpoint answers.
    Endpoint(Response<ResponseBody>),
    /// The endpoint switches protocols with a 101: the connection leaves HTTP.
    Switched(Response<ResponseBody>, Tunnel),
}

/// What is known of a request before it is known where it belongs.
struct Known<'a> {
    connection: &'a Connection,
    client: &'a Client<'a>,
    head: &'a Parts,
    request_id: Option<&'a HeaderValue>,
}

/// Where a request belongs.
enum Found<'a> {
    Route(HeaderValue, &'a VirtualHost, &'a Route),
    HealthCheck,
    StubStatus,
}

/// Answers one request. The account of the exchange goes with the response body; when the client goes away first, this
/// future is dropped and the account closes with it.
pub(crate) async fn handle(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let version = request.version();
    let mut exchange = Exchange::open(&connection, request.method().clone());
    // One table for the whole request, whatever is installed meanwhile.
    let view = connection.worker().view();
    let settings = view.table().settings();
    connection.refresh(settings);
    let (head, body) = request.into_parts();
    let (upload, body) = (!body.is_end_stream()).then(|| Upload::new(body, &head)).unzip();
    exchange.set_upload(upload.clone());
    let answer = answer(&connection, &view, head, body, &mut exchange).await;
    let mut closes = false;
    let mut response = match answer {
        Ok(Answer::Local(response)) => local(response, &connection, settings),
        Ok(Answer::Endpoint(mut response)) => {
            add_hsts(&mut response, &connection, settings);
            response
        }
        Ok(Answer::Switched(mut response, tunnel)) => {
            settings.headers.finish(exchange.take_fields(), response.headers_mut());
            exchange.answered(response.status());
            if let Some(upload) = upload {
                upload.let_go();
            }
            connection.become_tunnel();
            upgrade::spawn(connection.worker(), tunnel, exchange);
            return Ok(response);
        }
        Err(error) => {
            closes = error.closes_connection();
            let answer = failed(&error);
            if error.is_of_host() { answer } else { local(answer, &connection, settings) }
        }
    };
    settings.headers.finish(exchange.take_fields(), response.headers_mut());
    exchange.answered(response.status());
    if let Some(upload) = upload {
        closes |= upload.ends_connection();
        if closes {
            upload.let_go();
        }
        if upload.has_rest() {
            connection.read_past(upload);
        }
    }
    if closes {
        connection.linger();
    }
    closes |= match version {
        Version::HTTP_2 => false,
        Version::HTTP_10 => connection.is_last_request() || ends_with_connection(&response),
        _ => connection.is_last_request(),
    };
    if closes {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        if version == Version::HTTP_10 {
            // Of an answer to an old client in a newer version hyper also says that the connection is kept.
            *response.version_mut() = version;
        }
    }
    Ok(response.map(|body| body.with_exchange(exchange)))
}

/// HTTP/1.0 has no chunks: a body whose length nobody knows ends with the connection (RFC 9112 §6.3).
fn ends_with_connection(response: &Response<ResponseBody>) -> bool {
    response.body().size_hint().exact().is_none() && !response.headers().contains_key(header::CONTENT_LENGTH)
}

/// From the request to the answer, a phase a line.
async fn answer(
    connection: &Rc<Connection>,
    view: &View,
    mut head: Parts,
    body: Option<Reader>,
    exchange: &mut Exchange,
) -> Result<Answer, ProxyError> {
    let (table, settings) = (view.table(), view.table().settings());
    let upgrade = head.extensions.remove::<OnUpgrade>();
    let fields = Fields::of(&head.headers, settings.headers.names);
    exchange.set_head_length(fields.head_length(&head));

    // Identify.
    let client = Client::of(connection, &settings.trust, &fields.claims, &head.headers);
    let fresh_id = (fields.request_id.is_none() && settings.generate_request_id)
        .then(|| forwarded::request_id(connection.worker().random()));
    let request_id = fields.request_id.or(fresh_id.as_ref());
    let known = Known { connection, client: &client, head: &head, request_id };

    // Route.
    let (host, virtual_host, route) = match find(table, &head, &fields) {
        Ok(Found::Route(host, virtual_host, route)) => (host, virtual_host, route),
        Ok(Found::HealthCheck) => return Ok(Answer::Local(respond::healthy())),
        // Also the connection: what trusted proxies say of a client must not open it.
        Ok(Found::StubStatus) if is_local(client.address()) && is_local(connection.peer()) => {
            return Ok(Answer::Local(respond::stub_status(connection.worker().totals())));
        }
        Ok(Found::StubStatus) => return Ok(Answer::Local(respond::status(StatusCode::FORBIDDEN))),
        Err(error) => {
            known.note(settings, fields.host, None, exchange);
            return Err(error);
        }
    };
    exchange.set_route(view.stats(&route.labels, connection.worker()), is_counted(virtual_host));
    known.note(settings, Some(client.host(&host)), Some((virtual_host, route)), exchange);

    // Who the client is, where the host asks for certificates.
    let identity = match virtual_host.client_auth() {
        None => None,
        Some(auth) => match client_certificate::admit(connection, auth, &host, &head)? {
            Admission::Granted(identity) => identity,
            Admission::Redirect(location) => {
                return Ok(Answer::Local(respond::redirect(StatusCode::FOUND, location)));
            }
            Admission::Page(page) => return Box::pin(answer(connection, view, page, None, exchange)).await,
        },
    };

    // Limits that nginx checks as soon as it has found the location.
    if fields.declared_length().is_some_and(|length| route.policy.max_body.is_some_and(|max| length > max)) {
        return Err(ProxyError::BodyTooLarge);
    }

    // Filters, in the order of the route.
    let host = client.host(&host);
    let seen = RequestView { client: &client, host: host.to_str().unwrap_or_default(), uri: &head.uri };
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
    let backend = table.backend(index);
    if backend.endpoints().is_empty() {
        return Err(ProxyError::NoEndpoints(no_endpoints));
    }

    // The body: read now, or as it is sent.
    let policy = &route.policy;
    let protocol = policy.protocol_to(backend, connection.scheme() == Scheme::Https);
    let deadline = connection.request_deadline(head.version);
    // Upgrades exist between HTTP/1.1 and HTTP/1.1 only.
    let switch = if protocol.is_http2() { None } else { Switch::of(head.version, fields.upgrade, upgrade) };
    let body_timeout = settings.client_body_timeout;
    // Over HTTP/2 both sides may speak at once, as in gRPC.
    let reads_first = policy.request_buffering && !protocol.is_http2();
    let (body, progress, stored) = match body {
        Some(body) if reads_first => {
            // Boxed, so that requests without a body are not as large as those with one.
            let read = Box::pin(Stored::read(body, policy, body_timeout, &deadline));
            let stored = Rc::new(read.await?);
            let progress = Progress::new(policy, &deadline, Some(body_timeout));
            (RequestBody::stored(&stored, &progress), Some(progress), Some(stored))
        }
        Some(body) => {
            let (body, progress) = RequestBody::client(body, policy, &deadline, body_timeout, protocol.is_http2());
            (body, Some(progress), None)
        }
        None => (RequestBody::Empty, None, None),
    };

    // Forward, to as many endpoints as the policy allows.
    let told = Told {
        client: &client,
        host,
        request_id,
        original: Original::of(&settings.trust, &fields.claims, &head.headers),
        original_uri: settings.headers.original_uri.then(|| forwarded::original_uri(&head.uri)).flatten(),
        set: &settings.headers.request,
        certificate: identity.as_deref(),
    };
    let wish = Wish::of(&settings.compression, &head);
    let length = stored.as_ref().filter(|_| fields.content_length.is_none()).map(|stored| stored.length());
    let closes = settings.upstream_keep_alive.connections == 0;
    let outbound = Outbound { head: &head, fields: &fields, told, switch: switch.as_ref(), protocol, length, closes };
    let destination =
        Destination { connection, route, policy, index, backend, protocol, deadline: &deadline, progress, stored };
    let (answered, cookie) = forward::forward(&destination, &outbound, body, exchange).await?;

    // The response as the client gets it.
    let timeout = policy.read_timeout;
    let (mut parts, body) = match answered {
        Answered::Http1(response, upstream) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            return switched(response, upstream, switch, policy, &settings.headers, cookie);
        }
        Answered::Http1(response, upstream) => {
            (response.into_parts().0, ResponseBody::upstream(upstream, connection.worker(), &deadline, timeout))
        }
        Answered::Http2(response, stream) => {
            (response.into_parts().0, ResponseBody::http2(*stream, &deadline, timeout))
        }
    };
    hop::strip_response(&mut parts.headers, settings.headers.server);
    settings.headers.hide(&mut parts.headers);
    if parts.status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6: it has none, also where it answers HEAD.
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    if let Some(cookie) = cookie {
        parts.headers.append(header::SET_COOKIE, cookie);
    }
    let body = match wish {
        Some(wish) => wish.apply(&settings.compression, &mut parts, body),
        None => body,
    };
    let body = body.spliced(|| connection.lane(head.version));
    parts.version = Version::HTTP_11;
    Ok(Answer::Endpoint(Response::from_parts(parts, body)))
}

fn find<'a>(table: &'a Table, head: &Parts, fields: &Fields<'_>) -> Result<Found<'a>, ProxyError> {
    if fields.chunked_twice {
        return Err(ProxyError::BadFraming);
    }
    if fields.unknown_coding {
        return Err(ProxyError::UnknownCoding);
    }
    // Those of HTTP/1 were checked as they came; of HTTP/2 only the connection's limits were.
    let limits = &table.settings().limits.head;
    if fields.longest > limits.line as usize || fields.bytes > limits.total as usize {
        return Err(ProxyError::HeadTooLarge);
    }
    let host = target::host(head, fields)?;
    let path = target::path(head, limits)?;
    let virtual_host = table.virtual_host(host.to_str().unwrap_or_default());
    if *virtual_host.host() == HostMatch::Any {
        if path.starts_with(HEALTH_CHECK) {
            return Ok(Found::HealthCheck);
        }
        if path.starts_with(STUB_STATUS) {
            return Ok(Found::StubStatus);
        }
    }
    match virtual_host.route(&path) {
        Some(route) => Ok(Found::Route(host, virtual_host, route)),
        None => Err(ProxyError::BadRequest("the target is not a path")),
    }
}

/// Whom ingress-nginx shows how busy it is.
fn is_local(client: IpAddr) -> bool {
    client == Ipv4Addr::LOCALHOST || client == Ipv6Addr::LOCALHOST
}

/// As ingress-nginx counts: only hosts that are declared literally, or a client could make up series at will.
fn is_counted(host: &VirtualHost) -> bool {
    matches!(host.host(), HostMatch::Exact(_))
}

/// Lets both sides leave HTTP.
fn switched(
    response: Response<()>,
    endpoint: Box<upstream::http1::Connection>,
    switch: Option<Switch>,
    policy: &Policy,
    headers: &Headers,
    cookie: Option<HeaderValue>,
) -> Result<Answer, ProxyError> {
    let switch = switch.ok_or(ProxyError::UnaskedSwitch)?;
    let (mut parts, _) = response.into_parts();
    let protocol = parts.headers.remove(header::UPGRADE);
    hop::strip_response(&mut parts.headers, headers.server);
    headers.hide(&mut parts.headers);
    parts.headers.insert(header::CONNECTION, UPGRADE);
    parts.headers.insert(header::UPGRADE, protocol.unwrap_or(switch.protocol));
    if let Some(cookie) = cookie {
        parts.headers.append(header::SET_COOKIE, cookie);
    }
    parts.version = Version::HTTP_11;
    let tunnel = Tunnel { client: switch.client, endpoint, idle: policy.read_timeout };
    Ok(Answer::Switched(Response::from_parts(parts, ResponseBody::empty()), tunnel))
}

/// The answer to a request that failed.
fn failed(error: &ProxyError) -> Response<ResponseBody> {
    match error.remark() {
        _ if !error.has_page() => respond::bare(error.status()),
        None => respond::status(error.status()),
        Some(remark) => respond::status_with(error.status(), remark),
    }
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

// === impl Known ===

impl Known<'_> {
    /// Keeps what the log and the response will need of the request; without a route it is one that is no request for
    /// anybody.
    fn note(
        &self,
        settings: &Settings,
        host: Option<&HeaderValue>,
        found: Option<(&VirtualHost, &Route)>,
        exchange: &mut Exchange,
    ) {
        let logged = settings.access_log && self.is_logged(&settings.logs, found);
        let format = settings.logs.requests.as_ref().filter(|_| logged);
        if logged && format.is_none() {
            exchange.set_log(Logged::Usual(self.usual()));
        }
        if format.is_none() && !settings.headers.response.vary() {
            return;
        }
        let (nobody, nothing) = (RouteLabels::default(), HeaderValue::from_static(""));
        let session = self.connection.session();
        let judgement = found.and_then(|(host, _)| Some(session?.judge(host.client_auth()?)));
        let scope = Scope {
            head: self.head,
            host: host.unwrap_or(&nothing),
            remote: self.client.address(),
            remote_text: self.client.address_header(),
            scheme: self.connection.scheme(),
            port: self.connection.port_header(),
            request_id: self.request_id,
            labels: found.map_or(&nobody, |(_, route)| &route.labels),
            client: Some(self.client),
            certificate: judgement.as_deref(),
        };
        if let Some(format) = format {
            exchange.set_log(Logged::Formatted(format.begin(&scope)));
        }
        if settings.headers.response.vary() {
            exchange.set_fields(settings.headers.response.expand(&scope));
        }
    }

    fn is_logged(&self, logs: &Logs, found: Option<(&VirtualHost, &Route)>) -> bool {
        if let Some((host, route)) = found {
            let declared = *host.host() != HostMatch::Any || !route.labels.ingress.is_empty();
            if !route.policy.access_log || !(declared || logs.default_backend) {
                return false;
            }
        }
        logs.skipped.is_empty() || !self.head.uri.path_and_query().is_some_and(|uri| logs.skipped.contain(uri.as_str()))
    }

    fn usual(&self) -> RequestFields {
        let Self { client, head, request_id, .. } = self;
        RequestFields {
            remote: client.address(),
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            referer: head.headers.get(header::REFERER).cloned(),
            user_agent: head.headers.get(header::USER_AGENT).cloned(),
            request_id: request_id.cloned(),
        }
    }
}
