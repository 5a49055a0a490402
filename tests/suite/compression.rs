//! Responses are compressed where the ConfigMap says so and the client wants it.

use std::io::Read as _;

use anyhow::{Result, ensure};
use flate2::read::GzDecoder;
use rust_nginx_tests::client::{Answer, Request, send};
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{backend, config_map, ingress, ingress_class, prefix};
use rust_nginx_tests::pod::{Echo, Pod};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{tests, wait};

pub(crate) fn tests() -> Vec<Test> {
    tests![codings_follow_the_config_map]
}

async fn codings_follow_the_config_map() -> Result<()> {
    let pod = Pod::start("a").await?;
    let [service, slice] = backend("app", &[&pod]);
    let rules = ingress("web").class(CLASS).host("a.test", [prefix("/", "app")]).build();
    let manifests = [ingress_class(CLASS, CONTROLLER), service, slice, rules];
    let site = Site::start_with(manifests, |launch| launch.arg("--configmap=default/settings")).await?;
    let ask = async |accept: &str| -> Result<Answer> {
        // Long enough to be worth it: the pod echoes it.
        let target = format!("/{}", "long".repeat(200));
        let request = Request::get("a.test", &target).header("Accept-Encoding", accept);
        send(site.subject.http(), &request).await?.expect(200)
    };
    let plain = ask("gzip, br, zstd").await?;
    ensure!(plain.header("content-encoding").is_none() && plain.header("vary").is_none(), "{}", plain.summary());
    let keys = [("use-gzip", "true"), ("enable-brotli", "true"), ("enable-zstd", "true")];
    site.files.put("settings.yaml", [config_map("settings", &keys)])?;
    wait::until("gzip is used", async || {
        let answer = ask("gzip").await?;
        ensure!(answer.header("content-encoding") == Some("gzip"), "{}", answer.summary());
        ensure!(answer.header("vary") == Some("Accept-Encoding"), "{}", answer.summary());
        let mut text = String::new();
        GzDecoder::new(&answer.body[..]).read_to_string(&mut text)?;
        let echo: Echo = serde_json::from_str(&text)?;
        ensure!(echo.pod == "a" && answer.body.len() < text.len() / 2, "{} of {} bytes", answer.body.len(), text.len());
        Ok(())
    })
    .await?;
    for (accept, expected) in [
        ("gzip, br, zstd", Some("br")),
        ("br;q=0, zstd;q=0.9, gzip;q=0.8", Some("zstd")),
        ("identity", None),
        ("", None),
    ] {
        assert_eq!(ask(accept).await?.header("content-encoding"), expected, "{accept}");
    }
    // Off again, and a value that is no level.
    site.files.put("settings.yaml", [config_map("settings", &[("use-gzip", "false"), ("gzip-level", "10")])])?;
    wait::until("nothing is compressed", async || {
        let answer = ask("gzip").await?;
        ensure!(answer.header("content-encoding").is_none(), "{}", answer.summary());
        Ok(())
    })
    .await?;
    site.subject.log.line(&["default/settings", "gzip-level", "from 1 to 9"]).await?;
    Ok(())
}
