use super::{CONCURRENCY, FIRST_PAUSE, LONGEST_PAUSE, Outcome, Pace, writer_name};
use crate::{
    snapshot::{Ingress, ObjectName},
    status::address::Address,
};
use std::time::Duration;
use tokio::time::Instant;

pub(super) fn ip(text: &str) -> Address {
    (Some(text.into()), None)
}

pub(super) fn ingress(name: &str, version: &str, status: &[Address]) -> Ingress {
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
        status: status.into(),
        status_writer: None,
    }
}

fn pace(now: Instant) -> Pace {
    Pace { not_before: now, pause: FIRST_PAUSE, refused: 0 }
}

#[test]
fn pauses_double_and_end_with_success() {
    let start = Instant::now();
    let mut pace = pace(start);
    let mut now = start;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert!(pace.follow(&Outcome::Failed, None, now));
        assert_eq!(pace.not_before, now + Duration::from_secs(seconds));
        // What was on its way fails too, and what was on its way and succeeds says nothing about the next.
        assert!(!pace.follow(&Outcome::Failed, None, now));
        assert!(!pace.follow(&Outcome::Written, None, now));
        now = pace.not_before;
    }
    pace.follow(&Outcome::Written, None, now);
    pace.follow(&Outcome::Failed, None, now);
    assert_eq!(pace.not_before, now + FIRST_PAUSE);
}

#[test]
fn the_server_may_ask_for_more() {
    let now = Instant::now();
    let mut asked = pace(now);
    asked.follow(&Outcome::Failed, Some(Duration::from_secs(7)), now);
    assert_eq!(asked.not_before, now + Duration::from_secs(7));
    let mut far = pace(now);
    far.follow(&Outcome::Failed, Some(Duration::from_secs(86_400)), now);
    assert_eq!(far.not_before, now + LONGEST_PAUSE);
}

#[test]
fn a_refusal_holds_up_nobody_else_but_refusals_of_everything_do() {
    let now = Instant::now();
    let mut pace = pace(now);
    for _ in 1..CONCURRENCY {
        assert!(!pace.follow(&Outcome::Refused, None, now));
    }
    pace.follow(&Outcome::Written, None, now);
    for _ in 1..CONCURRENCY {
        assert!(!pace.follow(&Outcome::Refused, None, now));
    }
    assert!(pace.follow(&Outcome::Refused, None, now));
}

#[test]
fn the_server_takes_the_name_of_any_installation() {
    assert_eq!(&*writer_name(&ObjectName::new("edge", "leader")), "rust-nginx:edge/leader");
    assert_eq!(writer_name(&ObjectName::new("n".repeat(63), "l".repeat(253))).len(), 128);
}
