//! One line per request on standard output, in ingress-nginx's default form or in that of a template.
//!
//! Workers collect lines in a buffer and hand whole buffers to a writer thread, so that a slow reader of standard output
//! never holds up a request; when the writer is that far behind, lines are dropped and counted.

use crate::{
    metrics::RouteStats,
    table::Endpoint,
    variable::{Escape, Finished, Line, LogFormat, Moment, list, request_target},
};
use http::{HeaderValue, Method, StatusCode, Uri, Version};
use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    io::Write as _,
    net::IpAddr,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

/// Size at which a worker hands its buffer over; otherwise it does so about once a second.
const FLUSH_AT: usize = 8 * 1024;
/// Buffers that may wait for the writer.
const QUEUE: usize = 1024;

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Where workers send full buffers.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    queue: SyncSender<String>,
}

/// The buffer of one worker.
#[derive(Debug)]
pub(crate) struct AccessLog {
    writer: LogWriter,
    buffer: RefCell<String>,
}

/// What the line needs of the request and is gone by the time the response ends.
#[derive(Debug)]
pub(crate) enum Logged {
    /// For the default form, which costs less than a template of the same.
    Usual(RequestFields),
    /// The beginning of the line itself.
    Formatted(Line),
}

/// The same for the default form.
#[derive(Debug)]
pub(crate) struct RequestFields {
    pub(crate) remote: IpAddr,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) referer: Option<HeaderValue>,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) request_id: Option<HeaderValue>,
}

/// One try of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) endpoint: Endpoint,
    /// Of the response, or what a failure stands for; `None` where the client did not wait, or is at fault.
    pub(crate) status: Option<StatusCode>,
    /// Bytes of the body as the endpoint sent them.
    pub(crate) length: u64,
    /// Until the connection was there, if it came; zero for one that was there before.
    pub(crate) connect: Option<Duration>,
    /// Until the head of the response was there, if it came.
    pub(crate) header: Option<Duration>,
    /// Zero while it is under way.
    pub(crate) time: Duration,
}

/// A finished request.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) request: &'a Logged,
    pub(crate) route: Option<&'a RouteStats>,
    pub(crate) end: Finished<'a>,
}

/// A request that was refused before anything in it could be trusted.
#[derive(Debug)]
pub(crate) struct RefusedEntry<'a> {
    pub(crate) format: Option<&'a LogFormat>,
    pub(crate) remote: IpAddr,
    /// The request line, as far as it came.
    pub(crate) line: &'a [u8],
    pub(crate) status: StatusCode,
    pub(crate) bytes_sent: usize,
    pub(crate) request_length: usize,
    /// What the head took that did not come in one piece.
    pub(crate) duration: Duration,
}

/// Bytes of the line of a refused request that are logged.
pub(crate) const REFUSED_LINE: usize = 2048;

// === impl Attempt ===

impl Attempt {
    /// It has neither brought a response nor failed.
    pub(crate) fn is_under_way(&self) -> bool {
        self.header.is_none() && self.status.is_none() && self.time.is_zero()
    }
}

// === impl LogWriter ===

impl LogWriter {
    /// Starts the writer thread; it ends when the last worker is gone.
    pub(crate) fn start() -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (queue, buffers) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_all(&buffers))?;
        Ok((Self { queue }, thread))
    }

    /// Hands the lines to somebody else.
    #[cfg(test)]
    pub(crate) fn to(queue: SyncSender<String>) -> Self {
        Self { queue }
    }
}

fn write_all(buffers: &Receiver<String>) {
    for buffer in buffers {
        let mut stdout = std::io::stdout().lock();
        if let Err(error) = stdout.write_all(buffer.as_bytes()).and_then(|()| stdout.flush()) {
            tracing::error!(%error, "cannot write the access log to standard output");
            return;
        }
    }
}

// === impl AccessLog ===

impl AccessLog {
    pub(crate) fn new(writer: LogWriter) -> Self {
        Self { writer, buffer: RefCell::new(String::with_capacity(FLUSH_AT + 1024)) }
    }

