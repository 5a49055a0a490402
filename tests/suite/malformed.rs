//! Requests that break HTTP, or look as if they did: what the client is told, and that the pod sees the requests that
//! were really there, or none.
//!
//! The cases are data, each with the rule that it is about: `http1/` in bytes, `http2.rs` in fields and frames.

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::client::{Connection, Request, tls};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{backend, config_map, ingress, ingress_class, prefix};
use rust_nginx_tests::pod::{Behaviour, Pod};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};

mod frames;
mod http1;
mod http2;

pub(crate) fn tests() -> Vec<Test> {
    tests![
        over_http_1,
        over_http_1_in_pieces,
        over_http_1_and_tls,
        over_http_2,
        there_are_enough_cases,
        an_upgrade_that_is_refused_hides_nothing,
        what_is_refused_is_logged_and_counted,
        limits_are_those_of_the_config_map,
    ]
}

/// What must come of a case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// One of these statuses, then the end of the connection; no pod sees anything.
    Refused(&'static [u16]),
    /// One of these statuses; the connection goes on; no pod sees anything.
    Declined(&'static [u16]),
    /// The pod sees exactly these, each as `METHOD TARGET BODY`; the connection goes on.
    Passed(&'static [&'static str]),
    /// The same, and the connection ends, in whatever way: who says more after the last request does not expect to be
    /// heard.
    Last(&'static [&'static str]),
    /// The pod sees exactly these, then the client is told this status, then the connection ends.
    Then(&'static [&'static str], &'static [u16]),
    /// The same, or the connection ends without a word: it depends on how much of it comes at a time.
    Perhaps(&'static [&'static str], &'static [u16]),
}

struct Stage {
    site: Site,
    pod: Pod,
}

// === impl Stage ===

impl Stage {
    async fn new() -> Result<Self> {
        let pod = Pod::start("app").await?;
        let rules = ingress("web").class(CLASS).host("", [prefix("/", "app")]).build();
        let manifests = [ingress_class(CLASS, CONTROLLER), rules].into_iter().chain(backend("app", &[&pod]));
        Ok(Self { site: Site::start(manifests).await?, pod })
    }

    /// What the pod has seen since `before`.
    fn seen(&self, before: usize) -> Vec<String> {
        let text = |echo: &rust_nginx_tests::pod::Echo| format!("{} {} {}", echo.method, echo.target, echo.body);
        self.pod.seen()[before..].iter().map(|echo| text(echo).trim_end().to_owned()).collect()
    }

    /// No request reached the pod in a form that could be read in two ways. One that broke off is none.
    fn intact(&self) -> Result<()> {
        let broken = self.pod.broken();
        let ended = |text: &String| ["ended", "missing", "broke", "reset"].iter().any(|word| text.contains(word));
        ensure!(broken.iter().all(ended), "the pod was sent something else than HTTP: {broken:?}");
        Ok(())
    }

    /// A pod notes a request before it answers, so there is nothing to wait for.
    fn expect_seen(&self, before: usize, expected: &[&str]) -> Result<()> {
        let seen = self.seen(before);
        ensure!(seen == expected, "the pod saw {seen:?}, not {expected:?}");
        Ok(())
    }

