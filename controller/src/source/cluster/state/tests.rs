use super::State;
use crate::{
    compile::References,
    diagnostic::{ObjectKind, Reason},
    reconcile::Coverage,
    snapshot::{EndpointSlice, Ingress, ObjectName, Secret, Unconvertible},
    source::cluster::{
        News,
        id::WatchId,
        store::{Event, Object},
    },
};
use k8s_openapi::{
    api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::sync::Arc;

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).expect("tests write namespace/name")
}

fn metadata(of: &str) -> ObjectMeta {
    let name = name(of);
    ObjectMeta {
        namespace: Some(name.namespace.to_string()),
        name: Some(name.name.to_string()),
        ..ObjectMeta::default()
    }
}

fn ingress(of: &str) -> Object {
    let ingress = networking::Ingress { metadata: metadata(of), ..networking::Ingress::default() };
    Object::Ingress(Arc::new(Ingress::try_from(ingress).unwrap()))
}

fn secret(of: &str, secret_type: &str) -> Object {
    let secret =
        core::Secret { metadata: metadata(of), type_: Some(secret_type.to_owned()), ..core::Secret::default() };
    Object::Secret(Arc::new(Secret::try_from(secret).unwrap()))
}

fn slice(of: &str, service: &str) -> Object {
    let mut slice = discovery::EndpointSlice { metadata: metadata(of), ..discovery::EndpointSlice::default() };
    slice.metadata.labels = Some([("kubernetes.io/service-name".to_owned(), service.to_owned())].into());
    Object::EndpointSlice(Arc::new(EndpointSlice::try_from(slice).unwrap()))
}

fn watching(ids: &[WatchId]) -> State {
    let mut state = State::default();
    for id in ids {
        state.add(id.clone());
        state.hear(id, News::Event(Event::Restarted));
        state.hear(id, News::Event(Event::Complete));
    }
    state
}

fn apply(state: &mut State, id: &WatchId, of: &str, object: Object) {
    state.hear(id, News::Event(Event::Applied(name(of), object)));
}

fn delete(state: &mut State, id: &WatchId, of: &str) {
    state.hear(id, News::Event(Event::Deleted(name(of))));
}

fn ingresses(state: &State) -> Vec<String> {
    state.snapshot.ingresses.keys().map(ToString::to_string).collect()
}

fn secrets(state: &State) -> Vec<(String, String)> {
    state.snapshot.secrets.iter().map(|(name, secret)| (name.to_string(), secret.secret_type.clone())).collect()
}

fn refer(state: &mut State, secrets: &[&str]) {
    let secrets = secrets.iter().map(|text| name(text)).collect();
    state.refer(References { secrets, ..References::default() });
}

#[test]
fn every_watch_has_to_answer() {
    let mut state = State::default();
    state.add(WatchId::Ingresses);
    state.add(WatchId::Services);
    let waiting = |state: &State| state.waiting_for().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(waiting(&state), ["ingresses", "services"]);
    state.hear(&WatchId::Ingresses, News::Event(Event::Restarted));
    state.hear(&WatchId::Ingresses, News::Failed("connection refused".into()));
    assert_eq!(waiting(&state), ["ingresses", "services"]);
    state.hear(&WatchId::Ingresses, News::Event(Event::Complete));
    state.hear(&WatchId::Services, News::Unavailable("forbidden".into()));
    assert_eq!(waiting(&state), Vec::<String>::new());
}

#[test]
fn a_resource_that_cannot_be_read_is_one_finding_until_it_can() {
    let mut state = State::default();
    state.add(WatchId::IngressClasses);
    state.hear(&WatchId::IngressClasses, News::Unavailable("forbidden".into()));
    let snapshot = state.take().expect("a finding is a change");
    let [finding] = &*snapshot.findings else { panic!("{:?}", snapshot.findings) };
    assert_eq!(finding.reason, Reason::ResourceUnavailable);
    assert_eq!(finding.object.kind, ObjectKind::Resource);
    assert_eq!(&*finding.object.name, "ingressclasses");
    assert!(finding.message.contains("forbidden"), "{}", finding.message);
    // The next attempts fail the same way, each after announcing a list.
    state.hear(&WatchId::IngressClasses, News::Event(Event::Restarted));
    state.hear(&WatchId::IngressClasses, News::Unavailable("forbidden".into()));
    assert!(state.take().is_none());
    state.hear(&WatchId::IngressClasses, News::Event(Event::Restarted));
    state.hear(&WatchId::IngressClasses, News::Event(Event::Complete));
    assert!(state.take().expect("the finding is gone").findings.is_empty());
}