    /// Adds a line.
    pub(crate) fn write(&self, entry: &impl fmt::Display) {
        let mut buffer = self.buffer.borrow_mut();
        // Writing into a String cannot fail.
        let _ = writeln!(buffer, "{entry}");
        if buffer.len() >= FLUSH_AT {
            drop(buffer);
            self.flush();
        }
    }

    /// Hands over what is there.
    pub(crate) fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.is_empty() {
            return;
        }
        let full = std::mem::replace(&mut *buffer, String::with_capacity(FLUSH_AT + 1024));
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) = self.writer.queue.try_send(full) {
            let lines = lost.lines().count() as u64;
            if DROPPED.fetch_add(lines, Ordering::Relaxed) == 0 {
                tracing::warn!(lines, "access log lines dropped: standard output is not read fast enough");
            }
        }
    }
}

// === impl Entry ===

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = match self.request {
            Logged::Usual(request) => request,
            Logged::Formatted(line) => return line.write(&self.end, f),
        };
        let Finished { status, bytes_sent, request_length, duration, attempts } = self.end;
        write!(
            f,
            "{} - - [{}] \"{} {} {:?}\" {} {} \"{}\" \"{}\" {} {:.3} [",
            request.remote,
            Moment::Local,
            request.method,
            EscapedTarget(request),
            request.version,
            status.as_u16(),
            bytes_sent,
            Escaped::value(request.referer.as_ref()),
            Escaped::value(request.user_agent.as_ref()),
            request_length,
            duration.as_secs_f64(),
        )?;
        if let Some(labels) = self.route.map(RouteStats::labels).filter(|labels| !labels.service.is_empty()) {
            write!(f, "{}-{}-{}", labels.namespace, labels.service, labels.service_port)?;
        } else {
            f.write_str("-")?;
        }
        f.write_str("] [] ")?;
        list(f, attempts, "-", |f, attempt| attempt.endpoint.address.fmt(f))?;
        f.write_char(' ')?;
        list(f, attempts, "-", |f, attempt| attempt.length.fmt(f))?;
        f.write_char(' ')?;
        list(f, attempts, "-", |f, attempt| write!(f, "{:.3}", attempt.time.as_secs_f64()))?;
        f.write_char(' ')?;
        list(f, attempts, "-", |f, attempt| match attempt.status {
            Some(status) => status.as_u16().fmt(f),
            None => f.write_str("-"),
        })?;
        f.write_char(' ')?;
        write!(f, "{}", Escaped::value(request.request_id.as_ref()))
    }
}

// === impl RefusedEntry ===

impl fmt::Display for RefusedEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, remote, line, status, bytes_sent, request_length, duration } = self;
        let line = &line[..line.len().min(REFUSED_LINE)];
        if let Some(format) = format {
            let (bytes_sent, request_length) = (*bytes_sent as u64, *request_length as u64);
            let end = Finished { status: *status, bytes_sent, request_length, duration: *duration, attempts: &[] };
            return format.begin_refused(*remote, line).write(&end, f);
        }
        write!(
            f,
            "{remote} - - [{}] \"{}\" {} {bytes_sent} \"-\" \"-\" {request_length} {:.3} [-] [] - - - - -",
            Moment::Local,
            Escaped(line),
            status.as_u16(),
            duration.as_secs_f64(),
        )
    }
}

/// Text of a client, escaped as nginx's `escape=default` does.
struct Escaped<'a>(&'a [u8]);

impl<'a> Escaped<'a> {
    fn value(value: Option<&'a HeaderValue>) -> Self {
        Self(value.map_or(b"-", HeaderValue::as_bytes))
    }
}

/// The target as it stands in the request line.
struct EscapedTarget<'a>(&'a RequestFields);

impl fmt::Display for EscapedTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = request_target(&self.0.uri, self.0.version);
        parts.into_iter().try_for_each(|part| Escaped(part.as_bytes()).fmt(f))
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escape::Default.write(self.0, f)
    }
}
