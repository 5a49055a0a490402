//! The stage with a resolver that answers as it is told, under a clock that stands still until somebody waits.

use super::{Lookup, Outcome, PATIENCE, Stage};
use crate::{
    compile::References,
    reconcile::{Coverage, Feed, Looked},
    snapshot::{ObjectName, Resolved, Service, Snapshot},
};
use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Answers from a table; a name without an entry is never answered.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answers: HashMap<String, Outcome>,
    asked: Vec<(String, Instant)>,
}

struct Fixture {
    fake: Fake,
    references: watch::Sender<References>,
    source: watch::Sender<Option<Snapshot>>,
    feed: Feed,
}

impl Lookup for Fake {
    fn lookup(&self, host_name: Arc<str>) -> BoxFuture<'static, Outcome> {
        let mut state = self.0.lock();
        state.asked.push((host_name.to_string(), Instant::now()));
        match state.answers.get(&*host_name).cloned() {
            Some(outcome) => async move { outcome }.boxed(),
            None => std::future::pending().boxed(),
        }
    }
}

impl Fixture {
    fn start() -> Self {
        let fake = Fake::default();
        let (references, referred) = watch::channel(References::default());
        let (source, snapshots) = watch::channel(Some(Snapshot::default()));
        // As the file source has it: its sender is gone.
        let (_, covered) = watch::channel(Coverage::Everything);
        let (stage, feed) = Stage::new(fake.clone(), Feed { snapshots, coverage: covered }, referred);
        tokio::spawn(stage.run());
        Self { fake, references, source, feed }
    }

    fn answer(&self, name: &str, outcome: Outcome) {
        self.fake.0.lock().answers.insert(name.to_owned(), outcome);
    }

    fn refer(&self, names: &[&str]) {
        let host_names = names.iter().map(|name| Arc::from(*name)).collect();
        self.references.send_replace(References { host_names, ..References::default() });
    }

    fn times(&self, name: &str) -> usize {
        self.fake.0.lock().asked.iter().filter(|(asked, _)| asked == name).count()
    }

    /// Waits until a name resolves to this; `None` when it is not known.
    async fn resolves(&mut self, name: &str, expected: Option<Resolved>) {
        let found = |snapshot: &Option<Snapshot>| {
            let snapshot = snapshot.as_ref()?;
            Some(snapshot.host_names.get(name).map(|resolved| (**resolved).clone()))
        };
        let waiting = self.feed.snapshots.wait_for(|snapshot| found(snapshot) == Some(expected.clone()));
        let result = tokio::time::timeout(Duration::from_secs(600), waiting).await.map(|_| ());
        assert!(result.is_ok(), "{name} is {:?}, not {expected:?}", found(&self.feed.snapshots.borrow()));
    }

    /// Waits until the name is covered, and returns how long that took.
    async fn covered(&mut self, name: &str) -> Duration {
        let start = Instant::now();
        let known = |coverage: &Coverage| match coverage {
            Coverage::Everything => false,
            Coverage::Looked(looked) => {
                let Looked { references, pending } = &**looked;
                references.host_names.contains(name) && !pending.host_names.contains(name)
            }
        };
        self.feed.coverage.wait_for(known).await.unwrap();
        start.elapsed()
    }
}