#[test]
fn what_was_readable_before_stays_when_it_is_not_any_more() {
    let mut state = watching(&[WatchId::Ingresses]);
    apply(&mut state, &WatchId::Ingresses, "a/x", ingress("a/x"));
    state.take();
    state.hear(&WatchId::Ingresses, News::Unavailable("forbidden".into()));
    assert!(state.take().is_none());
    assert_eq!(ingresses(&state), ["a/x"]);
}

#[test]
fn single_objects_of_a_resource_that_cannot_be_read_are_no_finding_of_their_own() {
    let alone = WatchId::Secret(name("a/basic"));
    let mut state = State::default();
    state.add(WatchId::TlsSecrets);
    state.add(alone.clone());
    let found = |state: &State| -> Vec<String> {
        state.snapshot.findings.iter().map(|finding| finding.object.to_string()).collect()
    };
    state.hear(&alone, News::Unavailable("forbidden in a".into()));
    assert_eq!(found(&state), ["Resource a/secrets"]);
    state.hear(&WatchId::TlsSecrets, News::Unavailable("forbidden".into()));
    assert_eq!(found(&state), ["Resource secrets"]);
}

#[test]
fn an_object_that_cannot_be_read_is_a_finding_and_is_left_out() {
    let mut state = watching(&[WatchId::Ingresses]);
    apply(&mut state, &WatchId::Ingresses, "a/x", ingress("a/x"));
    let error = Unconvertible { field: "spec.rules[0]".into(), message: "is odd".into() };
    let news = News::Unreadable { kind: ObjectKind::Ingress, name: name("a/x"), error };
    state.hear(&WatchId::Ingresses, news);
    assert_eq!(ingresses(&state), Vec::<String>::new());
    let [finding] = &*state.snapshot.findings else { panic!("{:?}", state.snapshot.findings) };
    assert_eq!((finding.reason, &*finding.field), (Reason::Unparsable, "spec.rules[0]"));
    apply(&mut state, &WatchId::Ingresses, "a/x", ingress("a/x"));
    assert_eq!(ingresses(&state), ["a/x"]);
    assert!(state.snapshot.findings.is_empty());
}

#[test]
fn only_changes_make_a_new_snapshot() {
    let mut state = watching(&[WatchId::Ingresses]);
    apply(&mut state, &WatchId::Ingresses, "a/x", ingress("a/x"));
    assert!(state.take().is_some());
    assert!(state.take().is_none());
    apply(&mut state, &WatchId::Ingresses, "a/x", ingress("a/x"));
    assert!(state.take().is_none());
    delete(&mut state, &WatchId::Ingresses, "a/x");
    assert!(state.take().is_some());
}

#[test]
fn ingresses_follow_the_labels_of_their_namespace() {
    let mut state = watching(&[WatchId::Namespaces, WatchId::Ingresses]);
    let namespace = ObjectName::new("", "a");
    let selected = |state: &mut State, event| state.hear(&WatchId::Namespaces, News::Event(event));
    apply(&mut state, &WatchId::Ingresses, "a/x", ingress("a/x"));
    apply(&mut state, &WatchId::Ingresses, "b/y", ingress("b/y"));
    assert_eq!(ingresses(&state), Vec::<String>::new());
    selected(&mut state, Event::Applied(namespace.clone(), Object::Namespace));
    assert_eq!(ingresses(&state), ["a/x"]);
    apply(&mut state, &WatchId::Ingresses, "a/z", ingress("a/z"));
    assert_eq!(ingresses(&state), ["a/x", "a/z"]);
    selected(&mut state, Event::Deleted(namespace));
    assert_eq!(ingresses(&state), Vec::<String>::new());
}

