//! Clients that ask for hosts that no change touches. Each answer must come, and from a pod of that host.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::{JoinSet, spawn_blocking};

use super::super::probe::{Answer, Asker};

/// Clients, each with a connection of its own.
const CLIENTS: usize = 4;

/// Pause between two requests of a client: together they ask 200 times a second.
const PAUSE: Duration = Duration::from_millis(20);

/// A host that stays as it is.
#[derive(Clone, Debug)]
pub(crate) struct Untouched {
    pub(crate) host: String,
    pub(crate) pods: Vec<Ipv4Addr>,
}

/// Clients that ask until told to stop.
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    running: JoinSet<Asked>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) requests: u64,
    pub(super) lost: u64,
    pub(super) first_loss: Option<String>,
}

// === impl Clients ===

impl Clients {
    pub(super) fn start(address: SocketAddr, hosts: &[Untouched]) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let mut running = JoinSet::new();
        for client in 0..CLIENTS {
            let hosts: Vec<_> = hosts.iter().skip(client).step_by(CLIENTS).cloned().collect();
            let stop = Arc::clone(&stop);
            running.spawn(async move {
                spawn_blocking(move || ask(address, &hosts, &stop)).await.unwrap_or_else(|error| Asked {
                    requests: 0,
                    lost: 1,
                    first_loss: Some(error.to_string()),
                })
            });
        }
        Self { stop, running }
    }

    pub(super) async fn stop(self) -> Result<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Asked::default();
        for asked in self.running.join_all().await {
            sum.requests += asked.requests;
            sum.lost += asked.lost;
            sum.first_loss = sum.first_loss.or(asked.first_loss);
        }
        if sum.requests == 0 {
            bail!("no client has asked: {}", sum.first_loss.unwrap_or_default());
        }
        Ok(sum)
    }
}

fn ask(address: SocketAddr, hosts: &[Untouched], stop: &AtomicBool) -> Asked {
    let mut asker = Asker::new(address);
    let mut asked = Asked::default();
    for Untouched { host, pods } in hosts.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        asked.requests += 1;
        let loss = match asker.ask(host, "/") {
            Ok(Answer::Pod(pod)) if pods.contains(&pod) => None,
            Ok(other) => Some(format!("{host} was answered with {other:?}")),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(loss) = loss {
            asked.lost += 1;
            asked.first_loss.get_or_insert(loss);
        }
        thread::sleep(PAUSE);
    }
    asked
}
