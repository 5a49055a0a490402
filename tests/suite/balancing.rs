//! Which pod gets a request, what a failure leads to, and what is read before a pod hears of it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::client::{Connection, Request, send};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{endpoints_at, ingress, ingress_class, prefix, service};
use rust_nginx_tests::pod::{Behaviour, Pod, digest};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_session_outlives_a_restart_and_new_pods,
        equal_hashes_meet_in_one_pod,
        a_status_lets_another_pod_answer_and_the_body_comes_again,
        a_body_is_complete_before_a_pod_hears_of_it,
        a_large_body_needs_a_place_on_disk,
    ]
}

async fn pods(count: usize) -> Result<Vec<Pod>> {
    let mut pods = vec![];
    for number in 0..count {
        pods.push(Pod::start(&number.to_string()).await?);
    }
    Ok(pods)
}

fn objects(pods: &[Pod], annotations: &[(&str, &str)]) -> Vec<rust_nginx_tests::objects::Manifest> {
    let addresses: Vec<_> = pods.iter().map(|pod| pod.address).collect();
    let mut rules = ingress("web").class(CLASS).host("a.test", [prefix("/app", "app")]);
    for (name, value) in annotations {
        rules = rules.annotation(&format!("nginx.ingress.kubernetes.io/{name}"), value);
    }
    vec![ingress_class(CLASS, CONTROLLER), service("app", 80), endpoints_at("app", "", &addresses), rules.build()]
}

async fn a_session_outlives_a_restart_and_new_pods() -> Result<()> {
    let annotations = [("affinity", "cookie"), ("affinity-mode", "persistent"), ("session-cookie-max-age", "60")];
    let mut pods = pods(3).await?;
    let site = Site::start(objects(&pods, &annotations)).await?;
    let first = send(site.subject.http(), &Request::get("a.test", "/app")).await?.expect(200)?;
    let cookie = first.header("set-cookie").context("no cookie")?;
    ensure!(cookie.ends_with("; Max-Age=60; Path=/app; HttpOnly"), "{cookie}");
    let pair = cookie.split(';').next().unwrap_or_default().to_owned();
    let pod = first.echo()?.pod;
    let stays = async |site: &Site| {
        for _ in 0..10 {
            let request = Request::get("a.test", "/app/x").header("Cookie", &pair);
            let next = send(site.subject.http(), &request).await?.expect(200)?;
            ensure!(next.header("set-cookie").is_none(), "another cookie");
            assert_eq!(next.echo()?.pod, pod);
        }
        anyhow::Ok(())
    };
    stays(&site).await?;
    pods.push(Pod::start("3").await?);
    site.files.put("site.yaml", objects(&pods, &annotations))?;
    wait::until("the new pod gets sessions", async || {
        let answer = send(site.subject.http(), &Request::get("a.test", "/app")).await?.expect(200)?;
        ensure!(answer.echo()?.pod == "3", "an old one");
        Ok(())
    })
    .await?;
    stays(&site).await?;
    drop(site);
    stays(&Site::start(objects(&pods, &annotations)).await?).await
}

async fn equal_hashes_meet_in_one_pod() -> Result<()> {
    let pods = pods(3).await?;
    let site = Site::start(objects(&pods, &[("upstream-hash-by", "$arg_tenant")])).await?;
    let mut used = BTreeSet::new();
    for tenant in 0..30 {
        let ask = async |path: &str| {
            let request = Request::get("a.test", &format!("/app/{path}?tenant={tenant}"));
            anyhow::Ok(send(site.subject.http(), &request).await?.expect(200)?.echo()?.pod)
        };
        let pod = ask("x").await?;
        assert_eq!(ask("y").await?, pod);
        used.insert(pod);
    }
    ensure!(used.len() > 1, "one pod has all of them");
    Ok(())
}

async fn a_status_lets_another_pod_answer_and_the_body_comes_again() -> Result<()> {
    let pods = pods(2).await?;
    let annotations = [("proxy-next-upstream", "http_503 non_idempotent"), ("proxy-body-size", "0")];
    let site = Site::start(objects(&pods, &annotations)).await?;
    pods[0].set(Behaviour::Raw(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let body: Vec<u8> = (0_u32..500_000).flat_map(u32::to_le_bytes).collect();
    for _ in 0..4 {
        let echo = send(site.subject.http(), &Request::post("a.test", "/app", body.clone())).await?.echo()?;
        assert_eq!((echo.pod.as_str(), echo.length, echo.digest), ("1", body.len(), digest(&body)));
    }
    ensure!(pods[0].received() >= body.len(), "the other pod was never asked");
    Ok(())
}

async fn a_body_is_complete_before_a_pod_hears_of_it() -> Result<()> {
    let pods = pods(1).await?;
    let site = Site::start(objects(&pods, &[])).await?;
    let mut slow = Connection::open(site.subject.http()).await?;
    slow.write(b"POST /app HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await?;
    for _ in 0..20 {
        site.subject.get("a.test", "/app").await?.expect(200)?;
    }
    assert_eq!(pods[0].received(), 0);
    slow.write(b"6\r\n world\r\n0\r\n\r\n").await?;
    let echo = slow.answer("POST").await?.echo()?;
    assert_eq!((echo.body.as_str(), echo.values("content-length")), ("hello world", vec!["11"]));
    Ok(())
}

async fn a_large_body_needs_a_place_on_disk() -> Result<()> {
    let pods = pods(1).await?;
    let site = Site::start_with(objects(&pods, &[]), |launch| launch.env("TMPDIR", "/nowhere")).await?;
    let post = |length: usize| Request::post("a.test", "/app", vec![b'x'; length]);
    send(site.subject.http(), &post(8 * 1024)).await?.expect(200)?;
    send(site.subject.http(), &post(8 * 1024 + 1)).await?.expect(500)?;
    assert_eq!(pods[0].received(), 8 * 1024);
    Ok(())
}
