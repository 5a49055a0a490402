//! Starts and stops the workers. Stopping costs no request: see [`Proxy::drain`].

use crate::{
    Handle,
    access_log::LogWriter,
    listener::{Listener, bind},
    splice::Splice,
    stream::Opener,
    tls::Configurations,
    worker::{Share, Worker},
};
use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    num::NonZeroUsize,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Where to listen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// Cleartext HTTP/1.1 and, by prior knowledge, HTTP/2.
    pub http: Vec<SocketAddr>,
    /// TLS, with HTTP/2 by ALPN.
    pub https: Vec<SocketAddr>,
    /// Those of them where connections begin with a PROXY header, whatever the settings of the table say.
    pub proxy_protocol: Vec<SocketAddr>,
    /// The addresses of services that are not HTTP; their ports are in the table.
    pub streams: Vec<IpAddr>,
    /// What becomes of large responses.
    pub splice: Splice,
}

/// The running workers.
#[derive(Debug)]
pub struct Proxy {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    phase: watch::Sender<Phase>,
    workers: Vec<oneshot::Receiver<usize>>,
    log_writer: std::thread::JoinHandle<()>,
}

/// What a drain left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections and tunnels that were cut because the time was over.
    pub cut: usize,
}

/// Why the workers did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A thread or its runtime cannot be started.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
}

/// What the workers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    Draining,
    Cut,
}

/// Most threads of a worker for what blocks: temporary files.
const BLOCKING_THREADS: usize = 8;

/// How long the end waits for the last lines of the access log to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Sockets of one worker, with their TLS configuration and whether a PROXY header is expected.
type Sockets = Vec<(TcpListener, Option<Arc<Configurations>>, bool)>;

// === impl Proxy ===

impl Proxy {
    /// Binds every address once per worker and starts the workers.
    ///
    /// # Errors
    /// When an address cannot be bound (the error names it) or a thread cannot be started.
    pub fn start(listen: &Listen, workers: NonZeroUsize, handle: &Arc<Handle>) -> Result<Self, StartError> {
        let tls = Configurations::new(handle);
        let mut sockets: Vec<Sockets> = (0..workers.get()).map(|_| Vec::new()).collect();
        let mut bind_all = |addresses: &[SocketAddr], tls: Option<&Arc<Configurations>>| {
            let bind =
                |address: &SocketAddr| bind_one(*address, tls, listen.proxy_protocol.contains(address), &mut sockets);
            addresses.iter().map(bind).collect::<Result<Vec<_>, _>>()
        };
        let http = bind_all(&listen.http, None)?;
        let https = bind_all(&listen.https, Some(&tls))?;
        let (phase, receiver) = watch::channel(Phase::Serving);
        let (log, log_writer) = LogWriter::start().map_err(StartError::Worker)?;
        let (senders, orders): (Vec<_>, Vec<_>) = (0..workers.get()).map(|_| mpsc::unbounded_channel()).unzip();
        let mut opener = Some(Opener::new(handle, listen.streams.clone(), senders));
        let workers = sockets
            .into_iter()
            .zip(orders)
            .enumerate()
            .map(|(number, (sockets, orders))| {
                let (done, left) = oneshot::channel();
                let (handle, phase, log) = (Arc::clone(handle), receiver.clone(), log.clone());
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    // Only temporary files use them: more would only wait for the same disk.
                    .max_blocking_threads(BLOCKING_THREADS)
                    .build()?;
                // Here rather than on the worker: a socket that cannot be served must fail the start.
                let listeners = {
                    let _entered = runtime.enter();
                    let listener = |(socket, tls, proxied)| Listener::new(socket, tls, proxied);
                    sockets.into_iter().map(listener).collect::<io::Result<_>>()?
                };
                let share = Share { listeners, orders, opener: opener.take(), splice: listen.splice };
                std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                    let left = run_worker(&runtime, handle, log, share, phase);
                    // Cutting what is left takes no time; the report comes after it.
                    runtime.shutdown_background();
                    let _ = done.send(left);
                })?;
                Ok(left)
            })
            .collect::<io::Result<Vec<_>>>()
            .map_err(StartError::Worker)?;
        Ok(Self { http, https, phase, workers, log_writer })
    }

    /// The cleartext addresses, with the ports that were picked for port 0.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http
    }

    /// The TLS addresses, with the ports that were picked for port 0.
    #[must_use]
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Stops in the order that costs no request: everything is answered with `Connection: close` or followed by GOAWAY
    /// from now on; the accept queues are emptied and the listeners closed; then requests, WebSockets and other tunnels
    /// have until `timeout` to finish, and what is left is cut.
    pub async fn drain(self, timeout: Duration) -> Drained {
        self.phase.send_replace(Phase::Draining);
        let phase = self.phase.clone();
        let cut = tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            phase.send_replace(Phase::Cut);
        });
        let mut drained = Drained { cut: 0 };
        for worker in self.workers {
            // An error means that the worker's thread is gone, and with it its connections.
            drained.cut += worker.await.unwrap_or_default();
        }
        cut.abort();
        // The workers have handed over their last lines. Somebody who has stopped reading them cannot hold up the end.
        let written = tokio::task::spawn_blocking(|| self.log_writer.join());
        if tokio::time::timeout(LAST_LINES, written).await.is_err() {
            tracing::warn!("standard output is not read: the last lines of the access log are lost");
        }
        drained
    }
}

fn bind_one(
    address: SocketAddr,
    tls: Option<&Arc<Configurations>>,
    proxy_protocol: bool,
    sockets: &mut [Sockets],
) -> Result<SocketAddr, StartError> {
    let error = |source| StartError::Bind { address, source };
    let listeners = bind(address, sockets.len()).map_err(error)?;
    let bound = listeners.first().map_or(Ok(address), TcpListener::local_addr).map_err(error)?;
    for (worker, listener) in sockets.iter_mut().zip(listeners) {
        worker.push((listener, tls.cloned(), proxy_protocol));
    }
    Ok(bound)
}

/// Runs one worker to its end and returns how many connections it left open.
fn run_worker(
    runtime: &tokio::runtime::Runtime,
    handle: Arc<Handle>,
    log: LogWriter,
    share: Share,
    phase: watch::Receiver<Phase>,
) -> usize {
    let local = tokio::task::LocalSet::new();
    let worker = local.block_on(runtime, async {
        let worker = Worker::new(handle, log);
        Rc::clone(&worker).run(share, phase).await;
        worker
    });
    let open = worker.open();
    // Requests that are cut here have their lines, too.
    let _entered = runtime.enter();
    drop(local);
    worker.access_log().flush();
    open
}
