//! TLS handshakes of both kinds, and HTTP/2.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::{BodyExt as _, Full};
use rust_nginx_tests::client::{Answer, Connection, Request, http2, tls};

use super::client::{Client, Expect, within};
use crate::site;
use crate::soak::origin::{STORE_SEGMENT, receipt};
use crate::work::Size;

/// Requests side by side on each connection.
const STREAMS: usize = 8;
/// Turns that a connection of HTTP/2 lasts.
const TURNS: usize = 300;
/// Length of the bodies sent over HTTP/2. Longer than what a pod is asked with from memory.
const BODY: usize = 16 << 10;
/// A server with several workers may not know a session at first, but it must know some of so many.
const SESSIONS: u64 = 20;

/// A full handshake for each request.
pub(super) async fn full_handshake(mut client: Client) -> Result<()> {
    while client.turn().await {
        let (host, target) = client.next_pair(Size::Small);
        let session = client.session(&host, &["http/1.1"]).await?;
        ensure!(!session.resumed, "a session was resumed that was never begun");
        let mut connection = Connection::over(session.wire);
        client.ask(&mut connection, &Request::get(&host, &target), &Expect::body(Size::Small)).await?;
    }
    Ok(())
}

/// A connection for each request, all of the same sessions.
pub(super) async fn resumption(mut client: Client) -> Result<()> {
    let sessions = tls::Client::new(None).context("make a TLS client")?;
    let host = site::host(client.number);
    let (mut all, mut resumed) = (0, 0);
    while client.turn().await {
        let (_, target) = client.next_pair(Size::Small);
        let session = within("a TLS handshake", sessions.connect(client.scene.https, &host)).await??;
        all += 1;
        resumed += u64::from(session.resumed);
        let mut connection = Connection::over(session.wire);
        client.ask(&mut connection, &Request::get(&host, &target), &Expect::body(Size::Small)).await?;
        ensure!(all < SESSIONS || resumed > 0, "none of {all} sessions was resumed");
    }
    Ok(())
}

/// Streams side by side, one of them with a body.
pub(super) async fn http2(mut client: Client) -> Result<()> {
    let host = site::host(client.number * 499 + 1);
    loop {
        let session = client.session(&host, &["h2"]).await?;
        ensure!(session.alpn.as_deref() == Some("h2"), "the server chose {:?} instead of HTTP/2", session.alpn);
        let connection = http2::Connection::over(session.wire).await.context("begin HTTP/2")?;
        for _ in 0..TURNS {
            if !client.turn().await {
                return Ok(());
            }
            let (_, target) = client.next_pair(Size::Small);
            let streams = (0..STREAMS).map(|stream| exchange(&client, &connection, &host, &target, stream));
            try_join_all(streams).await?;
        }
    }
}

async fn exchange(
    client: &Client,
    connection: &http2::Connection,
    host: &str,
    target: &str,
    stream: usize,
) -> Result<()> {
    let (method, target, body, expect) = if stream == 0 {
        let body = Bytes::from(vec![b'b'; BODY]);
        let expect = Expect::text(receipt(BODY, crc32fast::hash(&body)));
        ("POST", format!("{}/{STORE_SEGMENT}", site::path(0)), body, expect)
    } else {
        ("GET", target.to_owned(), Bytes::new(), Expect::body(Size::Small))
    };
    let context = || format!("{method} {host}{target}, stream {stream}");
    let request = http::Request::builder().method(method).uri(format!("https://{host}{target}"));
    let request = request.body(Full::new(body)).with_context(context)?;
    let mut requests = connection.another();
    let answer = async {
        requests.ready().await?;
        let (head, body) = requests.send_request(request).await?.into_parts();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let body = body.collect().await?.to_bytes().to_vec();
        Ok::<_, hyper::Error>(Answer { status: head.status.as_u16(), headers, body, interim: Vec::new() })
    };
    let answer = within("an answer over HTTP/2", answer).await.with_context(context)?.with_context(context)?;
    client.check(&answer, &expect).with_context(context)
}
