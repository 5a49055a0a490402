use super::*;
use crate::{
    listener::Scheme,
    table::{
        Affinity, AffinityMode, Ejection, Endpoint, HashBy, LoadBalancing, PathMatch, Policy, Protocol, Route,
        RouteLabels, Target,
    },
    timeout::Timers,
    variable::{Scope, Template},
};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header, request::Parts};
use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    num::{NonZeroU16, NonZeroU32, NonZeroUsize},
    time::Duration,
};

struct World {
    state: Rc<State>,
    timers: Rc<Timers>,
    head: Parts,
    labels: RouteLabels,
    host: HeaderValue,
}

impl World {
    fn new() -> Self {
        let head = Request::builder().uri("/").body(()).expect("a request").into_parts().0;
        Self {
            state: Rc::new(State::new(BackendKey::new("default-web-80"))),
            timers: Timers::new(),
            head,
            labels: RouteLabels::default(),
            host: HeaderValue::from_static("a"),
        }
    }

    fn asking(uri: &str, cookie: Option<&str>) -> Parts {
        let mut request = Request::builder().uri(uri);
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn scope<'a>(&'a self, head: &'a Parts) -> Scope<'a> {
        Scope {
            head,
            host: &self.host,
            remote: IpAddr::from([10, 9, 9, 9]),
            remote_text: &self.host,
            scheme: Scheme::Http,
            port: &self.host,
            request_id: None,
            labels: &self.labels,
            client: None,
            certificate: None,
        }
    }

    fn picker<'a>(&'a self, backend: &'a Arc<Backend>, policy: &'a Policy) -> Picker<'a> {
        Picker::new(Rc::clone(&self.state), backend, policy, &self.timers)
    }

    /// One pick of a request without anything special.
    fn pick(&self, backend: &Arc<Backend>, policy: &Policy, tried: &[Endpoint]) -> Picked {
        self.picker(backend, policy).pick(tried, || self.scope(&self.head)).expect("there are endpoints")
    }

    fn counts(&self, backend: &Arc<Backend>, policy: &Policy, picks: usize) -> BTreeMap<u8, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..picks {
            *counts.entry(number(self.pick(backend, policy, &[]).endpoint)).or_default() += 1;
        }
        counts
    }

    /// A request of a session: its endpoint, and the cookie it gets.
    fn visit(&self, backend: &Arc<Backend>, policy: &Policy, cookie: Option<&str>, tried: &[Endpoint]) -> Visit {
        let head = Self::asking("/", cookie);
        let mut picker = self.picker(backend, policy);
        let endpoint = picker.pick(tried, || self.scope(&head)).expect("there are endpoints").endpoint;
        let set = picker.cookie(&route(), Scheme::Http, &HeaderMap::new());
        let set = set.map(|set| set.to_str().expect("text").split(';').next().expect("a pair").to_owned());
        Visit { endpoint, set }
    }
}

struct Visit {
    endpoint: Endpoint,
    set: Option<String>,
}

fn route() -> Route {
    Route {
        path: PathMatch::Prefix("/".into()),
        labels: Arc::default(),
        target: Target::Status(StatusCode::OK),
        filters: Box::default(),
        policy: Arc::default(),
    }
}

fn endpoint(number: u8) -> Endpoint {
    Endpoint { address: ([10, 0, 0, number], 80).into() }
}

fn number(endpoint: Endpoint) -> u8 {
    match endpoint.address.ip() {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => unreachable!("tests use IPv4"),
    }
}

fn backend(numbers: impl IntoIterator<Item = u8>) -> Arc<Backend> {
    let endpoints = numbers.into_iter().map(endpoint).collect();
    Arc::new(Backend::new(BackendKey::new("default-web-80"), Protocol::Http1, endpoints))
}

fn only(number: u8) -> Arc<Backend> {
    backend([number])
}

fn balancing(load_balancing: LoadBalancing) -> Policy {
    Policy { load_balancing, ..Policy::default() }
}

fn hashing(key: &str, subset: Option<usize>) -> Policy {
    let key = Template::parse(key).expect("a template");
    balancing(LoadBalancing::Hash(Arc::new(HashBy { key, subset: subset.and_then(NonZeroUsize::new) })))
}

