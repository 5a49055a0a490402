//! Whether this process is live, healthy and ready, and why not.

use rust_nginx_proxy::Handle;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// How long the reconcile loop may take for one turn. A compile of the largest clusters takes under a second; a minute
/// means that it hangs.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// How far the process has come, beyond what the others publish themselves.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Traffic listeners are bound.
    listening: bool,
    /// The process was told to end.
    draining: bool,
}

/// Answers the probes.
#[derive(Clone, Debug)]
pub struct Health {
    progress: watch::Sender<Progress>,
    signs: Signs,
}

/// Signs of life that other parts publish.
#[derive(Clone, Debug)]
pub struct Signs {
    /// Turns whenever the reconcile loop does.
    pub heartbeat: watch::Receiver<Instant>,
    /// Holds something from the first install on.
    pub handle: watch::Receiver<Option<Arc<Handle>>>,
    /// What the source still waits for, for people.
    pub waiting_for: watch::Receiver<Arc<[String]>>,
}

// === impl Health ===

impl Health {
    /// Neither listening nor draining.
    #[must_use]
    pub fn new(signs: Signs) -> Self {
        Self { progress: watch::Sender::new(Progress::default()), signs }
    }

    /// Traffic listeners are bound.
    pub fn listening(&self) {
        self.progress.send_modify(|progress| progress.listening = true);
    }

    /// The process was told to end.
    pub fn draining(&self) {
        self.progress.send_modify(|progress| progress.draining = true);
    }

    /// The loop turns.
    pub(super) fn live(&self) -> Result<(), Vec<String>> {
        verdict([self.stuck()])
    }

    /// A table is installed and nobody wants us gone: the page that ingress-nginx's probes use.
    pub(super) fn healthy(&self) -> Result<(), Vec<String>> {
        verdict([self.ending(), self.not_installed(), self.stuck()])
    }

    /// Traffic is served.
    pub(super) fn ready(&self) -> Result<(), Vec<String>> {
        let listening = self.progress.borrow().listening;
        let not_listening = (!listening).then(|| "the traffic listeners are not bound yet".to_owned());
        verdict([self.ending(), self.not_installed(), not_listening])
    }

    fn stuck(&self) -> Option<String> {
        let silent = self.signs.heartbeat.borrow().elapsed();
        (silent > HEARTBEAT).then(|| format!("the reconcile loop has not turned for {} seconds", silent.as_secs()))
    }

    fn ending(&self) -> Option<String> {
        self.progress.borrow().draining.then(|| "shutting down".to_owned())
    }

    fn not_installed(&self) -> Option<String> {
        if self.signs.handle.borrow().is_some() {
            return None;
        }
        let waiting_for = self.signs.waiting_for.borrow();
        Some(if waiting_for.is_empty() {
            "no table is installed yet".to_owned()
        } else {
            format!("no table is installed yet: waiting for {}", waiting_for.join(", "))
        })
    }
}

fn verdict<const N: usize>(reasons: [Option<String>; N]) -> Result<(), Vec<String>> {
    let reasons: Vec<String> = reasons.into_iter().flatten().collect();
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

#[cfg(test)]
mod tests {
    use super::{HEARTBEAT, Health, Signs};
    use rust_nginx_proxy::{Handle, table::TableBuilder, tls::Certificate};
    use std::{sync::Arc, time::Duration};
    use tokio::{sync::watch, time::Instant};

    #[tokio::test]
    async fn probes_follow_the_process() {
        let (beat, heartbeat) = watch::channel(Instant::now());
        let (install, handle) = watch::channel(None);
        let (_wait, waiting_for) = watch::channel(["ingresses".to_owned()].into());
        let health = Health::new(Signs { heartbeat, handle, waiting_for });
        assert_eq!(health.live(), Ok(()));
        let waiting = "no table is installed yet: waiting for ingresses".to_owned();
        let not_bound = "the traffic listeners are not bound yet".to_owned();
        assert_eq!(health.healthy(), Err(vec![waiting.clone()]));
        assert_eq!(health.ready(), Err(vec![waiting, not_bound.clone()]));

        let certificate = Arc::new(Certificate::self_signed().unwrap());
        install.send_replace(Some(Handle::new(TableBuilder::new(Arc::default(), certificate).build())));
        assert_eq!(health.healthy(), Ok(()));
        assert_eq!(health.ready(), Err(vec![not_bound]));
        health.listening();
        assert_eq!(health.ready(), Ok(()));

        let long_ago = Instant::now().checked_sub(HEARTBEAT + Duration::from_secs(1));
        beat.send_replace(long_ago.expect("the machine runs for longer than a minute"));
        assert!(health.live().is_err());
        assert!(health.healthy().is_err());
        beat.send_replace(Instant::now());
        assert_eq!(health.live(), Ok(()));

        health.draining();
        assert_eq!(health.live(), Ok(()));
        assert_eq!(health.healthy(), Err(vec!["shutting down".to_owned()]));
        assert_eq!(health.ready(), Err(vec!["shutting down".to_owned()]));
    }
}
