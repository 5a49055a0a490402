//! One worker per core: a thread with its own runtime, listeners, pools and counters. Workers share the table pointer and
//! the TLS configurations, and nothing that a request writes to.

use crate::{
    Handle,
    access_log::{AccessLog, LogWriter},
    balance::{Balancers, State},
    drain::Phase,
    failures::Failures,
    listener::{ClientSlot, Connection, Listener},
    metrics::{Refusal, RouteStats, Totals, WorkerMetrics},
    rarely::{Rarely, Unsaid},
    splice::{Pipes, Splice},
    stream::{self, Opener, Order, Scratch},
    table::{Backend, BackendIndex, BackendKey, Endpoint, RouteLabels, Table, UpstreamKeepAlive},
    timeout::{Tick, Timers},
    tls::{Configurations, TlsPolicy},
    upstream::{self, pool::Pool},
};
use hashbrown::{HashMap, HashSet};
use rand::{RngCore as _, SeedableRng as _, rngs::SmallRng};
use rustls::ServerConfig;
use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, SocketAddr},
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, mpsc, watch};

/// How often idle connections are looked at and the log is flushed.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Bytes that the connections of a worker may hold of what slow clients do not take, as long as each gets its least; and the
/// least and the most for one. Large responses are a third cheaper with the most than with the least.
const BUFFERS: usize = 128 << 20;
const LEAST_BUFFER: usize = 64 << 10;
const MOST_BUFFER: usize = 512 << 10;

/// The state of one worker; everything that runs on its thread shares it.
#[derive(Debug)]
pub(crate) struct Worker {
    handle: Arc<Handle>,
    view: RefCell<Rc<View>>,
    /// Counts the tables that were seen.
    table_number: Cell<u32>,
    pool: RefCell<Pool>,
    balancers: RefCell<Balancers>,
    timers: Rc<Timers>,
    metrics: Arc<WorkerMetrics>,
    access_log: AccessLog,
    random: RefCell<SmallRng>,
    scratch: Scratch,
    /// For what an HTTP/2 connection writes: a connection needs one only while it is polled, or its client takes nothing.
    buffer: RefCell<Vec<u8>>,
    pipes: Arc<Pipes>,
    draining: Cell<bool>,
    cut: Cell<bool>,
    drain: Notify,
    connections: RefCell<HashMap<u64, Weak<Connection>>>,
    next_connection: Cell<u64>,
    /// Connections and tunnels that are open.
    open: Cell<usize>,
    refused: Rarely,
    bad_proxy_headers: Rarely,
    failures: Failures,
    all_closed: Notify,
}

/// The installed table as one worker sees it, with what the worker derived from it. A request keeps the view that it
/// started with.
#[derive(Debug)]
pub(crate) struct View {
    table: Arc<Table>,
    /// By address of the labels, which this view keeps alive.
    stats: RefCell<HashMap<usize, Rc<RouteStats>>>,
    /// By address of the policy, likewise.
    tls: RefCell<HashMap<usize, Arc<ServerConfig>>>,
}

/// What a worker serves.
pub(crate) struct Share {
    pub(crate) listeners: Vec<Listener>,
    /// Ports of services that are not HTTP, as they come and go.
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
    /// Whoever opens them; the first worker has it.
    pub(crate) opener: Option<Opener>,
    pub(crate) splice: Splice,
}

/// Counts something that a drain waits for.
#[derive(Debug)]
pub(crate) struct OpenGuard(Rc<Worker>);

// === impl Worker ===

impl Worker {
    pub(crate) fn new(handle: Arc<Handle>, log: LogWriter) -> Rc<Self> {
        let metrics = handle.metrics().register();
        let view = Rc::new(View::new(handle.table()));
        Rc::new(Self {
            view: RefCell::new(view),
            table_number: Cell::new(0),
            pool: RefCell::default(),
            balancers: RefCell::default(),
            timers: Timers::new(),
            metrics,
            access_log: AccessLog::new(log),
            random: RefCell::new(SmallRng::from_os_rng()),
            scratch: Scratch::default(),
            buffer: RefCell::default(),
            pipes: Arc::default(),
            draining: Cell::new(false),
            cut: Cell::new(false),
            drain: Notify::new(),
            connections: RefCell::default(),
            next_connection: Cell::new(0),
            open: Cell::new(0),
            refused: Rarely::default(),
            bad_proxy_headers: Rarely::default(),
            failures: Failures::default(),
            all_closed: Notify::new(),
            handle,
        })
    }

