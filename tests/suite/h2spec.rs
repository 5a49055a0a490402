//! HTTP/2 as h2spec sees it: all its cases, strict ones too, against both listeners.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{backend, ingress, ingress_class, prefix};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{scratch, tests, tools};
use tokio::process::Command;

pub(crate) fn tests() -> Vec<Test> {
    tests![over_tls, in_cleartext]
}

/// Fewer than this, and it has not run what we think it runs.
const CASES: usize = 140;

async fn over_tls() -> Result<()> {
    conforms("tls", &[], &["--tls", "--insecure"], |site| site.subject.https()).await
}

/// Whoever speaks HTTP/2 in cleartext does so by prior knowledge, on a port that speaks HTTP/1.1 too: what does not
/// begin with the preface of HTTP/2 is a request of HTTP/1.1, and answered as such, in place of a GOAWAY.
async fn in_cleartext() -> Result<()> {
    conforms("cleartext", &["Sends invalid connection preface"], &[], |site| site.subject.http()).await
}

/// How often it is run. h2spec takes a reset for something else than the end of a connection, and whether its next frame
/// is here before a connection that it has ended is closed is a race that no server wins without waiting for the client.
const RUNS: usize = 3;

/// Runs h2spec; what fails every time is exactly what is expected to.
async fn conforms(
    name: &str,
    expected: &[&str],
    arguments: &[&str],
    listener: impl Fn(&Site) -> SocketAddr,
) -> Result<()> {
    let program = tools::tool("h2spec").await?;
    let pod = Pod::start("app").await?;
    let rules = ingress("web").class(CLASS).host("", [prefix("/", "app")]).build();
    let manifests = [ingress_class(CLASS, CONTROLLER), rules].into_iter().chain(backend("app", &[&pod]));
    let site = Site::start(manifests).await?;
    let address = listener(&site);
    let report = scratch::directory("h2spec")?.join(format!("{name}.xml"));
    let (mut always, mut last): (Option<Vec<String>>, _) = (None, String::new());
    for _ in 0..RUNS {
        let (failed, said) = run(&program, address, arguments, &report).await?;
        last = said;
        let still = match always {
            None => failed,
            Some(before) => before.into_iter().filter(|case| failed.contains(case)).collect(),
        };
        if still == expected {
            return Ok(());
        }
        always = Some(still);
    }
    bail!("these cases fail every time: {always:?}, and {expected:?} are expected to:\n{last}")
}

/// The cases that fail in one run, and what it says.
async fn run(program: &Path, address: SocketAddr, arguments: &[&str], report: &Path) -> Result<(Vec<String>, String)> {
    let output = Command::new(program)
        .args(["--strict", "--timeout", "5", "--path", "/pod/bytes/1000"])
        .args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(arguments)
        .arg("--junit-report")
        .arg(report)
        .kill_on_drop(true)
        .output()
        .await
        .context("running h2spec")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let text = std::fs::read_to_string(report).with_context(|| format!("h2spec left no report and said: {said}"))?;
    let (count, failed) = read(&text);
    ensure!(count >= CASES, "h2spec ran {count} cases: {said}");
    Ok((failed, said.into_owned()))
}

/// How many cases a JUnit report holds, and which of them did not pass.
fn read(report: &str) -> (usize, Vec<String>) {
    let cases: Vec<&str> = report.split("<testcase ").skip(1).collect();
    let attribute = |case: &str, name: &str| {
        let value = case.split(&format!("{name}=\"")).nth(1)?.split('"').next()?;
        Some(value.to_owned())
    };
    let failed = cases
        .iter()
        .filter(|case| ["<failure", "<error", "<skipped"].iter().any(|mark| case.contains(mark)))
        .map(|case| attribute(case, "classname").unwrap_or_default())
        .collect();
    (cases.len(), failed)
}
