//! Whether another endpoint may be tried after a failure (nginx `proxy_next_upstream`).

use crate::{
    error::{Outcome, ProxyError},
    table::Retry,
};
use http::Method;
use tokio::time::Instant;

/// The tries of one request.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    policy: &'a Retry,
    started: Instant,
    used: u32,
    idempotent: bool,
}

/// Ceiling where the policy sets none, so that a dead backend cannot keep a request going round forever.
const UNLIMITED: u32 = 64;

// === impl Tries ===

impl<'a> Tries<'a> {
    pub(crate) fn new(policy: &'a Retry, method: &Method, started: Instant) -> Self {
        // nginx's list of methods that are not passed on a second time.
        let idempotent = !(method == Method::POST || method == Method::PATCH || method.as_str() == "LOCK");
        Self { policy, started, used: 0, idempotent: idempotent || policy.on.non_idempotent }
    }

    /// Counts a try.
    pub(crate) fn begin(&mut self) {
        self.used += 1;
    }

    /// Takes the last try back: it only met a connection that had gone stale, and says nothing about the endpoint.
    pub(crate) fn forgive(&mut self) {
        self.used -= 1;
    }

    /// True when the request may be sent again although its bytes may have reached an endpoint.
    pub(crate) fn may_repeat(&self) -> bool {
        self.idempotent
    }

    /// True when the error is one after which the policy goes on, and tries and time are left.
    pub(crate) fn goes_on_after(&self, error: &ProxyError) -> bool {
        let allowed = match error.outcome() {
            Outcome::Error => self.policy.on.error,
            Outcome::Timeout => self.policy.on.timeout,
            Outcome::InvalidHeader => self.policy.on.invalid_header,
            Outcome::Final => false,
        };
        allowed && self.are_left()
    }

    /// True when tries and time are left.
    pub(crate) fn are_left(&self) -> bool {
        let limit = if self.policy.tries == 0 { UNLIMITED } else { self.policy.tries };
        self.used < limit && self.policy.timeout.is_none_or(|timeout| self.started.elapsed() < timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::RetryOn;
    use std::time::Duration;

    fn error() -> ProxyError {
        ProxyError::Connect(std::io::ErrorKind::ConnectionRefused.into())
    }

    #[test]
    fn three_tries_by_default_and_stale_connections_are_free() {
        let policy = Retry::default();
        let mut tries = Tries::new(&policy, &Method::GET, Instant::now());
        for _ in 0..2 {
            tries.begin();
            assert!(tries.goes_on_after(&error()));
        }
        tries.begin();
        assert!(!tries.goes_on_after(&error()));
        tries.forgive();
        assert!(tries.goes_on_after(&error()));
    }

    #[test]
    fn each_outcome_has_its_own_switch() {
        let policy = Retry { on: RetryOn { timeout: true, ..RetryOn::NOTHING }, ..Retry::default() };
        let tries = Tries::new(&policy, &Method::GET, Instant::now());
        assert!(!tries.goes_on_after(&error()));
        assert!(tries.goes_on_after(&ProxyError::ReadTimeout));
        assert!(!tries.goes_on_after(&ProxyError::BodyTooLarge));
    }

    #[test]
    fn post_patch_and_lock_are_not_repeated() {
        let policy = Retry::default();
        for method in ["POST", "PATCH", "LOCK"] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert!(!Tries::new(&policy, &method, Instant::now()).may_repeat(), "{method}");
        }
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD] {
            assert!(Tries::new(&policy, &method, Instant::now()).may_repeat(), "{method}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_try_starts_after_the_time_limit() {
        let policy = Retry { timeout: Some(Duration::from_secs(2)), tries: 0, ..Retry::default() };
        let mut tries = Tries::new(&policy, &Method::GET, Instant::now());
        tries.begin();
        assert!(tries.goes_on_after(&error()));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(!tries.goes_on_after(&error()));
    }
}
