//! Runs the tests: lists, filters, runs them side by side, reports.
//!
//! Understands the arguments that people give to `cargo test`: names to look for,
//! `--exact`, `--skip NAME`, `--list`, `--test-threads N`, `--nocapture`. A test is
//! never ignored. It ends by itself, by a panic, or by `LIMIT`.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::log::Evidence;

/// No test needs as long.
const LIMIT: Duration = Duration::from_secs(120);

/// How much of each log is shown when a test fails.
const TAIL: usize = 80;

/// One test: a name and an async function.
pub struct Test {
    name: &'static str,
    run: fn() -> LocalBoxFuture<'static, Result<()>>,
    cluster: bool,
    alone: bool,
}

/// The tests of a module, by the names of its functions:
/// `tests![one, two]`, `tests![cluster: one, two]`, `tests![cluster, alone: one]`.
#[macro_export]
macro_rules! tests {
    ($($trait:ident),+ : $($name:ident),+ $(,)?) => {
        $crate::tests![$($name),+].into_iter()$(.map($crate::runner::Test::$trait))+.collect::<Vec<_>>()
    };
    ($($name:ident),+ $(,)?) => {
        vec![$($crate::runner::Test::new(concat!(module_path!(), "::", stringify!($name)), || Box::pin($name()))),+]
    };
}

struct Arguments {
    names: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
    capture: bool,
    threads: usize,
}

struct Outcome {
    name: &'static str,
    took: Duration,
    failure: Option<String>,
}

// === impl Test ===

impl Test {
    /// A test by the path of its function.
    #[must_use]
    pub fn new(path: &'static str, run: fn() -> LocalBoxFuture<'static, Result<()>>) -> Self {
        let name = path.split_once("::").map_or(path, |(_, name)| name);
        Self { name, run, cluster: false, alone: false }
    }

    /// It uses the control plane.
    #[must_use]
    pub fn cluster(mut self) -> Self {
        self.cluster = true;
        self
    }

    /// It needs the machine for itself, because it measures or disturbs.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    fn execute(&self, runtime: &Handle, capture: bool) -> Outcome {
        let evidence = Evidence::default();
        let start = Instant::now();
        let test = AssertUnwindSafe(async { tokio::time::timeout(LIMIT, (self.run)()).await }).catch_unwind();
        let failure = match runtime.block_on(evidence.collect(test)) {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.chain().map(|cause| format!("{cause}\n")).collect()),
            Ok(Err(_)) => Some(format!("it did not end within {LIMIT:?}\n")),
            Err(_) => Some("it panicked, see above\n".to_owned()),
        };
        let failure = match failure {
            Some(failure) => Some(failure + &evidence.tails(TAIL)),
            None if !capture => {
                println!("{}", evidence.tails(usize::MAX));
                None
            }
            None => None,
        };
        Outcome { name: self.name, took: start.elapsed(), failure }
    }
}

/// Runs those of the tests that the command line asks for. `prepare` is called once
/// if one of them uses the control plane, so that it starts while others run.
pub fn run(tests: Vec<Test>, runtime: &Handle, prepare: impl FnOnce()) -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let total = tests.len();
    let selected: Vec<Test> = tests.into_iter().filter(|test| arguments.select(test.name)).collect();
    if arguments.list {
        for test in &selected {
            println!("{}: test", test.name);
        }
        return ExitCode::SUCCESS;
    }
    let filtered = total - selected.len();
    println!("running {} tests", selected.len());
    if selected.iter().any(|test| test.cluster) {
        prepare();
    }
    let start = Instant::now();
    let (alone, together): (Vec<_>, Vec<_>) = selected.into_iter().partition(|test| test.alone);
    // What needs no control plane runs while that starts.
    let (cluster, local): (Vec<_>, Vec<_>) = together.into_iter().partition(|test| test.cluster);
    let mut failures =
        execute(local.into_iter().chain(cluster).collect(), arguments.threads, runtime, arguments.capture);
    failures.extend(execute(alone.into(), 1, runtime, arguments.capture));

    for failure in &failures {
        println!("\n==== {} failed\n{}", failure.name, failure.failure.as_deref().unwrap_or_default());
    }
    for failure in &failures {
        println!("failed: {}", failure.name);
    }
    let passed = total - filtered - failures.len();
    let seconds = start.elapsed().as_secs_f64();
    println!("\n{passed} passed, {} failed, {filtered} filtered out, in {seconds:.1} s", failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

fn execute(tests: VecDeque<Test>, threads: usize, runtime: &Handle, capture: bool) -> Vec<Outcome> {
    let queue = Mutex::new(tests);
    let (report, reports) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (report, queue) = (report.clone(), &queue);
            scope.spawn(move || {
                loop {
                    let Some(test) = queue.blocking_lock().pop_front() else { return };
                    // The name of a thread stands in the message of its panic.
                    let outcome = thread::scope(|scope| {
                        let thread = thread::Builder::new().name(test.name.to_owned());
                        let running = thread.spawn_scoped(scope, || test.execute(runtime, capture));
                        running.map(|running| running.join().expect("panics of a test are caught"))
                    });
                    let outcome = outcome.unwrap_or_else(|error| Outcome {
                        name: test.name,
                        took: Duration::ZERO,
                        failure: Some(format!("cannot start a thread for it: {error}")),
                    });
                    if report.send(outcome).is_err() {
                        return;
                    }
                }
            });
        }
        drop(report);
        let mut failures = Vec::new();
        for outcome in reports {
            let word = if outcome.failure.is_some() { "FAILED" } else { "ok" };
            println!("test {} ... {word} ({:.2} s)", outcome.name, outcome.took.as_secs_f64());
            if outcome.failure.is_some() {
                failures.push(outcome);
            }
        }
        failures
    })
}

// === impl Arguments ===

impl Arguments {
    fn select(&self, name: &str) -> bool {
        let hit = |part: &String| if self.exact { name == part } else { name.contains(part.as_str()) };
        (self.names.is_empty() || self.names.iter().any(hit)) && !self.skip.iter().any(hit)
    }
}

fn arguments(arguments: impl Iterator<Item = String>) -> Result<Arguments> {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    // Tests wait more than they compute.
    let mut parsed =
        Arguments { names: vec![], skip: vec![], exact: false, list: false, capture: true, threads: 4 * cores };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let (name, mut value) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
            _ => (argument, None),
        };
        let mut value = || value.take().or_else(|| arguments.next()).ok_or_else(|| anyhow!("{name} needs a value"));
        match name.as_str() {
            "--exact" => parsed.exact = true,
            "--list" => parsed.list = true,
            "--nocapture" | "--no-capture" | "--show-output" => parsed.capture = false,
            "--skip" => parsed.skip.push(value()?),
            "--test-threads" => parsed.threads = value()?.parse::<usize>()?.max(1),
            option if option.starts_with('-') => {
                bail!("unknown argument `{option}`, there are: --exact --list --nocapture --skip NAME --test-threads N")
            }
            _ => parsed.names.push(name),
        }
    }
    Ok(parsed)
}
