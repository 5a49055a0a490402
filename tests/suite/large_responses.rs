//! Large bodies in cleartext, which the process need not see: they are what the pod sent, whoever stops in between.

use std::time::Duration;

use anyhow::{Result, ensure};
use rust_nginx_tests::client::{Connection, Request};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{backend, ingress, ingress_class, prefix};
use rust_nginx_tests::pod::{Behaviour, Pod, pattern};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::subject::{Launch, Subject};
use rust_nginx_tests::{tests, wait};
use tokio::time::Instant;

use crate::memory::stalled;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        bodies_of_every_size_arrive_as_they_are,
        a_large_body_does_not_come_into_memory,
        pipelined_responses_keep_their_order_and_their_bytes,
        a_large_body_cut_short_has_no_more_than_the_pod_sent,
        a_body_longer_than_its_length_ends_where_it_should,
        many_large_bodies_at_once_are_not_mixed_up,
        clients_that_leave_in_the_middle_leave_nothing_behind,
        a_large_body_may_come_while_the_request_is_sent,
        a_pod_that_stalls_is_given_up_and_a_client_is_waited_for,
    ]
}

/// Around every length at which something changes: buffers, pages, what is worth a pipe and what fits into one.
const LENGTHS: [usize; 14] = [
    1,
    8 << 10,
    64 << 10,
    (128 << 10) - 1,
    128 << 10,
    (128 << 10) + 1,
    136 << 10,
    256 << 10,
    (264 << 10) + 17,
    1 << 20,
    (1 << 20) + (8 << 10) + 1,
    3 << 20,
    5_000_003,
    20 << 20,
];

/// Larger than what the kernel keeps for both sides of a connection.
const HUGE: usize = 24 << 20;

async fn site() -> Result<(Site, Pod)> {
    site_with(&[]).await
}

async fn site_with(annotations: &[(&str, &str)]) -> Result<(Site, Pod)> {
    site_of(annotations, |launch| launch).await
}

async fn site_of(annotations: &[(&str, &str)], change: impl FnOnce(Launch) -> Launch) -> Result<(Site, Pod)> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let mut rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]);
    for (name, value) in annotations {
        rules = rules.annotation(name, value);
    }
    let rules = rules.build();
    Ok((Site::start_with([ingress_class(CLASS, CONTROLLER), service, slice, rules], change).await?, pod))
}

fn get(length: usize) -> Request {
    Request::get("a.test", &format!("/pod/pattern/{length}"))
}

/// Not `assert_eq!`: nobody wants to read megabytes.
fn compare(body: &[u8], length: usize) -> Result<()> {
    let expected = pattern(length);
    ensure!(body.len() == length, "{} bytes instead of {length}", body.len());
    let differs = body.iter().zip(&expected).position(|(one, other)| one != other);
    ensure!(differs.is_none(), "of {length} bytes they differ from {differs:?} on");
    Ok(())
}

async fn descriptors(subject: &Subject) -> Result<f64> {
    subject.metric("process_open_fds", &[]).await
}

/// Once those of the connections before are gone.
async fn settled(subject: &Subject) -> Result<f64> {
    wait::until("the descriptors to settle", async || {
        let before = descriptors(subject).await?;
        tokio::time::sleep(wait::SETTLE).await;
        ensure!(descriptors(subject).await? == before, "they change");
        Ok(before)
    })
    .await
}

async fn bodies_of_every_size_arrive_as_they_are() -> Result<()> {
    let (site, _pod) = site().await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    let mut narrow = Connection::open_narrow(site.subject.http()).await?;
    for length in LENGTHS {
        compare(&connection.send(&get(length)).await?.expect(200)?.body, length)?;
        compare(&narrow.send(&get(length)).await?.expect(200)?.body, length)?;
        // A length without its body.
        let head = Request::new("HEAD", "a.test", &format!("/pod/pattern/{length}"));
        ensure!(connection.send(&head).await?.expect(200)?.body.is_empty(), "a body after HEAD");
    }
    Ok(())
}

/// What is not copied waits in a pipe, whose two ends are descriptors beside those of client and pod.
async fn a_large_body_does_not_come_into_memory() -> Result<()> {
    for (splice, expected) in [("auto", 3.0), ("on", 3.0), ("off", 1.0)] {
        let (site, pod) = site_of(&[], |launch| launch.arg(format!("--splice={splice}"))).await?;
        site.subject.get("a.test", "/").await?.expect(200)?;
        let (before, connections) = (settled(&site.subject).await?, pod.connections());
        let mut connection = Connection::open_narrow(site.subject.http()).await?;
        connection.write(&get(HUGE).bytes()).await?;
        connection.head("GET").await?.expect(200)?;
        stalled(|| pod.sent()).await?;
        ensure!(pod.sent() < HUGE, "the test needs a larger body");
        // That of the client is new, and one to the pod unless this worker had one.
        let to_pod = if pod.connections() > connections { 1.0 } else { 0.0 };
        assert_eq!(settled(&site.subject).await? - before - to_pod, expected, "{splice}");
        compare(&connection.rest().await?, HUGE)?;
    }
    Ok(())
}

