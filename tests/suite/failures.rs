//! Pods that fail: who notices, who does not, and with which status.

use std::time::Duration;

use anyhow::{Result, ensure};
use rust_nginx_tests::client::{Connection, Request, send};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{endpoints_at, ingress, ingress_class, prefix, service};
use rust_nginx_tests::pod::{Behaviour, Pod, Silence};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{address, tests, wait};
use tokio::time::Instant;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_pod_that_never_answers_is_given_up,
        an_address_that_never_accepts_is_given_up,
        an_address_that_never_accepts_costs_no_request,
        a_pod_that_fails_is_a_bad_gateway,
        nonsense_from_a_pod_is_a_bad_gateway,
        an_answer_cut_short_is_cut_short_for_the_client,
        a_dead_endpoint_costs_no_request,
        a_pod_that_breaks_off_costs_no_repeatable_request,
        a_request_that_may_have_had_effect_is_not_repeated,
        a_lone_pod_is_tried_three_times,
        a_pod_that_disappears_costs_no_request,
        a_restarted_pod_costs_no_request,
        an_answer_before_the_end_of_the_request_passes,
        a_slow_pod_is_waited_for,
    ]
}

async fn site(pods: &[&Pod]) -> Result<Site> {
    let addresses: Vec<_> = pods.iter().map(|pod| pod.address).collect();
    site_at(&addresses).await
}

async fn site_at(addresses: &[std::net::SocketAddr]) -> Result<Site> {
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build();
    Site::start([ingress_class(CLASS, CONTROLLER), service("app", 80), endpoints_at("app", "", addresses), rules]).await
}

async fn a_pod_that_never_answers_is_given_up() -> Result<()> {
    let pod = Pod::start("a").await?;
    let site = site(&[&pod]).await?;
    pod.set(Behaviour::Hold);
    let start = Instant::now();
    let mut connection = Connection::open(site.subject.http()).await?;
    connection.write(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx").await?;
    // 60 s is the default between two reads; the client's own patience here is longer.
    let answer = loop {
        match connection.answer("POST").await {
            Err(_) if start.elapsed() < Duration::from_secs(75) => {}
            answer => break answer?,
        }
    };
    ensure!(answer.status == 504, "{}", answer.summary());
    let took = start.elapsed();
    ensure!((58..75).contains(&took.as_secs()), "given up after {took:?}");
    assert_eq!(pod.seen().len(), 1, "a POST was repeated");
    Ok(())
}

async fn an_address_that_never_accepts_is_given_up() -> Result<()> {
    let silence = Silence::start().await?;
    let site = site_at(&[silence.address]).await?;
    let start = Instant::now();
    // Three tries of 5 s each.
    send(site.subject.http(), &Request::get("a.test", "/")).await?.expect(504)?;
    let took = start.elapsed();
    ensure!((4..20).contains(&took.as_secs()), "given up after {took:?}");
    Ok(())
}

async fn an_address_that_never_accepts_costs_no_request() -> Result<()> {
    let (silence, pod) = (Silence::start().await?, Pod::start("a").await?);
    let site = site_at(&[silence.address, pod.address]).await?;
    let request = Request::get("a.test", "/");
    let asks = (0..4).map(|_| send(site.subject.http(), &request));
    for answer in futures::future::try_join_all(asks).await? {
        assert_eq!(answer.echo()?.pod, "a");
    }
    Ok(())
}

async fn a_pod_that_fails_is_a_bad_gateway() -> Result<()> {
    let pod = Pod::start("a").await?;
    let site = site(&[&pod]).await?;
    for behaviour in [Behaviour::Reset, Behaviour::ResetAfterRequest, Behaviour::Close] {
        pod.set(behaviour.clone());
        let answer = site.subject.get("a.test", "/").await?;
        ensure!(answer.status == 502, "{behaviour:?}: {}", answer.summary());
    }
    pod.set(Behaviour::Serve);
    site.subject.get("a.test", "/").await?.expect(200)?;
    pod.disappear().await;
    site.subject.get("a.test", "/").await?.expect(502)?;
    pod.appear().await?;
    site.subject.get("a.test", "/").await?.expect(200)?;
    Ok(())
}

async fn nonsense_from_a_pod_is_a_bad_gateway() -> Result<()> {
    let pod = Pod::start("a").await?;
    let site = site(&[&pod]).await?;
    for nonsense in [
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
    ] {
        pod.set(Behaviour::Raw(nonsense.as_bytes().to_vec()));
        let answer = send(site.subject.http(), &Request::post("a.test", "/", "x")).await?;
        ensure!(answer.status == 502, "{nonsense:?}: {}", answer.summary());
    }
    Ok(())
}

async fn an_answer_cut_short_is_cut_short_for_the_client() -> Result<()> {
    let pod = Pod::start("a").await?;
    let site = site(&[&pod]).await?;
    for head in ["Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        pod.set(Behaviour::Serve);
        let mut connection = Connection::open(site.subject.http()).await?;
        connection.send(&Request::get("a.test", "/")).await?.expect(200)?;
        pod.set(Behaviour::Raw(format!("HTTP/1.1 200 OK\r\n{head}").into_bytes()));
        connection.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await?;
        connection.head("GET").await?.expect(200)?;
        assert_eq!(connection.part().await?.as_deref(), Some(&b"half"[..]));
        pod.disappear().await;
        ensure!(connection.part().await.is_err(), "half an answer was made to look complete");
        pod.appear().await?;
    }
    Ok(())
}

async fn a_dead_endpoint_costs_no_request() -> Result<()> {
    let pod = Pod::start("a").await?;
    let dead = (address::pod(), rust_nginx_tests::pod::PORT).into();
    let site = site_at(&[dead, pod.address]).await?;
    for _ in 0..10 {
        assert_eq!(site.subject.echo("a.test", "/").await?.pod, "a");
        // A POST too: nothing of it was sent to the dead one.
        let echo = send(site.subject.http(), &Request::post("a.test", "/", "body")).await?.echo()?;
        assert_eq!((echo.pod.as_str(), echo.body.as_str()), ("a", "body"));
    }
    Ok(())
}

async fn a_pod_that_breaks_off_costs_no_repeatable_request() -> Result<()> {
    let (broken, pod) = (Pod::start("broken").await?, Pod::start("a").await?);
    let site = site(&[&broken, &pod]).await?;
    for behaviour in [Behaviour::Reset, Behaviour::ResetAfterRequest, Behaviour::Close] {
        broken.set(behaviour);
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
            for _ in 0..4 {
                send(site.subject.http(), &Request::new(method, "a.test", "/")).await?.expect(200)?;
            }
        }
    }
    ensure!(broken.connections() > 0, "the broken pod was never asked");
    Ok(())
}

