use super::{AT_ONCE, COALESCE, Coverage, Feed, Looked, Outlets, Pass, run};
use crate::{
    compile::{Compiled, ProcessSettings, References},
    metrics::ReconcileMetrics,
    snapshot::{ConfigMap, ObjectName, Snapshot},
};
use rust_nginx_proxy::{
    Handle,
    table::{Settings, Table, TableBuilder},
    tls::Certificate,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// No test waits longer.
const LIMIT: Duration = Duration::from_secs(10);

/// The loop with a compile that turns the ConfigMaps `ns/<number>` of a snapshot into a table.
struct Fixture {
    snapshots: watch::Sender<Option<Snapshot>>,
    coverage: watch::Sender<Coverage>,
    passes: watch::Receiver<Option<Arc<Pass>>>,
    references: watch::Receiver<References>,
    handle: watch::Receiver<Option<Arc<Handle>>>,
    compiles: Arc<AtomicUsize>,
    metrics: ReconcileMetrics,
}

fn name(name: &str) -> ObjectName {
    ObjectName::new("ns", name)
}

fn snapshot(names: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for text in names {
        let config_map = ConfigMap { name: name(text), data: BTreeMap::new() };
        snapshot.config_maps.insert(name(text), Arc::new(config_map));
    }
    snapshot
}

fn references(secrets: &[&str]) -> References {
    References { secrets: secrets.iter().map(|text| name(text)).collect(), ..References::default() }
}

/// The table of a number: recognised by a setting.
fn table(number: u32, tables: &mut TableBuilder) -> Table {
    let settings = Settings { keep_alive_requests: number, ..Settings::default() };
    tables.set_settings(Arc::new(settings));
    tables.build()
}

fn start() -> Fixture {
    let (snapshots, snapshots_receiver) = watch::channel(None);
    let (coverage, coverage_receiver) = watch::channel(Coverage::Looked(Arc::default()));
    let (passes_sender, passes) = watch::channel(None);
    let (references_sender, references) = watch::channel(References::default());
    let (handle_sender, handle) = watch::channel(None);
    let outlets = Outlets {
        passes: passes_sender,
        references: references_sender,
        handle: handle_sender,
        heartbeat: watch::channel(Instant::now()).0,
    };
    let compiles = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&compiles);
    let certificate = Arc::new(Certificate::self_signed().unwrap());
    let make = move || {
        let counter = Arc::clone(&counter);
        let mut tables = TableBuilder::new(Arc::default(), Arc::clone(&certificate));
        move |snapshot: &Snapshot| {
            counter.fetch_add(1, Ordering::SeqCst);
            let names: Vec<&str> = snapshot.config_maps.keys().map(|name| &*name.name).collect();
            assert!(!names.contains(&"panic"), "asked to panic");
            let number = names.iter().filter_map(|name| name.parse::<u32>().ok()).sum();
            let needs = names.iter().filter_map(|name| name.strip_prefix("needs-"));
            Compiled {
                table: table(number, &mut tables),
                diagnostics: Default::default(),
                expiries: Default::default(),
                ingresses: Default::default(),
                references: References { secrets: needs.map(name).collect(), ..References::default() },
                process: ProcessSettings {
                    workers: None,
                    shutdown_timeout: Duration::ZERO,
                    bind_addresses: Vec::new(),
                    disable_ipv6: false,
                },
            }
        }
    };
    let metrics = ReconcileMetrics::detached();
    let feed = Feed { snapshots: snapshots_receiver, coverage: coverage_receiver };
    tokio::spawn(run(feed, outlets, metrics.clone(), make));
    Fixture { snapshots, coverage, passes, references, handle, compiles, metrics }
}

impl Fixture {
    fn publish(&self, names: &[&str]) {
        self.snapshots.send_replace(Some(snapshot(names)));
    }

    /// Waits until the installed table is the one of a number.
    async fn installed(&mut self, number: u32) {
        let installed = async {
            loop {
                let handle = self.handle.borrow_and_update().clone();
                if handle.is_some_and(|handle| handle.table().settings().keep_alive_requests == number) {
                    return;
                }
                tokio::select! {
                    changed = self.passes.changed() => changed.unwrap(),
                    changed = self.handle.changed() => changed.unwrap(),
                }
            }
        };
        timeout(LIMIT, installed).await.unwrap_or_else(|_| panic!("table {number} was not installed"));
    }

