//! When another endpoint is tried, and how often.

use crate::harness::{Client, Message, Origin, Running, nobody, ok};
use rust_nginx_proxy::table::{Policy, Retry, RetryOn, Settings};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

fn on(words: &str) -> RetryOn {
    let mut on = RetryOn::NOTHING;
    for word in words.split(' ') {
        match word {
            "error" => on.error = true,
            "timeout" => on.timeout = true,
            "invalid_header" => on.invalid_header = true,
            "non_idempotent" => on.non_idempotent = true,
            status => assert!(on.statuses.insert(status.parse().unwrap())),
        }
    }
    on
}

fn policy(words: &str) -> Policy {
    Policy { retry: Retry { on: on(words), ..Retry::default() }, ..Policy::default() }
}

/// Answers every request with a status, and counts them.
fn answering(status: &'static str) -> (Origin, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let origin = Origin::http(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nfrom").into_bytes()
    });
    (origin, asked)
}

/// Reads a request, body included, and hangs up.
fn hanging_up() -> Origin {
    Origin::raw(|stream| {
        Client::new(stream).try_read();
    })
}

fn send(proxy: &Running, method: &str, body: &[u8]) -> Message {
    let mut client = proxy.connect();
    client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())).send(body);
    if method == "HEAD" {
        let start = client.line().unwrap();
        return Message { start, headers: Vec::new(), body: Vec::new() };
    }
    client.read()
}

#[test]
fn a_status_of_the_list_lets_another_endpoint_try() {
    for (status, code) in
        [("500 X", 500), ("502 X", 502), ("503 X", 503), ("504 X", 504), ("403 X", 403), ("404 X", 404), ("429 X", 429)]
    {
        let (bad, asked) = answering(status);
        let (good, _) = answering("200 OK");
        let proxy = Running::with(&[bad.address, good.address], policy(&code.to_string()), Settings::default());
        for _ in 0..4 {
            assert_eq!(send(&proxy, "GET", b"").status(), 200);
        }
        assert!(asked.load(Ordering::SeqCst) >= 3);
        assert_eq!(bad.accepted(), 1, "a response that is not wanted leaves its connection usable");
        let proxy = Running::with(&[bad.address], policy("error"), Settings::default());
        assert_eq!(send(&proxy, "GET", b"").status(), code, "not without being asked");
    }
}

