//! What is believed about a client, and what endpoints are told about it.

use crate::harness::{Client, Message, Origin, Running, table, table_with};
use http::{HeaderName, HeaderValue, StatusCode};
use rust_nginx_proxy::{
    filter::{Filter, HttpsRedirect},
    table::{FieldValue, Fields, Headers, Names, Policy, Server, Settings, Trust, TrustedPeers},
    variable::Template,
};
use std::net::SocketAddr;

fn peers(networks: &[&str]) -> TrustedPeers {
    TrustedPeers::new(networks.iter().map(|network| network.parse().unwrap()))
}

/// Everything of the trusted peers, which are loopback and 10.0.0.0/8.
fn everything() -> Trust {
    Trust { forwarded_headers: true, peers: peers(&["127.0.0.0/8", "10.0.0.0/8"]), ..Trust::default() }
}

/// The endpoint's view of a request with these fields.
fn told(trust: &Trust, lines: &str) -> Message {
    let origin = Origin::echo();
    let settings = Settings { trust: trust.clone(), ..Settings::default() };
    let proxy = Running::with(&[origin.address], Policy::default(), settings);
    let request = format!("GET /p?q HTTP/1.1\r\nHost: a.example:81\r\n{lines}\r\n");
    proxy.connect().send(request).read().echoed()
}

/// Values of a field; several lines are joined by `|`.
fn value(message: &Message, name: &str) -> String {
    let values = message.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
    values.collect::<Vec<_>>().join("|")
}

/// ingress-nginx's `location /nginx_status`: on hosts that nobody declared, and for its own machine alone.
#[test]
fn how_busy_it_is_is_for_the_own_machine() {
    let origin = Origin::echo();
    let settings = Settings { trust: everything(), ..Settings::default() };
    let proxy = Running::with(&[origin.address], Policy::default(), settings);
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 200);
    let status = client.get("/nginx_status");
    assert_eq!((status.status(), status.header("content-type")), (200, Some("text/plain")));
    assert_eq!(
        status.text(),
        "Active connections: 1 \nserver accepts handled requests\n 1 1 2 \nReading: 0 Writing: 1 Waiting: 0 \n"
    );
    client.send("GET /nginx_status HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n");
    assert_eq!(client.read().status(), 403);
    // Nor does a trusted proxy elsewhere open it by what it says.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&proxy.http().into()).unwrap();
    let mut proxied = Client::new(socket.into());
    proxied.send("GET /nginx_status HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n");
    assert_eq!(proxied.read().status(), 403);
}

#[test]
fn addresses_are_followed_from_right_to_left_through_trusted_proxies() {
    let cases = [
        ("X-Forwarded-For: 198.51.100.9\r\n", "198.51.100.9"),
        ("X-Forwarded-For: 6.6.6.6, 198.51.100.9\r\n", "198.51.100.9"),
        ("X-Forwarded-For: 6.6.6.6, 198.51.100.9, 10.1.1.1,10.2.2.2 \r\n", "198.51.100.9"),
        ("X-Forwarded-For: 6.6.6.6, 198.51.100.9\r\nX-Forwarded-For: 10.1.1.1\r\n", "198.51.100.9"),
        ("X-Forwarded-For: 10.3.3.3, 10.1.1.1\r\n", "10.3.3.3"),
        ("X-Forwarded-For: 198.51.100.9:4711\r\n", "198.51.100.9"),
        ("X-Forwarded-For: [2001:db8::1]:4711, 10.1.1.1\r\n", "2001:db8::1"),
        ("X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"),
        ("X-Forwarded-For: 198.51.100.9, junk, 10.1.1.1\r\n", "10.1.1.1"),
        ("X-Forwarded-For: junk\r\n", "127.0.0.1"),
        ("X-Forwarded-For: \r\n", "127.0.0.1"),
        ("X-Real-IP: 6.6.6.6\r\n", "127.0.0.1"),
        // RFC 7239, where nothing else is there.
        ("Forwarded: for=198.51.100.9, for=10.1.1.1\r\n", "198.51.100.9"),
        ("Forwarded: for=6.6.6.6, for=\"[2001:db8::1]:4711\"\r\nForwarded: for=10.1.1.1\r\n", "2001:db8::1"),
        ("Forwarded: for=6.6.6.6, for=_hidden, for=10.1.1.1\r\n", "10.1.1.1"),
        ("Forwarded: for=\"6.6.6.6, for=10.1.1.1\r\n", "127.0.0.1"),
        ("Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 198.51.100.9\r\n", "198.51.100.9"),
        ("Forwarded: for=6.6.6.6\r\nX-Forwarded-Proto: https\r\n", "127.0.0.1"),
    ];
    for (lines, expected) in cases {
        for trust in [everything(), Trust { forwarded_headers: false, real_ip: true, ..everything() }] {
            let seen = told(&trust, lines);
            assert_eq!(value(&seen, "x-real-ip"), expected, "{lines}");
            assert_eq!(value(&seen, "x-forwarded-for"), expected, "{lines}");
        }
        // Nobody, and nobody who comes from here.
        for trust in [Trust::default(), Trust { peers: peers(&["10.0.0.0/8"]), ..everything() }] {
            assert_eq!(value(&told(&trust, lines), "x-real-ip"), "127.0.0.1", "{lines}");
        }
    }
}

