//! Connections without TLS that come and go.

use std::time::Duration;

use anyhow::{Context, Result};
use rust_nginx_tests::client::{Connection, Request};
use tokio::time::sleep;

use super::client::{Client, Expect};
use crate::work::Size;

/// What is read before a slow reader rests; with `REST`, 1 MB takes about 0.8 s.
const SIP: usize = 64 << 10;
const REST: Duration = Duration::from_millis(50);

/// One request on each.
pub(super) async fn new_connection(mut client: Client) -> Result<()> {
    while client.turn().await {
        let (host, target) = client.next_pair(Size::Small);
        let mut connection = client.connect(&host, false).await?;
        client.ask(&mut connection, &Request::get(&host, &target), &Expect::body(Size::Small)).await?;
    }
    Ok(())
}

/// Two requests a long time apart; then none of it is left until the turn after.
pub(super) async fn idle(mut client: Client) -> Result<()> {
    while client.turn().await {
        let mut connection = client.connect("", false).await?;
        let (host, target) = client.next_pair(Size::Small);
        let request = Request::get(&host, &target);
        client.ask(&mut connection, &request, &Expect::body(Size::Small)).await?;
        if !client.turn().await {
            break;
        }
        client.ask(&mut connection, &request, &Expect::body(Size::Small)).await.context("after a pause")?;
    }
    Ok(())
}

/// 1 MB by little and little into a small receive buffer.
pub(super) async fn large_slowly(mut client: Client) -> Result<()> {
    while client.turn().await {
        let (host, target) = client.next_pair(Size::Large);
        let mut connection = Connection::open_narrow(client.scene.http).await.context("connect")?;
        connection.write(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
        let mut answer = connection.head("GET").await?;
        let mut rested = 0;
        while let Some(part) = connection.part().await? {
            answer.body.extend(part);
            if answer.body.len() >= rested + SIP {
                rested = answer.body.len();
                sleep(REST).await;
            }
        }
        client.check(&answer, &Expect::body(Size::Large)).with_context(|| format!("GET {host}{target}"))?;
    }
    Ok(())
}
