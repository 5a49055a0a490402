//! How a route picks among the endpoints of its backend. Plain data; what is remembered between requests lives in
//! `balance`.

use crate::variable::Template;
use serde::Serialize;
use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

/// How an endpoint is picked among the ready ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancing {
    /// In turn, per worker, from a random start.
    #[default]
    RoundRobin,
    /// Of two at random the one with fewer requests under way, per worker.
    LeastRequest,
    /// Of two at random the one that answered faster of late, per worker (ingress-nginx `ewma`).
    Ewma,
    /// By a consistent hash of a text (ingress-nginx `upstream-hash-by`).
    Hash(Arc<HashBy>),
}

/// What a consistent hash is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HashBy {
    /// The text that is hashed.
    pub key: Template,
    /// The hash leads to a group of so many endpoints, of which one is picked at random; `None` leads to one endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<NonZeroUsize>,
}

/// Keeps a client on one endpoint by a cookie (ingress-nginx `affinity: cookie`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Affinity {
    /// What happens to sessions when endpoints come.
    pub mode: AffinityMode,
    /// Name of the cookie.
    pub name: Box<str>,
    /// Its Path; `None` is the path of the route.
    pub path: Option<Box<str>>,
    /// Its Domain.
    pub domain: Option<Box<str>>,
    /// Its SameSite.
    pub same_site: Option<SameSite>,
    /// Leaves `SameSite=None` out for browsers that misread it.
    pub conditional_same_site_none: bool,
    /// Secure also on plain HTTP; over TLS it always is.
    pub secure: bool,
    /// Its Expires, in seconds from now.
    pub expires: Option<i64>,
    /// Its Max-Age.
    pub max_age: Option<i64>,
    /// A session moves to another endpoint when its own fails.
    pub change_on_failure: bool,
}

/// What happens to sessions when endpoints come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AffinityMode {
    /// A few move to the new ones.
    #[default]
    Balanced,
    /// None moves.
    Persistent,
}

/// Value of the cookie attribute SameSite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SameSite {
    /// `None`
    None,
    /// `Lax`
    Lax,
    /// `Strict`
    Strict,
}

/// When an endpoint that fails gets no requests for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ejection {
    /// Failures one after the other.
    pub failures: NonZeroU32,
    /// How long it gets no request then. One more failure after its return ejects it again.
    pub time: Duration,
    /// Largest share of a backend's endpoints that is ejected at a time, in percent: at least one, never all.
    pub max_percent: u8,
}

// === impl LoadBalancing ===

impl LoadBalancing {
    /// In turn.
    #[must_use]
    pub fn is_round_robin(&self) -> bool {
        matches!(self, Self::RoundRobin)
    }
}

// === impl Affinity ===

impl Default for Affinity {
    fn default() -> Self {
        Self {
            mode: AffinityMode::Balanced,
            name: "INGRESSCOOKIE".into(),
            path: None,
            domain: None,
            same_site: None,
            conditional_same_site_none: false,
            secure: false,
            expires: None,
            max_age: None,
            change_on_failure: false,
        }
    }
}

// === impl SameSite ===

impl SameSite {
    /// As it is written in the cookie.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Lax => "Lax",
            Self::Strict => "Strict",
        }
    }
}
