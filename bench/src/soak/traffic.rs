//! Every kind of traffic, each with a fixed number of clients that send at a fixed pace.
//!
//! One task is one client. It ends when it is told to, or with an error at the first answer that is
//! not the right one; the error says which kind of traffic it was.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::client::Client;
use super::changes;
use super::origin::Origin;

pub(super) mod client;

mod bodies;
mod kept;
mod rude;
mod secure;
mod short;
mod upgrade;

/// Clients that begin with a body at the same time: several for each of the eight threads of each worker.
const FLOOD: usize = 64;

/// What all clients share.
pub(super) struct Scene {
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
    pub(super) manifests: PathBuf,
    /// An endpoint that comes and goes. The other one is always there.
    pub(super) second: Origin,
    pub(super) counts: Counts,
}

/// What has been done so far.
#[derive(Default)]
pub(super) struct Counts {
    /// Answers that were checked, echoes of upgraded connections included.
    pub(super) requests: AtomicU64,
    /// Requests that were broken off.
    pub(super) broken_off: AtomicU64,
    /// Changes of the manifests that were seen to take effect.
    pub(super) changes: AtomicU64,
}

/// One kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    KeepAlive,
    OverTls,
    Http2,
    NewConnection,
    FullHandshake,
    Resumption,
    UnknownHost,
    Malformed,
    Bodies,
    LargeFast,
    LargeSlow,
    Upgrade,
    BreakOff,
    Idle,
    Changes,
}

/// Starts all clients on this thread; they go on until `stop` holds `true`.
pub(super) fn start(scene: &Arc<Scene>, stop: &watch::Receiver<bool>) -> JoinSet<Result<()>> {
    let mut clients = JoinSet::new();
    for kind in Kind::ALL {
        let (count, every) = kind.load();
        for number in 0..count {
            let client = Client::new(Arc::clone(scene), stop.clone(), number, count, every);
            clients.spawn_local(async move {
                kind.run(client).await.with_context(|| format!("{kind}, client {} of {count}", number + 1))
            });
        }
    }
    clients
}

/// So many request bodies at once that the target starts all threads it may have for files: how soon chance would have
/// done so is not what is looked at.
pub(super) async fn flood(scene: &Arc<Scene>, stop: &watch::Receiver<bool>) -> Result<()> {
    let client = |number| Client::new(Arc::clone(scene), stop.clone(), number, FLOOD, Duration::from_secs(1));
    try_join_all((0..FLOOD).map(|number| bodies::send_one(client(number)))).await?;
    Ok(())
}

/// Clients whose connections come and go.
pub(super) fn transient() -> u64 {
    let transient = Kind::ALL.into_iter().filter(|kind| kind.comes_and_goes());
    transient.map(|kind| kind.load().0 as u64).sum()
}

// === impl Kind ===

impl Kind {
    const ALL: [Self; 15] = [
        Self::KeepAlive,
        Self::OverTls,
        Self::Http2,
        Self::NewConnection,
        Self::FullHandshake,
        Self::Resumption,
        Self::UnknownHost,
        Self::Malformed,
        Self::Bodies,
        Self::LargeFast,
        Self::LargeSlow,
        Self::Upgrade,
        Self::BreakOff,
        Self::Idle,
        Self::Changes,
    ];

    /// Clients, and the time from one turn of a client to its next: 2,000 requests a second in all.
    fn load(self) -> (usize, Duration) {
        let (clients, milliseconds) = match self {
            Self::KeepAlive => (4, 5),
            Self::OverTls => (2, 7),
            // Eight streams in each turn.
            Self::Http2 => (2, 32),
            Self::NewConnection => (2, 13),
            Self::FullHandshake => (1, 32),
            Self::Resumption => (1, 17),
            Self::UnknownHost => (1, 20),
            Self::Malformed => (1, 50),
            Self::Bodies => (2, 170),
            Self::LargeFast => (1, 200),
            Self::LargeSlow => (2, 1_000),
            Self::Upgrade => (8, 100),
            Self::BreakOff => (4, 125),
            Self::Idle => (32, 2_000),
            Self::Changes => (1, 3_000),
        };
        (clients, Duration::from_millis(milliseconds))
    }

    fn comes_and_goes(self) -> bool {
        match self {
            Self::KeepAlive | Self::OverTls | Self::Http2 | Self::UnknownHost | Self::LargeFast => false,
            Self::NewConnection | Self::FullHandshake | Self::Resumption | Self::Malformed => true,
            Self::Bodies | Self::LargeSlow | Self::Upgrade => true,
            Self::BreakOff | Self::Idle | Self::Changes => true,
        }
    }

    async fn run(self, client: Client) -> Result<()> {
        match self {
            Self::KeepAlive => kept::http1(client).await,
            Self::OverTls => kept::http1_over_tls(client).await,
            Self::Http2 => secure::http2(client).await,
            Self::NewConnection => short::new_connection(client).await,
            Self::FullHandshake => secure::full_handshake(client).await,
            Self::Resumption => secure::resumption(client).await,
            Self::UnknownHost => kept::unknown_host(client).await,
            Self::Malformed => rude::malformed(client).await,
            Self::Bodies => bodies::send(client).await,
            Self::LargeFast => kept::large(client).await,
            Self::LargeSlow => short::large_slowly(client).await,
            Self::Upgrade => upgrade::echo(client).await,
            Self::BreakOff => rude::break_off(client).await,
            Self::Idle => short::idle(client).await,
            Self::Changes => changes::make(client).await,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::KeepAlive => "HTTP/1.1 keep-alive",
            Self::OverTls => "HTTP/1.1 keep-alive over TLS",
            Self::Http2 => "HTTP/2 streams",
            Self::NewConnection => "a new connection per request",
            Self::FullHandshake => "full TLS handshakes",
            Self::Resumption => "TLS resumption",
            Self::UnknownHost => "unknown hosts",
            Self::Malformed => "malformed requests",
            Self::Bodies => "request bodies",
            Self::LargeFast => "1 MB responses",
            Self::LargeSlow => "1 MB responses, read slowly",
            Self::Upgrade => "upgraded connections",
            Self::BreakOff => "clients that break off",
            Self::Idle => "idle connections",
            Self::Changes => "changes of the manifests",
        })
    }
}
