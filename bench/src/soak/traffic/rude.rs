//! Clients that break off, and clients that do not speak HTTP.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use rust_nginx_tests::client::Request;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::client::{Client, Expect};
use crate::soak::changes::HOST;
use crate::soak::origin::STORE_SEGMENT;
use crate::work::Size;

/// Requests whose meaning no server may guess.
const MALFORMED: [&str; 6] = [
    "GET /app0/1k HTTP/1.1\r\n\r\n",
    "GET /app0/1k HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
    "GET /app0/1k HTTP/1,1\r\nHost: a.example\r\n\r\n",
    "GET /<x> HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "POST /app0/1k HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1x\r\n\r\n",
    "POST /app0/1k HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

/// 400 for each, on a connection of its own.
pub(super) async fn malformed(mut client: Client) -> Result<()> {
    let mut number = 0;
    while client.turn().await {
        let bytes = MALFORMED[number % MALFORMED.len()];
        number += 1;
        let mut connection = client.connect("", false).await?;
        connection.write(bytes.as_bytes()).await?;
        let answer = connection.answer("GET").await.with_context(|| format!("after {bytes:?}"))?;
        client.check(&answer, &Expect::status(400)).with_context(|| format!("after {bytes:?}"))?;
    }
    Ok(())
}

/// Each client breaks off at a place of its own: handshake, head, body, response. All but the first do so over TLS
/// every other time.
pub(super) async fn break_off(mut client: Client) -> Result<()> {
    let mut secure = false;
    while client.turn().await {
        match client.number % 4 {
            0 => in_handshake(&client).await.context("in the handshake")?,
            1 => in_head(&mut client, secure).await.context("in the head")?,
            2 => in_body(&client, secure).await.context("in the body")?,
            _ => in_response(&mut client, secure).await.context("in the response")?,
        }
        secure = !secure;
        client.scene.counts.broken_off.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn in_handshake(client: &Client) -> Result<()> {
    let mut stream = TcpStream::connect(client.scene.https).await?;
    // A record of TLS that announces a ClientHello of 512 bytes.
    stream.write_all(&[0x16, 3, 1, 2, 4, 1, 0, 2, 0, 3, 3]).await?;
    Ok(())
}

async fn in_head(client: &mut Client, secure: bool) -> Result<()> {
    let (host, target) = client.next_pair(Size::Small);
    let mut connection = client.connect(&host, secure).await?;
    connection.write(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/").as_bytes()).await
}

async fn in_body(client: &Client, secure: bool) -> Result<()> {
    let mut connection = client.connect(HOST, secure).await?;
    let head = format!("POST /{STORE_SEGMENT} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n");
    // Beyond what is kept in memory, so that a temporary file is left without its end too.
    connection.write(&[head.as_bytes(), &[b'b'; 60_000]].concat()).await
}

async fn in_response(client: &mut Client, secure: bool) -> Result<()> {
    let (host, target) = client.next_pair(Size::Large);
    let mut connection = client.connect(&host, secure).await?;
    let request = Request::get(&host, &target);
    let head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n\r\n", request.method, request.target);
    connection.write(head.as_bytes()).await?;
    let answer = connection.head("GET").await?;
    answer.expect(200)?;
    connection.part().await?.context("the response has no body")?;
    Ok(())
}
