//! The end of connections whose client was refused before there was a request: the answer, the line in the log, the
//! count.
//!
//! hyper answers what it cannot parse by itself; what the watch objects to, and plain HTTP where TLS is spoken, is
//! answered here, in nginx's words.

use super::{
    connection::{Connection, End, Waiting},
    io::ServerIo,
    watch::Verdict,
};
use crate::{
    access_log::RefusedEntry,
    forwarded::{Claims, Client},
    metrics::Refusal,
    respond,
};
use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How long a client may send nothing of what nobody wants (nginx's `lingering_timeout`), or take to read why.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// How long it may go on sending (nginx's `lingering_time`).
const LONGEST_LINGER: Duration = Duration::from_secs(30);

/// What hyper refuses as a target.
const HYPER_TARGET: usize = u16::MAX as usize - 1;

/// What is said to the client, if anything.
struct Answer {
    status: StatusCode,
    title: &'static str,
}

/// What is known of the head of a request that is not answered, besides what nobody has read.
pub(super) struct RefusedHead {
    /// The rest of it is missing.
    inside: bool,
    /// Its request line and its length, where hyper took it as a whole before it looked at most of it.
    taken: Option<(Vec<u8>, usize)>,
}

/// Ends a connection of HTTP/1 that has not ended by itself.
pub(super) async fn http1(connection: &Connection, mut io: ServerIo, end: End, head: &RefusedHead) {
    let mut page = None;
    let (refusal, status) = match &end {
        // The request was answered before its body was here: the client may still be sending it.
        End::Done => return linger(connection, io).await,
        End::Stopped(verdict) => {
            let Answer { status, title } = answer(*verdict);
            page = Some(respond::page(title, title, None));
            (refusal(*verdict), status)
        }
        End::Failed(error) if error.is_parse_too_large() && is_long_target(io.unread()) => {
            (Refusal::LongLine, StatusCode::URI_TOO_LONG)
        }
        End::Failed(error) if error.is_parse_too_large() => {
            (Refusal::LargeHead, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        }
        End::Failed(error) if error.is_parse() => (Refusal::BadRequest, StatusCode::BAD_REQUEST),
        // As nginx: nothing is said to the client, nor to the log if there was no head.
        End::TimedOut(Waiting::Head) if head.inside => (Refusal::SlowHead, StatusCode::REQUEST_TIMEOUT),
        End::TimedOut(Waiting::Client { .. }) => {
            connection.refused(Refusal::Stalled);
            return debug(connection, &end);
        }
        End::Failed(_) | End::TimedOut(_) | End::Dozing => return debug(connection, &end),
    };
    debug(connection, &end);
    connection.refused(refusal);
    let (line, length) = head.line(io.unread());
    log(connection, line, length, status, page.as_ref().map_or(0, String::len));
    if status == StatusCode::REQUEST_TIMEOUT {
        return;
    }
    if let Some(page) = page {
        let answer = respond::last(status, &page);
        if !matches!(connection.deadline().limit(LINGER, io.write_all(answer.as_bytes())).await, Some(Ok(()))) {
            return;
        }
    }
    linger(connection, io).await;
}

/// Closes so that the client gets to read its answer: closing with unread bytes would reset the connection, and with it
/// the answer. Ends when the client closes, or takes too long for it.
async fn linger(connection: &Connection, mut io: ServerIo) {
    let (deadline, timers) = (connection.deadline(), connection.worker().timers());
    let since = timers.now();
    let finished = deadline.limit(LINGER, io.finish()).await;
    let (mut rest, mut more) = (BytesMut::new(), finished.map(|result| result.map(|()| true)));
    while let Some(Ok(true)) = more {
        if timers.now().since(since) > LONGEST_LINGER {
            return;
        }
        more = deadline.limit(LINGER, io.skip(&mut rest)).await;
    }
    if let Some(Err(error)) = more {
        tracing::debug!(%error, peer = %connection.peer(), "client did not wait for its answer");
    }
}

/// Tells somebody who speaks plain HTTP on the TLS port, as nginx does (its internal status 497).
pub(super) async fn plain_http(mut stream: TcpStream) -> io::Result<()> {
    let page = respond::remarked(StatusCode::BAD_REQUEST, "The plain HTTP request was sent to HTTPS port");
    stream.write_all(respond::last(StatusCode::BAD_REQUEST, &page).as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection and with it the answer.
    let mut rest = BytesMut::with_capacity(4096);
    while rest.len() < 64 * 1024 && stream.read_buf(&mut rest).await? > 0 {}
    Ok(())
}

/// Notes a stream of HTTP/2 that was no request, or whose body broke a rule before there was anybody to tell.
pub(super) fn stream(connection: &Connection) {
    tracing::debug!(peer = %connection.peer(), "client broke a rule on a stream, which is reset");
    connection.refused(Refusal::Protocol);
}

/// Notes the end of a connection of HTTP/2.
pub(super) fn http2(connection: &Connection, end: &End) {
    match end {
        End::Done => return,
        End::Stopped(Verdict::Flood) => connection.refused(Refusal::Flood),
        End::Failed(_) if connection.verdict() == Some(Verdict::Flood) => connection.refused(Refusal::Flood),
        End::Failed(error) => match h2_reason(error) {
            Some(h2::Reason::ENHANCE_YOUR_CALM) => connection.refused(Refusal::Flood),
            Some(_) => connection.refused(Refusal::Protocol),
            None => {}
        },
        End::TimedOut(Waiting::Head) => connection.refused(Refusal::SlowHead),
        End::TimedOut(Waiting::Client { .. }) => connection.refused(Refusal::Stalled),
        End::TimedOut(_) | End::Stopped(_) | End::Dozing => {}
    }
    debug(connection, end);
}

fn debug(connection: &Connection, end: &End) {
    tracing::debug!(?end, peer = %connection.peer(), "client connection ended early");
}

/// What h2 ended the connection for, if it was not the network, nor the client.
fn h2_reason(error: &hyper::Error) -> Option<h2::Reason> {
    let error = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
    error.reason().filter(|_| error.is_go_away() && error.is_library())
}

fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::LongLine => Refusal::LongLine,
        Verdict::LargeHead | Verdict::ManyFields => Refusal::LargeHead,
        Verdict::Framing => Refusal::BadRequest,
        Verdict::Flood => Refusal::Flood,
    }
}