#[test]
fn slices_follow_their_label() {
    let mut state = watching(&[WatchId::EndpointSlices]);
    let services = |state: &State| -> Vec<String> {
        let slices = state.snapshot.endpoint_slices.iter();
        slices.flat_map(|(service, slices)| slices.keys().map(move |slice| format!("{service}: {slice}"))).collect()
    };
    apply(&mut state, &WatchId::EndpointSlices, "a/s1", slice("a/s1", "web"));
    apply(&mut state, &WatchId::EndpointSlices, "a/s2", slice("a/s2", "web"));
    assert_eq!(services(&state), ["a/web: s1", "a/web: s2"]);
    apply(&mut state, &WatchId::EndpointSlices, "a/s1", slice("a/s1", "api"));
    assert_eq!(services(&state), ["a/api: s1", "a/web: s2"]);
    delete(&mut state, &WatchId::EndpointSlices, "a/s1");
    delete(&mut state, &WatchId::EndpointSlices, "a/s2");
    assert!(state.snapshot.endpoint_slices.is_empty());
}

#[test]
fn secrets_of_other_types_count_while_they_are_referred_to() {
    let alone = WatchId::Secret(name("a/basic"));
    let mut state = watching(&[WatchId::TlsSecrets, alone.clone(), WatchId::OtherSecrets]);
    apply(&mut state, &alone, "a/basic", secret("a/basic", "Opaque"));
    apply(&mut state, &WatchId::OtherSecrets, "a/other", secret("a/other", "Opaque"));
    apply(&mut state, &WatchId::TlsSecrets, "a/tls", secret("a/tls", "kubernetes.io/tls"));
    let tls = ("a/tls".to_owned(), "kubernetes.io/tls".to_owned());
    assert_eq!(secrets(&state), std::slice::from_ref(&tls));
    refer(&mut state, &["a/basic", "a/other"]);
    let opaque = |name: &str| (name.to_owned(), "Opaque".to_owned());
    assert_eq!(secrets(&state), [opaque("a/basic"), opaque("a/other"), tls.clone()]);
    refer(&mut state, &["a/basic"]);
    assert_eq!(secrets(&state), [opaque("a/basic"), tls.clone()]);
    state.remove(&alone);
    assert_eq!(secrets(&state), [tls]);
}

#[test]
fn a_secret_that_changes_its_type_is_never_lost() {
    let alone = WatchId::Secret(name("a/x"));
    let mut state = watching(&[WatchId::TlsSecrets, alone.clone()]);
    refer(&mut state, &["a/x"]);
    apply(&mut state, &WatchId::TlsSecrets, "a/x", secret("a/x", "kubernetes.io/tls"));
    // It is deleted and made anew; the two watches may tell it in any order.
    apply(&mut state, &alone, "a/x", secret("a/x", "Opaque"));
    delete(&mut state, &WatchId::TlsSecrets, "a/x");
    assert_eq!(secrets(&state), [("a/x".to_owned(), "Opaque".to_owned())]);
}

#[test]
fn coverage_tells_what_has_been_looked_for() {
    let mut state = watching(&[WatchId::TlsSecrets]);
    let covered = |state: &mut State| match state.take_coverage() {
        Some(Coverage::Looked(looked)) => {
            let known = looked.references.secrets.iter().filter(|name| !looked.pending.secrets.contains(*name));
            Some(known.map(ToString::to_string).collect::<Vec<_>>())
        }
        _ => None,
    };
    apply(&mut state, &WatchId::TlsSecrets, "a/tls", secret("a/tls", "kubernetes.io/tls"));
    refer(&mut state, &["a/tls", "a/missing"]);
    assert_eq!(covered(&mut state), Some(vec!["a/tls".to_owned()]));
    assert_eq!(covered(&mut state), None);
    assert!(state.take_unplanned());
    let alone = WatchId::Secret(name("a/missing"));
    state.add(alone.clone());
    state.hear(&alone, News::Event(Event::Complete));
    assert_eq!(covered(&mut state), Some(vec!["a/missing".to_owned(), "a/tls".to_owned()]));
    // A renewed certificate changes nothing about it.
    state.take_unplanned();
    apply(&mut state, &WatchId::TlsSecrets, "a/tls", secret("a/tls", "other"));
    assert!(!state.take_unplanned());
    assert_eq!(covered(&mut state), None);
}