async fn a_request_that_may_have_had_effect_is_not_repeated() -> Result<()> {
    let (one, two) = (Pod::start("one").await?, Pod::start("two").await?);
    let site = site(&[&one, &two]).await?;
    one.set(Behaviour::ResetAfterRequest);
    two.set(Behaviour::ResetAfterRequest);
    for (number, method) in ["POST", "PATCH", "LOCK"].into_iter().enumerate() {
        let request = Request { body: b"x".to_vec(), ..Request::new(method, "a.test", "/") };
        send(site.subject.http(), &request).await?.expect(502)?;
        assert_eq!(one.seen().len() + two.seen().len(), number + 1, "{method} was repeated");
    }
    Ok(())
}

async fn a_lone_pod_is_tried_three_times() -> Result<()> {
    let pod = Pod::start("a").await?;
    let site = site(&[&pod]).await?;
    pod.set(Behaviour::ResetAfterRequest);
    site.subject.get("a.test", "/").await?.expect(502)?;
    assert_eq!(pod.seen().len(), 3);
    Ok(())
}

async fn a_pod_that_disappears_costs_no_request() -> Result<()> {
    let (leaving, pod) = (Pod::start("leaving").await?, Pod::start("a").await?);
    let site = site(&[&leaving, &pod]).await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    let mut answered = std::collections::BTreeMap::<String, usize>::new();
    for number in 0..600 {
        // It resets what it has and refuses what comes; then its address goes away.
        if number == 200 {
            leaving.disappear().await;
        } else if number == 400 {
            let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build();
            let rest = endpoints_at("app", "", &[pod.address]);
            site.files.put("site.yaml", [ingress_class(CLASS, CONTROLLER), service("app", 80), rest, rules])?;
        }
        let echo = connection.send(&Request::get("a.test", "/")).await?.echo()?;
        *answered.entry(echo.pod).or_default() += 1;
    }
    ensure!(answered["leaving"] > 50, "{answered:?}");
    Ok(())
}

async fn a_restarted_pod_costs_no_request() -> Result<()> {
    let pod = Pod::start("a").await?;
    let site = site(&[&pod]).await?;
    let mut connection = Connection::open(site.subject.http()).await?;
    for _ in 0..20 {
        // The kept connection is dead by the time of the next request.
        connection.send(&Request::get("a.test", "/")).await?.expect(200)?;
        pod.disappear().await;
        pod.appear().await?;
    }
    Ok(())
}

async fn an_answer_before_the_end_of_the_request_passes() -> Result<()> {
    let pod = Pod::start("a").await?;
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]);
    let rules = rules.annotation("nginx.ingress.kubernetes.io/proxy-request-buffering", "off").build();
    let endpoints = endpoints_at("app", "", &[pod.address]);
    let site = Site::start([ingress_class(CLASS, CONTROLLER), service("app", 80), endpoints, rules]).await?;
    pod.set(Behaviour::Early(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch".to_vec()));
    let mut connection = Connection::open(site.subject.http()).await?;
    connection.write(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\nbeginning").await?;
    let answer = connection.answer("POST").await?.expect(413)?;
    assert_eq!(answer.text(), "much");
    Ok(())
}

async fn a_slow_pod_is_waited_for() -> Result<()> {
    let pod = Pod::start("a").await?;
    let site = site(&[&pod]).await?;
    pod.set(Behaviour::Slow(Duration::from_secs(3)));
    wait::at_most(Duration::from_secs(10), "a slow answer", site.subject.get("a.test", "/")).await??.expect(200)?;
    assert_eq!(pod.seen().len(), 1);
    Ok(())
}
