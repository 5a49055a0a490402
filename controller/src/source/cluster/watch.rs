//! One watch as a task: events in our own form, failures with a pause, for as long as somebody listens.

use super::{
    Message, News,
    id::WatchId,
    store::{Event, Object},
};
use crate::{
    diagnostic::ObjectKind,
    snapshot::{ObjectName, Unconvertible},
    telemetry::chain,
};
use futures::StreamExt as _;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::{
    Api, Resource,
    runtime::watcher::{self, watcher},
};
use std::{
    fmt::Debug,
    hash::{BuildHasher as _, RandomState},
    pin::pin,
    time::Duration,
};
use tokio::{sync::mpsc, time::sleep};

/// What a task watches and how it reports.
pub(super) struct Watch<K> {
    pub(super) api: Api<K>,
    pub(super) config: watcher::Config,
    pub(super) kind: ObjectKind,
    pub(super) convert: fn(K) -> Result<Object, Unconvertible>,
    pub(super) report: Report,
}

/// The way to the source.
#[derive(Clone)]
pub(super) struct Report {
    pub(super) id: WatchId,
    pub(super) task: u64,
    pub(super) inbox: mpsc::Sender<Message>,
}

/// Nobody listens any more.
struct Unheard;

/// Pauses between attempts: they double, with some chance in them so that replicas spread.
struct Backoff {
    first: Duration,
    longest: Duration,
    next: Option<Duration>,
}

/// "Forbidden" and "not found" from a server that has just started mean nothing: it answers before it has read its roles
/// and resources. They are meant when they are repeated after the server was ready.
#[derive(Default)]
struct Refusals {
    /// The server was ready before the attempt that is going on.
    ready: bool,
    count: u32,
}

/// A failed attempt.
enum Failure {
    /// The server does not know the resource, or does not let us read it.
    Unavailable(String),
    /// What we know is too old to go on from: everything has to be listed again.
    Expired,
    /// The server does not like the request, as those do that cannot stream lists.
    Refused(String),
    /// Anything else: most likely it cannot be reached.
    Other(String),
}

