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

/// Which pod gets a request, what a failure leads to, and what is read before a pod hears of it.
mod balancing;
/// Traffic while everything changes: not one request may notice.
mod churn;
/// Whose an Ingress is: classes by controller, by name, by annotation, by default, and their parameters.
mod classes;
/// Client certificates: who gets in, and that nothing is a way around.
mod client_certificates;
/// A real API server as the source.
mod cluster;
/// Responses are compressed where the ConfigMap says so and the client wants it.
mod compression;
/// What every ingress controller must do, area by area, against a real API server.
mod conformance;
/// SIGTERM: nobody is cut off, and the process ends.
mod drain;
/// Every example of the repository does what its own head says.
mod examples;
/// Services of type ExternalName, with a DNS server of their own.
mod external_name;
/// Pods that fail: who notices, who does not, and with which status.
mod failures;
/// A directory of manifests: read, re-read, and survived when it is broken.
mod file_source;
/// HTTP/2 as h2spec sees it.
mod h2spec;
/// The harness itself: clients and pods talk to each other without a subject.
mod harness;
/// What pods and clients see of a request beside its body.
mod headers;
/// Large bodies in cleartext.
mod large_responses;
/// Several replicas: all serve, one writes.
mod leadership;
/// Requests that break HTTP, or look as if they did.
mod malformed;
/// What clients can make the process hold.
mod memory;
/// Which namespaces are looked at, and with which rights.
mod namespaces;
/// The API server is away: at the start, in between, or back with its history gone.
mod outages;
/// Who owns a host or a path, and what the others are told.
mod ownership;
/// Hosts and targets in every form that HTTP allows, and some that it does not.
mod paths;
/// HTTP/2, WebSocket and other upgrades, and bodies that stream both ways.
mod protocols;
/// Which Ingress, rule and path a request takes.
mod routing;
/// TLS: which certificate is shown, which protocol is spoken, who is redirected.
mod secure;
/// Random changes and outages: what runs for long equals what starts afresh.
mod soak;
/// The status of Ingresses: which addresses, by whom, until when.
mod status;
/// TCP and UDP services: ports that come and go with ConfigMaps.
mod streams;
/// What is spoken to pods: HTTP/1.1 and HTTP/2, in cleartext and over TLS.
mod towards_pods;
/// Who a client is: what proxies in front say about it, and whom of them is believed.
mod trust;

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
    let tests = [
        balancing::tests(),
        churn::tests(),
        classes::tests(),
        client_certificates::tests(),
        cluster::tests(),
        compression::tests(),
        conformance::tests(),
        drain::tests(),
        examples::tests(),
        external_name::tests(),
        failures::tests(),
        file_source::tests(),
        h2spec::tests(),
        harness::tests(),
        headers::tests(),
        large_responses::tests(),
        leadership::tests(),
        malformed::tests(),
        memory::tests(),
        outages::tests(),
        namespaces::tests(),
        ownership::tests(),
        paths::tests(),
        protocols::tests(),
        routing::tests(),
        secure::tests(),
        soak::tests(),
        status::tests(),
        streams::tests(),
        towards_pods::tests(),
        trust::tests(),
    ]
    .into_iter()
    .flatten()
    .collect();
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
