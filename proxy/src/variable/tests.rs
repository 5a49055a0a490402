use super::*;
use crate::{
    access_log::Attempt,
    listener::Scheme,
    table::{Endpoint, RouteLabels, Transport},
};
use http::{Request, StatusCode};
use std::{net::IpAddr, time::Duration};

/// What is made of a request that has something of everything.
fn with_scope<T>(make: impl FnOnce(&Scope<'_>) -> T) -> T {
    let head = Request::builder()
        .method("PUT")
        .uri("/a%2Fb//c?x=1&Tenant=blue&empty=")
        .header("x-user", "ann")
        .header("x-many", "1")
        .header("x-many", "2")
        .header("x-quote", "say \"\\\"")
        .header("x-forwarded-for", "192.0.2.7")
        .header("content-type", "text/css")
        .header("authorization", "basic YW5uOnNlY3JldA==")
        .header("cookie", "a=1; Session=abc")
        .header("cookie", "z=9")
        .body(())
        .expect("a request")
        .into_parts()
        .0;
    let labels = RouteLabels {
        namespace: "shop".into(),
        service: "web".into(),
        service_port: "80".into(),
        host: "a.example".into(),
        path: "/a".into(),
        ..RouteLabels::default()
    };
    make(&Scope {
        head: &head,
        host: &HeaderValue::from_static("A.Example:81"),
        remote: IpAddr::from([10, 0, 0, 1]),
        remote_text: &HeaderValue::from_static("10.0.0.1"),
        scheme: Scheme::Https,
        port: &HeaderValue::from_static("443"),
        request_id: None,
        labels: &labels,
        client: None,
        certificate: None,
    })
}

fn expanded(template: &str) -> String {
    let mut text = Vec::new();
    let template = Template::parse(template).expect("a template");
    with_scope(|scope| template.expand(scope, |piece| text.extend_from_slice(piece)));
    String::from_utf8(text).expect("text")
}

#[test]
fn variables_are_nginxs() {
    for (template, expected) in [
        ("$request_uri", "/a%2Fb//c?x=1&Tenant=blue&empty="),
        ("$uri", "/a/b/c"),
        ("$args$is_args", "x=1&Tenant=blue&empty=?"),
        ("$arg_tenant-$arg_empty-$arg_none", "blue--"),
        ("$host $http_host", "a.example A.Example:81"),
        ("${http_x_user}s$http_x_many", "anns1, 2"),
        ("$cookie_session$cookie_z$cookie_none", "abc9"),
        ("$remote_addr $scheme $request_method", "10.0.0.1 https PUT"),
        ("$binary_remote_addr", "\n\0\0\u{1}"),
        ("$namespace-$service_name", "shop-web"),
        ("$proxy_add_x_forwarded_for", "192.0.2.7, 10.0.0.1"),
        ("$proxy_upstream_name [$proxy_alternative_upstream_name]", "shop-web-80 []"),
        ("$request", "PUT /a%2Fb//c?x=1&Tenant=blue&empty= HTTP/1.1"),
        ("$content_type $remote_user $https", "text/css ann on"),
        ("$server_name$location_path $server_protocol", "a.example/a HTTP/1.1"),
        ("$pass_access_scheme $pass_server_port $the_real_ip", "https 443 10.0.0.1"),
        ("$ssl_client_verify$ssl_client_s_dn$ssl_client_fingerprint$ssl_protocol", "NONE"),
        ("[$request_id$never_heard_of$1]", "[]"),
    ] {
        assert_eq!(expanded(template), expected, "{template}");
    }
}

#[test]
fn what_is_no_variable_is_refused_or_named() {
    assert_eq!(Template::parse("a$"), Err(BadTemplate::NoName));
    assert_eq!(Template::parse("${}"), Err(BadTemplate::NoName));
    assert_eq!(Template::parse("$-"), Err(BadTemplate::NoName));
    assert_eq!(Template::parse("${host"), Err(BadTemplate::Unclosed));
    let template = Template::parse("$host$nope").expect("a template");
    assert_eq!(template.unknown().collect::<Vec<_>>(), ["nope"]);
    assert_eq!(template.to_string(), "${host}${nope}");
}

#[test]
fn fields_have_no_value_that_no_field_may_have() {
    let value = |text: &str| with_scope(|scope| Template::parse(text).expect("a template").value(scope));
    assert_eq!(value("a $http_x_user").expect("a value"), "a ann");
    assert_eq!(value(" $http_x_user $cookie_none").expect("a value"), "ann");
    assert_eq!(value("$cookie_none"), None);
    // The octets of an address are no text, and this one has a line feed.
    assert_eq!(value("x$binary_remote_addr"), None);
}

#[test]
fn lines_of_requests_are_nginxs() {
    let endpoint = |last| Endpoint { address: ([10, 1, 1, last], 80).into() };
    let attempt = |last, status| Attempt {
        endpoint: endpoint(last),
        status,
        length: 7,
        connect: (status != Some(StatusCode::BAD_GATEWAY)).then(|| Duration::from_millis(2)),
        header: status.filter(StatusCode::is_success).map(|_| Duration::from_millis(30)),
        time: Duration::from_millis(400),
    };
    let attempts = [attempt(1, Some(StatusCode::BAD_GATEWAY)), attempt(2, Some(StatusCode::OK)), attempt(3, None)];
    let line = |text: &str, escape, attempts: &[Attempt]| {
        let format = LogFormat::parse(text, escape).expect("a form");
        let line = with_scope(|scope| format.begin(scope));
        let end = Finished {
            status: StatusCode::OK,
            bytes_sent: 7,
            request_length: 99,
            duration: Duration::from_millis(1500),
            attempts,
        };
        fmt::from_fn(|f| line.write(&end, f)).to_string()
    };
    for (text, escape, expected) in [
        ("$status $body_bytes_sent $request_time", Escape::Default, "200 7 1.500"),
        ("$upstream_addr|$upstream_status", Escape::Default, "10.1.1.1:80, 10.1.1.2:80, 10.1.1.3:80|502, 200, -"),
        ("$upstream_connect_time|$upstream_header_time", Escape::Default, "-, 0.002, 0.002|-, 0.030, -"),
        ("$req_id [$ingress_name] $nobody_knows", Escape::Default, "- [] -"),
        ("$http_x_quote", Escape::Default, "say \\x22\\x5C\\x22"),
        (r#"{"q":"$http_x_quote","id":"$req_id"}"#, Escape::Json, r#"{"q":"say \"\\\"","id":""}"#),
        ("$http_x_quote", Escape::None, "say \"\\\""),
        (r#"\"$scheme\" \d"#, Escape::None, r#""https" \d"#),
    ] {
        assert_eq!(line(text, escape, &attempts), expected, "{text}");
    }
    assert_eq!(line("$upstream_addr", Escape::Default, &[]), "-");
    assert_eq!(line("$upstream_addr", Escape::Json, &[]), "");
}

#[test]
fn a_refused_request_has_little_to_say() {
    let format = LogFormat::parse("$remote_addr \"$request\" $http_host $status", Escape::Default).expect("a form");
    let line = format.begin_refused(IpAddr::from([10, 0, 0, 1]), b"GET \"\n");
    let end = Finished {
        status: StatusCode::BAD_REQUEST,
        bytes_sent: 0,
        request_length: 0,
        duration: Duration::ZERO,
        attempts: &[],
    };
    let text = fmt::from_fn(|f| line.write(&end, f)).to_string();
    assert_eq!(text, "10.0.0.1 \"GET \\x22\\x0A\" - 400");
}

#[test]
fn the_usual_forms_have_no_unknown_variables() {
    let requests = LogFormat::parse(LogFormat::USUAL, Escape::Default).expect("a form");
    assert_eq!(requests.unknown().next(), None);
    let sessions = SessionFormat::parse(SessionFormat::USUAL, Escape::Default).expect("a form");
    assert_eq!(sessions.unknown().next(), None);
    for name in LogFormat::known() {
        assert_eq!(LogFormat::parse(&format!("${name}"), Escape::Default).expect("a form").unknown().next(), None);
    }
}

#[test]
fn lines_of_sessions_are_nginxs() {
    let tries = [
        Try { endpoint: ([10, 1, 1, 1], 80).into(), connected: None },
        Try { endpoint: ([10, 1, 1, 2], 80).into(), connected: Some(Duration::from_millis(20)) },
    ];
    let ended = Ended {
        transport: Transport::Tcp,
        client: ([10, 0, 0, 1], 4711).into(),
        address: None,
        port: 9000,
        backend: "shop-db-5432",
        status: 200,
        sent: 5,
        received: 6,
        duration: Duration::from_millis(1500),
        tries: &tries,
    };
    for (text, escape, expected) in [
        ("$remote_addr:$remote_port $server_port", Escape::Default, "10.0.0.1:4711 9000"),
        ("$protocol $status $bytes_sent $bytes_received", Escape::Default, "TCP 200 5 6"),
        ("$upstream_bytes_sent $upstream_bytes_received $session_time", Escape::Default, "6 5 1.500"),
        ("$upstream_addr|$upstream_connect_time", Escape::Default, "10.1.1.1:80, 10.1.1.2:80|-, 0.020"),
        ("$proxy_upstream_name $server_addr $what", Escape::Default, "tcp-shop-db-5432 - -"),
        (r#"{"a":"$server_addr"}"#, Escape::Json, r#"{"a":""}"#),
    ] {
        let format = SessionFormat::parse(text, escape).expect("a form");
        assert_eq!(format.line(&ended).to_string(), expected, "{text}");
    }
}