    /// Serves the listeners until a drain is complete. What is left when the caller drops this is cut.
    pub(crate) async fn run(self: Rc<Self>, share: Share, mut phase: watch::Receiver<Phase>) {
        let Share { listeners, orders, opener, splice } = share;
        for listener in &listeners {
            self.pipes.suit(splice, listener);
        }
        tokio::task::spawn_local(Rc::clone(&self.timers).drive());
        tokio::task::spawn_local(Rc::clone(&self).keep_house());
        if let Some(opener) = opener {
            tokio::task::spawn_local(opener.run(Rc::clone(&self)));
        }
        let streams = tokio::task::spawn_local(stream::serve(Rc::clone(&self), orders));
        let accepting: Vec<_> =
            listeners.into_iter().map(|listener| tokio::task::spawn_local(listener.run(Rc::clone(&self)))).collect();
        // The sender going away means that the process is past caring: drain too.
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
        self.start_drain();
        for listener in accepting.into_iter().chain([streams]) {
            if let Err(error) = listener.await {
                tracing::error!(%error, "a listener ended early");
            }
        }
        tokio::select! {
            () = self.wait_until_closed() => {}
            _ = phase.wait_for(|phase| *phase == Phase::Cut) => self.cut.set(true),
        }
    }

    /// Whether what is still open is being cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// How much a connection may hold of what was read for its client, and once more of what the client does not take. The
    /// more connections there are, the less it is.
    pub(crate) fn buffer(&self) -> usize {
        (BUFFERS / self.open.get().max(1)).clamp(LEAST_BUFFER, MOST_BUFFER)
    }

