//! Compares rust-nginx with nginx, HAProxy and Envoy on this machine: processor time per request,
//! requests per second, latency at a fixed rate and memory, for six kinds of traffic. `scale` measures it
//! in a large cluster, see `scale.rs`; `soak` keeps mixed traffic up and looks for what grows, see `soak.rs`.
//!
//! ```text
//!  args ─> run ─> target (peer + process)  <── load (wrk, h2load, own client)
//!           │        └─> origin (this program again, as a process of its own)
//!           └─> results ─> report ─> terminal, JSON file, documents
//! ```
//!
//! Everything listens on loopback or in a namespace without a way out, every wait has an end, and no child outlives the run.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, ExitCode, Stdio};
use std::time::Duration;
use std::{env, thread};

use anyhow::{Context, Result, bail};
use rust_nginx_tests::namespace;
use tokio::signal::unix::{SignalKind, signal};

use args::{Command, Compare, Network};
use peer::{Found, Peer, Programs};
use report::docs::Section;
use results::{Machine, Results, Settings, read_json, write_json};

mod args;
mod callgrind;
mod layout;
mod load;
mod origin;
mod peer;
mod process;
mod report;
mod results;
mod run;
mod scale;
mod site;
mod soak;
mod target;
mod work;

/// Set for the copy of this program that runs with more open files allowed.
const RAISED: &str = "RUST_NGINX_BENCH_RAISED";
/// Open files of the process with the most of them: the client that holds idle connections.
const OPEN_FILES: u64 = 8192;

