//! What is written about a request, by a worker on real sockets whose log goes to the test.

use crate::{
    Handle,
    access_log::LogWriter,
    drain::Phase,
    listener::Listener,
    splice::Splice,
    table::{
        Backend, BackendKey, CodingSettings, Compression, Endpoint, HostMatch, Logs, PathMatch, Policy, Protocol,
        Retry, Route, RouteLabels, Settings, Table, TableBuilder, Target, VirtualHostBuilder,
    },
    tls::Certificate,
    variable::{Escape, LogFormat},
    worker::{Share, Worker},
};
use bytes::Bytes;
use http::{Request, StatusCode};
use std::{net::SocketAddr, rc::Rc, sync::Arc, sync::mpsc::sync_channel, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{LocalSet, spawn_local},
};

const FORM: &str = "$status $body_bytes_sent $request_length|$upstream_addr|$upstream_response_length|$upstream_status";

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn streaming() -> Policy {
    Policy { request_buffering: false, ..Policy::default() }
}

fn table(endpoints: &[SocketAddr], policy: Policy, settings: Settings, form: &str) -> Table {
    let requests = Some(Arc::new(LogFormat::parse(form, Escape::Default).expect("a form")));
    let settings = Settings { logs: Logs { requests, ..Logs::default() }, ..settings };
    let mut builder =
        TableBuilder::new(Arc::new(settings), Arc::new(Certificate::self_signed().expect("a key can be made")));
    let endpoints = endpoints.iter().map(|address| Endpoint { address: *address }).collect();
    let backend = builder.add_backend(Arc::new(Backend::new(BackendKey::new("app"), Protocol::Http1, endpoints)));
    let mut host = VirtualHostBuilder::new(HostMatch::Any);
    let added = host.add_route(Arc::new(Route {
        path: PathMatch::Prefix("/".into()),
        labels: Arc::new(RouteLabels { ingress: "app".into(), ..RouteLabels::default() }),
        target: Target::Backend { backend, no_endpoints: StatusCode::SERVICE_UNAVAILABLE },
        filters: Box::default(),
        policy: Arc::new(policy),
    }));
    added.expect("one route");
    builder.set_host(host.build());
    builder.build()
}

/// Runs a worker for as long as `client` takes, and a drain. Returns the lines of its log.
async fn written(table: Table, client: impl AsyncFnOnce(SocketAddr)) -> Vec<String> {
    let (queue, lines) = sync_channel(16);
    let worker = Worker::new(Handle::new(table), LogWriter::to(queue));
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("a socket");
    let address = socket.local_addr().expect("a socket");
    let (_orders, orders) = mpsc::unbounded_channel();
    let listeners = vec![Listener::new(socket, None, false).expect("a listener")];
    let (phase, phases) = watch::channel(Phase::Serving);
    let running = spawn_local(
        Rc::clone(&worker).run(Share { listeners, orders, opener: None, splice: Splice::default() }, phases),
    );
    client(address).await;
    phase.send_replace(Phase::Draining);
    running.await.expect("a drain");
    worker.access_log().flush();
    lines.try_iter().collect::<String>().lines().map(str::to_owned).collect()
}

/// The lines of what `client` does with a proxy in front of `endpoint`.
fn lines(
    endpoint: impl AsyncFn(TcpStream) + 'static,
    policy: Policy,
    settings: Settings,
    form: &str,
    client: impl AsyncFnOnce(SocketAddr),
) -> (String, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a socket");
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                endpoint(stream).await;
            }
        });
        (address.to_string(), written(table(&[address], policy, settings, form), client).await)
    })
}

/// Sends everything and reads to the end.
async fn ask(proxy: SocketAddr, request: impl AsRef<[u8]>) -> Vec<u8> {
    let mut stream = TcpStream::connect(proxy).await.expect("the proxy");
    stream.write_all(request.as_ref()).await.expect("the proxy reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    answer
}

/// Reads up to and with an end.
async fn read_past(stream: &mut TcpStream, end: &str) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(stream.read_u8().await.expect("more"));
    }
    read
}