    /// Connections and tunnels that are still open.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    async fn wait_until_closed(&self) {
        while self.open.get() > 0 {
            self.all_closed.notified().await;
        }
    }

    fn start_drain(&self) {
        self.draining.set(true);
        self.drain.notify_waiters();
        let connections: Vec<_> = self.connections.borrow().values().filter_map(Weak::upgrade).collect();
        for connection in connections {
            connection.wake();
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Waits until the worker drains.
    pub(crate) async fn draining(&self) {
        let notified = self.drain.notified();
        if !self.draining.get() {
            notified.await;
        }
    }

    /// Whether another connection of this client is taken; if so, with its place among those of its address where they
    /// are limited.
    pub(crate) fn admit(&self, client: IpAddr) -> Result<Option<ClientSlot>, Refusal> {
        let limits = self.view().table().settings().limits;
        let admitted = if self.open.get() >= limits.connections as usize {
            Err(Refusal::Connections)
        } else if limits.connections_per_client == 0 {
            Ok(None)
        } else {
            let slot = self.handle.clients().admit(client, limits.connections_per_client);
            slot.map(Some).ok_or(Refusal::ConnectionsPerClient)
        };
        if let Err(refusal) = admitted {
            self.metrics.accepted.add(1);
            self.metrics.closed.add(1);
            self.metrics.refused(refusal).add(1);
            self.tell(client, refusal);
        }
        admitted
    }

    /// Says now and then that connections are refused.
    fn tell(&self, client: IpAddr, refusal: Refusal) {
        if let Some(unsaid) = self.refused.due(self.timers.now()) {
            tracing::warn!(%client, reason = refusal.name(), open = self.open.get(), unsaid, "refusing connections");
        }
    }

    /// Counts a connection without the PROXY header that it has to begin with. Whether that is worth a line now.
    pub(crate) fn bad_proxy_header(&self) -> Option<Unsaid> {
        self.metrics.proxy_protocol_errors.add(1);
        self.bad_proxy_headers.due(self.timers.now())
    }

    /// Sums over all workers.
    pub(crate) fn totals(&self) -> Totals {
        self.handle.metrics().totals()
    }

    /// Says now and then that endpoints of a backend fail; none if there was none to try.
    pub(crate) fn endpoint_failed(
        &self,
        backend: &BackendKey,
        endpoint: Option<SocketAddr>,
        error: &impl std::fmt::Display,
    ) {
        self.failures.note(&self.timers, backend, endpoint, error);
    }

    /// Notes a new connection and gives it a number.
    pub(crate) fn connection_opened(&self, connection: Weak<Connection>) -> u64 {
        let id = self.next_connection.replace(self.next_connection.get() + 1);
        self.connections.borrow_mut().insert(id, connection);
        self.metrics.accepted.add(1);
        self.open.set(self.open.get() + 1);
        id
    }

    pub(crate) fn connection_closed(&self, id: u64) {
        self.connections.borrow_mut().remove(&id);
        self.metrics.closed.add(1);
        self.closed();
    }

    /// Counts a tunnel among what a drain waits for.
    pub(crate) fn open_tunnel(self: &Rc<Self>) -> OpenGuard {
        self.open.set(self.open.get() + 1);
        OpenGuard(Rc::clone(self))
    }

    fn closed(&self) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.all_closed.notify_waiters();
        }
    }

    /// The installed table. Free of shared counters as long as the table does not change.
    pub(crate) fn view(&self) -> Rc<View> {
        let installed = self.handle.load();
        let view = self.view.borrow();
        if Arc::ptr_eq(&installed, &view.table) {
            return Rc::clone(&view);
        }
        drop(view);
        let fresh = Rc::new(View::new(Arc::clone(&installed)));
        *self.view.borrow_mut() = Rc::clone(&fresh);
        self.table_number.set(self.table_number.get().wrapping_add(1));
        fresh
    }

    /// Changes with every table.
    pub(crate) fn table_number(&self) -> u32 {
        self.table_number.get()
    }

    /// The table as of the last request: for what need not be newer than that.
    pub(crate) fn last_view(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }

    pub(crate) fn timers(&self) -> &Rc<Timers> {
        &self.timers
    }

    pub(crate) fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    pub(crate) fn access_log(&self) -> &AccessLog {
        &self.access_log
    }

    /// 128 random bits.
    pub(crate) fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.random.borrow_mut().fill_bytes(&mut bytes);
        bytes
    }

    /// Where what tunnels carry lies on its way.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// An empty buffer, with room if there is one.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.buffer.take()
    }

    /// Keeps an empty buffer for whoever needs one next.
    pub(crate) fn give_buffer(&self, buffer: Vec<u8>) {
        self.buffer.replace(buffer);
    }

    /// What large responses go through on their way.
    pub(crate) fn pipes(&self) -> &Arc<Pipes> {
        &self.pipes
    }

    /// The balancer of a backend of the current view.
    pub(crate) fn balancer(&self, index: BackendIndex, backend: &Backend) -> Rc<State> {
        Rc::clone(self.balancers.borrow_mut().state(index, backend))
    }

    /// An idle HTTP/1.1 connection to the target; `once` is for a request that cannot be sent again.
    pub(crate) fn take(&self, target: upstream::Target<'_>, once: bool) -> Option<Box<upstream::http1::Connection>> {
        self.pool.borrow_mut().take(target, self.table_number.get(), once)
    }

    /// Gives a connection back to the pool.
    pub(crate) fn give(&self, connection: Box<upstream::http1::Connection>) {
        let limits = self.view.borrow().table.settings().upstream_keep_alive;
        self.pool.borrow_mut().give(connection, &limits, self.timers.now(), self.table_number.get());
    }

    /// The pool, with the limits of this moment.
    pub(crate) fn pooled<T>(&self, change: impl FnOnce(&mut Pool, &UpstreamKeepAlive, Tick) -> T) -> T {
        let limits = self.view.borrow().table.settings().upstream_keep_alive;
        change(&mut self.pool.borrow_mut(), &limits, self.timers.now())
    }

    async fn keep_house(self: Rc<Self>) {
        let mut swept: Option<Arc<Table>> = None;
        loop {
            tokio::time::sleep(HOUSEKEEPING).await;
            self.access_log.flush();
            self.pipes.close_one();
            let view = self.view();
            let limits = view.table.settings().upstream_keep_alive;
            let late = self.pool.borrow_mut().take_late();
            if !late && swept.as_ref().is_some_and(|table| Arc::ptr_eq(table, &view.table)) {
                self.pool.borrow_mut().sweep(&limits, self.timers.now(), |_| true);
                continue;
            }
            let backends = || view.table.backends();
            let endpoints: HashSet<&Endpoint> = backends().flat_map(|backend| backend.endpoints()).collect();
            self.pool.borrow_mut().sweep(&limits, self.timers.now(), |endpoint| endpoints.contains(endpoint));
            let keys: HashSet<_> = backends().map(|backend| backend.key()).collect();
            self.balancers.borrow_mut().retain(|key| keys.contains(key));
            self.failures.retain(|key| keys.contains(key));
            swept = Some(Arc::clone(&view.table));
        }
    }
}

// === impl View ===

impl View {
    fn new(table: Arc<Table>) -> Self {
        Self { table, stats: RefCell::default(), tls: RefCell::default() }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The configuration for handshakes under a policy of this view's table.
    pub(crate) fn tls(
        &self,
        policy: &Arc<TlsPolicy>,
        configurations: &Configurations,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let address = Arc::as_ptr(policy).addr();
        if let Some(config) = self.tls.borrow().get(&address) {
            return Ok(Arc::clone(config));
        }
        let config = configurations.get(policy, self.table.settings().http2)?;
        self.tls.borrow_mut().insert(address, Arc::clone(&config));
        Ok(config)
    }

    /// The counters of a route of this view's table.
    pub(crate) fn stats(&self, labels: &Arc<RouteLabels>, worker: &Worker) -> Rc<RouteStats> {
        let address = Arc::as_ptr(labels).addr();
        Rc::clone(self.stats.borrow_mut().entry(address).or_insert_with(|| RouteStats::new(labels, &worker.metrics)))
    }
}

// === impl OpenGuard ===

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.closed();
    }
}
