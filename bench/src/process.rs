//! Child processes: started so that they cannot outlive the run, measured from `/proc`, stopped.
//!
//! Invariant: a child lives no longer than its `Process` value, and no longer than this program
//! even when that is killed (the kernel then sends SIGTERM, see `command`). Each child leads a
//! process group of its own, so that what it forks is measured and stopped with it.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Sub;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub(crate) mod stat;

/// How long a child may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Processor time used since a process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CpuTime {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

/// Resident memory in bytes. `rss` counts a page once for each process that maps it, `pss` divides
/// it among all processes that do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) rss: u64,
    pub(crate) pss: u64,
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

/// A running child and everything that it forked.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Ends the run soon, with all children stopped and all temporary files removed.
pub(crate) fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Fails once the user has asked to stop; called between steps and while waiting.
pub(crate) fn check_interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Runs a tool to its end and returns its standard output.
///
/// It is stopped, and an error returned, when it runs longer than `limit` or ends with a failure.
pub(crate) fn run(name: &str, launch: &Launch, limit: Duration, directory: &Path) -> Result<String> {
    let log = directory.join(format!("{name}.out"));
    let mut process = Process::start(name, launch, &log)?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = process.try_wait()? {
            if status.success() {
                return fs::read_to_string(&log).with_context(|| format!("read {}", log.display()));
            }
            bail!("{name} ended with {status}: {}", process.last_words());
        }
        check_interrupted()?;
        if Instant::now() > deadline {
            bail!("{name} was still running after {limit:?}: {}", process.last_words());
        }
        thread::sleep(POLL);
    }
}

// === impl Launch ===

impl Launch {
    pub(crate) fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), environment: Vec::new() }
    }

    pub(crate) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The same run by `wrapper`, such as valgrind.
    pub(crate) fn under(self, wrapper: &Self) -> Self {
        let mut wrapped = wrapper.clone();
        wrapped.arguments.push(self.program.to_string_lossy().into_owned());
        wrapped.arguments.extend(self.arguments);
        wrapped.environment.extend(self.environment);
        wrapped
    }

    /// The command wrapped in `setpriv --pdeathsig`, which has the kernel end it together with the
    /// thread that started it, whatever ends that thread.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "--"])
            .arg(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .process_group(0);
        command
    }
}

// === impl Process ===

impl Process {
    /// Starts `launch` with both outputs going to the file `log`.
    pub(crate) fn start(name: &str, launch: &Launch, log: &Path) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let errors = output.try_clone().context("share the log file")?;
        let child = launch
            .command()
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("start {name} ({})", launch.program.display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails, with the end of its log, when the process is no longer there.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}: {}", self.name, self.last_words()),
        }
    }

    /// The end of what the process has written.
    pub(crate) fn last_words(&self) -> String {
        const LINES: usize = 8;
        match fs::read(&self.log) {
            Err(error) => format!("(its log cannot be read: {error})"),
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let lines: Vec<&str> = text.trim_end().lines().collect();
                lines[lines.len().saturating_sub(LINES)..].join("\n")
            }
        }
    }

    /// Processor time of the process and all that it forked.
    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        let group = stat::group(self.id())?;
        if group.is_empty() {
            bail!("{} is gone: {}", self.name, self.last_words());
        }
        Ok(group.into_iter().fold(CpuTime::default(), |sum, member| CpuTime {
            user: sum.user + member.cpu.user,
            system: sum.system + member.cpu.system,
        }))
    }

    /// Resident memory of the process and all that it forked.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let mut sum = Memory::default();
        for member in stat::group(self.id())? {
            let memory = stat::memory(member.id)?;
            sum.rss += memory.rss;
            sum.pss += memory.pss;
        }
        Ok(sum)
    }

    /// Asks the process to end and waits until it has, with `limit` as the most to wait.
    pub(crate) fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} was still running {limit:?} after SIGTERM", self.name);
            }
            thread::sleep(POLL);
        }
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("wait for {}", self.name))
    }

    /// Sends a signal to the whole process group. The shell's own `kill` is used because the
    /// standard library has only SIGKILL, and only for the leader.
    fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" -- \"-$1\" 2>/dev/null", signal])
            .arg(self.id().to_string())
            .status()
            .context("start sh")?;
        if status.success() || stat::group(self.id())?.is_empty() {
            return Ok(());
        }
        bail!("SIG{signal} could not be sent to {}", self.name)
    }

    fn stop(&mut self) -> Result<()> {
        if self.terminate(GRACE).is_err() || !stat::group(self.id())?.is_empty() {
            self.signal("KILL")?;
            self.child.wait().with_context(|| format!("wait for {}", self.name))?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            // There is nobody left to return this to, and a survivor would spoil the next run.
            writeln!(std::io::stderr(), "cannot stop {}: {error:#}", self.name).ok();
        }
    }
}

// === impl CpuTime ===

impl CpuTime {
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { user: self.user.saturating_sub(earlier.user), system: self.system.saturating_sub(earlier.system) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_takes_its_children_along() {
        let directory = tempfile::tempdir().unwrap();
        let launch = Launch::new("sh").arg("-c").arg("sleep 600 & sleep 600");
        let process = Process::start("sh", &launch, &directory.path().join("log")).unwrap();
        let group = process.id();
        let deadline = Instant::now() + Duration::from_secs(10);
        while stat::group(group).unwrap().len() < 3 {
            assert!(Instant::now() < deadline, "the shell did not fork");
            thread::sleep(POLL);
        }
        drop(process);
        // Whoever adopted the children has yet to hear that they have ended.
        while !stat::group(group).unwrap().is_empty() {
            assert!(Instant::now() < deadline, "somebody is left");
            thread::sleep(POLL);
        }
    }

    #[test]
    fn a_failing_tool_is_an_error_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let launch = Launch::new("sh").arg("-c").arg("echo no such thing; exit 3");
        let error = run("tool", &launch, Duration::from_secs(10), directory.path()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("no such thing"), "{text}");
    }

    #[test]
    fn a_tool_that_takes_too_long_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let launch = Launch::new("sleep").arg("600");
        let error = run("sleep", &launch, Duration::from_millis(50), directory.path()).unwrap_err();
        assert!(error.to_string().contains("still running"), "{error}");
    }
}