#[test]
fn the_last_try_goes_to_the_client_whatever_its_status() {
    let (bad, asked) = answering("503 Tired");
    let proxy = Running::with(&[bad.address], policy("503"), Settings::default());
    let response = send(&proxy, "GET", b"");
    assert_eq!((response.status(), response.text().as_str()), (503, "from"));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[test]
fn one_pod_alone_is_tried_three_times_by_idempotent_methods_and_once_by_others() {
    for (method, tries) in [("GET", 3), ("HEAD", 3), ("PUT", 3), ("DELETE", 3), ("POST", 1), ("PATCH", 1)] {
        let origin = hanging_up();
        let proxy = Running::to(&[origin.address]);
        assert_eq!(send(&proxy, method, b"x").status(), 502, "{method}");
        assert_eq!(origin.accepted(), tries, "{method}");
        let (status, asked) = answering("503 X");
        let proxy = Running::with(&[status.address], policy("503"), Settings::default());
        assert_eq!(send(&proxy, method, b"x").status(), 503, "{method}");
        assert_eq!(asked.load(Ordering::SeqCst), tries, "{method}");
    }
    let origin = hanging_up();
    let proxy = Running::with(&[origin.address], policy("error non_idempotent"), Settings::default());
    assert_eq!(send(&proxy, "POST", b"x").status(), 502);
    assert_eq!(origin.accepted(), 3);
}

#[test]
fn a_body_is_sent_again_as_a_whole() {
    let body: Vec<u8> = (0..700_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    for (method, words) in [("PUT", "error"), ("POST", "error non_idempotent")] {
        let echo = Origin::http(|request| ok(&request.body));
        let bad = [hanging_up(), hanging_up()];
        let proxy = Running::with(&[bad[0].address, bad[1].address, echo.address], policy(words), Settings::default());
        for _ in 0..3 {
            assert!(send(&proxy, method, &body).body == body, "{method}");
        }
        assert!(bad.iter().any(|bad| bad.accepted() > 0));
    }
    // What was never sent may be sent by any method.
    let echo = Origin::http(|request| ok(&request.body));
    let proxy = Running::to(&[nobody(), nobody(), echo.address]);
    for _ in 0..3 {
        assert!(send(&proxy, "POST", &body).body == body);
    }
    // What is streamed cannot come again.
    let bad = hanging_up();
    let streaming = Policy { request_buffering: false, ..policy("error non_idempotent") };
    let proxy = Running::with(&[bad.address], streaming, Settings::default());
    assert_eq!(send(&proxy, "PUT", b"body").status(), 502);
    assert_eq!(bad.accepted(), 1);
}

#[test]
fn a_head_that_is_none_is_a_case_of_its_own() {
    let bad = || {
        Origin::raw(|stream| {
            let mut client = Client::new(stream);
            client.try_read();
            client.send("SMTP ready\r\n\r\n");
        })
    };
    let good = Origin::http(|_| ok(b"good"));
    let first = bad();
    let proxy = Running::to(&[first.address]);
    assert_eq!(send(&proxy, "GET", b"").status(), 502);
    assert_eq!(first.accepted(), 1, "`error` does not mean it");
    let second = bad();
    let proxy = Running::with(&[second.address, good.address], policy("invalid_header"), Settings::default());
    for _ in 0..4 {
        assert_eq!(send(&proxy, "GET", b"").text(), "good");
    }
    assert!(second.accepted() >= 3);
}

#[test]
fn no_limit_of_tries_reaches_the_last_endpoint() {
    let live = Origin::http(|_| ok(b"live"));
    let mut addresses: Vec<_> = (0..12).map(|_| nobody()).collect();
    addresses.push(live.address);
    let retry = Retry { tries: 0, ..Retry::default() };
    let proxy = Running::with(&addresses, Policy { retry, ..Policy::default() }, Settings::default());
    for _ in 0..5 {
        assert_eq!(send(&proxy, "GET", b"").text(), "live");
    }
}

#[test]
fn an_outage_is_not_multiplied() {
    let origin = hanging_up();
    let proxy = Running::to(&[origin.address]);
    let (start, requests) = (Instant::now(), 600);
    let mut client = proxy.connect();
    for _ in 0..requests {
        assert_eq!(client.get("/").status(), 502);
    }
    // A fifth of the requests, a hundred to begin with, ten a second.
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap() + 1;
    let most = requests + requests / 5 + 100 + 10 * seconds;
    assert!((requests + 200..=most).contains(&origin.accepted()), "{} of {most}", origin.accepted());
}

#[test]
fn endpoints_that_cannot_be_reached_cost_no_budget() {
    let live = Origin::http(|_| ok(b"live"));
    let proxy = Running::to(&[nobody(), live.address]);
    let mut client = proxy.connect();
    for number in 0..900 {
        assert_eq!(client.get("/").status(), 200, "request {number}");
    }
}

#[test]
fn no_try_begins_after_the_time_limit() {
    let slow = Origin::raw(|stream| {
        let mut client = Client::new(stream);
        client.try_read();
        // Silent until the proxy gives up.
        client.try_read();
    });
    let retry = Retry { timeout: Some(Duration::from_millis(100)), ..Retry::default() };
    let policy = Policy { retry, read_timeout: Duration::from_millis(200), ..Policy::default() };
    let proxy = Running::with(&[slow.address], policy, Settings::default());
    assert_eq!(send(&proxy, "GET", b"").status(), 504);
    assert_eq!(slow.accepted(), 1);
}
