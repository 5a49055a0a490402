use super::{Ledger, is_same, patch};
use crate::{
    compile::{Compiled, ProcessSettings, References},
    reconcile::Pass,
    snapshot::{Ingress, ObjectName, Snapshot},
    status::address::Address,
};
use rust_nginx_proxy::{table::TableBuilder, tls::Certificate};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(60);

fn ip(text: &str) -> Address {
    (Some(text.into()), None)
}

fn ingress(name: &str, uid: &str, status: &[Address]) -> Ingress {
    Ingress {
        name: ObjectName::new("ns", name),
        uid: uid.into(),
        resource_version: Arc::default(),
        created: None,
        annotations: Default::default(),
        class_name: None,
        default_backend: None,
        rules: Vec::new(),
        tls: Vec::new(),
        status: status.to_vec(),
    }
}

fn pass(ingresses: &[Ingress], ours: &[&str]) -> Pass {
    let mut snapshot = Snapshot::default();
    for ingress in ingresses {
        snapshot.ingresses.insert(ingress.name.clone(), Arc::new(ingress.clone()));
    }
    Pass {
        snapshot,
        compiled: Compiled {
            table: TableBuilder::new(Arc::default(), Arc::new(Certificate::self_signed().unwrap())).build(),
            diagnostics: Default::default(),
            ingresses: ours.iter().map(|name| ObjectName::new("ns", *name)).collect(),
            references: References::default(),
            process: ProcessSettings {
                workers: None,
                shutdown_timeout: Duration::ZERO,
                bind_addresses: Vec::new(),
                disable_ipv6: false,
            },
        },
    }
}

fn due(ledger: &mut Ledger, pass: &Pass, desired: &[Address], now: Instant) -> Vec<String> {
    ledger.work(pass, desired, now).due.iter().map(|ingress| ingress.name.name.to_string()).collect()
}

#[test]
fn only_differences_of_our_ingresses_are_written() {
    let mut ledger = Ledger::new(INTERVAL);
    let desired = [ip("192.0.2.1"), ip("192.0.2.2")];
    let all = [
        ingress("new", "1", &[]),
        ingress("done", "2", &[ip("192.0.2.2"), ip("192.0.2.1")]),
        ingress("old", "3", &[ip("192.0.2.9")]),
        ingress("theirs", "4", &[]),
    ];
    let pass = pass(&all, &["new", "done", "old", "gone"]);
    assert_eq!(due(&mut ledger, &pass, &desired, Instant::now()), ["new", "old"]);
}

#[test]
fn what_was_written_is_not_written_again_while_the_watch_lags() {
    let (mut ledger, start) = (Ledger::new(INTERVAL), Instant::now());
    let desired: Arc<[Address]> = [ip("192.0.2.1")].into();
    let before = ingress("a", "1", &[]);
    assert_eq!(due(&mut ledger, &pass(std::slice::from_ref(&before), &["a"]), &desired, start), ["a"]);
    ledger.wrote(&before, &desired, start);
    // Another event comes before the watch tells of our write.
    let lagging = pass(&[before.clone(), ingress("b", "2", &desired)], &["a", "b"]);
    let work = ledger.work(&lagging, &desired, start);
    assert_eq!((work.due.len(), work.later), (0, Some(start + INTERVAL)));
    // Other addresses are written at once.
    assert_eq!(due(&mut ledger, &lagging, &[ip("192.0.2.7")], start), ["a", "b"]);
    // So is an Ingress of the same name that is another one.
    assert_eq!(due(&mut ledger, &pass(&[ingress("a", "9", &[])], &["a"]), &desired, start), ["a"]);
}

#[test]
fn somebody_who_disagrees_is_corrected_now_and_then() {
    let (mut ledger, start) = (Ledger::new(INTERVAL), Instant::now());
    let desired: Arc<[Address]> = [ip("192.0.2.1")].into();
    ledger.wrote(&ingress("a", "1", &[]), &desired, start);
    let theirs = || pass(&[ingress("a", "1", &[ip("192.0.2.66")])], &["a"]);
    assert_eq!(due(&mut ledger, &theirs(), &desired, start + INTERVAL / 2), Vec::<String>::new());
    assert_eq!(due(&mut ledger, &theirs(), &desired, start + INTERVAL), ["a"]);
    // Also when ours was seen in between: two controllers would write in a loop otherwise.
    let later = start + INTERVAL;
    ledger.wrote(&ingress("a", "1", &[]), &desired, later);
    assert_eq!(due(&mut ledger, &pass(&[ingress("a", "1", &desired)], &["a"]), &desired, later), Vec::<String>::new());
    assert_eq!(due(&mut ledger, &theirs(), &desired, later), Vec::<String>::new());
    assert_eq!(due(&mut ledger, &theirs(), &desired, later + INTERVAL), ["a"]);
}

#[test]
fn the_same_pass_is_looked_at_once() {
    let (mut ledger, now) = (Ledger::new(INTERVAL), Instant::now());
    let pass = pass(&[ingress("a", "1", &[])], &["a"]);
    let desired = [ip("192.0.2.1")];
    assert_eq!(due(&mut ledger, &pass, &desired, now), ["a"]);
    assert_eq!(due(&mut ledger, &pass, &desired, now), Vec::<String>::new());
    ledger.forget();
    assert_eq!(due(&mut ledger, &pass, &desired, now), ["a"]);
}

#[test]
fn patches_name_addresses() {
    let body = |entries| json!({ "status": { "loadBalancer": { "ingress": entries } } });
    assert_eq!(
        patch(&[(None, Some("lb.example".into())), ip("192.0.2.1")]),
        body(json!([{ "hostname": "lb.example" }, { "ip": "192.0.2.1" }]))
    );
    assert_eq!(patch(&[]), body(serde_json::Value::Null));
}

#[test]
fn order_does_not_matter() {
    assert!(is_same(&[], &[]));
    assert!(is_same(&[ip("b"), ip("a")], &[ip("a"), ip("b")]));
    assert!(!is_same(&[ip("a")], &[ip("a"), ip("b")]));
}