fn answer(verdict: Verdict) -> Answer {
    let (status, title) = match verdict {
        Verdict::LongLine => (StatusCode::URI_TOO_LONG, "414 Request-URI Too Large"),
        // nginx's internal status 494.
        Verdict::LargeHead | Verdict::ManyFields => (StatusCode::BAD_REQUEST, "400 Request Header Or Cookie Too Large"),
        Verdict::Framing | Verdict::Flood => (StatusCode::BAD_REQUEST, "400 Bad Request"),
    };
    Answer { status, title }
}

/// The line that nginx would write: with as much of the request line as there is.
fn log(connection: &Connection, line: &[u8], request_length: usize, status: StatusCode, bytes_sent: usize) {
    let worker = connection.worker();
    worker.metrics().requests.add(1);
    let view = worker.last_view();
    let settings = view.table().settings();
    if settings.access_log {
        // Without a request there are no fields to believe, but there may be a PROXY header.
        let client = Client::of(connection, &settings.trust, &Claims::default(), &HeaderMap::new());
        worker.access_log().write(&RefusedEntry {
            format: settings.logs.requests.as_deref(),
            remote: client.address(),
            line,
            status,
            bytes_sent,
            request_length,
            duration: connection.time_of_head(),
        });
    }
}

// === impl RefusedHead ===

impl RefusedHead {
    pub(super) fn of(io: &ServerIo, end: &End) -> Self {
        let is_parse = matches!(end, End::Failed(error) if error.is_parse());
        let last = if is_parse { io.last_head() } else { None };
        Self { inside: io.is_inside_head(), taken: last.map(|(line, length)| (line.to_vec(), length)) }
    }

    /// The request line, as far as it came, and the bytes that came.
    fn line<'a>(&'a self, unread: &'a [u8]) -> (&'a [u8], usize) {
        match &self.taken {
            Some((line, length)) => (line, *length),
            None => {
                let line = unread.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default();
                (line.trim_ascii_end(), unread.len())
            }
        }
    }
}

fn is_long_target(head: &[u8]) -> bool {
    head.trim_ascii_start().split(|byte| *byte == b' ').nth(1).is_some_and(|target| target.len() > HYPER_TARGET)
}
