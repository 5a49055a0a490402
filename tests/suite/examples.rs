//! Every example of the repository does what its own head says, from files and in a
//! cluster: the `curl` lines are sent, and the word behind each says who answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::certificate::Pair;
use rust_nginx_tests::client::{self, Answer, Request};
use rust_nginx_tests::control_plane::{ControlPlane, World};
use rust_nginx_tests::files::CLASS;
use rust_nginx_tests::objects::{Manifest, endpoint_slice};
use rust_nginx_tests::pod::{Http2Pod, Pod, Terminator};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::subject::{Launch, Subject};
use rust_nginx_tests::{address, files, tests, tools, wait};

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = tests![examples_work_from_files];
    tests.extend(tests![cluster: examples_work_in_a_cluster]);
    tests
}

/// The Services of the examples, and where `local.yaml` expects their pods.
const PODS: [(&str, &str); 3] = [("web", "127.0.0.1:9001"), ("api", "127.0.0.1:9002"), ("fallback", "127.0.0.1:9003")];

/// The same for the pods of HTTP/2.
const HTTP2_PODS: [(&str, &str); 1] = [("grpc", "127.0.0.1:9004")];

/// The pod that speaks TLS, where `local.yaml` expects it, and the example with its certificate.
const SECURE_POD: (&str, &str, &str) = ("secure", "127.0.0.1:9005", "tls-to-pods");

/// A `curl` line at the head of an example.
struct Line {
    tls: bool,
    host: String,
    target: String,
    /// A pod, a status, or nothing in particular.
    outcome: Option<String>,
}

fn examples() -> Result<Vec<PathBuf>> {
    let folder = tools::repository().join("examples");
    let mut found = vec![];
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    ensure!(found.len() >= 8, "the examples are gone: {found:?}");
    Ok(found)
}

/// What an example wants on the command line.
fn flags(text: &str) -> Vec<String> {
    let flags = text.lines().find_map(|line| line.strip_prefix("# flags:")).unwrap_or_default();
    flags.split_whitespace().map(ToOwned::to_owned).collect()
}

/// The pod that speaks TLS, with the pod behind it.
async fn secure_pod(own: SocketAddr, behind: SocketAddr) -> Result<(Terminator, Pod)> {
    let (name, _, example) = SECURE_POD;
    let text = std::fs::read_to_string(tools::repository().join("examples").join(example).join("ingress.yaml"))?;
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text)?;
    let secret = documents.iter().find(|document| document["metadata"]["name"] == "throw-away-example-pod");
    let data = &secret.context("the example has no certificate for its pods")?["stringData"];
    let value = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
    let pair = Pair { certificate: value("tls.crt"), key: value("tls.key") };
    let pod = Pod::start_on(name, behind).await?;
    Ok((Terminator::start_for_clients_of_on(own, &value("ca.crt"), pod.address, &pair).await?, pod))
}

fn lines(example: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(example.join("ingress.yaml"))?;
    let commands = text.lines().filter_map(|line| line.strip_prefix("#   curl "));
    let lines: Vec<Line> = commands.map(parse).collect::<Result<_>>()?;
    ensure!(!lines.is_empty(), "{} says nothing to try", example.display());
    Ok(lines)
}

fn parse(command: &str) -> Result<Line> {
    let mut words = command.split_whitespace();
    let url = words.by_ref().find(|word| word.starts_with("http")).with_context(|| format!("no URL: {command}"))?;
    let (scheme, rest) = url.split_once("://").with_context(|| format!("no URL: {url}"))?;
    let (host, path) = rest.split_once('/').with_context(|| format!("no path: {url}"))?;
    let outcome = words.next().map(|word| word.trim_end_matches([',', ';', '.', ':']).to_owned());
    ensure!(command.contains("$HTTPS") == (scheme == "https"), "scheme and port differ: {command}");
    Ok(Line { tls: scheme == "https", host: host.to_owned(), target: format!("/{path}"), outcome })
}

fn outcome(answer: &Answer) -> String {
    answer.echo().map_or_else(|_| answer.status.to_string(), |echo| echo.pod)
}