fn sticking(affinity: Affinity) -> Policy {
    Policy { affinity: Some(Arc::new(affinity)), ..Policy::default() }
}

#[test]
fn every_balancer_tries_another_endpoint_and_in_the_end_the_same_again() {
    let backend = backend(1..=4);
    for policy in [
        Policy::default(),
        balancing(LoadBalancing::LeastRequest),
        balancing(LoadBalancing::Ewma),
        hashing("$request_uri", None),
        hashing("$request_uri", Some(2)),
        sticking(Affinity::default()),
        sticking(Affinity { mode: AffinityMode::Persistent, ..Affinity::default() }),
    ] {
        let world = World::new();
        let mut tried = Vec::new();
        for _ in 0..4 {
            let picked = world.pick(&backend, &policy, &tried).endpoint;
            assert!(!tried.contains(&picked), "{policy:?}");
            tried.push(picked);
        }
        let again = world.pick(&backend, &policy, &tried).endpoint;
        assert!(tried.contains(&again));
        let alone = only(7);
        assert_eq!(world.pick(&alone, &policy, &[endpoint(7)]).endpoint, endpoint(7), "{policy:?}");
    }
}

#[test]
fn once_all_were_tried_they_go_on_in_turn() {
    let ejection = Ejection { failures: NonZeroU32::MAX, time: Duration::from_secs(30), max_percent: 60 };
    let remembering = Policy { ejection: Some(ejection), ..Policy::default() };
    for (policy, count) in [(&Policy::default(), 2), (&Policy::default(), 4), (&remembering, 2), (&remembering, 4)] {
        let backend = backend(1..=count);
        let world = World::new();
        let mut tried = Vec::new();
        for _ in 0..5 * count {
            tried.push(world.pick(&backend, policy, &tried).endpoint);
        }
        for round in tried.chunks(count.into()) {
            let different: HashSet<_> = round.iter().collect();
            assert_eq!(different.len(), count.into(), "{policy:?}: {tried:?}");
        }
        // Other requests take their turns in between.
        for others in 1..=count {
            for _ in 0..others {
                world.pick(&backend, policy, &[]);
            }
            let picked = world.pick(&backend, policy, &tried).endpoint;
            assert_ne!(tried.last(), Some(&picked), "{policy:?}");
            tried.push(picked);
        }
    }
}

#[test]
fn weights_are_shares_and_turns_stay_smooth() {
    let world = World::new();
    let weights = [(1, 5), (2, 1), (3, 1)];
    let endpoints =
        weights.map(|(number, weight)| (endpoint(number), NonZeroU16::new(weight).expect("a weight"))).to_vec();
    let weighted = Arc::new(Backend::weighted(BackendKey::new("w"), Protocol::Http1, endpoints));
    let counts = world.counts(&weighted, &Policy::default(), 70);
    assert_eq!(counts, BTreeMap::from([(1, 50), (2, 10), (3, 10)]));
    let order: Vec<_> = (0..7).map(|_| number(world.pick(&weighted, &Policy::default(), &[]).endpoint)).collect();
    assert!(order.windows(4).all(|four| four.iter().any(|number| *number != 1)), "{order:?}");
    let random = world.counts(&weighted, &balancing(LoadBalancing::LeastRequest), 300);
    assert!(random[&1] > 2 * random[&2].min(random[&3]), "{random:?}");
}

#[test]
fn least_request_leaves_busy_endpoints_alone() {
    let world = World::new();
    let (backend, policy) = (backend(1..=2), balancing(LoadBalancing::LeastRequest));
    let picker = world.picker(&backend, &policy);
    let mut under_way = Vec::new();
    for _ in 0..20 {
        under_way.push(picker.in_flight(&world.pick(&backend, &policy, &[])));
    }
    let busy = world.pick(&backend, &policy, &[]);
    let load = |guards: &[Option<InFlight>]| guards.iter().flatten().count();
    assert_eq!(load(&under_way), 20);
    // Both have ten; twenty more on one make it the busier one.
    let burden: Vec<_> = (0..20).map(|_| picker.in_flight(&busy)).collect();
    for _ in 0..10 {
        assert_ne!(world.pick(&backend, &policy, &[]).endpoint, busy.endpoint);
    }
    drop((burden, under_way));
    assert_eq!(world.counts(&backend, &policy, 100).len(), 2);
    assert!(world.picker(&backend, &Policy::default()).in_flight(&busy).is_none(), "nobody else counts");
}

