//! Who a client is: what proxies in front say about it, and whom of them is believed.

use anyhow::{Result, ensure};
use rust_nginx_tests::client::{Connection, Request, tls};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Directory, Site};
use rust_nginx_tests::objects::{backend, config_map, ingress, ingress_class, prefix};
use rust_nginx_tests::pod::{Echo, Pod};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{address, tests, wait};
use std::net::{IpAddr, SocketAddr};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        forwarded_headers_are_believed_of_trusted_peers_as_the_config_map_changes,
        the_proxy_protocol_comes_and_goes_with_the_config_map,
        one_listener_speaks_the_proxy_protocol,
        headers_of_other_config_maps_are_followed,
        headers_and_lines_hold_what_variables_stand_for,
    ]
}

async fn site(keys: &[(&str, &str)], arguments: &[String]) -> Result<(Site, Pod)> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build();
    let files = Directory::new()?;
    files.put("site.yaml", [ingress_class(CLASS, CONTROLLER), service, slice, rules])?;
    files.put("settings.yaml", [config_map("settings", keys)])?;
    let launch = files.launch().arg("--configmap=default/settings");
    let subject = arguments.iter().fold(launch, |launch, argument| launch.arg(argument)).ready().await?;
    Ok((Site { files, subject }, pod))
}

fn value(echo: &Echo, name: &str) -> String {
    echo.values(name).join("|")
}

/// A connection from an address of the test's choice that begins with `header`.
async fn dial(from: IpAddr, to: SocketAddr, header: &str) -> Result<Connection> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream = socket.connect(to).await?;
    stream.write_all(header.as_bytes()).await?;
    Ok(Connection::over(stream))
}

async fn forwarded_headers_are_believed_of_trusted_peers_as_the_config_map_changes() -> Result<()> {
    let (site, _pod) = site(&[], &[]).await?;
    let (trusted, other): (IpAddr, IpAddr) = (address::host(), address::host());
    let request = Request::get("a.test", "/")
        .header("X-Forwarded-For", "198.51.100.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Port", "8443");
    let ask = async |from: IpAddr| dial(from, site.subject.http(), "").await?.send(&request).await?.echo();
    assert_eq!(value(&ask(trusted).await?, "x-real-ip"), trusted.to_string());
    let peers = format!("{trusted}/32");
    let keys = [("use-forwarded-headers", "true"), ("proxy-real-ip-cidr", &*peers)];
    site.files.put("settings.yaml", [config_map("settings", &keys)])?;
    wait::until("the trusted peer is believed", async || {
        let echo = ask(trusted).await?;
        ensure!(value(&echo, "x-real-ip") == "198.51.100.9", "{:?}", echo.headers);
        assert_eq!(
            (value(&echo, "x-forwarded-proto"), value(&echo, "x-forwarded-port")),
            ("https".into(), "8443".into())
        );
        Ok(())
    })
    .await?;
    site.subject.log.line(&["198.51.100.9 - - [", "GET / HTTP/1.1"]).await?;
    let echo = ask(other).await?;
    assert_eq!(value(&echo, "x-real-ip"), other.to_string());
    assert_eq!(value(&echo, "x-forwarded-proto"), "http");
    site.subject.log.line(&[&format!("{other} - - ["), "GET / HTTP/1.1"]).await?;
    // What cannot be read leaves nobody trusted, and the operator is told.
    let keys = [("use-forwarded-headers", "true"), ("proxy-real-ip-cidr", "everybody")];
    site.files.put("settings.yaml", [config_map("settings", &keys)])?;
    site.subject.log.line(&["default/settings", "proxy-real-ip-cidr", "nobody is trusted"]).await?;
    assert_eq!(value(&ask(trusted).await?, "x-real-ip"), trusted.to_string());
    Ok(())
}

async fn the_proxy_protocol_comes_and_goes_with_the_config_map() -> Result<()> {
    let (site, _pod) = site(&[("use-proxy-protocol", "true")], &[]).await?;
    let from = address::host();
    let header = "PROXY TCP4 198.51.100.9 203.0.113.1 4711 443\r\n";
    let request = Request::get("a.test", "/");
    let echo = dial(from, site.subject.http(), header).await?.send(&request).await?.echo()?;
    for (name, expected) in [("x-real-ip", "198.51.100.9"), ("x-forwarded-proto", "https"), ("x-forwarded-port", "443")]
    {
        assert_eq!(value(&echo, name), expected, "{name}");
    }
    let mut socket = tokio::net::TcpStream::connect(site.subject.https()).await?;
    socket.write_all(header.as_bytes()).await?;
    let session = tls::over(socket, Some("a.test"), &["http/1.1"]).await?;
    let echo = Connection::over(session.wire).send(&request).await?.echo()?;
    assert_eq!(value(&echo, "x-real-ip"), "198.51.100.9");
    // What is refused before it is a request has a client too.
    let mut refused = dial(from, site.subject.http(), header).await?;
    refused.write(b"GET /refused HTTP/1.1\r\nHost : a.test\r\n\r\n").await?;
    refused.answer("GET").await?.expect(400)?;
    site.subject.log.line(&["198.51.100.9 - - [", "GET /refused HTTP/1.1\" 400 "]).await?;
    // Nobody gets in without it, and it is counted.
    ensure!(dial(from, site.subject.http(), "").await?.send(&request).await.is_err(), "it was not asked for a header");
    wait::until("the refused connection is counted", async || {
        let refused = site.subject.metric("nginx_ingress_controller_proxy_protocol_errors_total", &[]).await?;
        ensure!(refused >= 1.0, "{refused}");
        Ok(())
    })
    .await?;
    site.subject.log.line(&["PROXY protocol is expected here"]).await?;
    site.files.put("settings.yaml", [config_map("settings", &[("use-proxy-protocol", "false")])])?;
    site.subject.routed("a.test", "/", "a").await
}

