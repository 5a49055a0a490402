//! What a program under the harness printed: kept line by line, and shown when the
//! test that started it fails.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::watch;

use crate::wait::{self, LONG};

tokio::task_local! {
    /// The logs of the test that runs in this task.
    static EVIDENCE: Evidence;
}

/// Lines that keep coming. Clones share them.
#[derive(Clone)]
pub struct Log {
    name: Arc<str>,
    lines: Arc<watch::Sender<Vec<String>>>,
}

/// The logs that belong to one test.
#[derive(Clone, Default)]
pub struct Evidence(Arc<watch::Sender<Vec<Log>>>);

// === impl Log ===

impl Log {
    /// An empty log that is shown if the running test fails.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let log = Self::detached(name);
        // Outside of a test nobody asks for it.
        let _ = EVIDENCE.try_with(|evidence| evidence.0.send_modify(|logs| logs.push(log.clone())));
        log
    }

    /// An empty log of something that belongs to no test.
    #[must_use]
    pub fn detached(name: &str) -> Self {
        Self { name: name.into(), lines: Arc::default() }
    }

    /// Takes the lines of `source` until it ends.
    pub fn follow(&self, source: impl AsyncRead + Unpin + Send + 'static) {
        let lines = Arc::clone(&self.lines);
        tokio::spawn(async move {
            let mut source = BufReader::new(source).lines();
            while let Ok(Some(line)) = source.next_line().await {
                lines.send_modify(|lines| lines.push(line));
            }
        });
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// The lines so far that contain every one of `parts`.
    #[must_use]
    pub fn containing(&self, parts: &[&str]) -> Vec<String> {
        self.lines.borrow().iter().filter(|line| contains(line, parts)).cloned().collect()
    }

    /// The first line, past or future, that contains every one of `parts`.
    ///
    /// # Errors
    /// When there is none in [`LONG`].
    pub async fn line(&self, parts: &[&str]) -> Result<String> {
        let mut lines = self.lines.subscribe();
        let what = format!("waiting for a line with {parts:?} in the log of {}", self.name);
        let found = wait::at_most(LONG, &what, lines.wait_for(|lines| lines.iter().any(|line| contains(line, parts))))
            .await??;
        found.iter().find(|line| contains(line, parts)).cloned().ok_or_else(|| anyhow!("the line is gone"))
    }

    /// The end of it, for people.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines.borrow();
        let from = lines.len().saturating_sub(count);
        let omitted = if from > 0 { format!("  ({from} lines before)\n") } else { String::new() };
        format!("--- log of {}\n{omitted}{}\n", self.name, lines[from..].join("\n"))
    }
}

// === impl Evidence ===

impl Evidence {
    /// Runs a test so that the logs of what it starts come here.
    pub async fn collect<T>(&self, test: impl Future<Output = T>) -> T {
        EVIDENCE.scope(self.clone(), test).await
    }

    /// The end of each log.
    #[must_use]
    pub fn tails(&self, count: usize) -> String {
        self.0.borrow().iter().map(|log| log.tail(count)).collect()
    }
}

fn contains(line: &str, parts: &[&str]) -> bool {
    parts.iter().all(|part| line.contains(part))
}