#[tokio::test(start_paused = true)]
async fn ewma_prefers_who_answers_faster_and_forgets() {
    let world = World::new();
    let (two, policy) = (backend(1..=2), balancing(LoadBalancing::Ewma));
    let learn = |backend: &Arc<Backend>, slow: u8| {
        let picker = world.picker(backend, &policy);
        for position in [1, 2] {
            let others: Vec<_> = (1..=9).filter(|other| *other != position).map(endpoint).collect();
            let picked = world.pick(backend, &policy, &others);
            picker.answered(&picked, Duration::from_millis(if position == slow { 900 } else { 10 }));
        }
    };
    world.pick(&two, &policy, &[]);
    tokio::time::advance(Duration::from_secs(5)).await;
    learn(&two, 1);
    assert_eq!(world.counts(&two, &policy, 50), BTreeMap::from([(2, 50)]));
    // Failing fast attracts nobody.
    let quick = world.pick(&two, &policy, &[]);
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(1)).await;
        world.picker(&two, &policy).failed(&quick, Duration::from_millis(1));
        let slow = world.pick(&two, &policy, &[endpoint(2)]);
        world.picker(&two, &policy).answered(&slow, Duration::from_millis(1));
    }
    assert_eq!(world.counts(&two, &policy, 50), BTreeMap::from([(1, 50)]));
    // A newcomer begins in the middle.
    let three = backend(1..=3);
    let counts = world.counts(&three, &policy, 300);
    assert!(counts[&3] > 0 && counts[&3] < counts[&1], "{counts:?}");
}

#[test]
fn a_hash_leads_to_the_same_endpoint_and_a_group_to_one_of_the_group() {
    let world = World::new();
    let backend = backend(1..=10);
    let policy = hashing("$arg_user", None);
    let find = |policy: &Policy, uri: &str, tried: &[Endpoint]| {
        let head = World::asking(uri, None);
        world.picker(&backend, policy).pick(tried, || world.scope(&head)).expect("an endpoint").endpoint
    };
    let mut used = BTreeMap::new();
    for user in 0..200 {
        let first = find(&policy, &format!("/a?user={user}"), &[]);
        assert_eq!(find(&policy, &format!("/b?x=1&user={user}"), &[]), first);
        *used.entry(first).or_insert(0) += 1;
        let next = find(&policy, &format!("/?user={user}"), &[first]);
        assert_eq!(find(&policy, &format!("/?user={user}"), &[first]), next, "the next is the same one, too");
    }
    assert_eq!(used.len(), 10);

    let policy = hashing("$arg_user", Some(3));
    for user in 0..50 {
        let uri = format!("/?user={user}");
        let group: std::collections::BTreeSet<_> = (0..60).map(|_| number(find(&policy, &uri, &[])) - 1).collect();
        let start = *group.first().expect("one at least") / 3 * 3;
        let whole = if group.contains(&9) { [9, 0, 1] } else { [start, start + 1, start + 2] };
        assert!(group.iter().all(|member| whole.contains(member)), "{group:?}");
        assert_eq!(group.len(), 3, "{group:?}");
    }
}

#[test]
fn sessions_stay_in_both_modes() {
    for mode in [AffinityMode::Balanced, AffinityMode::Persistent] {
        let world = World::new();
        let (small, policy) = (backend(1..=5), sticking(Affinity { mode, ..Affinity::default() }));
        for _ in 0..20 {
            let first = world.visit(&small, &policy, None, &[]);
            let cookie = first.set.expect("a new client gets a cookie");
            let next = world.visit(&small, &policy, Some(&cookie), &[]);
            assert_eq!((next.endpoint, next.set), (first.endpoint, None));
            // Its own endpoint is tried again, unless the session may move.
            let retry = world.visit(&small, &policy, Some(&cookie), &[first.endpoint]);
            assert_eq!((retry.endpoint, retry.set), (first.endpoint, None));
            if mode == AffinityMode::Persistent {
                let grown = world.visit(&backend(1..=9), &policy, Some(&cookie), &[]);
                assert_eq!((grown.endpoint, grown.set), (first.endpoint, None));
                let others = (1..=5).filter(|other| *other != number(first.endpoint));
                let gone = world.visit(&backend(others), &policy, Some(&cookie), &[]);
                assert!(gone.set.is_some(), "what the cookie names is gone");
            }
        }
    }
}

