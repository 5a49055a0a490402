//! The product under test: the real binary as a child process, on an address of its
//! own, with the ports it has in a cluster.
//!
//! Knows the command line, the sockets and the signals; nothing of what is inside.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::client::{self, Answer, Request};
use crate::log::Log;
use crate::pod::Echo;
use crate::{address, tools, wait};

/// How a subject is started.
#[derive(Clone)]
pub struct Launch {
    name: String,
    program: Option<PathBuf>,
    address: IpAddr,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// A running subject; killed when dropped.
pub struct Subject {
    /// Where it listens: ports 80, 443 and 10254.
    pub address: IpAddr,
    /// What it prints.
    pub log: Log,
    child: Mutex<Child>,
    pid: Pid,
}

// === impl Launch ===

impl Launch {
    /// `rust-nginx serve` as the pod of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let environment = [("POD_NAME", name), ("POD_NAMESPACE", "default")];
        Self {
            name: name.to_owned(),
            program: None,
            address: address::host(),
            arguments: vec!["serve".to_owned()],
            environment: environment.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    /// Another binary than the one that [`tools::subject`] finds.
    #[must_use]
    pub fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// One more port, of kind `http` or `https`.
    #[must_use]
    pub fn listen(self, kind: &str, port: u16) -> Self {
        let address = SocketAddr::from((self.address, port));
        self.arg(format!("--{kind}-addr={address}"))
    }

    /// All arguments from another place, in place of `serve`.
    #[must_use]
    pub fn command(mut self, arguments: Vec<String>) -> Self {
        self.arguments = arguments;
        self
    }

    /// One more variable of the environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.retain(|(name, _)| name != key);
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits for nothing.
    ///
    /// # Errors
    /// When there is no binary.
    pub async fn start(self) -> Result<Subject> {
        let program = self.program.map_or_else(tools::subject, Ok)?;
        let address = self.address;
        let listen = |name: &str, port: u16| format!("--{name}-addr={}", SocketAddr::from((address, port)));
        let mut command = Command::new(&program);
        command.args(&self.arguments).args([listen("http", 80), listen("https", 443), listen("admin", 10254)]);
        // Nothing of the developer's shell or cluster may decide what is tested.
        command.env_clear().envs(self.environment).env("RUST_BACKTRACE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let log = Log::new(&self.name);
        log.follow(child.stdout.take().context("no standard output")?);
        log.follow(child.stderr.take().context("no standard error")?);
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("it has ended already")?;
        Ok(Subject { address, log, child: Mutex::new(child), pid })
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends or does not become ready.
    pub async fn ready(self) -> Result<Subject> {
        let subject = self.start().await?;
        subject.ready().await?;
        Ok(subject)
    }
}

// === impl Subject ===

impl Subject {
    /// The number of its process, as this process sees it.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Its HTTP port.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        (self.address, 80).into()
    }

    /// Its HTTPS port.
    #[must_use]
    pub fn https(&self) -> SocketAddr {
        (self.address, 443).into()
    }

    /// Its port for health, metrics and looking inside.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        (self.address, 10254).into()
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends or does not become ready.
    pub async fn ready(&self) -> Result<()> {
        wait::until("the subject is ready", async || self.inspect("/readyz").await?.expect(200)).await.map(drop)
    }

    /// Asks the admin port.
    ///
    /// # Errors
    /// When there is no answer; when the process has ended, that is the error.
    pub async fn inspect(&self, target: &str) -> Result<Answer> {
        let answer = client::send(self.admin(), &Request::get("admin", target).header("Connection", "close")).await;
        if answer.is_err()
            && let Some(status) = self.child.lock().await.try_wait()?
        {
            bail!("the subject has ended: {status}");
        }
        answer
    }

    /// `GET` over plain HTTP.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, host: &str, target: &str) -> Result<Answer> {
        client::send(self.http(), &Request::get(host, target)).await
    }

    /// `GET` over TLS, with the host as server name.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get_tls(&self, host: &str, target: &str) -> Result<Answer> {
        client::send_tls(self.https(), host, &Request::get(host, target)).await
    }

    /// What a pod saw of a `GET` over plain HTTP.
    ///
    /// # Errors
    /// When no pod answered.
    pub async fn echo(&self, host: &str, target: &str) -> Result<Echo> {
        self.get(host, target).await?.echo()
    }

    /// Waits until this pod answers.
    ///
    /// # Errors
    /// When it never does.
    pub async fn routed(&self, host: &str, target: &str, pod: &str) -> Result<()> {
        let what = format!("{host}{target} is answered by {pod}");
        wait::until(&what, async || {
            let answer = self.get(host, target).await?;
            let echo = answer.echo()?;
            ensure!(echo.pod == pod, "answered by {}", echo.pod);
            Ok(())
        })
        .await
    }

    /// Waits until the answer has this status.
    ///
    /// # Errors
    /// When it never has.
    pub async fn answers(&self, host: &str, target: &str, status: u16) -> Result<Answer> {
        let what = format!("{host}{target} is answered with {status}");
        wait::until(&what, async || self.get(host, target).await?.expect(status)).await
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn terminate(&self) -> Result<()> {
        kill_process(self.pid, Signal::TERM).context("SIGTERM")
    }

    /// Lets it stand still: it runs no more, its sockets stay.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn pause(&self) -> Result<()> {
        kill_process(self.pid, Signal::STOP).context("SIGSTOP")
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn resume(&self) -> Result<()> {
        kill_process(self.pid, Signal::CONT).context("SIGCONT")
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it goes on for longer.
    pub async fn exited(&self, within: Duration) -> Result<ExitStatus> {
        let mut child = self.child.lock().await;
        Ok(wait::at_most(within, "the end of the subject", child.wait()).await??)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn running(&self) -> Result<bool> {
        Ok(self.child.lock().await.try_wait()?.is_none())
    }

    /// Ends it without warning.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&self) -> Result<()> {
        Ok(self.child.lock().await.kill().await?)
    }

    /// The value of a metric, summed over all its series whose labels contain `labels`.
    ///
    /// # Errors
    /// When there is no such series.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let text = self.inspect("/metrics").await?.expect(200)?.text();
        let mut values = vec![];
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').context("a line of metrics without a value")?;
            let (metric, rest) = series.split_once('{').unwrap_or((series, ""));
            if metric == name && labels.iter().all(|label| rest.contains(label)) {
                values.push(value.parse::<f64>()?);
            }
        }
        ensure!(!values.is_empty(), "no metric {name} with {labels:?}");
        Ok(values.iter().sum())
    }
}
