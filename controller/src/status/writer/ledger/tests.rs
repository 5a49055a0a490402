use super::{COLLISION, Job, Ledger, Outcome, View, is_same};
use crate::{
    snapshot::{Ingress, ObjectName},
    status::{
        address::Address,
        writer::tests::{ingress, ip},
    },
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(60);
const US: &str = "rust-nginx:edge/leader";

fn ledger() -> Ledger {
    Ledger::new(US.into(), INTERVAL, false)
}

fn by(writer: &str, ingress: Ingress) -> Ingress {
    Ingress { status_writer: Some(writer.into()), ..ingress }
}

fn view(ingresses: &[Ingress], ours: &[&str], desired: &[&str]) -> View {
    View {
        ingresses: ingresses.iter().map(|one| (one.name.clone(), Arc::new(one.clone()))).collect(),
        ours: ours.iter().map(|name| ObjectName::new("ns", *name)).collect(),
        desired: Some(desired.iter().map(|text| ip(text)).collect()),
        certain: true,
    }
}

/// Takes everything that is due, as `name=addresses`.
fn take(ledger: &mut Ledger, now: Instant) -> (Vec<String>, Vec<Job>) {
    let jobs: Vec<Job> = std::iter::from_fn(|| ledger.take(now)).collect();
    let text = |(ip, name): &Address| ip.clone().or_else(|| name.clone()).unwrap().to_string();
    let texts = jobs.iter().map(|job| {
        format!("{}={}", job.ingress.name.name, job.addresses.iter().map(text).collect::<Vec<_>>().join(","))
    });
    (texts.collect(), jobs)
}

fn due(ledger: &mut Ledger, now: Instant) -> Vec<String> {
    let (texts, jobs) = take(ledger, now);
    for job in &jobs {
        ledger.done(job, &Outcome::Failed, now);
    }
    texts
}

fn write_all(ledger: &mut Ledger, now: Instant) -> Vec<String> {
    let (texts, jobs) = take(ledger, now);
    for job in &jobs {
        ledger.done(job, &Outcome::Written, now);
    }
    texts
}

#[test]
fn only_differences_of_our_ingresses_are_written_and_new_ones_first() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let all = [
        ingress("z-new", "1", &[]),
        ingress("done", "1", &[ip("192.0.2.2"), ip("192.0.2.1")]),
        ingress("old", "1", &[ip("192.0.2.9")]),
        ingress("theirs", "1", &[]),
        ingress("theirs-too", "1", &[ip("192.0.2.9")]),
    ];
    ledger.follow(view(&all, &["z-new", "done", "old", "gone"], &["192.0.2.1", "192.0.2.2"]), now);
    assert_eq!(due(&mut ledger, now), ["z-new=192.0.2.1,192.0.2.2", "old=192.0.2.1,192.0.2.2"]);
}

#[test]
fn addresses_that_are_not_known_change_nothing() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let all = [ingress("new", "1", &[]), by(US, ingress("old", "1", &[ip("192.0.2.9")]))];
    ledger.follow(View { desired: None, ..view(&all, &["new", "old"], &[]) }, now);
    assert_eq!(due(&mut ledger, now), Vec::<String>::new());
    // Known to be none, they are taken away, but only where they are from us.
    let theirs = ingress("theirs", "1", &[ip("192.0.2.9")]);
    let all = [all.as_slice(), &[theirs]].concat();
    ledger.follow(view(&all, &["new", "old", "theirs"], &[]), now);
    assert_eq!(due(&mut ledger, now), ["old="]);
}

#[test]
fn what_was_written_is_not_written_again_while_the_watch_lags() {
    let (mut ledger, start) = (ledger(), Instant::now());
    let before = ingress("a", "1", &[]);
    ledger.follow(view(std::slice::from_ref(&before), &["a"], &["192.0.2.1"]), start);
    assert_eq!(write_all(&mut ledger, start), ["a=192.0.2.1"]);
    // Another change of it comes before the watch tells of our write.
    ledger.follow(view(&[ingress("a", "2", &[])], &["a"], &["192.0.2.1"]), start);
    assert_eq!(due(&mut ledger, start), Vec::<String>::new());
    assert_eq!(ledger.next(), Some(start + INTERVAL));
    // Other addresses are written at once.
    ledger.follow(view(&[ingress("a", "2", &[])], &["a"], &["192.0.2.7"]), start);
    assert_eq!(due(&mut ledger, start), ["a=192.0.2.7"]);
    // So is an Ingress of the same name that is another one.
    let another = Ingress { uid: "other".into(), ..ingress("a", "9", &[]) };
    ledger.follow(view(&[another], &["a"], &["192.0.2.1"]), start);
    assert_eq!(due(&mut ledger, start), ["a=192.0.2.1"]);
}

