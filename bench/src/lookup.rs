//! What is looked up in which table, for measuring the time and for counting allocations.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::networking::v1::{HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressRule};
use rust_nginx::args::{self, Invocation, ProcessEnvironment};
use rust_nginx::compile::{Compiler, Options};
use rust_nginx::snapshot::{ObjectName, Snapshot};
use rust_nginx_proxy::table::{Route, Table, VirtualHost, normalize_path};
use rust_nginx_proxy::tls::Certificate;

use crate::fleet::{Fleet, Shape, ingress_name};

/// Class of the fleets that are compiled here.
pub const CLASS: &str = "rust-nginx";

const INGRESSES: usize = 20_000;
const PATHS: usize = 1_000;

/// Tables, and what is asked of them.
pub struct Lookups {
    hosts: Table,
    paths: Arc<VirtualHost>,
    questions: Vec<(&'static str, Question)>,
}

/// What is asked, in an order in which no two neighbours share much, so that caches help as little as in traffic.
pub enum Question {
    /// For the route `/` of each of these hosts, among 20,000.
    Hosts(Vec<String>),
    /// For the route of each of these paths, among 1,000 of one host.
    Paths(Vec<String>),
}

// === impl Lookups ===

impl Lookups {
    /// Makes the tables.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn new() -> Result<Self> {
        let fleet = Fleet::new(INGRESSES, CLASS)?;
        let hosts = table(&fleet.snapshot()?)?;
        let shapes = || (0..INGRESSES).map(Shape::of);
        let exact = scattered(shapes().filter(|shape| !shape.wildcard).map(Shape::request_host).collect());
        let wildcard = scattered(shapes().filter(|shape| shape.wildcard).map(Shape::request_host).collect());
        let upper = exact.iter().map(|host| host.to_ascii_uppercase()).collect();
        let missing = exact.iter().map(|host| format!("{host}.invalid")).collect();
        let paths = scattered((0..PATHS).map(|index| format!("{}/details", path(index))).collect());
        let questions = vec![
            ("host-exact", Question::Hosts(exact)),
            ("host-wildcard", Question::Hosts(wildcard)),
            ("host-upper-case", Question::Hosts(upper)),
            ("host-missing", Question::Hosts(missing)),
            ("path-1000", Question::Paths(paths)),
        ];
        let many = table(&one_host(&fleet)?)?;
        Ok(Self { paths: Arc::clone(many.virtual_host("many.example.com")), hosts, questions })
    }

    /// All that is asked, by name.
    #[must_use]
    pub fn questions(&self) -> &[(&'static str, Question)] {
        &self.questions
    }

    /// Asks once, for what stands at this position, counted round.
    ///
    /// # Panics
    /// When a path has no normal form, which all of ours have.
    #[must_use]
    pub fn ask(&self, question: &Question, position: usize) -> Option<&Arc<Route>> {
        match question {
            Question::Hosts(hosts) => self.hosts.virtual_host(&hosts[position % hosts.len()]).route("/"),
            Question::Paths(paths) => {
                let path = normalize_path(&paths[position % paths.len()]).expect("the path has a normal form");
                self.paths.route(&path)
            }
        }
    }
}

/// How the command line without further flags compiles.
///
/// # Errors
/// When no certificate can be made.
pub fn options() -> Result<Options> {
    let line = ["serve", "--manifests", "unused", "--ingress-class", CLASS].map(Into::into);
    let Ok(Invocation::Serve(serve)) = args::parse(line, &ProcessEnvironment) else {
        bail!("the command line is not what the program takes");
    };
    Ok(Options { flags: serve.compile, fallback_certificate: Arc::new(Certificate::self_signed()?) })
}

/// The paths of an Ingress's first rule.
///
/// # Errors
/// When it has none.
pub fn paths(ingress: &mut Ingress) -> Result<&mut Vec<HTTPIngressPath>> {
    let rules = ingress.spec.as_mut().and_then(|spec| spec.rules.as_mut());
    let rule = rules.and_then(|rules| rules.first_mut()).context("an Ingress without rules")?;
    Ok(&mut rule.http.as_mut().context("a rule without paths")?.paths)
}

/// The snapshot with an Ingress in the place of the one of the same name.
///
/// # Errors
/// When it has no name, or cannot be read.
pub fn with(snapshot: &Snapshot, ingress: Ingress) -> Result<Snapshot> {
    let mut changed = snapshot.clone();
    let namespace = ingress.metadata.namespace.clone().context("an Ingress without namespace")?;
    let name = ingress.metadata.name.clone().context("an Ingress without name")?;
    changed.ingresses.insert(ObjectName::new(namespace, name), Arc::new(ingress.try_into()?));
    Ok(changed)
}

fn table(snapshot: &Snapshot) -> Result<Table> {
    Ok(Compiler::new(options()?).compile(snapshot).table)
}

/// One Ingress whose host has a thousand paths.
fn one_host(fleet: &Fleet) -> Result<Snapshot> {
    let mut ingress = fleet.ingress(1);
    let template = paths(&mut ingress)?.first().context("an Ingress without paths")?.clone();
    let many = (0..PATHS).map(|index| HTTPIngressPath { path: Some(path(index)), ..template.clone() });
    let http = Some(HTTPIngressRuleValue { paths: many.collect() });
    let spec = ingress.spec.as_mut().context("an Ingress without spec")?;
    spec.rules = Some(vec![IngressRule { host: Some("many.example.com".to_owned()), http }]);
    ingress.metadata.name = Some(ingress_name(INGRESSES));
    with(&Fleet::new(PATHS, CLASS)?.snapshot()?, ingress)
}

fn path(index: usize) -> String {
    format!("/catalog/section-{:02}/item-{index:04}", index % 40)
}

fn scattered(values: Vec<String>) -> Vec<String> {
    const STRIDE: usize = 7_919;
    (0..values.len()).map(|index| values[index * STRIDE % values.len()].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_what_is_missing_is_found() {
        let lookups = Lookups::new().unwrap();
        for (name, question) in lookups.questions() {
            let (Question::Hosts(all) | Question::Paths(all)) = question;
            for (position, asked) in all.iter().enumerate() {
                let route = lookups.ask(question, position).unwrap();
                let declared = !route.labels.ingress.is_empty();
                assert_eq!(declared, *name != "host-missing", "{name}: {asked}");
                assert!(*name != "path-1000" || route.path.as_str() != "/", "{asked}");
            }
        }
    }
}
