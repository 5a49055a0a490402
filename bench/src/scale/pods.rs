//! The pods: one server that listens on every address of the namespace and answers with the address it was asked at.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use anyhow::{Context, Result};
use rust_nginx_bench::fleet::POD_PORT;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Longest head of a request that is read.
const HEAD: usize = 16 * 1024;

/// Starts the server on a thread of its own, which lasts as long as the process.
pub(super) fn start() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("start a runtime")?;
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, POD_PORT));
    let listener = runtime.block_on(TcpListener::bind(address)).with_context(|| format!("bind {address}"))?;
    thread::Builder::new().name("pods".to_owned()).spawn(move || runtime.block_on(serve(listener)))?;
    Ok(())
}

async fn serve(listener: TcpListener) {
    loop {
        // A connection that is gone before it was accepted is its client's business.
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            // The proxy reports a connection that breaks; a pod has nobody to tell.
            converse(stream).await.ok();
        });
    }
}

/// Answers requests without a body for as long as they come.
async fn converse(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let body = stream.local_addr()?.ip().to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut buffer = Vec::new();
    loop {
        while let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            buffer.drain(..end + 4);
            stream.write_all(answer.as_bytes()).await?;
        }
        if buffer.len() > HEAD || stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}
