//! `rust-nginx demo`: sample pods, certificates and manifests around the same parts that `rust-nginx serve` runs.
//!
//! Invariant: the controller in the middle is configured by a command line that anybody could type, and is told so.
//! Nothing is needed but this machine, and nothing is left behind.

use super::serve::{Running, Signals, control_plane};
use crate::{
    args::{self, BindAddress, Demo, Environment, Invocation, Serve},
    demo::{
        certificate::Authority,
        check::Subject,
        client::Trust,
        guide::{self, Guide},
        manifests::{Contents, Directory, NAMESPACE, TLS_HOST},
        pod::{Identity, Pod},
    },
};
use anyhow::{Context as _, bail};
use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
};
use tracing::{info, warn};

/// The Services of `examples/quickstart`, and how many pods each gets.
const PODS: [(&str, usize); 2] = [("web", 3), ("api", 2)];

const HTTP_PORT: u16 = 8080;
const HTTPS_PORT: u16 = 8443;
const ADMIN_PORT: u16 = 10254;

/// Runs until a signal ends it, or with `--once` until everything was checked.
///
/// # Errors
/// When an address cannot be bound, or the directory cannot be written.
pub fn run(config: &Demo) -> anyhow::Result<ExitCode> {
    let runtime = control_plane()?;
    let code = runtime.block_on(demo(config));
    runtime.shutdown_background();
    code
}