#[test]
fn somebody_who_disagrees_is_corrected_now_and_then() {
    let (mut ledger, start) = (ledger(), Instant::now());
    let show = |ledger: &mut Ledger, version: &str, address: &str, now| {
        ledger.follow(view(&[ingress("a", version, &[ip(address)])], &["a"], &["192.0.2.1"]), now);
    };
    show(&mut ledger, "1", "192.0.2.66", start);
    assert_eq!(write_all(&mut ledger, start), ["a=192.0.2.1"]);
    // Also when ours is seen in between: two controllers would write in a loop otherwise.
    show(&mut ledger, "2", "192.0.2.1", start);
    assert!(ledger.is_done() && ledger.next().is_none());
    show(&mut ledger, "3", "192.0.2.66", start + INTERVAL / 2);
    assert_eq!(due(&mut ledger, start + INTERVAL / 2), Vec::<String>::new());
    assert_eq!(write_all(&mut ledger, start + INTERVAL), ["a=192.0.2.1"]);
}

#[test]
fn what_is_not_ours_any_more_loses_what_we_wrote_and_nothing_else() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let shown = |name| ingress(name, "1", &[ip("192.0.2.1")]);
    let all = [
        by(US, shown("left")),
        by("rust-nginx:edge/another", shown("anothers")),
        shown("overwritten"),
        by(US, ingress("empty", "1", &[])),
        by(US, shown("ours")),
    ];
    ledger.follow(view(&all, &["left", "anothers", "overwritten", "empty", "ours"], &["192.0.2.1"]), now);
    ledger.follow(view(&all, &["ours"], &["192.0.2.1"]), now);
    assert_eq!(due(&mut ledger, now), ["left="]);
    // After a restart nothing but the objects themselves tells.
    ledger.forget();
    ledger.follow(View { certain: false, ..view(&all, &["ours"], &["192.0.2.1"]) }, now);
    assert_eq!(due(&mut ledger, now), Vec::<String>::new());
    ledger.follow(view(&all, &["ours"], &["192.0.2.1"]), now);
    assert_eq!(write_all(&mut ledger, now), ["left="]);
    assert_eq!(due(&mut ledger, now), Vec::<String>::new());
}

#[test]
fn what_leaves_the_selection_is_cleared_unless_it_was_deleted() {
    let now = Instant::now();
    for (outcome, again) in [(Outcome::Gone, 0), (Outcome::Written, 0), (Outcome::Collided, 0), (Outcome::Failed, 1)] {
        let mut ledger = Ledger::new(US.into(), INTERVAL, true);
        let all = [by(US, ingress("a", "1", &[ip("192.0.2.1")])), ingress("b", "1", &[ip("192.0.2.1")])];
        ledger.follow(view(&all, &["a", "b"], &["192.0.2.1"]), now);
        ledger.follow(view(&[], &[], &["192.0.2.1"]), now);
        let (texts, jobs) = take(&mut ledger, now);
        assert_eq!(texts, ["a="]);
        ledger.done(&jobs[0], &outcome, now);
        assert_eq!(due(&mut ledger, now).len(), again, "{outcome:?}");
    }
    let mut unselective = ledger();
    unselective.follow(view(&[by(US, ingress("a", "1", &[ip("192.0.2.1")]))], &["a"], &["192.0.2.1"]), now);
    unselective.follow(view(&[], &[], &["192.0.2.1"]), now);
    assert_eq!(due(&mut unselective, now), Vec::<String>::new());
}

