//! Connections that last as long as the run.

use anyhow::Result;
use rust_nginx_tests::client::Request;

use super::client::{Client, Expect};
use crate::site::{self, UNKNOWN_HOST};
use crate::work::Size;

/// All hosts and paths in turn.
pub(super) async fn http1(mut client: Client) -> Result<()> {
    let mut connection = client.connect("", false).await?;
    while client.turn().await {
        let (host, target) = client.next_pair(Size::Small);
        client.ask(&mut connection, &Request::get(&host, &target), &Expect::body(Size::Small)).await?;
    }
    Ok(())
}

/// All paths of the host that the handshake was for.
pub(super) async fn http1_over_tls(mut client: Client) -> Result<()> {
    let host = site::host(client.number * 499);
    let mut connection = client.connect(&host, true).await?;
    while client.turn().await {
        let (_, target) = client.next_pair(Size::Small);
        client.ask(&mut connection, &Request::get(&host, &target), &Expect::body(Size::Small)).await?;
    }
    Ok(())
}

/// 1 MB as fast as it comes.
pub(super) async fn large(mut client: Client) -> Result<()> {
    let mut connection = client.connect("", false).await?;
    while client.turn().await {
        let (host, target) = client.next_pair(Size::Large);
        client.ask(&mut connection, &Request::get(&host, &target), &Expect::body(Size::Large)).await?;
    }
    Ok(())
}

/// Hosts that are in no table, each time another name.
pub(super) async fn unknown_host(mut client: Client) -> Result<()> {
    let mut connection = client.connect("", false).await?;
    let mut number = 0_u64;
    while client.turn().await {
        number += 1;
        let host = format!("n{number}.{UNKNOWN_HOST}");
        client.ask(&mut connection, &Request::get(&host, "/app0/1k"), &Expect::status(404)).await?;
    }
    Ok(())
}
