//! Connections that become WebSockets, are kept for some seconds and send bytes both ways.

use anyhow::{Context, Result, ensure};
use rust_nginx_tests::client::Request;
use rust_nginx_tests::client::websocket::KEY;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client::{Client, Expect, within};
use crate::site;
use crate::soak::origin::UPGRADE_SEGMENT;

/// Messages on one connection.
const MESSAGES: usize = 50;
const LONGEST: usize = 16 << 10;

/// Half of the clients over TLS. What goes to and fro is not framed: no proxy has to look into it.
pub(super) async fn echo(mut client: Client) -> Result<()> {
    let host = site::host(client.number);
    let target = format!("{}/{UPGRADE_SEGMENT}", site::path(client.number));
    let request = Request::get(&host, &target)
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", KEY);
    while client.turn().await {
        let mut connection = client.connect(&host, client.number % 2 == 1).await?;
        client.ask(&mut connection, &request, &Expect::status(101)).await?;
        let (mut wire, early) = connection.into_wire();
        ensure!(early.is_empty(), "{} bytes came before any was sent", early.len());
        for number in 0..MESSAGES {
            if !client.turn().await {
                return Ok(());
            }
            let message = vec![number as u8; (number * 331) % LONGEST + 1];
            let mut back = vec![0; message.len()];
            let round_trip = async {
                wire.write_all(&message).await?;
                wire.flush().await?;
                wire.read_exact(&mut back).await
            };
            within("an echo", round_trip)
                .await?
                .with_context(|| format!("message {number}, {} bytes", message.len()))?;
            ensure!(back == message, "message {number} came back changed: {:?}…", &back[..back.len().min(32)]);
            client.count();
        }
    }
    Ok(())
}
