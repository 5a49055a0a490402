//! Services of type ExternalName: names that a DNS server knows, with search domains, and what follows when they change.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use rust_nginx_tests::control_plane::World;
use rust_nginx_tests::dns::Dns;
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::load::Load;
use rust_nginx_tests::objects::{Manifest, ingress, ingress_class, prefix};
use rust_nginx_tests::pod::{PORT, Pod};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};
use serde_json::json;

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = tests![
        a_name_leads_to_its_addresses,
        search_domains_are_tried,
        a_name_without_address_is_unavailable_and_is_found_later,
        a_resolver_that_falls_silent_changes_nothing,
        a_silent_resolver_holds_up_nothing_else,
        a_family_that_is_never_answered_for_hides_nothing,
        a_search_domain_that_falls_silent_hides_nothing,
        what_leads_back_to_this_machine_is_refused,
        external_names_can_be_switched_off,
    ];
    tests.extend(tests![cluster: an_address_that_changes_costs_no_request, a_name_that_changes_costs_no_request]);
    tests
}

fn external(name: &str, target: &str) -> Manifest {
    Manifest(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": { "type": "ExternalName", "externalName": target },
    }))
}

fn rules(class: &str) -> Manifest {
    ingress("out").class(class).host("out.test", [prefix("/", &format!("out:{PORT}"))]).build()
}

async fn site(dns: &Dns, target: &str, flags: &[&str]) -> Result<Site> {
    let file = dns.configuration(&["default.svc.cluster.test", "svc.cluster.test", "cluster.test"])?;
    let manifests = [ingress_class(CLASS, CONTROLLER), external("out", target), rules(CLASS)];
    Site::start_with(manifests, |launch| {
        flags.iter().fold(launch.arg(format!("--resolv-conf={}", file.display())), |launch, flag| launch.arg(*flag))
    })
    .await
}

async fn a_name_leads_to_its_addresses() -> Result<()> {
    let (dns, one, two) = (Dns::start().await?, Pod::start("one").await?, Pod::start("two").await?);
    dns.set("pods.example.org", &[one.address.ip(), two.address.ip()], 60);
    let site = site(&dns, "PODS.example.org", &[]).await?;
    // The first table waits for the name: nobody is told that there is nothing.
    let first = site.subject.get("out.test", "/").await?;
    ensure!(["one", "two"].contains(&&*first.echo()?.pod));
    // The Host of the client stays.
    ensure!(first.echo()?.values("host") == ["out.test"]);
    site.subject.routed("out.test", "/", "one").await?;
    site.subject.routed("out.test", "/", "two").await?;
    Ok(())
}

async fn search_domains_are_tried() -> Result<()> {
    let (dns, pod) = (Dns::start().await?, Pod::start("pod").await?);
    dns.set("db.other.svc.cluster.test", &[pod.address.ip()], 60);
    let site = site(&dns, "db.other", &[]).await?;
    site.subject.routed("out.test", "/", "pod").await?;
    ensure!(dns.asked("db.other.default.svc.cluster.test") > 0, "the first search domain was not tried");
    Ok(())
}

async fn a_name_without_address_is_unavailable_and_is_found_later() -> Result<()> {
    let (dns, pod) = (Dns::start().await?, Pod::start("pod").await?);
    let site = site(&dns, "late.example.org", &[]).await?;
    site.subject.get("out.test", "/").await?.expect(503)?;
    let findings = site.subject.inspect("/debug/diagnostics").await?;
    ensure!(findings.text().contains("late.example.org of Service default/out cannot be resolved: DNS answers"));
    dns.set("late.example.org", &[pod.address.ip()], 60);
    site.subject.routed("out.test", "/", "pod").await
}

async fn a_resolver_that_falls_silent_changes_nothing() -> Result<()> {
    let (dns, pod) = (Dns::start().await?, Pod::start("pod").await?);
    dns.set("short.example.org", &[pod.address.ip()], 1);
    let site = site(&dns, "short.example.org", &[]).await?;
    site.subject.routed("out.test", "/", "pod").await?;
    dns.silence("short.example.org");
    let asked = dns.asked("short.example.org");
    wait::until("the name is asked for again", async || {
        ensure!(dns.asked("short.example.org") > asked + 1);
        Ok(())
    })
    .await?;
    site.subject.routed("out.test", "/", "pod").await
}

async fn a_silent_resolver_holds_up_nothing_else() -> Result<()> {
    let dns = Dns::start().await?;
    dns.silence("silent.example.org");
    // It is ready long before the resolver is given up.
    let site = site(&dns, "silent.example.org", &[]).await?;
    site.subject.get("out.test", "/").await?.expect(503)?;
    site.subject.get("unknown.test", "/").await?.expect(404)?;
    Ok(())
}