// === impl Watch ===

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Watches until nobody listens.
    pub(super) async fn run(mut self) {
        // A streamed list spares the server and us a copy of the whole list; servers before 1.32 do not have it on.
        self.config = self.config.streaming_lists();
        // A server that is gone comes back any moment; a role that is missing waits for somebody to make it.
        let mut unreachable = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
        let mut unavailable = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let mut refusals = Refusals::default();
        while let Ok(()) = self.watch(&mut unreachable, &mut unavailable, &mut refusals).await {}
    }

    /// Watches until the watcher has to start afresh (`Ok`) or nobody listens.
    async fn watch(
        &mut self,
        unreachable: &mut Backoff,
        unavailable: &mut Backoff,
        refusals: &mut Refusals,
    ) -> Result<(), Unheard> {
        let mut stream = pin!(watcher(self.api.clone(), self.config.clone()));
        while let Some(result) = stream.next().await {
            let error = match result {
                Ok(event) => {
                    // A list announces itself before it has reached the server.
                    if !matches!(event, watcher::Event::Init) {
                        unreachable.reset();
                        unavailable.reset();
                        *refusals = Refusals::default();
                    }
                    self.forward(event).await?;
                    continue;
                }
                Err(error) => error,
            };
            match classify(&error) {
                Failure::Expired => {
                    self.pause(unreachable.next()).await?;
                    return Ok(());
                }
                Failure::Refused(_) if self.streams() => {
                    self.config.initial_list_strategy = watcher::InitialListStrategy::ListWatch;
                    return Ok(());
                }
                Failure::Unavailable(message) => {
                    if refusals.are_meant(self.is_server_ready().await) {
                        self.report.send(News::Unavailable(message)).await?;
                        self.pause(unavailable.next()).await?;
                    } else {
                        self.report.send(News::Failed(message)).await?;
                        self.pause(unreachable.next()).await?;
                    }
                }
                Failure::Refused(message) => {
                    self.report.send(News::Failed(message)).await?;
                    self.pause(unavailable.next()).await?;
                }
                Failure::Other(message) => {
                    *refusals = Refusals::default();
                    self.report.send(News::Failed(message)).await?;
                    self.pause(unreachable.next()).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether the server knows its own roles and resources already; `None` when it does not tell us.
    async fn is_server_ready(&self) -> Option<bool> {
        let request = http::Request::get("/readyz").body(Vec::new()).expect("the path is a constant");
        match self.api.clone().into_client().request_text(request).await {
            Ok(_) => Some(true),
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403 | 404) => None,
            Err(_) => Some(false),
        }
    }

    async fn pause(&self, time: Duration) -> Result<(), Unheard> {
        tokio::select! {
            () = sleep(time) => Ok(()),
            () = self.report.inbox.closed() => Err(Unheard),
        }
    }

    fn streams(&self) -> bool {
        self.config.initial_list_strategy == watcher::InitialListStrategy::StreamingList
    }

    async fn forward(&self, event: watcher::Event<K>) -> Result<(), Unheard> {
        let news = match event {
            watcher::Event::Init => News::Event(Event::Restarted),
            watcher::Event::InitDone => News::Event(Event::Complete),
            watcher::Event::InitApply(object) => self.converted(object, Event::Listed),
            watcher::Event::Apply(object) => self.converted(object, Event::Applied),
            watcher::Event::Delete(object) => News::Event(Event::Deleted(name_of(&object))),
        };
        self.report.send(news).await
    }

    fn converted(&self, object: K, event: fn(ObjectName, Object) -> Event) -> News {
        let name = name_of(&object);
        match (self.convert)(object) {
            Ok(object) => News::Event(event(object.name().cloned().unwrap_or(name), object)),
            Err(error) => News::Unreadable { kind: self.kind, name, error },
        }
    }
}

fn name_of<K: Resource>(object: &K) -> ObjectName {
    let metadata = object.meta();
    ObjectName::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

fn classify(error: &watcher::Error) -> Failure {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        other => return Failure::Other(chain(other)),
    };
    match status.code {
        403 | 404 => Failure::Unavailable(status.message.clone()),
        410 => Failure::Expired,
        400 | 422 => Failure::Refused(status.message.clone()),
        _ => Failure::Other(format!("{} {}: {}", status.code, status.reason, status.message)),
    }
}

// === impl Report ===

impl Report {
    async fn send(&self, news: News) -> Result<(), Unheard> {
        self.inbox.send(Message { id: self.id.clone(), task: self.task, news }).await.map_err(|_| Unheard)
    }
}

// === impl Refusals ===

impl Refusals {
    /// After so many in a row, a few seconds apart, one of a server that does not let us see whether it is ready is
    /// taken at its word.
    const PERSISTENT: u32 = 4;

    /// Counts one more, given whether the server is ready now.
    fn are_meant(&mut self, ready: Option<bool>) -> bool {
        self.count += 1;
        let meant = self.ready || ready.is_none() && self.count >= Self::PERSISTENT;
        self.ready |= ready == Some(true);
        meant
    }
}

// === impl Backoff ===

impl Backoff {
    fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: None }
    }

    fn reset(&mut self) {
        self.next = None;
    }

    /// Between half and all of a time that doubles.
    fn next(&mut self) -> Duration {
        let pause = self.next.unwrap_or(self.first);
        self.next = Some((pause * 2).min(self.longest));
        let chance = u32::try_from(RandomState::new().hash_one(0) % 1000).expect("a remainder of 1000 fits");
        pause / 2 + pause / 2 * chance / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Refusals};
    use std::time::Duration;

    #[test]
    fn a_refusal_counts_when_it_is_repeated_by_a_ready_server() {
        let mut refusals = Refusals::default();
        assert!(!refusals.are_meant(Some(false)));
        // It may have become ready only after it refused.
        assert!(!refusals.are_meant(Some(true)));
        assert!(refusals.are_meant(Some(true)));
        let mut secretive = Refusals::default();
        let meant: Vec<bool> = (0..5).map(|_| secretive.are_meant(None)).collect();
        assert_eq!(meant, [false, false, false, true, true]);
    }

    #[test]
    fn pauses_double_to_a_limit() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        for seconds in [1, 2, 4, 8, 8] {
            let pause = backoff.next();
            let longest = Duration::from_secs(seconds);
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?} of {longest:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_secs(1));
    }
}