/// Sends the lines; the first may take until the objects have arrived.
async fn try_lines(subject: &Subject, lines: &[Line]) -> Result<()> {
    for line in lines {
        let url = format!("{}{}", line.host, line.target);
        wait::until(&format!("{url} is answered by {:?}", line.outcome), async || {
            let request = Request::get(&line.host, &line.target);
            let answer = if line.tls {
                client::send_tls(subject.https(), &line.host, &request).await?
            } else {
                client::send(subject.http(), &request).await?
            };
            let seen = outcome(&answer);
            let fits = line.outcome.as_ref().map_or_else(|| answer.status == 200, |wanted| *wanted == seen);
            ensure!(fits, "it is {}", answer.summary());
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// What an example is silent about: its first line of warning, if any.
fn warnings(subject: &Subject) -> Vec<String> {
    subject.log.lines().into_iter().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect()
}

async fn examples_work_from_files() -> Result<()> {
    let mut pods = vec![];
    for (name, at) in PODS {
        pods.push(Pod::start_on(name, at.parse()?).await?);
    }
    let mut http2_pods = vec![];
    for (name, at) in HTTP2_PODS {
        http2_pods.push(Http2Pod::start_on(name, at.parse()?).await?);
    }
    let _secure = secure_pod(SECURE_POD.1.parse()?, (address::pod(), 8080).into()).await?;
    for example in examples()? {
        let name = example.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let flags = flags(&std::fs::read_to_string(example.join("ingress.yaml"))?);
        let launch = flags.into_iter().fold(files::launch(&example), Launch::arg);
        let subject = launch.ready().await.with_context(|| name.clone())?;
        try_lines(&subject, &lines(&example)?).await.with_context(|| format!("example {name}"))?;
        check_warnings(&name, &warnings(&subject))?;
    }
    Ok(())
}

async fn examples_work_in_a_cluster() -> Result<()> {
    let (mut pods, mut http2_pods, mut addresses) = (vec![], vec![], BTreeMap::new());
    for (name, _) in PODS {
        let pod = Pod::start_at(name, address::pod()).await?;
        addresses.insert(name, pod.address);
        pods.push(pod);
    }
    for (name, _) in HTTP2_PODS {
        let pod = Http2Pod::start(name).await?;
        addresses.insert(name, pod.address);
        http2_pods.push(pod);
    }
    let secure = secure_pod((address::pod(), 8443).into(), (address::pod(), 8080).into()).await?;
    addresses.insert(SECURE_POD.0, secure.0.address);
    ControlPlane::shared().await?.cluster.define_own_kinds().await?;
    for example in examples()? {
        let name = example.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        // The class is the installation's; everything else is applied as it is written.
        let world = World::new(&format!("example-{name}")).await?;
        // Annotations name objects with their namespace.
        let text = std::fs::read_to_string(example.join("ingress.yaml"))?;
        let text = text.replace(": default/", &format!(": {}/", world.namespace));
        let text = text.replace("=default/", &format!("={}/", world.namespace));
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text)?;
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            let mut manifest = Manifest(document);
            if manifest.0["spec"]["ingressClassName"] == CLASS {
                manifest.0["spec"]["ingressClassName"] = world.class.clone().into();
            }
            if manifest.0["metadata"]["annotations"]["kubernetes.io/ingress.class"] == CLASS {
                manifest = manifest.annotated("kubernetes.io/ingress.class", &world.class);
            }
            if manifest.kind() == "IngressClass" {
                let installed = world.chart.only("IngressClass")?;
                manifest.0["spec"]["controller"] = installed.0["spec"]["controller"].clone();
            }
            // The controllers of a real cluster write the endpoints of each Service.
            let endpoints = (manifest.kind() == "Service").then(|| endpoints(&manifest, &addresses)).transpose()?;
            // A kind that was defined a moment ago may not be served yet.
            wait::until(&format!("an object of {name} is applied"), async || world.apply([manifest.clone()]).await)
                .await?;
            world.apply(endpoints.into_iter().flatten()).await?;
        }
        let launch = flags(&text).into_iter().fold(world.launch("rust-nginx-0")?, Launch::arg);
        let subject = launch.ready().await?;
        try_lines(&subject, &lines(&example)?).await.with_context(|| format!("example {name}"))?;
        check_warnings(&name, &warnings(&subject))?;
    }
    Ok(())
}

fn endpoints(service: &Manifest, pods: &BTreeMap<&str, SocketAddr>) -> Result<Vec<Manifest>> {
    let Some(pod) = pods.get(service.name()) else { return Ok(vec![]) };
    let ports = service.0["spec"]["ports"].as_array().context("a Service without ports")?;
    let slice = |port: &serde_json::Value| {
        let port = port["name"].as_str().unwrap_or_default();
        endpoint_slice(&format!("{}-{port}", service.name()), service.name(), port, &[(*pod, true)])
    };
    Ok(ports.iter().map(slice).collect())
}

/// Warnings that the text of an example announces.
fn check_warnings(example: &str, warnings: &[String]) -> Result<()> {
    let announced = |warning: &&String| match example {
        // Its Secret does not exist until cert-manager has made it; the quickstart's is made by hand; no DNS knows the name;
        // the responder does not exist.
        "rewrite-and-cert-manager" | "quickstart" | "external-name" | "ocsp-stapling" => true,
        "tls-to-pods" => warning.contains("certificate not valid for name \"other.default.svc\""),
        _ => false,
    };
    let others: Vec<_> = warnings.iter().filter(|warning| !announced(warning)).collect();
    ensure!(others.is_empty(), "{example} gives warnings: {others:#?}");
    ensure!(warnings.len() <= 4, "{example} gives many warnings: {warnings:#?}");
    Ok(())
}