#[test]
fn a_session_moves_on_failure_where_it_may() {
    for mode in [AffinityMode::Balanced, AffinityMode::Persistent] {
        let world = World::new();
        let policy = sticking(Affinity { mode, change_on_failure: true, ..Affinity::default() });
        let backend = backend(1..=3);
        let first = world.visit(&backend, &policy, None, &[]);
        let cookie = first.set.expect("a cookie");
        let moved = world.visit(&backend, &policy, Some(&cookie), &[first.endpoint]);
        assert_ne!(moved.endpoint, first.endpoint);
        let cookie = moved.set.expect("another cookie");
        assert_eq!(world.visit(&backend, &policy, Some(&cookie), &[]).endpoint, moved.endpoint);
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_fail_are_left_alone_for_a_while() {
    let world = World::new();
    let local = tokio::task::LocalSet::new();
    local.spawn_local(Rc::clone(&world.timers).drive());
    let three = NonZeroU32::new(3).expect("3 is not 0");
    let ejection = Ejection { failures: three, time: Duration::from_secs(30), max_percent: 60 };
    let policy = Policy { ejection: Some(ejection), ..Policy::default() };
    let backend = backend(1..=4);
    // Something has to turn the wheel.
    let held = world.timers.deadline();
    held.set(Duration::from_secs(1000));
    let fail = |number: u8, times: u32| {
        let others: Vec<_> = (1..=4).filter(|other| *other != number).map(endpoint).collect();
        let picked = world.pick(&backend, &Policy { ejection: Some(ejection), ..Policy::default() }, &others);
        assert_eq!(picked.endpoint, endpoint(number));
        (0..times).for_each(|_| world.picker(&backend, &policy).failed(&picked, Duration::ZERO));
        picked
    };
    local
        .run_until(async {
            let picked = fail(1, 2);
            world.picker(&backend, &policy).answered(&picked, Duration::ZERO);
            fail(1, 2);
            assert_eq!(world.counts(&backend, &policy, 40).len(), 4, "not in a row");
            fail(1, 1);
            fail(2, 3);
            // Two of four are as many as 60 percent allow.
            fail(3, 3);
            assert_eq!(world.counts(&backend, &policy, 40), BTreeMap::from([(3, 20), (4, 20)]));
            assert_eq!(world.counts(&backend, &Policy::default(), 40).len(), 4, "other routes do as they like");

            tokio::time::sleep(Duration::from_secs(31)).await;
            assert_eq!(world.counts(&backend, &policy, 40).len(), 4);
            fail(1, 1);
            assert!(!world.counts(&backend, &policy, 40).contains_key(&1), "once more is enough");
        })
        .await;

    let world = World::new();
    let alone = only(1);
    let picked = world.pick(&alone, &policy, &[]);
    (0..10).for_each(|_| world.picker(&alone, &policy).failed(&picked, Duration::ZERO));
    assert_eq!(world.counts(&alone, &policy, 5), BTreeMap::from([(1, 5)]), "never the last");
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_starts_slowly() {
    let world = World::new();
    let local = tokio::task::LocalSet::new();
    local.spawn_local(Rc::clone(&world.timers).drive());
    let held = world.timers.deadline();
    held.set(Duration::from_secs(1000));
    let policy = Policy { slow_start: Some(Duration::from_secs(60)), ..Policy::default() };
    let (two, three) = (backend(1..=2), backend(1..=3));
    local
        .run_until(async {
            assert_eq!(world.counts(&two, &policy, 40), BTreeMap::from([(1, 20), (2, 20)]));
            let counts = world.counts(&three, &policy, 210);
            assert_eq!(counts[&3], 10, "a tenth of the others: {counts:?}");
            tokio::time::sleep(Duration::from_secs(31)).await;
            let counts = world.counts(&three, &policy, 250);
            assert!((45..=55).contains(&counts[&3]), "half of the others: {counts:?}");
            tokio::time::sleep(Duration::from_secs(31)).await;
            assert_eq!(world.counts(&three, &policy, 90), BTreeMap::from([(1, 30), (2, 30), (3, 30)]));
        })
        .await;
}