async fn demo(config: &Demo) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let pods = start_pods().await.context("cannot start the sample pods")?;
    let authority = Authority::new().context("cannot make an authority")?;
    let pair = authority.sign(TLS_HOST).with_context(|| format!("cannot make a certificate for {TLS_HOST}"))?;
    let mut settings = vec![("use-port-in-redirects", "true"), ("worker-shutdown-timeout", "2s")];
    if config.once {
        // The lines of the checks are enough on standard output.
        settings.push(("disable-access-log", "true"));
    }
    let contents = Contents { pods: &pods, authority: &authority, pair: &pair, settings: &settings };
    let directory = Directory::create(contents)?;

    let line = CommandLine::new(config, &directory);
    let mut running = Running::start(&line.parse()?).await.map_err(explain_busy_port)?;
    tokio::select! {
        ready = running.ready() => ready.map_err(explain_busy_port)?,
        name = signals.next() => bail!("{name} before anything was served"),
    }
    let first = |what: &str, addresses: &[SocketAddr]| {
        addresses.first().copied().map(guide::reachable).with_context(|| format!("no address for {what}"))
    };
    let (http, https) = (first("HTTP", running.http_addresses())?, first("HTTPS", running.https_addresses())?);
    let admin = first("the admin pages", running.admin_addresses())?;

    if config.once {
        let trust = Trust::only(authority.certificate())?;
        let redirect_port = line.redirect_port();
        let subject = Subject { http, https, admin, redirect_port, trust, pods: &pods, directory: &directory };
        let passed = tokio::select! {
            passed = subject.check(print) => passed,
            error = running.serve() => return Err(error),
            name = signals.next() => bail!("{name} before everything was checked"),
        };
        running.stop().await;
        return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }

    let (manifests, authority) = (directory.manifests(), directory.authority_file());
    let (pods, command) = (pods.len(), line.to_string());
    let guide = Guide { http, https, admin, manifests: &manifests, authority: &authority, pods, command: &command };
    write!(io::stdout(), "{guide}")?;
    tokio::select! {
        error = running.serve() => return Err(error),
        name = signals.next() => info!(signal = name, "shutting down; a second signal ends at once"),
    }
    tokio::select! {
        () = running.stop() => Ok(ExitCode::SUCCESS),
        name = signals.next() => {
            warn!(signal = name, "ending at once");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Who looks at the exit code only may have closed standard output.
fn print(line: String) {
    let _ = writeln!(io::stdout(), "{line}");
}

async fn start_pods() -> io::Result<Vec<Pod>> {
    let mut pods = Vec::new();
    for (service, count) in PODS {
        for number in 1..=count {
            let (namespace, service, name) = (NAMESPACE.to_owned(), service.to_owned(), format!("{service}-{number}"));
            pods.push(Pod::start(Identity { namespace, service, name }).await?);
        }
    }
    Ok(pods)
}

/// Who has another server on 8080 should not have to guess which flag helps.
fn explain_busy_port(error: anyhow::Error) -> anyhow::Error {
    let busy = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    if !error.chain().any(busy) {
        return error;
    }
    anyhow::anyhow!(
        "{error:#}; stop what listens there, or choose another address with --http-addr, --https-addr or --admin-addr \
         (such as --http-addr 127.0.0.1:8081)"
    )
}

/// The arguments of the `serve` that the demo is.
#[derive(Debug)]
struct CommandLine {
    manifests: String,
    http: Vec<BindAddress>,
    https: Vec<BindAddress>,
    admin: Vec<BindAddress>,
}

/// The demo is the same whatever RUST_NGINX_… variables are set; `demo` itself has read those that it takes.
struct NoEnvironment;

// === impl CommandLine ===

impl CommandLine {
    fn new(config: &Demo, directory: &Directory) -> Self {
        let or_default = |given: &[BindAddress], port, both_families: bool| {
            if !given.is_empty() {
                return given.to_vec();
            }
            if config.once {
                return vec![loopback(0)];
            }
            // Browsers try ::1 first for the names below localhost.
            let ipv6 =
                (both_families && has_ipv6()).then(|| BindAddress::One(SocketAddr::from((Ipv6Addr::LOCALHOST, port))));
            std::iter::once(loopback(port)).chain(ipv6).collect()
        };
        Self {
            manifests: directory.manifests().display().to_string(),
            http: or_default(&config.http, HTTP_PORT, true),
            https: or_default(&config.https, HTTPS_PORT, true),
            admin: or_default(&config.admin, ADMIN_PORT, false),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "serve".to_owned(),
            format!("--manifests={}", self.manifests),
            format!("--configmap={}", Directory::settings_name()),
        ];
        for (flag, addresses) in [("http", &self.http), ("https", &self.https), ("admin", &self.admin)] {
            arguments.extend(addresses.iter().map(|address| match address {
                BindAddress::Every(port) => format!("--{flag}-addr=:{port}"),
                BindAddress::One(address) => format!("--{flag}-addr={address}"),
            }));
        }
        arguments
    }

    fn parse(&self) -> anyhow::Result<Serve> {
        match args::parse(self.arguments().into_iter().map(Into::into), &NoEnvironment)? {
            Invocation::Serve(serve) => Ok(*serve),
            Invocation::Demo(_) | Invocation::Crds | Invocation::Print(_) => {
                bail!("the arguments of the demo are not those of `serve`")
            }
        }
    }

    /// The port that redirects name with `use-port-in-redirects`; a free port is not known when they are compiled.
    fn redirect_port(&self) -> Option<u16> {
        let port = self.https.first().map(|address| match address {
            BindAddress::Every(port) => *port,
            BindAddress::One(address) => address.port(),
        });
        port.filter(|port| ![0, 443].contains(port))
    }
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("rust-nginx")?;
        self.arguments().iter().try_for_each(|argument| write!(f, " {}", guide::quote(argument)))
    }
}

fn loopback(port: u16) -> BindAddress {
    BindAddress::One(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

// === impl NoEnvironment ===

impl Environment for NoEnvironment {
    fn get(&self, _: &str) -> Option<String> {
        None
    }

    fn host_name(&self) -> Option<String> {
        Some("demo".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{CommandLine, loopback};
    use crate::args::{BindAddress, Source};

    fn line(manifests: &str) -> CommandLine {
        CommandLine {
            manifests: manifests.to_owned(),
            http: vec![loopback(8080), BindAddress::One("[::1]:8080".parse().unwrap())],
            https: vec![BindAddress::Every(8443)],
            admin: vec![loopback(0)],
        }
    }

    #[test]
    fn the_demo_is_a_serve_that_anybody_could_type() {
        let line = line("/home/a b");
        let serve = line.parse().unwrap();
        assert_eq!(serve.source, Source::Manifests("/home/a b".into(), crate::args::Scope::All));
        assert_eq!(serve.compile.https_port, 8443);
        assert_eq!(serve.warnings, Vec::<String>::new());
        assert_eq!(
            line.to_string(),
            "rust-nginx serve '--manifests=/home/a b' --configmap=default/rust-nginx --http-addr=127.0.0.1:8080 \
             '--http-addr=[::1]:8080' --https-addr=:8443 --admin-addr=127.0.0.1:0"
        );
    }

    #[test]
    fn redirects_name_a_port_that_is_known() {
        let mut line = line("/home/x");
        assert_eq!(line.redirect_port(), Some(8443));
        line.https = vec![loopback(0)];
        assert_eq!(line.redirect_port(), None);
    }
}