async fn a_family_that_is_never_answered_for_hides_nothing() -> Result<()> {
    let (dns, pod) = (Dns::start().await?, Pod::start("pod").await?);
    dns.set_half("half.example.org", &[pod.address.ip()], 60);
    let site = site(&dns, "half.example.org", &[]).await?;
    site.subject.routed("out.test", "/", "pod").await
}

/// The right domain is the second one. What the first one says comes late, and is that nobody knows.
async fn a_search_domain_that_falls_silent_hides_nothing() -> Result<()> {
    let (dns, pod) = (Dns::start().await?, Pod::start("pod").await?);
    dns.silence("db.other.default.svc.cluster.test");
    dns.set("db.other.svc.cluster.test", &[pod.address.ip()], 1);
    let site = site(&dns, "db.other", &[]).await?;
    site.subject.routed("out.test", "/", "pod").await?;
    // Now nobody answers but those who do not know the name: that is no proof that it is gone.
    dns.silence("db.other.svc.cluster.test");
    let asked = dns.asked("db.other.cluster.test");
    let limit = Duration::from_secs(120);
    wait::until_within(limit, "the last domain is tried twice", async || {
        ensure!(dns.asked("db.other.cluster.test") > asked + 3);
        Ok(())
    })
    .await?;
    site.subject.routed("out.test", "/", "pod").await
}

async fn what_leads_back_to_this_machine_is_refused() -> Result<()> {
    let dns = Dns::start().await?;
    let addresses: [IpAddr; 2] = ["127.0.0.1".parse()?, "169.254.169.254".parse()?];
    dns.set("inside.example.org", &addresses, 60);
    for target in ["inside.example.org", "localhost", "127.0.0.1", "169.254.169.254"] {
        let site = site(&dns, target, &[]).await?;
        site.subject.get("out.test", "/").await?.expect(503)?;
        ensure!(site.subject.inspect("/debug/diagnostics").await?.text().contains("refused"), "{target}");
    }
    Ok(())
}

async fn external_names_can_be_switched_off() -> Result<()> {
    let (dns, pod) = (Dns::start().await?, Pod::start("pod").await?);
    dns.set("pods.example.org", &[pod.address.ip()], 60);
    let site = site(&dns, "pods.example.org", &["--disable-svc-external-name"]).await?;
    site.subject.get("out.test", "/").await?.expect(503)?;
    ensure!(dns.asked("pods.example.org") == 0, "nobody needs the name");
    Ok(())
}

/// A Service gets another name, about which nothing is known for as long as DNS is silent.
async fn a_name_that_changes_costs_no_request() -> Result<()> {
    let world = World::new("renamed").await?;
    let (dns, one, two) = (Dns::start().await?, Pod::start("one").await?, Pod::start("two").await?);
    dns.set("one.example.org", &[one.address.ip()], 60);
    dns.silence("two.example.org");
    let file = dns.configuration(&["cluster.test"])?;
    let subject = world.launch("renamed")?.arg(format!("--resolv-conf={}", file.display())).ready().await?;
    world.apply([external("out", "one.example.org"), rules(&world.class)]).await?;
    subject.routed("out.test", "/", "one").await?;

    let load = Load::start(&subject, "out.test");
    world.apply([external("out", "two.example.org")]).await?;
    wait::until("the name is asked for a second time", async || {
        ensure!(dns.asked("two.example.org") > 2);
        Ok(())
    })
    .await?;
    let findings = subject.inspect("/debug/diagnostics").await?;
    let says = format!("two.example.org of Service {}/out cannot be resolved so far", world.namespace);
    ensure!(findings.text().contains(&says), "{}", findings.text());
    dns.set("two.example.org", &[two.address.ip()], 60);
    subject.routed("out.test", "/", "two").await?;
    load.end().await?;
    world.delete([rules(&world.class)]).await
}

async fn an_address_that_changes_costs_no_request() -> Result<()> {
    let world = World::new("external").await?;
    let (dns, one, two) = (Dns::start().await?, Pod::start("one").await?, Pod::start("two").await?);
    dns.set("moving.example.org", &[one.address.ip()], 1);
    let file = dns.configuration(&["cluster.test"])?;
    let subject = world.launch("moving")?.arg(format!("--resolv-conf={}", file.display())).ready().await?;
    world.apply([external("out", "moving.example.org"), rules(&world.class)]).await?;
    subject.routed("out.test", "/", "one").await?;

    let load = Load::start(&subject, "out.test");
    for (pod, name) in [(&two, "two"), (&one, "one"), (&two, "two")] {
        dns.set("moving.example.org", &[pod.address.ip()], 1);
        subject.routed("out.test", "/", name).await?;
    }
    load.end().await?;
    world.delete([rules(&world.class)]).await
}
