//! HTTP/2 on both ends of a test: endpoints that count what they do, a client, and frames by hand.

use crate::harness::PATIENCE;
use bytes::Bytes;
use h2::{RecvStream, SendStream, client, server};
use http::{HeaderMap, Request, Response};
use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// What an endpoint does with one stream.
pub(crate) struct Stream {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: server::SendResponse<Bytes>,
    /// Number of its connection, from 0.
    pub(crate) connection: usize,
    /// Ends the connection: in order, or at once.
    pub(crate) end: mpsc::UnboundedSender<End>,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// GOAWAY, then the streams that are under way.
    Graceful,
    /// The socket is closed.
    Cut,
}

type Serve = Arc<dyn Fn(Stream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// How an endpoint is set up.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) most_streams: Option<u32>,
}

/// An endpoint that speaks HTTP/2.
pub(crate) struct Http2Origin {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

// === impl Http2Origin ===

impl Http2Origin {
    pub(crate) fn start<F, Fut>(setup: Setup, serve: F) -> Self
    where
        F: Fn(Stream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counters = (Arc::clone(&accepted), Arc::clone(&ended));
        let serve: Serve = Arc::new(move |stream| Box::pin(serve(stream)));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(accept(listener, setup, serve, counters));
        });
        Self { address, accepted, ended }
    }

    /// Answers with the request's head as text, and the request's body after it.
    pub(crate) fn echo(setup: Setup) -> Self {
        Self::start(setup, |stream| async move {
            let Stream { request, mut respond, .. } = stream;
            let (head, mut body) = request.into_parts();
            let mut text = format!("{} {}\n", head.method, head.uri);
            for (name, value) in &head.headers {
                text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
            }
            text.push('\n');
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            write(&mut send, text.into()).await;
            while let Some(data) = read(&mut body).await {
                write(&mut send, data).await;
            }
            let _ = send.send_data(Bytes::new(), true);
        })
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }

    /// Connections that are over.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(SeqCst)
    }
}

async fn accept(
    listener: std::net::TcpListener,
    setup: Setup,
    serve: Serve,
    counters: (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    let listener = TcpListener::from_std(listener).unwrap();
    let (accepted, ended) = counters;
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let number = accepted.fetch_add(1, SeqCst);
        let (setup, serve, ended) = (setup.clone(), Arc::clone(&serve), Arc::clone(&ended));
        tokio::spawn(async move {
            match &setup.tls {
                None => converse(socket, &setup, serve, number).await,
                Some(tls) => {
                    if let Ok(socket) = TlsAcceptor::from(Arc::clone(tls)).accept(socket).await {
                        converse(socket, &setup, serve, number).await;
                    }
                }
            }
            ended.fetch_add(1, SeqCst);
        });
    }
}

async fn converse(socket: impl AsyncRead + AsyncWrite + Unpin, setup: &Setup, serve: Serve, number: usize) {
    let mut builder = server::Builder::new();
    if let Some(most) = setup.most_streams {
        builder.max_concurrent_streams(most);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    let (end, mut ends) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            stream = connection.accept() => match stream {
                Some(Ok((request, respond))) => {
                    tokio::spawn(serve(Stream { request, respond, connection: number, end: end.clone() }));
                }
                Some(Err(_)) | None => return,
            },
            Some(end) = ends.recv() => match end {
                End::Graceful => connection.graceful_shutdown(),
                End::Cut => return,
            },
        }
    }
}

/// A client's HTTP/2 connection.
pub(crate) async fn connect(address: SocketAddr) -> client::SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (sender, connection) = client::handshake(socket).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    sender
}

/// A request head for the proxy.
pub(crate) fn head(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://a.example{path}")).body(()).unwrap()
}

/// Sends a request with a body and reads the whole response.
pub(crate) async fn exchange(
    sender: &client::SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
) -> Result<(Response<Bytes>, Option<HeaderMap>), h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (response, mut send) = sender.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        tokio::spawn(async move {
            write(&mut send, body).await;
            let _ = send.send_data(Bytes::new(), true);
        });
    }
    let (head, mut incoming) = patient(response).await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = patient(incoming.data()).await {
        let data = data?;
        incoming.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    let trailers = patient(incoming.trailers()).await?;
    Ok((Response::from_parts(head, bytes.into()), trailers))
}

/// The next part of a body; `None` at its end, however it ends.
pub(crate) async fn read(body: &mut RecvStream) -> Option<Bytes> {
    let data = patient(body.data()).await?.ok()?;
    body.flow_control().release_capacity(data.len()).unwrap();
    Some(data)
}

/// Writes all of it as the other side makes room; gives up when that goes away.
pub(crate) async fn write(stream: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(room)) => {
                let part = data.split_to(room.min(data.len()));
                if stream.send_data(part, false).is_err() {
                    return;
                }
            }
            Some(Err(_)) | None => return,
        }
    }
}

/// Waits, but not forever.
pub(crate) async fn patient<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing came in time")
}

/// A frame by hand (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Reads the preface of a connection and answers it with empty settings.
pub(crate) fn greet(stream: &mut std::net::TcpStream) {
    use std::io::{Read as _, Write as _};
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
}

/// Reads frames until one of a kind; its stream.
pub(crate) fn await_frame(stream: &mut std::net::TcpStream, wanted: u8) -> Option<u32> {
    use std::io::Read as _;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).ok()?;
        if head[3] == wanted {
            return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        }
    }
}