#[test]
fn scheme_host_and_port_are_those_of_a_trusted_peer_only() {
    let lines = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example, c.example\r\nX-Forwarded-Port: 8443\r\n\
                 X-Forwarded-For: 198.51.100.9\r\nX-Forwarded-Scheme: gopher\r\n";
    let seen = told(&everything(), lines);
    for (name, expected) in [
        ("host", "b.example"),
        ("x-forwarded-host", "b.example"),
        ("x-original-forwarded-host", "b.example, c.example"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-scheme", "https"),
        ("x-scheme", "https"),
        ("x-forwarded-for", "198.51.100.9"),
        ("x-original-forwarded-for", "198.51.100.9"),
    ] {
        assert_eq!(value(&seen, name), expected, "{name}");
    }
    for trust in [
        Trust::default(),
        Trust { peers: peers(&["10.0.0.0/8"]), ..everything() },
        Trust { peers: peers(&[]), ..everything() },
        Trust { forwarded_headers: false, real_ip: true, ..everything() },
    ] {
        let seen = told(&trust, lines);
        for (name, expected) in [("host", "a.example:81"), ("x-forwarded-host", "a.example:81"), ("x-scheme", "http")] {
            assert_eq!(value(&seen, name), expected, "{name}");
        }
        assert_ne!(value(&seen, "x-forwarded-port"), "8443");
        assert_eq!(value(&seen, "x-original-forwarded-host"), "b.example, c.example");
    }
    // What is no host is not passed on as one.
    assert_eq!(value(&told(&everything(), "X-Forwarded-Host: b/../c\r\n"), "host"), "a.example:81");
}

#[test]
fn forwarded_says_what_the_outermost_trusted_proxy_saw() {
    let lines = "Forwarded: for=6.6.6.6;proto=gopher;host=evil, for=198.51.100.9;proto=https;host=\"b.example:8443\", \
                 for=10.1.1.1;proto=http;host=inner\r\n";
    let seen = told(&everything(), lines);
    assert_eq!(value(&seen, "x-forwarded-for"), "198.51.100.9");
    assert_eq!(value(&seen, "x-forwarded-proto"), "https");
    assert_eq!(
        (value(&seen, "host"), value(&seen, "x-forwarded-host")),
        ("b.example:8443".into(), "b.example:8443".into())
    );
    assert!(value(&seen, "forwarded").starts_with("for=6.6.6.6"), "a trusted peer's goes on");
    let only_address = told(&Trust { forwarded_headers: false, real_ip: true, ..everything() }, lines);
    assert_eq!(value(&only_address, "x-forwarded-for"), "198.51.100.9");
    assert_eq!(value(&only_address, "x-forwarded-proto"), "http");
    assert_eq!(
        (value(&only_address, "host"), value(&only_address, "forwarded")),
        ("a.example:81".into(), String::new())
    );
    assert_eq!(value(&told(&Trust::default(), lines), "forwarded"), "", "endpoints would believe a client's own");
}

#[test]
fn the_whole_chain_is_kept_on_demand() {
    let full = Trust { full_forwarded_for: true, ..everything() };
    let seen = told(&full, "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 198.51.100.9, 10.1.1.1\r\n");
    assert_eq!(value(&seen, "x-forwarded-for"), "6.6.6.6, 198.51.100.9, 10.1.1.1, 127.0.0.1");
    assert_eq!(value(&seen, "x-original-forwarded-for"), "6.6.6.6, 198.51.100.9, 10.1.1.1");
    assert_eq!(value(&seen, "x-real-ip"), "198.51.100.9");
    assert_eq!(value(&told(&full, ""), "x-forwarded-for"), "127.0.0.1");
    assert_eq!(value(&told(&full, "Forwarded: for=198.51.100.9\r\n"), "x-forwarded-for"), "198.51.100.9, 127.0.0.1");
    // It has no effect alone, and keeps nothing of somebody who is not trusted.
    for trust in [Trust { forwarded_headers: false, ..full.clone() }, Trust { peers: peers(&["10.0.0.0/8"]), ..full }] {
        assert_eq!(value(&told(&trust, "X-Forwarded-For: 6.6.6.6\r\n"), "x-forwarded-for"), "127.0.0.1");
    }
}

#[test]
fn other_fields_can_carry_address_and_host() {
    let trust = Trust {
        forwarded_for: Some(HeaderName::from_static("cf-connecting-ip")),
        forwarded_host: HeaderName::from_static("x-asked-host"),
        ..everything()
    };
    let lines = "CF-Connecting-IP: 198.51.100.9\r\nX-Forwarded-For: 6.6.6.6\r\nX-Asked-Host: b.example\r\n";
    let seen = told(&trust, lines);
    assert_eq!(value(&seen, "x-forwarded-for"), "198.51.100.9");
    assert_eq!(value(&seen, "x-original-forwarded-for"), "198.51.100.9");
    assert_eq!(value(&seen, "x-original-forwarded-host"), "b.example");
    assert_eq!(value(&seen, "host"), "a.example:81");
    // A name that cannot be read: nothing is believed.
    let unknown = Trust { forwarded_for: None, ..everything() };
    assert_eq!(value(&told(&unknown, lines), "x-forwarded-for"), "127.0.0.1");
}

#[test]
fn redirects_to_https_look_at_the_believed_scheme() {
    let origin = Origin::echo();
    let redirect = HttpsRedirect { code: StatusCode::PERMANENT_REDIRECT, preserve_trailing_slash: false, port: None };
    let ask = |trust: Trust, lines: &str| {
        let settings = Settings { trust, ..Settings::default() };
        let filters = Box::new([Filter::HttpsRedirect(redirect)]);
        let proxy = Running::of(table_with(&[origin.address], Policy::default(), settings, filters));
        let response = proxy.connect().send(format!("GET /x HTTP/1.1\r\nHost: a.example:80\r\n{lines}\r\n")).read();
        (response.status(), response.header("location").map(ToOwned::to_owned))
    };
    let to = |location: &str| (308, Some(location.to_owned()));
    assert_eq!(ask(everything(), ""), to("https://a.example/x"));
    assert_eq!(ask(everything(), "X-Forwarded-Proto: http\r\n"), to("https://a.example/x"));
    assert_eq!(ask(everything(), "Forwarded: proto=http;host=b.example\r\n"), to("https://b.example/x"));
    let behind = "X-Forwarded-Proto: http\r\nX-Forwarded-Host: b.example:8080\r\n";
    assert_eq!(ask(everything(), behind), to("https://b.example/x"));
    for other in ["X-Forwarded-Proto: https\r\n", "X-Forwarded-Proto: https,http\r\n", "Forwarded: proto=https\r\n"] {
        assert_eq!(ask(everything(), other).0, 200, "{other}");
        // A client cannot talk its way around the redirect.
        for trust in [Trust::default(), Trust { peers: peers(&["10.0.0.0/8"]), ..everything() }] {
            assert_eq!(ask(trust, other), to("https://a.example/x"), "{other}");
        }
    }
}

#[test]
fn fields_of_the_whole_process() {
    let origin = Origin::http(|request| {
        let echoed: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let head = "HTTP/1.1 200 OK\r\nServer: Apache\r\nX-Powered-By: PHP\r\nX-Frame-Options: ALLOW\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{echoed}", echoed.len()).into_bytes()
    });
    let field = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let headers = Headers {
        names: Names { underscores: true, odd: true },
        original_uri: true,
        request: Fields::new([field("x-set", "ours"), field("accept", "")]),
        hidden: Box::new([HeaderName::from_static("x-powered-by")]),
        response: Fields::new([field("x-frame-options", "DENY")]),
        server: Server::Own,
    };
    let running = |headers: Headers| {
        let settings = Settings { headers, ..Settings::default() };
        Running::of(table(&[origin.address], Policy::default(), settings))
    };
    let request = "GET /p/%2F?q HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX-Set: mine\r\nX-Set: again\r\nx_under: 1\r\n\
                   x.dot: 1\r\nX-Original-URI: /evil\r\nX_Real_IP: 6.6.6.6\r\n\r\n";
    let response = running(headers.clone()).connect().send(request).read();
    assert_eq!(response.header("server"), Some("rust-nginx"));
    assert_eq!(response.header("x-frame-options"), Some("DENY"));
    assert_eq!(response.header("x-powered-by"), None);
    let seen: Vec<String> = response.text().lines().map(ToOwned::to_owned).collect();
    for line in ["x-set: ours", "x_under: 1", "x.dot: 1", "x-original-uri: /p/%2F?q"] {
        assert_eq!(seen.iter().filter(|seen| *seen == line).count(), 1, "{line} in {seen:?}");
    }
    for name in ["accept", "x_real_ip"] {
        assert!(!seen.iter().any(|seen| seen.starts_with(&format!("{name}:"))), "{name} in {seen:?}");
    }
    assert_eq!(seen.iter().filter(|seen| seen.starts_with("x-set") || seen.starts_with("x-original-uri")).count(), 2);
    // An endpoint's Server passes only on demand; our own answers carry what is added, too.
    let theirs = running(Headers { server: Server::Endpoint, ..headers });
    assert_eq!(theirs.connect().send(request).read().header("server"), Some("Apache"));
    let refused = theirs.connect().send("GET / HTTP/1.1\r\n\r\n").read();
    assert_eq!((refused.status(), refused.header("server")), (400, Some("rust-nginx")));
    assert_eq!(refused.header("x-frame-options"), Some("DENY"));
    let silent = running(Headers::default()).connect().send(request).read();
    assert_eq!((silent.header("server"), silent.header("x-powered-by")), (None, Some("PHP")));
}

