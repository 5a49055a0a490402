use super::{Bucket, KEPT, NoticeKind, Outbox, REPEATED, Sent};
use crate::{
    compile::{Compiled, ProcessSettings, References},
    diagnostic::{Diagnostic, ObjectKind, ObjectRef, Reason, Severity},
    reconcile::Pass,
    snapshot::{Ingress, ObjectName, Snapshot},
};
use rust_nginx_proxy::{table::TableBuilder, tls::Certificate};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

fn ingress(name: &str, version: &str) -> Ingress {
    Ingress {
        name: ObjectName::new("ns", name),
        uid: format!("uid-{name}").into(),
        resource_version: version.into(),
        created: None,
        annotations: Default::default(),
        class_name: None,
        default_backend: None,
        rules: Box::default(),
        tls: Box::default(),
        status: Box::default(),
        status_writer: None,
    }
}

fn finding(kind: ObjectKind, name: &str, severity: Severity) -> Diagnostic {
    Diagnostic {
        object: ObjectRef { kind, namespace: "ns".into(), name: name.into() },
        severity,
        reason: Reason::BackendNotFound,
        field: "spec".into(),
        message: "is missing".into(),
    }
}

fn pass(ingresses: Vec<Ingress>, diagnostics: Vec<Diagnostic>) -> Pass {
    let certificate = Arc::new(Certificate::self_signed().unwrap());
    let mut snapshot = Snapshot::default();
    for ingress in &ingresses {
        snapshot.ingresses.insert(ingress.name.clone(), Arc::new(ingress.clone()));
    }
    Pass {
        snapshot,
        compiled: Compiled {
            table: TableBuilder::new(Arc::default(), certificate).build(),
            diagnostics: diagnostics.into_iter().map(Arc::new).collect(),
            expiries: Default::default(),
            ingresses: ingresses.into_iter().map(|ingress| ingress.name).collect(),
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

fn said(outbox: &mut Outbox) -> Vec<String> {
    let notices = outbox.take(usize::MAX);
    notices.iter().map(|notice| format!("{} {} {}", notice.kind.as_str(), notice.target.name, notice.reason)).collect()
}

#[test]
fn a_finding_is_said_once_and_again_when_it_comes_back() {
    let (mut outbox, now) = (Outbox::new(false), Instant::now());
    let broken = || pass(vec![ingress("a", "1")], vec![finding(ObjectKind::Ingress, "a", Severity::Warning)]);
    outbox.follow(&broken(), now);
    outbox.follow(&broken(), now);
    let [notice] = outbox.take(usize::MAX).try_into().expect("there is one Event");
    assert_eq!(notice.kind, NoticeKind::Warning);
    assert_eq!(notice.message, "spec: is missing");
    assert_eq!((&*notice.target.uid, &*notice.target.resource_version), ("uid-a", "1"));
    outbox.follow(&broken(), now);
    assert_eq!(outbox.len(), 0);
    outbox.follow(&pass(vec![ingress("a", "1")], Vec::new()), now);
    assert_eq!(outbox.len(), 0);
    outbox.follow(&broken(), now);
    assert_eq!(said(&mut outbox), ["Warning a BackendNotFound"]);
}

#[test]
fn what_is_resolved_before_its_turn_is_not_said() {
    let (mut outbox, now) = (Outbox::new(false), Instant::now());
    outbox.follow(&pass(vec![], vec![finding(ObjectKind::Service, "s", Severity::Warning)]), now);
    assert_eq!(outbox.len(), 1);
    outbox.follow(&pass(vec![], vec![]), now);
    assert_eq!(outbox.len(), 0);
}

#[test]
fn only_warnings_about_objects_are_events() {
    let (mut outbox, now) = (Outbox::new(true), Instant::now());
    let findings = vec![
        finding(ObjectKind::Ingress, "a", Severity::Info),
        finding(ObjectKind::File, "f.yaml", Severity::Warning),
        finding(ObjectKind::Flag, "configmap", Severity::Warning),
        finding(ObjectKind::Resource, "services", Severity::Warning),
    ];
    outbox.follow(&pass(vec![], findings), now);
    assert_eq!(outbox.len(), 0);
}

#[test]
fn sync_is_said_for_new_and_changed_ingresses() {
    let (mut outbox, now) = (Outbox::new(true), Instant::now());
    outbox.follow(&pass(vec![ingress("a", "1"), ingress("b", "1")], vec![]), now);
    assert_eq!(said(&mut outbox), ["Normal a Sync", "Normal b Sync"]);
    // Our own write of the status changes the version and nothing else.
    let written = Ingress { status: Box::new([(Some("192.0.2.1".into()), None)]), ..ingress("a", "2") };
    outbox.follow(&pass(vec![written, ingress("b", "1")], vec![]), now);
    assert_eq!(outbox.len(), 0);
    let annotated = Ingress { annotations: [("x".to_owned(), "y".to_owned())].into(), ..ingress("a", "3") };
    outbox.follow(&pass(vec![annotated, ingress("b", "1")], vec![]), now);
    // A second change while the first one waits is the same Event.
    let again = Ingress { annotations: [("x".to_owned(), "z".to_owned())].into(), ..ingress("a", "4") };
    outbox.follow(&pass(vec![again, ingress("b", "1")], vec![]), now);
    let [notice] = outbox.take(usize::MAX).try_into().expect("there is one Event");
    assert_eq!((&*notice.target.name, &*notice.target.resource_version), ("a", "4"));
    // Deleted and made anew: new.
    outbox.follow(&pass(vec![ingress("b", "1")], vec![]), now);
    outbox.follow(&pass(vec![ingress("a", "5"), ingress("b", "1")], vec![]), now);
    assert_eq!(said(&mut outbox), ["Normal a Sync"]);
    let mut silent = Outbox::new(false);
    silent.follow(&pass(vec![ingress("a", "1")], vec![]), now);
    assert_eq!(silent.len(), 0);
}

#[test]
fn warnings_go_first_and_failures_come_back() {
    let (mut outbox, now) = (Outbox::new(true), Instant::now());
    let findings = vec![finding(ObjectKind::Ingress, "a", Severity::Warning)];
    outbox.follow(&pass(vec![ingress("a", "1"), ingress("b", "1")], findings), now);
    let first = outbox.take(2);
    assert_eq!(first.iter().map(|notice| notice.kind).collect::<Vec<_>>(), [NoticeKind::Warning, NoticeKind::Normal]);
    for notice in first {
        outbox.put_back(notice, now);
    }
    assert_eq!(said(&mut outbox), ["Warning a BackendNotFound", "Normal a Sync", "Normal b Sync"]);
}

#[test]
fn a_follower_forgets_what_the_leader_has_said() {
    let (mut outbox, start) = (Outbox::new(true), Instant::now());
    let findings = || vec![finding(ObjectKind::Ingress, "a", Severity::Warning)];
    outbox.follow(&pass(vec![ingress("a", "1")], findings()), start);
    let later = start + KEPT;
    outbox.follow(&pass(vec![ingress("a", "1"), ingress("b", "1")], findings()), later);
    outbox.expire(later);
    // It becomes the leader: it says what is new, and not all over again what is old.
    assert_eq!(said(&mut outbox), ["Normal b Sync"]);
}

#[test]
fn the_rate_is_limited() {
    let start = Instant::now();
    let mut bucket = Bucket::new(start);
    assert_eq!(bucket.take(5, start), 5);
    assert_eq!(bucket.take(1000, start), 95);
    assert_eq!(bucket.take(1000, start), 0);
    assert_eq!(bucket.take(1000, start + Duration::from_secs(1)), 50);
    assert_eq!(bucket.take(1000, start + Duration::from_secs(100)), 100);
}

#[test]
fn repeated_events_are_counted() {
    let (mut sent, mut outbox, now) = (Sent::default(), Outbox::new(true), Instant::now());
    let next = |outbox: &mut Outbox, version: &str| {
        outbox.follow(&pass(vec![], vec![]), now);
        outbox.follow(&pass(vec![ingress("a", version)], vec![]), now);
        outbox.take(1).remove(0)
    };
    let first = next(&mut outbox, "1");
    assert_eq!(sent.find(&first, now), None);
    sent.remember(&first, "a.1".into(), 1, now);
    let second = next(&mut outbox, "2");
    assert_eq!(sent.find(&second, now), Some(("a.1".into(), 1)));
    assert_eq!(sent.find(&second, now + REPEATED), None);
}