/// An endpoint that answers each connection once.
fn answering(response: Vec<u8>) -> impl AsyncFn(TcpStream) {
    async move |mut stream: TcpStream| {
        read_past(&mut stream, "\r\n\r\n").await;
        let _ = stream.write_all(&response).await;
        // What else the request has.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

#[test]
fn tries_that_fail_have_the_status_that_they_stand_for_and_no_length() {
    let closing = GET.replace("Host", "Connection: close\r\nHost");
    let ask_once = async |proxy| assert_eq!(ask(proxy, &closing).await[9..12], *b"502");
    let gone = async |mut stream: TcpStream| drop(read_past(&mut stream, "\r\n\r\n").await);
    let (pod, written) = lines(gone, Policy::default(), Settings::default(), FORM, ask_once);
    assert_eq!(written, [format!("502 155 46|{pod}, {pod}, {pod}|0, 0, 0|502, 502, 502")]);

    let garbled = answering(b"SSH-2.0-x\r\n\r\n".to_vec());
    let (pod, written) = lines(garbled, Policy::default(), Settings::default(), FORM, ask_once);
    assert_eq!(written, [format!("502 155 46|{pod}|0|502")]);

    let silent = async |mut stream: TcpStream| drop(stream.read_to_end(&mut Vec::new()).await);
    let retry = Retry { tries: 2, ..Retry::default() };
    let policy = Policy { read_timeout: Duration::from_millis(100), retry, ..Policy::default() };
    let form = "$status|$upstream_addr|$upstream_response_length|$upstream_status|$upstream_header_time";
    let (pod, written) =
        lines(silent, policy, Settings::default(), form, async |proxy| drop(ask(proxy, &closing).await));
    assert_eq!(written, [format!("504|{pod}, {pod}|0, 0|504, 504|-, -")]);
}

#[test]
fn a_client_that_does_not_wait_leaves_its_endpoint_in_the_log() {
    let (asked, mut asks) = mpsc::unbounded_channel();
    let endpoint = async move |mut stream: TcpStream| {
        read_past(&mut stream, "\r\n\r\n").await;
        asked.send(()).expect("a test");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (pod, written) = lines(endpoint, Policy::default(), Settings::default(), FORM, async |proxy| {
        let mut stream = TcpStream::connect(proxy).await.expect("the proxy");
        stream.write_all(GET.as_bytes()).await.expect("the proxy reads");
        asks.recv().await.expect("a request");
    });
    assert_eq!(written, [format!("499 0 27|{pod}|0|-")]);
}

#[test]
fn a_client_of_http2_that_takes_its_request_back_went_away() {
    for reset in [true, false] {
        let (asked, mut asks) = mpsc::unbounded_channel();
        let endpoint = async move |mut stream: TcpStream| {
            read_past(&mut stream, "abc\r\n").await;
            asked.send(()).expect("a test");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let (pod, written) = lines(endpoint, streaming(), Settings::default(), FORM, async |proxy| {
            let stream = TcpStream::connect(proxy).await.expect("the proxy");
            let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
            let driver = spawn_local(connection);
            let request = Request::post("http://a.example/").body(()).expect("a request");
            let mut client = client.ready().await.expect("a connection");
            let (response, mut body) = client.send_request(request, false).expect("a stream");
            body.send_data(Bytes::from_static(b"abc"), false).expect("a stream");
            asks.recv().await.expect("a request");
            if reset {
                body.send_reset(h2::Reason::CANCEL);
                assert!(response.await.is_err());
            } else {
                driver.abort();
            }
        });
        // As HTTP/1.1 would have it: `POST / HTTP/1.1`, `host: a.example`, an empty line, three bytes.
        assert_eq!(written, [format!("499 0 {}|{pod}|0|-", 17 + 17 + 2 + 3)], "reset: {reset}");
    }
}

#[test]
fn a_body_of_http1_that_breaks_off_is_a_bad_request_without_an_answer() {
    let silent = || async |mut stream: TcpStream| drop(stream.read_to_end(&mut Vec::new()).await);
    for policy in [Policy::default(), streaming()] {
        let buffered = policy.request_buffering;
        let (pod, written) = lines(silent(), policy, Settings::default(), FORM, async |proxy| {
            let mut stream = TcpStream::connect(proxy).await.expect("the proxy");
            let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
            stream.write_all(request.as_bytes()).await.expect("the proxy reads");
            stream.shutdown().await.expect("a socket");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let upstream = if buffered { "-|-|-".to_owned() } else { format!("{pod}|0|-") };
        assert_eq!(written, [format!("400 0 51|{upstream}")]);
    }
}

#[test]
fn the_length_of_a_request_is_that_of_its_head_and_its_body() {
    // It has read all of the request when it answers.
    let pod = || {
        async |mut stream: TcpStream| {
            let head = String::from_utf8(read_past(&mut stream, "\r\n\r\n").await).expect("text").to_ascii_lowercase();
            if head.contains("chunked") {
                read_past(&mut stream, "\r\n0\r\n\r\n").await;
            } else if let Some((_, length)) = head.split_once("content-length: ") {
                let length = length.split_once("\r\n").expect("a line").0.parse().expect("a length");
                stream.read_exact(&mut vec![0; length]).await.expect("the body");
            }
            let response = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(response).await.expect("the proxy reads");
        }
    };
    let head = "POST /x?y=z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    let sized = format!("{head}Content-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    let absolute = "GET http://a.example/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let pipelined = [GET, absolute].concat();
    // Of the chunks only what is in them.
    for (request, lengths) in [
        (&*sized, vec![sized.len()]),
        (&*chunked, vec![chunked.len() - "3\r\n\r\n4\r\n\r\n0\r\n\r\n".len()]),
        (absolute, vec![absolute.len()]),
        (&*pipelined, vec![GET.len(), absolute.len()]),
    ] {
        for policy in [Policy::default(), streaming()] {
            let form = "$status $request_length";
            let (_, written) =
                lines(pod(), policy, Settings::default(), form, async |proxy| drop(ask(proxy, request).await));
            let expected: Vec<_> = lengths.iter().map(|length| format!("200 {length}")).collect();
            assert_eq!(written, expected);
        }
    }
}

#[test]
fn the_length_of_a_response_is_what_the_endpoint_sent() {
    let response = |length: usize| {
        let mut response =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        response.resize(response.len() + length, b'x');
        response
    };
    let gzip = CodingSettings { level: 1, min_length: 0, types: Arc::default() };
    // Complete when its head is here, or not.
    for length in [1000, 1_000_000] {
        for coding in ["identity", "gzip"] {
            let compression = Compression { gzip: Some(gzip.clone()), ..Compression::default() };
            let settings = Settings { compression, ..Settings::default() };
            let request =
                format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept-Encoding: {coding}\r\n\r\n");
            let form = "$status $body_bytes_sent $upstream_response_length";
            let (_, written) = lines(answering(response(length)), Policy::default(), settings, form, async |proxy| {
                ask(proxy, &request).await;
            });
            let [line] = &written[..] else { panic!("{written:?}") };
            let numbers: Vec<usize> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
            assert_eq!((numbers[0], numbers[2]), (200, length), "{coding}");
            assert_eq!(numbers[1] < length, coding == "gzip", "{coding}: {line}");
        }
    }
}

#[test]
fn a_page_of_ours_has_no_length_at_an_endpoint() {
    let silent = async |mut stream: TcpStream| drop(stream.read_to_end(&mut Vec::new()).await);
    let policy = Policy { max_body: Some(5), ..streaming() };
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n";
    let (pod, written) =
        lines(silent, policy, Settings::default(), FORM, async |proxy| drop(ask(proxy, request).await));
    assert_eq!(written, [format!("413 181 62|{pod}|0|-")]);
}

#[test]
fn a_head_that_is_late_says_how_long_it_took() {
    let settings = Settings { client_header_timeout: Duration::from_millis(200), ..Settings::default() };
    let nobody = async |_| {};
    let (_, written) = lines(nobody, Policy::default(), settings, "$status $request_time", async |proxy| {
        assert_eq!(ask(proxy, "GET / HTTP/1.1\r\nHos").await, b"");
    });
    let [line] = &written[..] else { panic!("{written:?}") };
    let (status, time) = line.split_once(' ').expect("two fields");
    assert_eq!(status, "408");
    assert_ne!(time, "0.000");
}