async fn pipelined_responses_keep_their_order_and_their_bytes() -> Result<()> {
    let (site, _pod) = site().await?;
    let lengths: Vec<usize> = [3 << 20, 5, 200_000, 1 << 20, 1, 0, 300_000, 128 << 10, 9].repeat(3);
    let mut connection = Connection::open_narrow(site.subject.http()).await?;
    let requests: Vec<u8> = lengths.iter().flat_map(|length| get(*length).bytes()).collect();
    connection.write(&requests).await?;
    for length in lengths {
        compare(&connection.answer("GET").await?.expect(200)?.body, length)?;
    }
    Ok(())
}

async fn a_large_body_cut_short_has_no_more_than_the_pod_sent() -> Result<()> {
    let (site, pod) = site().await?;
    for sent in [0, 8 << 10, 300_000, 2 << 20] {
        let mut raw = format!("HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n").into_bytes();
        raw.extend(&pattern(HUGE)[..sent]);
        pod.set(Behaviour::Raw(raw));
        let mut connection = Connection::open(site.subject.http()).await?;
        connection.write(&get(HUGE).bytes()).await?;
        connection.head("GET").await?.expect(200)?;
        let mut body = Vec::new();
        while body.len() < sent {
            body.extend(connection.part().await?.unwrap_or_default());
        }
        pod.disappear().await;
        ensure!(connection.part().await.is_err(), "part of an answer was made to look complete");
        ensure!(body == pattern(HUGE)[..sent], "the client got something else than {sent} bytes of the pod");
        pod.appear().await?;
    }
    Ok(())
}

async fn a_body_longer_than_its_length_ends_where_it_should() -> Result<()> {
    let (site, pod) = site().await?;
    let length = 1 << 20;
    let mut raw = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    raw.extend(pattern(length));
    raw.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
    let mut connection = Connection::open(site.subject.http()).await?;
    pod.set(Behaviour::Raw(raw));
    compare(&connection.send(&get(length)).await?.expect(200)?.body, length)?;
    pod.set(Behaviour::Serve);
    compare(&connection.send(&get(7)).await?.expect(200)?.body, 7)
}

/// More than there are pipes.
async fn many_large_bodies_at_once_are_not_mixed_up() -> Result<()> {
    let (site, _pod) = site().await?;
    let asks = (0..200).map(async |number| {
        let length = 400_000 + number * 1009;
        let mut connection = Connection::open_narrow(site.subject.http()).await?;
        for length in [length, 3, length + 1] {
            compare(&connection.send(&get(length)).await?.expect(200)?.body, length)?;
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(asks).await?;
    Ok(())
}

async fn clients_that_leave_in_the_middle_leave_nothing_behind() -> Result<()> {
    let (site, _pod) = site().await?;
    site.subject.get("a.test", "/").await?.expect(200)?;
    let before = settled(&site.subject).await?;
    for _ in 0..3 {
        for _ in 0..100 {
            let mut connection = Connection::open_narrow(site.subject.http()).await?;
            connection.write(&get(HUGE).bytes()).await?;
            connection.head("GET").await?.expect(200)?;
            connection.part().await?;
        }
    }
    // Pipes that nobody uses are closed one by one; the pool may have two connections to the pod more.
    wait::until("the descriptors to come back", async || {
        let now = descriptors(&site.subject).await?;
        ensure!(now <= before + 2.0, "{now} descriptors, and {before} before");
        Ok(())
    })
    .await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    compare(&connection.send(&get(1 << 20)).await?.expect(200)?.body, 1 << 20)
}

async fn a_large_body_may_come_while_the_request_is_sent() -> Result<()> {
    let (site, pod) = site_with(&[("nginx.ingress.kubernetes.io/proxy-request-buffering", "off")]).await?;
    let length = 4 << 20;
    let mut early = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    early.extend(pattern(length));
    pod.set(Behaviour::Early(early));
    let mut connection = Connection::open(site.subject.http()).await?;
    connection.write(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\nthe beginning").await?;
    compare(&connection.answer("POST").await?.expect(200)?.body, length)
}

/// The clock of `proxy-read-timeout` runs while the pod is waited for, and not while the client is.
async fn a_pod_that_stalls_is_given_up_and_a_client_is_waited_for() -> Result<()> {
    let (site, pod) = site_with(&[("nginx.ingress.kubernetes.io/proxy-read-timeout", "1")]).await?;
    let mut connection = Connection::open_narrow(site.subject.http()).await?;
    connection.write(&get(HUGE).bytes()).await?;
    connection.head("GET").await?.expect(200)?;
    let mut body = connection.part().await?.unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    ensure!(pod.sent() < HUGE, "the test needs a larger body");
    body.extend(connection.rest().await?);
    compare(&body, HUGE)?;

    let mut raw = format!("HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n").into_bytes();
    raw.extend(&pattern(HUGE)[..300_000]);
    pod.set(Behaviour::Raw(raw));
    connection.write(&get(HUGE).bytes()).await?;
    connection.head("GET").await?.expect(200)?;
    let mut got = 0;
    while got < 300_000 {
        got += connection.part().await?.map_or(0, |part| part.len());
    }
    let start = Instant::now();
    ensure!(connection.part().await.is_err(), "more came than the pod sent");
    ensure!(start.elapsed() < Duration::from_secs(10), "a pod that stalls is waited for");
    Ok(())
}