    /// Runs one case of HTTP/1 over a connection; writes `piece` bytes at a time.
    async fn http1(&self, mut connection: Connection, bytes: &[u8], outcome: Outcome, piece: usize) -> Result<()> {
        let before = self.pod.seen().len();
        for part in bytes.chunks(piece) {
            // The answer may come before all of it was taken.
            if connection.write(part).await.is_err() {
                break;
            }
        }
        let method = String::from_utf8_lossy(bytes).split_whitespace().next().unwrap_or_default().to_owned();
        let refused = async |connection: &mut Connection, statuses: &[u16]| {
            let answer = connection.answer(&method).await?;
            ensure!(statuses.contains(&answer.status), "answered with {}", answer.summary());
            Ok(())
        };
        match outcome {
            Outcome::Refused(statuses) => {
                refused(&mut connection, statuses).await?;
                connection.closed().await?;
                self.expect_seen(before, &[])
            }
            Outcome::Declined(statuses) => {
                refused(&mut connection, statuses).await?;
                connection.send(&Request::get("a.test", "/next")).await?.expect(200)?;
                self.expect_seen(before, &["GET /next"])
            }
            Outcome::Passed(expected) => {
                for request in expected {
                    let method = request.split(' ').next().unwrap_or_default();
                    connection.answer(method).await?.expect(200)?;
                }
                connection.send(&Request::get("a.test", "/next")).await?.expect(200)?;
                self.expect_seen(before, &[expected, &["GET /next"][..]].concat())
            }
            Outcome::Last(expected) | Outcome::Then(expected, _) | Outcome::Perhaps(expected, _) => {
                for request in expected {
                    let method = request.split(' ').next().unwrap_or_default();
                    connection.answer(method).await?.expect(200)?;
                }
                if let Outcome::Perhaps(_, statuses) = outcome
                    && let Ok(answer) = connection.answer(&method).await
                {
                    ensure!(statuses.contains(&answer.status), "answered with {}", answer.summary());
                }
                let Outcome::Then(_, statuses) = outcome else {
                    let ended = connection.closed().await;
                    let reset = |error: &anyhow::Error| error.downcast_ref::<std::io::Error>().is_some();
                    ensure!(ended.is_ok() || ended.as_ref().is_err_and(reset), "{:?}", ended);
                    return self.expect_seen(before, expected);
                };
                refused(&mut connection, statuses).await?;
                connection.closed().await?;
                self.expect_seen(before, expected)
            }
        }
    }

    async fn all_of_http1(&self, open: impl AsyncFn() -> Result<Connection>, piece: usize) -> Result<()> {
        let mut failures = vec![];
        for case in http1::cases() {
            let outcome = self.http1(open().await?, &case.bytes, case.outcome, piece).await;
            let outcome = outcome.and_then(|()| self.intact());
            if let Err(error) = outcome {
                let sent = String::from_utf8_lossy(&case.bytes).chars().take(300).collect::<String>();
                failures.push(format!("{} ({}): {error:#}\n    {sent:?}", case.name, case.clause));
            }
        }
        ensure!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
        Ok(())
    }
}

async fn over_http_1() -> Result<()> {
    let stage = Stage::new().await?;
    stage.all_of_http1(async || Connection::open(stage.site.subject.http()).await, usize::MAX).await
}

async fn over_http_1_in_pieces() -> Result<()> {
    let stage = Stage::new().await?;
    stage.all_of_http1(async || Connection::open(stage.site.subject.http()).await, 13).await
}

async fn over_http_1_and_tls() -> Result<()> {
    let stage = Stage::new().await?;
    let open = async || {
        let session = tls::connect(stage.site.subject.https(), Some("a.test"), &["http/1.1"]).await?;
        Ok(Connection::over(session.wire))
    };
    stage.all_of_http1(open, usize::MAX).await
}

