//! Waiting for a condition instead of for time to pass.
//!
//! A wait ends with the value that was waited for, or with an error that names
//! what was waited for and what was seen last. It knows nothing about the condition.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

/// How long a change may take to be seen on a busy machine. Far above what is
/// usual: a test that fails by it has found something that does not happen at all.
pub const LONG: Duration = Duration::from_secs(20);

/// How long something must hold to count as "does not happen".
pub const SETTLE: Duration = Duration::from_millis(400);

const PAUSE: Duration = Duration::from_millis(10);

/// Asks `probe` until it has an answer; its error says what it saw instead.
///
/// # Errors
/// When there is none within [`LONG`].
pub async fn until<T>(what: &str, probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    until_within(LONG, what, probe).await
}

/// Like [`until`] with a time limit of its own.
///
/// # Errors
/// When there is no answer within `limit`.
pub async fn until_within<T>(limit: Duration, what: &str, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut last = anyhow!("nothing was seen at all");
    loop {
        match timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last = seen,
            Err(_) => {
                return Err(last)
                    .with_context(|| format!("waited {limit:?} until {what}; the last probe hung, before it"));
            }
        }
        if Instant::now() >= deadline {
            return Err(last).with_context(|| format!("waited {limit:?} until {what}; last seen"));
        }
        sleep(PAUSE).await;
    }
}

/// Asks `probe` for the time of [`SETTLE`] and expects it to hold each time.
///
/// # Errors
/// As soon as it does not.
pub async fn remains(what: &str, mut probe: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + SETTLE;
    while Instant::now() < end {
        probe().await.with_context(|| format!("it did not remain so that {what}"))?;
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Puts an end to something that may hang.
///
/// # Errors
/// When it takes longer than `limit`.
pub async fn at_most<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(limit, work).await.map_err(|_| anyhow!("{what} took longer than {limit:?}"))
}