    async fn referred(&mut self, secrets: &[&str]) {
        let expected = references(secrets);
        let result = timeout(LIMIT, self.references.wait_for(|references| *references == expected)).await;
        assert!(result.is_ok(), "{secrets:?} were not referred to");
    }
}

#[tokio::test]
async fn nothing_is_installed_before_there_is_a_snapshot() {
    let mut fixture = start();
    tokio::task::yield_now().await;
    assert!(fixture.handle.borrow().is_none());
    fixture.publish(&["1"]);
    fixture.installed(1).await;
    fixture.publish(&["1", "2"]);
    fixture.installed(3).await;
}

#[tokio::test]
async fn an_equal_table_is_not_installed_but_the_pass_is_told() {
    let mut fixture = start();
    fixture.publish(&["1"]);
    fixture.installed(1).await;
    let first = fixture.handle.borrow().clone().unwrap().table();
    fixture.passes.mark_unchanged();
    fixture.publish(&["1", "something-else"]);
    timeout(LIMIT, fixture.passes.changed()).await.unwrap().unwrap();
    let second = fixture.handle.borrow().clone().unwrap().table();
    assert!(Arc::ptr_eq(&first, &second));
    // The pass shows the installed one: two equal tables would take twice the memory.
    let pass = fixture.passes.borrow().clone().unwrap();
    assert!(Arc::ptr_eq(pass.compiled.table.settings(), second.settings()));
    assert_eq!(fixture.metrics.installs(), 1);
}

#[tokio::test]
async fn a_storm_of_events_is_a_few_passes() {
    let mut fixture = start();
    fixture.publish(&["1"]);
    fixture.installed(1).await;
    let (before, started) = (fixture.compiles.load(Ordering::SeqCst), Instant::now());
    for number in 2..500_u32 {
        fixture.publish(&[&number.to_string()]);
        tokio::task::yield_now().await;
    }
    fixture.installed(499).await;
    let passes = fixture.compiles.load(Ordering::SeqCst) - before;
    let allowed = started.elapsed().as_millis() / COALESCE.as_millis() + u128::from(AT_ONCE) + 1;
    assert!(passes as u128 <= allowed, "{passes} passes, {allowed} allowed");
}

#[tokio::test(start_paused = true)]
async fn a_few_events_in_a_row_wait_for_nothing() {
    let mut fixture = start();
    let started = Instant::now();
    for number in 1..=AT_ONCE {
        fixture.publish(&[&number.to_string()]);
        fixture.installed(number).await;
    }
    assert!(started.elapsed() < COALESCE, "{:?}", started.elapsed());
    fixture.publish(&["100"]);
    fixture.installed(100).await;
    assert!(started.elapsed() >= COALESCE, "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_first_table_waits_for_what_it_refers_to() {
    let mut fixture = start();
    fixture.publish(&["1", "needs-secret"]);
    fixture.referred(&["secret"]).await;
    assert!(fixture.handle.borrow().is_none());
    // The source publishes the snapshot with the object, then says that it has looked.
    fixture.publish(&["2", "needs-secret"]);
    let looked = Looked { references: references(&["secret"]), pending: References::default() };
    fixture.coverage.send_replace(Coverage::Looked(Arc::new(looked)));
    fixture.installed(2).await;
}

#[tokio::test]
async fn a_later_table_waits_a_moment_only() {
    let mut fixture = start();
    fixture.publish(&["1"]);
    fixture.installed(1).await;
    fixture.publish(&["2", "needs-secret"]);
    fixture.referred(&["secret"]).await;
    assert_eq!(fixture.handle.borrow().clone().unwrap().table().settings().keep_alive_requests, 1);
    // Nobody answers: the rest must not wait for ever.
    fixture.installed(2).await;
    // And it does not wait for the same thing again.
    let started = Instant::now();
    fixture.publish(&["3", "needs-secret"]);
    fixture.installed(3).await;
    assert!(started.elapsed() < super::SETTLE, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_panic_leaves_the_table_and_the_loop_alone() {
    let mut fixture = start();
    fixture.publish(&["1"]);
    fixture.installed(1).await;
    let before = fixture.compiles.load(Ordering::SeqCst);
    fixture.publish(&["panic"]);
    let panicked = async {
        while fixture.metrics.failures() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LIMIT, panicked).await.expect("the failure is counted");
    assert!(fixture.compiles.load(Ordering::SeqCst) > before);
    assert_eq!(fixture.handle.borrow().clone().unwrap().table().settings().keep_alive_requests, 1);
    fixture.publish(&["5"]);
    fixture.installed(5).await;
}