fn found(address: &str, seconds: u64) -> Outcome {
    Outcome::Found(vec![ip(address)], Duration::from_secs(seconds))
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn resolved(address: &str) -> Option<Resolved> {
    Some(Resolved::found([ip(address)]))
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_again_when_its_answer_has_run_out() {
    let mut fixture = Fixture::start();
    fixture.answer("a", found("192.0.2.1", 30));
    fixture.refer(&["a"]);
    fixture.resolves("a", resolved("192.0.2.1")).await;
    let start = Instant::now();
    fixture.answer("a", found("192.0.2.2", 0));
    fixture.resolves("a", resolved("192.0.2.2")).await;
    assert_eq!(start.elapsed().as_secs(), 30);
    // A server that says zero is not asked in a loop.
    tokio::time::sleep(Duration::from_millis(4500)).await;
    assert_eq!(fixture.times("a"), 6);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stays_the_same_is_no_news() {
    let mut fixture = Fixture::start();
    fixture.answer("a", found("192.0.2.1", 1));
    fixture.refer(&["a"]);
    fixture.resolves("a", resolved("192.0.2.1")).await;
    fixture.feed.snapshots.mark_unchanged();
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    assert_eq!(fixture.times("a"), 11);
    assert!(!fixture.feed.snapshots.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_is_down_takes_nothing_away() {
    let mut fixture = Fixture::start();
    fixture.answer("a", found("192.0.2.1", 1));
    fixture.refer(&["a"]);
    fixture.resolves("a", resolved("192.0.2.1")).await;
    fixture.answer("a", Outcome::Failed("timed out".into()));
    tokio::time::sleep(Duration::from_secs(300)).await;
    let old = Resolved { problem: Some("timed out".into()), ..Resolved::found([ip("192.0.2.1")]) };
    fixture.resolves("a", Some(old)).await;
    // Asked less and less often, and heard at the next attempt.
    assert!(fixture.times("a") < 20, "{}", fixture.times("a"));
    fixture.answer("a", found("192.0.2.2", 1));
    fixture.resolves("a", resolved("192.0.2.2")).await;
}

#[tokio::test(start_paused = true)]
async fn that_there_is_no_such_name_is_believed_the_second_time() {
    let mut fixture = Fixture::start();
    fixture.answer("a", found("192.0.2.1", 1));
    fixture.refer(&["a"]);
    fixture.resolves("a", resolved("192.0.2.1")).await;
    fixture.answer("a", Outcome::Missing("no such name".into()));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(fixture.times("a"), 2);
    fixture.resolves("a", resolved("192.0.2.1")).await;
    fixture.resolves("a", Some(Resolved::failed("no such name"))).await;
    assert_eq!(fixture.times("a"), 3);
    // One that never had an address is believed at once.
    fixture.answer("b", Outcome::Missing("no such name".into()));
    fixture.refer(&["a", "b"]);
    fixture.resolves("b", Some(Resolved::failed("no such name"))).await;
    assert_eq!(fixture.times("b"), 1);
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_refers_to_are_forgotten() {
    let mut fixture = Fixture::start();
    fixture.answer("a", found("192.0.2.1", 5));
    fixture.refer(&["a"]);
    fixture.resolves("a", resolved("192.0.2.1")).await;
    fixture.refer(&[]);
    fixture.resolves("a", None).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fixture.times("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_waited_for_but_not_for_long() {
    let mut fixture = Fixture::start();
    fixture.answer("a", found("192.0.2.1", 5));
    fixture.refer(&["a"]);
    assert_eq!(fixture.covered("a").await, Duration::ZERO);
    assert!(fixture.feed.snapshots.borrow().as_ref().unwrap().host_names.contains_key("a"));
    fixture.refer(&["a", "silent"]);
    let waited = fixture.covered("silent").await;
    assert!(waited >= Duration::from_secs(2) && waited < Duration::from_secs(3), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn snapshots_of_the_source_pass_with_what_is_known() {
    let mut fixture = Fixture::start();
    fixture.answer("a", found("192.0.2.1", 3600));
    fixture.refer(&["a"]);
    fixture.resolves("a", resolved("192.0.2.1")).await;
    fixture.source.send_replace(Some(Snapshot { zone: Some("z".into()), ..Snapshot::default() }));
    let passed = fixture.feed.snapshots.wait_for(|it| it.as_ref().is_some_and(|it| it.zone.is_some())).await.unwrap();
    assert!(passed.as_ref().unwrap().host_names.contains_key("a"));
}

/// A Service of type ExternalName among those that the source publishes.
fn external(snapshot: &Snapshot, target: &str) -> Snapshot {
    let text = format!("{{metadata: {{name: s, namespace: a}}, spec: {{type: ExternalName, externalName: {target}}}}}");
    let service: Service =
        serde_saphyr::from_str::<k8s_openapi::api::core::v1::Service>(&text).unwrap().try_into().unwrap();
    let mut changed = snapshot.clone();
    changed.services.insert(service.name.clone(), Arc::new(service));
    changed
}

/// A source whose Service had the addresses of the name `one`, and now has another one.
async fn renamed(to: &str) -> Fixture {
    let mut fixture = Fixture::start();
    fixture.answer("one", found("192.0.2.1", 3600));
    fixture.publish("ONE");
    fixture.refer(&["one"]);
    fixture.resolves("one", resolved("192.0.2.1")).await;
    fixture.publish(to);
    fixture.keeps(resolved("192.0.2.1")).await;
    fixture
}

impl Fixture {
    /// The Service has this name now.
    fn publish(&self, target: &str) {
        let snapshot = external(&self.source.borrow().clone().unwrap(), target);
        self.source.send_replace(Some(snapshot));
    }

    /// Waits until the Service keeps these addresses of a former name; returns what is published then.
    async fn keeps(&mut self, addresses: Option<Resolved>) -> Snapshot {
        let service = ObjectName::new("a", "s");
        let kept = |snapshot: &Option<Snapshot>| {
            snapshot
                .as_ref()
                .is_some_and(|now| now.former_addresses.get(&service).map(|it| (**it).clone()) == addresses)
        };
        self.feed.snapshots.wait_for(kept).await.unwrap().clone().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_with_another_name_keeps_its_addresses_until_that_is_known() {
    let mut fixture = renamed("silent").await;
    fixture.refer(&["silent"]);
    fixture.publish("two");
    fixture.keeps(resolved("192.0.2.1")).await;
    // What is known of the name and what is not needed any more is one change.
    fixture.answer("two", found("192.0.2.2", 3600));
    fixture.refer(&["two"]);
    let now = fixture.keeps(None).await;
    assert_eq!(now.host_names.get("two").map(|it| (**it).clone()), resolved("192.0.2.2"));
}

#[tokio::test(start_paused = true)]
async fn only_what_dns_says_of_the_new_name_ends_the_addresses_of_the_old_one() {
    let mut fixture = renamed("two").await;
    fixture.answer("two", Outcome::Failed("timed out".into()));
    fixture.refer(&["two"]);
    fixture.resolves("two", Some(Resolved::failed("timed out"))).await;
    fixture.keeps(resolved("192.0.2.1")).await;
    fixture.answer("two", Outcome::Missing("no such name".into()));
    let now = fixture.keeps(None).await;
    assert_eq!(now.host_names.get("two").map(|it| (**it).clone()), Some(Resolved::failed("no such name")));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_never_looked_up_keeps_no_addresses() {
    // Nobody refers to it.
    let mut fixture = renamed("nobodys").await;
    tokio::time::advance(PATIENCE).await;
    fixture.source.send_modify(|snapshot| snapshot.as_mut().unwrap().zone = Some("z".into()));
    fixture.keeps(None).await;
    // It is refused, and what follows it begins anew.
    let mut fixture = renamed("silent").await;
    fixture.publish("localhost");
    fixture.keeps(None).await;
    fixture.publish("three");
    let published = |snapshot: &Option<Snapshot>| {
        let service = snapshot.as_ref().and_then(|now| now.services.get(&ObjectName::new("a", "s")).cloned());
        service.is_some_and(|service| service.external_name.as_deref() == Some("three"))
    };
    let now = fixture.feed.snapshots.wait_for(published).await.unwrap().clone().unwrap();
    assert!(now.former_addresses.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_family_that_fails_keeps_the_addresses_that_are_known() {
    let mut fixture = Fixture::start();
    let both = vec![ip("192.0.2.1"), ip("2001:db8::1")];
    fixture.answer("a", Outcome::Found(both, Duration::from_secs(1)));
    fixture.refer(&["a"]);
    fixture.resolves("a", Some(Resolved::found([ip("192.0.2.1"), ip("2001:db8::1")]))).await;
    fixture.answer("a", Outcome::Partly(vec![ip("192.0.2.2")], "timed out".into()));
    fixture.resolves("a", Some(Resolved::found([ip("192.0.2.2"), ip("2001:db8::1")]))).await;
}

#[tokio::test(start_paused = true)]
async fn addresses_that_nobody_confirms_any_more_are_said_to_be_old() {
    let mut fixture = Fixture::start();
    fixture.answer("a", found("192.0.2.1", 1));
    fixture.refer(&["a"]);
    fixture.resolves("a", resolved("192.0.2.1")).await;
    let start = Instant::now();
    fixture.answer("a", Outcome::Failed("timed out".into()));
    let old = Resolved { problem: Some("timed out".into()), ..Resolved::found([ip("192.0.2.1")]) };
    fixture.resolves("a", Some(old)).await;
    assert!(start.elapsed() >= Duration::from_secs(60), "{:?}", start.elapsed());
    fixture.answer("a", found("192.0.2.1", 1));
    fixture.resolves("a", resolved("192.0.2.1")).await;
}

/// More names that are never answered than lookups at the same time.
#[tokio::test(start_paused = true)]
async fn names_that_fail_leave_room_for_others() {
    let mut fixture = Fixture::start();
    let failing: Vec<String> = (0..40).map(|number| format!("failing-{number:02}")).collect();
    for name in &failing {
        fixture.answer(name, Outcome::Failed("refused".into()));
    }
    let mut names: Vec<&str> = failing.iter().map(String::as_str).collect();
    fixture.refer(&names);
    for name in &failing {
        fixture.resolves(name, Some(Resolved::failed("refused"))).await;
    }
    // From now on their servers say nothing at all, and each of their lookups goes on for ever.
    fixture.fake.0.lock().answers.clear();
    tokio::time::sleep(Duration::from_secs(120)).await;
    fixture.answer("z", found("192.0.2.1", 60));
    names.push("z");
    fixture.refer(&names);
    fixture.resolves("z", resolved("192.0.2.1")).await;
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_panics_ends_nothing() {
    struct Panics;
    impl Lookup for Panics {
        fn lookup(&self, host_name: Arc<str>) -> BoxFuture<'static, Outcome> {
            async move {
                assert_ne!(&*host_name, "a", "on purpose");
                found("192.0.2.1", 60)
            }
            .boxed()
        }
    }
    let host_names = ["a", "b"].map(Arc::from).into_iter().collect();
    let (_references, referred) = watch::channel(References { host_names, ..References::default() });
    let (_source, snapshots) = watch::channel(Some(Snapshot::default()));
    let (_, covered) = watch::channel(Coverage::Everything);
    let (stage, mut feed) = Stage::new(Panics, Feed { snapshots, coverage: covered }, referred);
    tokio::spawn(stage.run());
    let both = |snapshot: &Option<Snapshot>| snapshot.as_ref().is_some_and(|snapshot| snapshot.host_names.len() == 2);
    let snapshot = feed.snapshots.wait_for(both).await.unwrap().clone().unwrap();
    assert_eq!(snapshot.host_names.get("a").map(|it| (**it).clone()), Some(Resolved::failed("the lookup panicked")));
}
