//! All tests that look at the product from outside, in one program.
//!
//! `cargo test -p rust-nginx-tests -- NAME` runs those whose name contains NAME;
//! see `rust_nginx_tests::runner` for more arguments.

use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use rust_nginx_tests::control_plane::ControlPlane;
use rust_nginx_tests::{namespace, runner, scratch};
use tokio::signal::unix::{SignalKind, signal};

/// The harness itself: clients and pods talk to each other without a subject.
mod harness;

fn main() -> Result<ExitCode> {
    // Listing must work where nothing can run.
    let list = std::env::args().any(|argument| argument == "--list");
    if !list {
        namespace::enter()?;
        scratch::create()?;
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a provider of cryptography is installed already"))?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.spawn(interrupted());
    let tests = [harness::tests()].into_iter().flatten().collect();
    // A failure to start is reported by each test that needs it.
    let handle = runtime.handle().clone();
    let prepare = || drop(thread::spawn(move || handle.block_on(ControlPlane::shared()).is_ok()));
    let code = runner::run(tests, runtime.handle(), prepare);
    scratch::remove();
    Ok(code)
}

/// The first process of a PID namespace is not ended by signals that it does not handle.
#[expect(clippy::disallowed_methods, reason = "whoever interrupts a run waits for nothing")]
async fn interrupted() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    scratch::remove();
    eprintln!("interrupted");
    std::process::exit(130)
}
