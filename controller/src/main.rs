//! The rust-nginx binary.

use rust_nginx::{
    args::{self, Invocation, ProcessEnvironment},
    cli, telemetry,
};
use rust_nginx_proxy::tls;
use std::{
    io::{self, Write as _},
    process::ExitCode,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code for wrong arguments, as shells have it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    use_small_pages();
    tls::crypto_provider().install_default().expect("nothing else has installed a provider before main");
    if let Err(error) = tls::check_fips() {
        eprintln!("rust-nginx: {error}");
        return ExitCode::FAILURE;
    }
    let result = match args::parse(std::env::args_os().skip(1), &ProcessEnvironment) {
        Ok(Invocation::Print(text)) => print(&text),
        Ok(Invocation::Crds) => print(&cli::crds::render()),
        Ok(Invocation::Serve(config)) => telemetry::init(config.log).and_then(|()| cli::serve::run(&config)),
        Ok(Invocation::Demo(config)) => telemetry::init(config.log).and_then(|()| cli::demo::run(&config)),
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(USAGE);
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("rust-nginx: {error:#}");
        ExitCode::FAILURE
    })
}

/// With huge pages every heap that a thread has begun takes 2 MiB: 20 MB of an idle process, against 3 MB. The allocator is
/// built not to ask for them; this is for machines that hand them out unasked.
fn use_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        eprintln!("rust-nginx: cannot switch huge pages off, so more memory is used: {error}");
    }
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(text.as_bytes()).map(|()| ExitCode::SUCCESS).map_err(Into::into)
}
