//! Request bodies from 1 KB to 4 MB, by length and in chunks, over TLS and without. The larger ones
//! go through a temporary file.

use anyhow::{Context, Result};
use rust_nginx_tests::client::{Connection, Request};

use super::client::{Client, Expect};
use crate::soak::changes::HOST;
use crate::soak::origin::{STORE_SEGMENT, receipt};

const SIZES: [usize; 6] = [1 << 10, 8 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20];
const CHUNK: usize = 20_000;
/// Bodies sent on one connection: each size in both framings.
const BODIES: usize = 2 * SIZES.len();

pub(super) async fn send(mut client: Client) -> Result<()> {
    // Each body begins elsewhere in it, so that no two in a row are the same.
    let content: Vec<u8> =
        (0..SIZES[SIZES.len() - 1] + 256).map(|index| ((index * 2_654_435_761) >> 16) as u8).collect();
    let secure = client.number % 2 == 1;
    let mut connection = client.connect(HOST, secure).await?;
    let mut number = 0_usize;
    while client.turn().await {
        if number > 0 && number.is_multiple_of(BODIES) {
            connection = client.connect(HOST, secure).await?;
        }
        let size = SIZES[number % SIZES.len()];
        let body = &content[number % 256..][..size];
        if (number / SIZES.len()).is_multiple_of(2) {
            by_length(&client, &mut connection, body).await?;
        } else {
            in_chunks(&client, &mut connection, body).await.with_context(|| format!("{size} bytes in chunks"))?;
        }
        number += 1;
    }
    Ok(())
}

/// One body that goes through a file.
pub(super) async fn send_one(client: Client) -> Result<()> {
    let mut connection = client.connect(HOST, false).await?;
    by_length(&client, &mut connection, &vec![b'b'; 256 << 10]).await
}

async fn by_length(client: &Client, connection: &mut Connection, body: &[u8]) -> Result<()> {
    let request = Request::post(HOST, &format!("/{STORE_SEGMENT}"), body);
    client.ask(connection, &request, &expect(body)).await
}

async fn in_chunks(client: &Client, connection: &mut Connection, body: &[u8]) -> Result<()> {
    let head = format!("POST /{STORE_SEGMENT} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.write(head.as_bytes()).await?;
    for chunk in body.chunks(CHUNK) {
        let size = format!("{:x}\r\n", chunk.len());
        connection.write(&[size.as_bytes(), chunk, b"\r\n"].concat()).await?;
    }
    connection.write(b"0\r\n\r\n").await?;
    client.check(&connection.answer("POST").await?, &expect(body))
}

fn expect(body: &[u8]) -> Expect {
    Expect::text(receipt(body.len(), crc32fast::hash(body)))
}
