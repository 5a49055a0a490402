//! How endpoints are picked: what a client can see of it.

use crate::harness::{Message, Origin, PATIENCE, Running, nobody, ok};
use rust_nginx_proxy::{
    table::{Affinity, AffinityMode, Ejection, HashBy, LoadBalancing, Policy, SameSite, Settings},
    variable::Template,
};
use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    sync::{Arc, mpsc},
    time::Duration,
};

/// Endpoints that answer with their number.
fn origins(count: usize) -> Vec<Origin> {
    (0..count).map(|number| Origin::http(move |_| ok(number.to_string().as_bytes()))).collect()
}

fn running(origins: &[Origin], policy: Policy) -> Running {
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    Running::with(&addresses, policy, Settings::default())
}

fn sticking(affinity: Affinity) -> Policy {
    Policy { affinity: Some(Arc::new(affinity)), ..Policy::default() }
}

fn get(proxy: &Running, path: &str, headers: &str) -> Message {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{headers}\r\n");
    proxy.connect().send(request).read()
}

/// The pair of a `Set-Cookie`.
fn pair(response: &Message) -> Option<&str> {
    response.header("set-cookie").and_then(|cookie| cookie.split(';').next())
}

#[test]
fn a_session_stays_with_its_endpoint() {
    for mode in [AffinityMode::Balanced, AffinityMode::Persistent] {
        let proxy = running(&origins(4), sticking(Affinity { mode, ..Affinity::default() }));
        let mut seen = BTreeSet::new();
        for _ in 0..30 {
            let first = get(&proxy, "/", "");
            let cookie = format!("Cookie: x=1; {}\r\n", pair(&first).unwrap());
            for _ in 0..3 {
                let next = get(&proxy, "/", &cookie);
                assert_eq!(next.text(), first.text());
                assert_eq!(next.header("set-cookie"), None, "it has one");
            }
            seen.insert(first.text());
        }
        assert!(seen.len() > 1, "new sessions are spread: {seen:?}");
    }
}

#[test]
fn the_cookie_has_the_attributes_that_are_asked_for_and_the_endpoints_own_cookies_stay() {
    let origin = Origin::http(|_| b"HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nContent-Length: 0\r\n\r\n".to_vec());
    let affinity = Affinity {
        name: "route".into(),
        path: Some("/app".into()),
        same_site: Some(SameSite::Lax),
        max_age: Some(600),
        ..Affinity::default()
    };
    let proxy = running(&[origin], sticking(affinity));
    let response = get(&proxy, "/", "");
    let cookies: Vec<_> = response.headers.iter().filter(|(name, _)| name == "set-cookie").collect();
    assert_eq!(cookies[0].1, "own=1");
    assert!(cookies[1].1.starts_with("route="), "{cookies:?}");
    assert!(cookies[1].1.ends_with("; Max-Age=600; Path=/app; HttpOnly; SameSite=Lax"), "{cookies:?}");
    assert_eq!(cookies.len(), 2);
}

#[test]
fn a_session_whose_endpoint_is_dead_moves_only_if_it_may() {
    for change_on_failure in [false, true] {
        let live = Origin::http(|_| ok(b"live"));
        let dead = nobody();
        let affinity = Affinity { mode: AffinityMode::Persistent, change_on_failure, ..Affinity::default() };
        let proxy = Running::with(&[live.address, dead], sticking(affinity), Settings::default());
        // md5 of the name of the backend and the address: what ingress-nginx would have set for the dead endpoint.
        let key = md5(&format!("default-app-80{dead}"));
        let response = get(&proxy, "/", &format!("Cookie: INGRESSCOOKIE={key}|x\r\n"));
        if change_on_failure {
            assert_eq!(response.text(), "live");
            let cookie = pair(&response).unwrap().to_owned();
            let next = get(&proxy, "/", &format!("Cookie: {cookie}\r\n"));
            assert_eq!((next.text().as_str(), next.header("set-cookie")), ("live", None));
        } else {
            assert_eq!(response.status(), 502);
            assert_eq!(response.header("set-cookie"), None);
        }
    }
}

fn md5(text: &str) -> String {
    use md5::Digest as _;
    md5::Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_hash_sends_equal_requests_to_one_endpoint() {
    let by = HashBy { key: Template::parse("$arg_user$http_x_tenant").unwrap(), subset: None };
    let policy = Policy { load_balancing: LoadBalancing::Hash(Arc::new(by)), ..Policy::default() };
    let proxy = running(&origins(4), policy);
    let mut seen = BTreeSet::new();
    for user in 0..40 {
        let first = get(&proxy, &format!("/a?user={user}"), "X-Tenant: t\r\n").text();
        assert_eq!(get(&proxy, &format!("/b?user={user}&x=1"), "X-Tenant: t\r\n").text(), first);
        seen.insert(first);
    }
    assert!(seen.len() > 1);
}

#[test]
fn least_request_goes_round_an_endpoint_that_hangs() {
    let (held, holds) = mpsc::channel::<()>();
    let (release, released) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new((held, released));
    let slow = Origin::http(move |_| {
        let gate = gate.lock().unwrap();
        gate.0.send(()).unwrap();
        let _ = gate.1.recv();
        ok(b"slow")
    });
    let quick = Origin::http(|_| ok(b"quick"));
    let policy = Policy { load_balancing: LoadBalancing::LeastRequest, ..Policy::default() };
    let proxy = running(&[slow, quick], policy);
    // One after the other, until one hangs.
    let mut hanging = proxy.connect();
    loop {
        hanging.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        hanging.stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let answered = loop {
            if holds.try_recv().is_ok() {
                break false;
            }
            if hanging.stream.peek(&mut [0]).is_ok() {
                break true;
            }
        };
        hanging.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if !answered {
            break;
        }
        assert_eq!(hanging.read().text(), "quick");
    }
    for _ in 0..30 {
        assert_eq!(get(&proxy, "/", "").text(), "quick");
    }
    drop(release);
    assert_eq!(hanging.read().text(), "slow");
}

#[test]
fn ewma_answers_like_any_other() {
    let policy = Policy { load_balancing: LoadBalancing::Ewma, ..Policy::default() };
    let proxy = running(&origins(3), policy);
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        seen.insert(get(&proxy, "/", "").text());
    }
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn an_endpoint_that_fails_is_not_asked_for_a_while() {
    let failing = Origin::raw(drop);
    let live = Origin::http(|_| ok(b"live"));
    let ejection = Ejection { failures: NonZeroU32::new(2).unwrap(), time: Duration::from_secs(600), max_percent: 50 };
    let policy = Policy { ejection: Some(ejection), ..Policy::default() };
    let (accepted, address) = (Arc::clone(&failing.accepted), failing.address);
    let proxy = Running::with(&[address, live.address], policy, Settings::default());
    for _ in 0..30 {
        assert_eq!(get(&proxy, "/", "").text(), "live");
    }
    assert_eq!(accepted.load(std::sync::atomic::Ordering::SeqCst), 2);
}