fn main() -> ExitCode {
    let command = match args::parse(env::args_os().skip(1)) {
        Ok(command) => command,
        Err(errors) => {
            print(&mut std::io::stderr(), &(errors.join("\n") + "\n"));
            return ExitCode::from(2);
        }
    };
    let done = match command {
        Command::Help => {
            print(&mut std::io::stdout(), args::HELP);
            Ok(())
        }
        Command::Origin { threads } => origin::serve(threads),
        Command::Compare(options) => compare(options),
        Command::Scale(options) => measure_scale(&options),
        Command::Soak(options) => soak(&options),
        Command::Layout(programs) => prepare_process()
            .and_then(|()| subject(&programs))
            .and_then(|found| layout::run(&found, &root().join("controller/layout.ld")))
            .map(|count| print(&mut std::io::stdout(), &format!("{count} functions\n"))),
        Command::Callgrind(options) => prepare_process()
            .and_then(|()| subject(&options.programs))
            .and_then(|found| {
                let output = match &options.output {
                    Some(output) => output.clone(),
                    None => target_directory().join("bench/callgrind"),
                };
                callgrind::run(&found, &options.works, options.requests, &output)
            })
            .map(|counts| print(&mut std::io::stdout(), &report::instructions(&counts))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(&mut std::io::stderr(), &format!("{error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn compare(mut options: Compare) -> Result<()> {
    let results = match &options.from {
        Some(path) => read_json(path)?,
        None => {
            if let Network::Own(congestion_control) = &options.network {
                let builds = options.peers.contains(&Peer::RustNginx);
                options.programs = enter_network(&options.programs, builds, congestion_control.as_deref())?;
            }
            prepare_process()?;
            measure(&options)?
        }
    };
    print(&mut std::io::stdout(), &report::full(&results));
    if options.write_docs {
        let (summary, full) = (report::summary(&results), report::full(&results));
        report::docs::write(&root(), Section::Bench, Some(summary), full)?;
    }
    Ok(())
}

/// What needs the network of the machine (cargo) comes first; then the program starts again in one of its own, in which
/// connections are as Linux makes them, whatever this machine was told.
fn enter_network(programs: &Programs, builds: bool, congestion_control: Option<&str>) -> Result<Programs> {
    let mut programs = programs.clone();
    if builds && programs.subject.is_none() && !namespace::is_inside() {
        build()?;
    }
    match congestion_control {
        Some(name) => namespace::enter_network(&[name])?,
        None => namespace::enter_network(namespace::USUAL_CONGESTION_CONTROL)?,
    }
    programs.subject.get_or_insert_with(built);
    Ok(programs)
}

fn measure(options: &Compare) -> Result<Results> {
    let peers = find(options)?;
    let request = run::Request {
        works: options.works.clone(),
        peers,
        settings: Settings {
            rounds: options.rounds,
            seconds: options.seconds,
            workers: options.workers,
            idle_connections: options.idle_connections,
        },
        latency: options.latency,
        memory: options.memory,
    };
    let directory =
        tempfile::Builder::new().prefix("rust-nginx-bench-").tempdir().context("make a temporary directory")?;
    let results = match &options.keep {
        Some(keep) => {
            fs::create_dir_all(keep).with_context(|| format!("create {}", keep.display()))?;
            let keep = keep.canonicalize().with_context(|| format!("{}", keep.display()))?;
            run::run(&request, &keep)?
        }
        None => run::run(&request, directory.path())?,
    };
    let output = match &options.output {
        Some(output) => output.clone(),
        None => {
            let name = results.started.replace(':', "");
            target_directory().join("bench").join(format!("{name}.json"))
        }
    };
    write_json(&output, &results)?;
    print(&mut std::io::stderr(), &format!("results: {}\n", output.display()));
    Ok(results)
}

/// What needs the network of the machine (cargo) comes first; then the program starts again in a
/// namespace without one.
fn measure_scale(options: &args::Scale) -> Result<()> {
    if options.from.is_none() && !namespace::is_inside() {
        raise_open_files()?;
        if options.pure {
            scale::pure::run(&root(), &criterion_directory())?;
        }
        if options.cluster && options.programs.subject.is_none() {
            build()?;
        }
    }
    let results = match &options.from {
        Some(path) => read_json(path)?,
        None => {
            if options.cluster {
                namespace::enter()?;
            }
            let results = scale_results(options)?;
            let name = format!("scale-{}.json", results.started.replace(':', ""));
            let output = options.output.clone().unwrap_or_else(|| target_directory().join("bench").join(name));
            write_json(&output, &results)?;
            print(&mut std::io::stderr(), &format!("results: {}\n", output.display()));
            results
        }
    };
    print(&mut std::io::stdout(), &scale::report::full(&results));
    if options.write_docs {
        let (summary, full) = (scale::report::summary(&results), scale::report::full(&results));
        report::docs::write(&root(), Section::Scale, Some(summary), full)?;
    }
    Ok(())
}

fn scale_results(options: &args::Scale) -> Result<scale::results::Scale> {
    let started = results::now();
    let pure = options.pure.then(|| scale::pure::read(&criterion_directory())).transpose()?;
    let mut programs = options.programs.clone();
    programs.subject.get_or_insert_with(built);
    let (stages, parts, version) = if options.cluster {
        let found = Peer::RustNginx.find(&programs)?;
        let (stages, parts) = scale::cluster(&options.plan, &found.program)?;
        (stages, parts, found.version)
    } else {
        (Vec::new(), Vec::new(), env!("CARGO_PKG_VERSION").to_owned())
    };
    Ok(scale::results::Scale { started, machine: Machine::describe()?, version, pure, stages, parts })
}

/// The report is printed, and written, whatever the verdict is.
fn soak(options: &args::Soak) -> Result<()> {
    let programs = enter_network(&options.programs, true, None)?;
    prepare_process()?;
    let found = subject(&programs)?;
    let directory =
        tempfile::Builder::new().prefix("rust-nginx-soak-").tempdir().context("make a temporary directory")?;
    let outcome = soak::run(&found, Duration::from_secs(options.minutes * 60), directory.path())?;
    let report = outcome.report();
    print(&mut std::io::stdout(), &report);
    if options.write_docs {
        report::docs::write(&root(), Section::Soak, None, report)?;
    }
    outcome.verdict()
}

fn criterion_directory() -> PathBuf {
    target_directory().join("bench/criterion")
}

/// Finds every program that the run needs, and reports all that are missing at once.
fn find(options: &Compare) -> Result<Vec<Found>> {
    let tools = [("wrk", "wrk"), ("h2load", "nghttp2-client"), ("setpriv", "util-linux")];
    let tools = tools.map(|(tool, package)| peer::installed(tool, package));
    let mut missing: Vec<String> = tools.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    let mut found = Vec::new();
    for &peer in &options.peers {
        let one = match peer {
            Peer::RustNginx => subject(&options.programs),
            Peer::Nginx | Peer::Baseline | Peer::Haproxy | Peer::Envoy => peer.find(&options.programs),
        };
        match one {
            Ok(one) => found.push(one),
            Err(error) => missing.push(format!("{error:#}")),
        }
    }
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    Ok(found)
}

/// The rust-nginx that is measured: the one given, else a release build of this checkout.
fn subject(programs: &Programs) -> Result<Found> {
    let mut programs = programs.clone();
    if programs.subject.is_none() {
        programs.subject = Some(build()?);
    }
    Peer::RustNginx.find(&programs)
}

/// Where cargo leaves it.
fn built() -> PathBuf {
    target_directory().join("release/rust-nginx")
}

/// Builds the binary and takes its path from what cargo reports.
fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Program::new(cargo)
        .args(["build", "--release", "--package", "rust-nginx", "--bin", "rust-nginx"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        bail!("rust-nginx does not build");
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "rust-nginx")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo reported no executable rust-nginx")
}

/// The checkout that this program was built from.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

fn target_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Allows as many open files as the run needs, and makes Ctrl-C end the run in good order.
fn prepare_process() -> Result<()> {
    raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("start the runtime that waits for signals")?;
    thread::spawn(move || {
        runtime.block_on(async {
            let interrupts = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
            let (Ok(mut interrupt), Ok(mut terminate)) = interrupts else {
                // Without handlers a signal ends us at once, and the kernel then ends our children.
                return;
            };
            for _ in 0..2 {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                process::interrupt();
            }
            // Asked twice: leave at once.
            std::process::exit(130);
        });
    });
    Ok(())
}

/// Starts this program again under `prlimit` when its limit is too low. All children inherit it.
fn raise_open_files() -> Result<()> {
    let limits = fs::read_to_string("/proc/self/limits").context("read /proc/self/limits")?;
    let (soft, hard) = open_files(&limits).context("no `Max open files` in /proc/self/limits")?;
    if soft >= OPEN_FILES {
        return Ok(());
    }
    if hard < OPEN_FILES || env::var_os(RAISED).is_some() {
        bail!("{OPEN_FILES} open files are needed and {hard} allowed: raise `ulimit -Hn`");
    }
    let error = Program::new("prlimit")
        .arg(format!("--nofile={OPEN_FILES}:{hard}"))
        .arg(env::current_exe().context("path of this program")?)
        .args(env::args_os().skip(1))
        .env(RAISED, "1")
        .exec();
    Err(error).context("prlimit does not start; get it with: apt-get install util-linux")
}

/// Soft and hard limit from the text of `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<(u64, u64)> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace().map(|word| match word {
        "unlimited" => Some(u64::MAX),
        word => word.parse().ok(),
    });
    Some((numbers.next()??, numbers.next()??))
}

/// A reader that has gone away is no reason to stop.
fn print(out: &mut impl std::io::Write, text: &str) {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(open_files(text), Some((1024, 524_288)));
        assert_eq!(open_files("Max open files  unlimited unlimited files\n"), Some((u64::MAX, u64::MAX)));
        assert_eq!(open_files("Max cpu time unlimited unlimited\n"), None);
    }
}
