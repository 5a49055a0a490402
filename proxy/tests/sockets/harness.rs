//! A proxy with a table made by hand, and endpoints that are told what to do.

use http::StatusCode;
use rust_nginx_proxy::{
    Handle, Listen, Proxy,
    filter::Filter,
    table::{
        Backend, BackendKey, Endpoint, HostMatch, PathMatch, Policy, Protocol, Route, RouteLabels, Settings, Table,
        TableBuilder, Target, VirtualHostBuilder,
    },
    tls::Certificate,
};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Long enough for a loaded machine; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running proxy.
pub(crate) struct Running {
    pub(crate) handle: Arc<Handle>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) runtime: tokio::runtime::Runtime,
}

/// A request head with its body, as an endpoint or client read it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// An endpoint: runs `serve` on a thread for each accepted connection.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) accepted: Arc<AtomicUsize>,
}

// === impl Running ===

impl Running {
    /// Starts a proxy whose catch-all host sends everything to `endpoints`.
    pub(crate) fn to(endpoints: &[SocketAddr]) -> Self {
        Self::with(endpoints, Policy::default(), Settings::default())
    }

    pub(crate) fn with(endpoints: &[SocketAddr], policy: Policy, settings: Settings) -> Self {
        Self::of(table(endpoints, policy, settings))
    }

    /// Starts a proxy with a table.
    pub(crate) fn of(table: Table) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::listening(table, &Listen { http: vec![any], https: vec![any], ..Listen::default() })
    }

    pub(crate) fn listening(table: Table, listen: &Listen) -> Self {
        let handle = Handle::new(table);
        let proxy = Proxy::start(listen, NonZeroUsize::MIN, &handle).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { handle, proxy: Some(proxy), runtime }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.proxy.as_ref().unwrap().http_addresses()[0]
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.proxy.as_ref().unwrap().https_addresses()[0]
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.http()).unwrap())
    }

    pub(crate) fn drain(&mut self, timeout: Duration) -> usize {
        let proxy = self.proxy.take().unwrap();
        self.runtime.block_on(proxy.drain(timeout)).cut
    }
}

pub(crate) fn table(endpoints: &[SocketAddr], policy: Policy, settings: Settings) -> Table {
    table_with(endpoints, policy, settings, Box::default())
}

pub(crate) fn table_with(
    endpoints: &[SocketAddr],
    policy: Policy,
    settings: Settings,
    filters: Box<[Filter]>,
) -> Table {
    let settings = Settings { access_log: false, ..settings };
    let mut builder = TableBuilder::new(Arc::new(settings), Arc::new(Certificate::self_signed().unwrap()));
    let endpoints = endpoints.iter().map(|address| Endpoint { address: *address }).collect();
    let backend = Backend::new(BackendKey::new("default-app-80"), Protocol::Http1, endpoints);
    let backend = builder.add_backend(Arc::new(backend));
    let mut host = VirtualHostBuilder::new(HostMatch::Any);
    host.add_route(Arc::new(Route {
        path: PathMatch::Prefix("/".into()),
        labels: Arc::new(RouteLabels { ingress: "app".into(), ..RouteLabels::default() }),
        target: Target::Backend { backend, no_endpoints: StatusCode::SERVICE_UNAVAILABLE },
        filters,
        policy: Arc::new(policy),
    }))
    .unwrap();
    builder.set_host(host.build());
    builder.build()
}

// === impl Origin ===

impl Origin {
    /// Runs `serve` for every connection.
    pub(crate) fn raw(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, serve) = (Arc::new(AtomicUsize::new(0)), Arc::new(serve));
        let counter = Arc::clone(&accepted);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
                counter.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || serve(stream));
            }
        });
        Self { address, accepted }
    }

    /// Answers every request of every connection with what `answer` makes of it.
    pub(crate) fn http(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::raw(move |stream| {
            let mut client = Client::new(stream);
            while let Some(request) = client.try_read() {
                if client.stream.write_all(&answer(&request)).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers with the request's head and body as text.
    pub(crate) fn echo() -> Self {
        Self::http(|request| {
            let mut text = format!("{}\n", request.start);
            for (name, value) in &request.headers {
                text.push_str(&format!("{name}: {value}\n"));
            }
            text.push('\n');
            let mut body = text.into_bytes();
            body.extend_from_slice(&request.body);
            ok(&body)
        })
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// A 200 response with a length.
pub(crate) fn ok(body: &[u8]) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    response
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Asks until there is an answer.
pub(crate) fn wait_until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A client, or the HTTP half of an endpoint: writes raw bytes, reads messages.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl Client<TcpStream> {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")).read()
    }

    pub(crate) fn read(&mut self) -> Message {
        self.try_read().expect("a complete message")
    }

    /// True when the other side has closed.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }

    /// One message with its body by length, by chunks, or none; `None` when the other side closed first.
    pub(crate) fn try_read(&mut self) -> Option<Message> {
        let start = self.line()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let fields: HashMap<_, _> = headers.iter().cloned().collect();
        let mut body = Vec::new();
        if let Some(length) = fields.get("content-length") {
            body = self.bytes(length.parse().unwrap())?;
        } else if fields.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            loop {
                let size = usize::from_str_radix(self.line()?.split(';').next().unwrap(), 16).unwrap();
                body.extend(self.bytes(size)?);
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        }
        Some(Message { start, headers, body })
    }

    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            self.fill()?;
        }
    }

    /// Reads a head, and nothing of what stands behind it.
    pub(crate) fn skip_head(&mut self) {
        while self.line().is_some_and(|line| !line.is_empty()) {}
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        Some(self.buffer.drain(..length).collect())
    }

    fn fill(&mut self) -> Option<()> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) | Err(_) => None,
            Ok(length) => {
                self.buffer.extend_from_slice(&chunk[..length]);
                Some(())
            }
        }
    }
}

// === impl Message ===

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The echoed request, where the endpoint was an echo.
    pub(crate) fn echoed(&self) -> Self {
        let mut reader = BufReader::new(&self.body[..]);
        let mut start = String::new();
        reader.read_line(&mut start).unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut body = Vec::new();
        reader.read_to_end(&mut body).unwrap();
        Self { start: start.trim_end().to_owned(), headers, body }
    }
}