#[test]
fn fields_whose_values_depend_on_the_request() {
    let origin = Origin::echo();
    let field =
        |name, text| (HeaderName::from_static(name), FieldValue::Varying(Template::parse(text).expect("a template")));
    let headers = Headers {
        request: Fields::new([
            field("x-forwarded-for", "$proxy_add_x_forwarded_for"),
            field("x-route", "$namespace/$ingress_name $request_method $uri"),
            field("x-asked", "$uri"),
            field("x-nothing", "$http_x_absent"),
        ]),
        response: Fields::new([
            field("x-request-id", "$req_id"),
            field("x-where", "$ingress_name $scheme $host"),
            field("x-tenant", "$cookie_tenant"),
        ]),
        ..Headers::default()
    };
    let settings = Settings { headers, ..Settings::default() };
    let proxy = Running::of(table(&[origin.address], Policy::default(), settings));
    let response = proxy
        .connect()
        .send(
            "GET /a%0Db HTTP/1.1\r\nHost: A.Example\r\nX-Forwarded-For: 192.0.2.7\r\nX-Request-ID: 4711\r\n\
             X-Asked: mine\r\nX-Nothing: mine\r\nX-Route: mine\r\nCookie: tenant=blue\r\n\r\n",
        )
        .read();
    assert_eq!(response.status(), 200);
    assert_eq!(response.header("x-request-id"), Some("4711"));
    assert_eq!(response.header("x-where"), Some("app http a.example"));
    assert_eq!(response.header("x-tenant"), Some("blue"));
    let seen = response.text();
    assert!(seen.contains("\nx-forwarded-for: 192.0.2.7, 127.0.0.1\n"), "{seen}");
    // The path has a carriage return: such a field stays away, and so does the client's.
    for name in ["x-route", "x-asked", "x-nothing"] {
        assert!(!seen.contains(&format!("\n{name}:")), "{name} in {seen}");
    }
    // Our own answers have them too, as far as there is anything to say.
    let refused = proxy.connect().send("GET / HTTP/1.1\r\nX-Request-ID: 4711\r\n\r\n").read();
    assert_eq!((refused.status(), refused.header("x-request-id")), (400, Some("4711")));
    assert_eq!((refused.header("x-where"), refused.header("x-tenant")), (Some("http"), None));
}