async fn one_listener_speaks_the_proxy_protocol() -> Result<()> {
    let own = address::host();
    let (site, _pod) = site(&[], &[format!("--http-addr={own}:8080/proxy")]).await?;
    let to = SocketAddr::from((own, 8080));
    let from = address::host();
    let request = Request::get("a.test", "/");
    let echo = dial(from, to, "PROXY TCP4 198.51.100.9 203.0.113.1 4711 80\r\n").await?.send(&request).await?.echo()?;
    assert_eq!(value(&echo, "x-real-ip"), "198.51.100.9");
    ensure!(dial(from, to, "").await?.send(&request).await.is_err(), "it was not asked for a header");
    let echo = dial(from, site.subject.http(), "").await?.send(&request).await?.echo()?;
    assert_eq!(value(&echo, "x-real-ip"), from.to_string());
    Ok(())
}

async fn headers_and_lines_hold_what_variables_stand_for() -> Result<()> {
    let form = r#"{"line":"$request","status":"$status","service":"$service_name","agent":"$http_user_agent"}"#;
    let keys = [
        ("proxy-set-headers", "default/ask"),
        ("add-headers", "default/answer"),
        ("log-format-escape-json", "true"),
        ("log-format-upstream", form),
        ("skip-access-log-urls", "/skipped"),
    ];
    let (site, _pod) = site(&keys, &[]).await?;
    let ask = config_map("ask", &[("X-Where", "$namespace/$service_name $request_uri")]);
    site.files.put("others.yaml", [ask, config_map("answer", &[("X-Request-ID", "$req_id")])])?;
    let request = Request::get("a.test", "/pod/headers?x").header("User-Agent", "a \"b\"").header("X-Request-ID", "47");
    wait::until("the headers are set", async || {
        let answer = Connection::open(site.subject.http()).await?.send(&request).await?;
        ensure!(answer.header("x-request-id") == Some("47"), "{:?}", answer.headers);
        Ok(())
    })
    .await?;
    let echo = Connection::open(site.subject.http()).await?.send(&Request::get("a.test", "/?y")).await?.echo()?;
    assert_eq!(value(&echo, "x-where"), "default/app /?y");
    site.subject.get("a.test", "/skipped").await?;
    site.subject.get("a.test", "/last").await?;
    let line = r#"{"line":"GET /pod/headers?x HTTP/1.1","status":"200","service":"app","agent":"a \"b\""}"#;
    site.subject.log.line(&[line]).await?;
    site.subject.log.line(&["\"GET /last HTTP/1.1\""]).await?;
    assert_eq!(site.subject.log.containing(&["GET /skipped"]), Vec::<String>::new());
    Ok(())
}

async fn headers_of_other_config_maps_are_followed() -> Result<()> {
    let keys = [("proxy-set-headers", "default/ask"), ("add-headers", "default/answer"), ("hide-headers", "etag")];
    let (site, _pod) = site(&keys, &[]).await?;
    site.subject.log.line(&["default/settings", "ConfigMap default/ask does not exist"]).await?;
    for text in ["one", "two"] {
        let ask = config_map("ask", &[("X-Set", text), ("X-Gone", "")]);
        site.files.put("others.yaml", [ask, config_map("answer", &[("X-Added", text)])])?;
        wait::until("the headers are set", async || {
            let request = Request::get("a.test", "/").header("X-Set", "mine").header("X-Gone", "1");
            let answer = Connection::open(site.subject.http()).await?.send(&request).await?;
            ensure!(answer.header("x-added") == Some(text), "{:?}", answer.headers);
            let echo = answer.echo()?;
            ensure!(value(&echo, "x-set") == text && value(&echo, "x-gone").is_empty(), "{:?}", echo.headers);
            Ok(())
        })
        .await?;
    }
    assert_eq!(site.subject.get("unknown.test", "/").await?.expect(404)?.header("x-added"), Some("two"));
    assert_eq!(site.subject.get("a.test", "/pod/headers").await?.expect(200)?.header("etag"), None);
    Ok(())
}
