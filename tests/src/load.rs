//! A client that asks for one thing all the time, so that a test can say "and nobody
//! noticed" of what it does meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinHandle;

use crate::client::{Connection, Request};
use crate::subject::Subject;
use crate::wait;

/// The machine is needed by others too.
const PACE: Duration = Duration::from_millis(2);

/// Asks until told to stop; any other answer than a pod's ends it.
pub struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    client: JoinHandle<Result<()>>,
}

// === impl Load ===

impl Load {
    /// Asks this subject for the path `/` of a host.
    #[must_use]
    pub fn start(subject: &Subject, host: &str) -> Self {
        let (stop, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (address, host) = (subject.http(), host.to_owned());
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&count));
        let client = tokio::spawn(async move {
            let mut connection = Connection::open(address).await?;
            while !stopped.load(Ordering::Relaxed) {
                let answers = counter.load(Ordering::Relaxed);
                let answer = connection.send(&Request::get(&host, "/")).await;
                let answer = answer.with_context(|| format!("{host}, after {answers} answers"))?;
                answer.echo().with_context(|| format!("{host}, after {answers} answers"))?;
                counter.fetch_add(1, Ordering::Relaxed);
                if answer.header("connection") == Some("close") {
                    connection = Connection::open(address).await?;
                }
                tokio::time::sleep(PACE).await;
            }
            Ok(())
        });
        Self { stop, count, client }
    }

    /// How many answers there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Stops it, after it has got so many answers that its word counts.
    ///
    /// # Errors
    /// When an answer was not a pod's.
    pub async fn end(self) -> Result<()> {
        let enough = wait::until("the client has got 100 answers", async || {
            ensure!(self.count() >= 100 || self.client.is_finished(), "it has got {}", self.count());
            Ok(())
        })
        .await;
        self.stop.store(true, Ordering::Relaxed);
        self.client.await??;
        enough
    }
}