async fn over_http_2() -> Result<()> {
    let stage = Stage::new().await?;
    let mut failures = vec![];
    for case in http2::cases() {
        let before = stage.pod.seen().len();
        let expected = case.ending.seen();
        let outcome = async {
            let mut connection = frames::Frames::open(stage.site.subject.http()).await?;
            connection.run(&case).await?;
            stage.expect_seen(before, expected)?;
            stage.intact()
        };
        if let Err(error) = outcome.await {
            failures.push(format!("{} ({}): {error:#}", case.name, case.clause));
        }
    }
    ensure!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

async fn there_are_enough_cases() -> Result<()> {
    let (http1, http2) = (http1::cases(), http2::cases());
    let mut names: Vec<_> = http1.iter().map(|case| case.name).chain(http2.iter().map(|case| case.name)).collect();
    let count = names.len();
    ensure!(count >= 150, "only {count} cases");
    let clauses = http1.iter().map(|case| case.clause).chain(http2.iter().map(|case| case.clause));
    ensure!(clauses.into_iter().all(|clause| clause.contains('§')), "a case names no clause");
    names.sort_unstable();
    names.dedup();
    ensure!(names.len() == count, "a name is used twice");
    Ok(())
}

/// RFC 9110 §7.8: until the 101 is there, what follows is HTTP.
async fn an_upgrade_that_is_refused_hides_nothing() -> Result<()> {
    let stage = Stage::new().await?;
    stage.pod.set(Behaviour::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno".to_vec()));
    let mut connection = Connection::open(stage.site.subject.http()).await?;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let upgrade = "GET /upgrade HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    connection.write(format!("{upgrade}{hidden}").as_bytes()).await?;
    // Answered in turn, as the two requests that they are.
    connection.answer("GET").await?.expect(200)?;
    connection.answer("GET").await?.expect(200)?;
    stage.expect_seen(0, &["GET /upgrade", "GET /hidden"])?;
    // And an ambiguous one behind it is refused as anywhere.
    let both =
        "POST /both HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    connection.write(format!("{upgrade}{both}").as_bytes()).await?;
    connection.answer("GET").await?.expect(200)?;
    connection.answer("POST").await?.expect(400)?;
    connection.closed().await?;
    stage.expect_seen(2, &["GET /upgrade"])
}

async fn what_is_refused_is_logged_and_counted() -> Result<()> {
    let stage = Stage::new().await?;
    let long = format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(9000));
    for (bytes, status, reason) in [
        ("GET /spoilt HTTP/1.1\r\nHost : a.test\r\n\r\n", 400, "bad_request"),
        ("POST /both HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_request"),
        (&long, 414, "long_request_line"),
        // What stands behind a head is no part of the line, whoever refuses it.
        (
            "POST /coding HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\nDELETE /admin HTTP/1.1\r\n\r\n",
            400,
            "bad_request",
        ),
        (
            "POST /old HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nDELETE /admin HTTP/1.1\r\n",
            400,
            "bad_request",
        ),
        ("PUT /huge HTTP/1.1\r\nHost: a.test\r\nContent-Length: 18446744073709551615\r\n\r\nabc", 400, "bad_request"),
        ("GET http://[::1/ HTTP/1.1\r\nHost: a.test\r\n\r\nDELETE /admin HTTP/1.1\r\n", 400, "bad_request"),
    ] {
        let before =
            stage.site.subject.metric("nginx_ingress_controller_nginx_process_refused_total", &[reason]).await?;
        let mut connection = Connection::open(stage.site.subject.http()).await?;
        connection.write(bytes.as_bytes()).await?;
        connection.answer("GET").await?.expect(status)?;
        wait::until("the refusal is counted", async || {
            let name = "nginx_ingress_controller_nginx_process_refused_total";
            let now = stage.site.subject.metric(name, &[reason]).await?;
            ensure!((now - before - 1.0).abs() < f64::EPSILON, "{reason}: {before} before, {now} now");
            Ok(())
        })
        .await?;
    }
    for line in [
        "\"GET /spoilt HTTP/1.1\" 400 ",
        "\"POST /both HTTP/1.1\" 400 ",
        "\"GET /xxxxx",
        "\"POST /coding HTTP/1.1\" 400 ",
        "\"POST /old HTTP/1.0\" 400 ",
        "\"PUT /huge HTTP/1.1\" 400 ",
        "\"GET http://[::1/ HTTP/1.1\" 400 ",
    ] {
        stage.site.subject.log.line(&[line]).await.with_context(|| line.to_owned())?;
    }
    ensure!(stage.site.subject.log.containing(&["DELETE /admin"]).is_empty(), "a line that nobody asked for");
    Ok(())
}

async fn limits_are_those_of_the_config_map() -> Result<()> {
    let pod = Pod::start("app").await?;
    let rules = ingress("web").class(CLASS).host("", [prefix("/", "app")]).build();
    let settings = [("large-client-header-buffers", "2 1k"), ("max-connections-per-client", "3")];
    let manifests = [ingress_class(CLASS, CONTROLLER), rules, config_map("settings", &settings)];
    let manifests = manifests.into_iter().chain(backend("app", &[&pod]));
    let site = Site::start_with(manifests, |launch| launch.arg("--configmap=default/settings")).await?;
    let served = async || {
        let mut connection = Connection::open(site.subject.http()).await?;
        connection.send(&Request::get("a.test", "/")).await?.expect(200)?;
        Ok::<_, anyhow::Error>(connection)
    };
    let fits = Request::get("a.test", "/").header("a", &"v".repeat(900));
    let large = Request::get("a.test", "/").header("a", &"v".repeat(1100));
    let mut connection = served().await?;
    connection.send(&fits).await?.expect(200)?;
    connection.send(&large).await?.expect(400)?;
    connection.closed().await?;
    drop(connection);
    // Whichever worker they come to.
    let mut open = vec![];
    wait::until("three places are free", async || {
        while open.len() < 3 {
            open.push(served().await?);
        }
        Ok(())
    })
    .await?;
    for _ in 0..5 {
        ensure!(served().await.is_err(), "a fourth connection is served");
    }
    open.pop();
    wait::until("a place is free again", async || served().await.map(drop)).await
}