#[test]
fn an_ingress_that_has_changed_meanwhile_is_judged_anew() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let shown = |version: &str, ours: &[&str]| view(&[ingress("a", version, &[])], ours, &["192.0.2.1"]);
    ledger.follow(shown("1", &["a"]), now);
    let (_, jobs) = take(&mut ledger, now);
    // It is seen to have changed its class before the answer comes.
    ledger.follow(shown("2", &[]), now);
    ledger.done(&jobs[0], &Outcome::Collided, now);
    assert!(ledger.is_done());
    // The answer comes before the change is seen.
    ledger.follow(shown("3", &["a"]), now);
    let (_, jobs) = take(&mut ledger, now);
    ledger.done(&jobs[0], &Outcome::Collided, now);
    assert_eq!(due(&mut ledger, now), Vec::<String>::new());
    assert_eq!(ledger.next(), Some(now + COLLISION));
    ledger.follow(shown("4", &["a"]), now);
    assert_eq!(due(&mut ledger, now), ["a=192.0.2.1"]);
}

#[test]
fn a_refused_write_waits_and_a_failed_one_does_not() {
    let (mut ledger, now) = (ledger(), Instant::now());
    ledger.follow(view(&[ingress("a", "1", &[]), ingress("b", "1", &[])], &["a", "b"], &["192.0.2.1"]), now);
    let (_, jobs) = take(&mut ledger, now);
    ledger.done(&jobs[0], &Outcome::Refused, now);
    ledger.done(&jobs[1], &Outcome::Failed, now);
    assert_eq!(due(&mut ledger, now), ["b=192.0.2.1"]);
    assert_eq!(due(&mut ledger, now + INTERVAL), ["a=192.0.2.1", "b=192.0.2.1"]);
}

#[test]
fn the_end_removes_what_we_wrote_even_if_the_watch_has_not_told_of_it() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let shown = |name, version| by(US, ingress(name, version, &[ip("192.0.2.1")]));
    let theirs = ingress("theirs", "1", &[ip("192.0.2.1")]);
    let before = [shown("old", "1"), ingress("new", "1", &[]), theirs.clone()];
    ledger.follow(view(&before, &["old", "new", "theirs"], &["192.0.2.1"]), now);
    assert_eq!(write_all(&mut ledger, now), ["new=192.0.2.1"]);
    ledger.end(now);
    assert!(!ledger.is_done());
    assert_eq!(write_all(&mut ledger, now), ["old="]);
    assert!(!ledger.is_done(), "the watch has yet to tell of the write");
    ledger.follow(view(&[shown("old", "1"), shown("new", "2"), theirs], &["old", "new"], &["192.0.2.1"]), now);
    assert_eq!(write_all(&mut ledger, now), ["new="]);
    assert!(ledger.is_done());
}

/// Twenty thousand, of which one changes: far from a look at all of them.
#[test]
fn a_look_costs_what_is_different() {
    let (mut ledger, now) = (ledger(), Instant::now());
    let shown = |number: usize| by(US, ingress(&format!("i{number}"), "1", &[ip("192.0.2.1")]));
    let all: Vec<Ingress> = (0..20_000).map(shown).collect();
    let names: Vec<&str> = all.iter().map(|ingress| &*ingress.name.name).collect();
    let mut latest = view(&all, &names, &["192.0.2.1"]);
    ledger.follow(latest.clone(), now);
    let started = Instant::now();
    for number in 0..1000 {
        let changed = by(US, ingress(&format!("i{number}"), "2", &[ip("192.0.2.1")]));
        latest.ingresses.insert(changed.name.clone(), Arc::new(changed));
        ledger.follow(latest.clone(), now);
    }
    // Some 10 µs each where nothing else runs; a look at all takes milliseconds.
    let each = started.elapsed() / 1000;
    println!("{each:?} for each look");
    assert!(each < Duration::from_millis(1), "{each:?} for each look");
    assert!(ledger.is_done());
}

#[test]
fn order_does_not_matter() {
    assert!(is_same(&[], &[]));
    assert!(is_same(&[ip("b"), ip("a")], &[ip("a"), ip("b")]));
    assert!(!is_same(&[ip("a")], &[ip("a"), ip("b")]));
}
