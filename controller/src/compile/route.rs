//! What applies to the routes of one Ingress: the ConfigMap's defaults with the annotations over them.
//!
//! Must not know where a setting came from.

use super::{host_tls::HostTls, proxy_ssl::ProxySsl};
use http::StatusCode;
use rust_nginx_proxy::{
    filter::{Filter, HttpsRedirect, Refuse, TlsOnly},
    table::{Affinity, Ejection, HashBy, LoadBalancing, PathMatch, Policy},
    variable::Template,
};
use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

/// Settings with the reach of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RouteSettings {
    /// Redirect to HTTPS where the host has TLS.
    pub(super) ssl_redirect: bool,
    /// Redirect to HTTPS everywhere.
    pub(super) force_ssl_redirect: bool,
    /// See [`HttpsRedirect::preserve_trailing_slash`].
    pub(super) preserve_trailing_slash: bool,
    /// Redirects name the HTTPS port.
    pub(super) use_port_in_redirects: bool,
    /// See [`HttpsRedirect::code`].
    pub(super) redirect_code: StatusCode,
    /// Declared paths that start with one of these are never redirected.
    pub(super) no_tls_redirect: Arc<[Box<str>]>,
    /// Retry methods that are not idempotent, whatever `proxy-next-upstream` says.
    pub(super) retry_non_idempotent: bool,
    /// Requests go to the address of the Service, not to those of its pods.
    pub(super) service_upstream: bool,
    /// How endpoints are picked.
    pub(super) balancing: Balancing,
    /// TLS connections for the host go to the backend of its `/` as they are.
    pub(super) ssl_passthrough: bool,
    /// TLS to endpoints.
    pub(super) proxy_ssl: Option<Box<ProxySsl>>,
    /// `proxy-ssl-*` of one Ingress are not for the others of its host.
    pub(super) proxy_ssl_location_only: bool,
    /// TLS with the clients of its hosts.
    pub(super) host_tls: HostTls,
    /// Timeouts, retry, limits.
    pub(super) policy: Policy,
    /// Closed: a guard that cannot be honoured.
    pub(super) refuse: Option<StatusCode>,
}

/// Endpoints per group without `upstream-hash-by-subset-size`.
pub(super) const SUBSET_SIZE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// How endpoints are picked, setting by setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Balancing {
    /// `load-balance`.
    pub(super) load_balance: LoadBalancing,
    /// `upstream-hash-by`, which comes before `load-balance`.
    pub(super) hash_by: Option<Template>,
    /// `upstream-hash-by-subset`.
    pub(super) subset: bool,
    /// `upstream-hash-by-subset-size`.
    pub(super) subset_size: NonZeroUsize,
    /// `affinity`, which comes before both.
    pub(super) affinity: bool,
    /// What its companions say; `None` is their defaults.
    pub(super) session: Option<Box<Affinity>>,
    /// `upstream-ejection-failures`; `None` is off.
    pub(super) ejection_failures: Option<NonZeroU32>,
    /// `upstream-ejection-time`.
    pub(super) ejection_time: Duration,
    /// `upstream-ejection-percent`.
    pub(super) ejection_percent: u8,
}

/// What the place of a route decides about its filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    /// The whole host or the whole table is closed.
    pub(super) refuse: Option<StatusCode>,
    /// What the host allows of redirects to HTTPS.
    pub(super) redirect: Redirect,
    /// Every client needs a certificate, and only TLS has those.
    pub(super) certificate_needed: bool,
    /// `--https-port`.
    pub(super) https_port: u16,
}

/// What a host allows of redirects to HTTPS.
#[derive(Clone, Copy, Debug)]
pub(super) enum Redirect {
    /// None, whatever the settings say.
    Never,
    /// The host has no TLS section: only `force-ssl-redirect`.
    IfForced,
    /// The host has a TLS section, even one with a broken Secret.
    HostHasTls,
}

// === impl RouteSettings ===

impl RouteSettings {
    /// Brings together what several settings decide. Called once, after the last of them.
    pub(super) fn finish(&mut self) {
        self.policy.retry.on.non_idempotent |= self.retry_non_idempotent;
        let Balancing { load_balance, hash_by, subset, subset_size, affinity, session, .. } = &self.balancing;
        self.policy.load_balancing = match hash_by {
            Some(key) => {
                LoadBalancing::Hash(Arc::new(HashBy { key: key.clone(), subset: subset.then_some(*subset_size) }))
            }
            None => load_balance.clone(),
        };
        self.policy.affinity = affinity.then(|| session.as_deref().cloned().unwrap_or_default().into());
        let Balancing { ejection_failures, ejection_time: time, ejection_percent: max_percent, .. } = self.balancing;
        self.policy.ejection = ejection_failures.map(|failures| Ejection { failures, time, max_percent });
    }

    /// The filters of a route in the order of execution. A closed route needs no other: nothing gets past it.
    pub(super) fn filters(&self, path: &PathMatch, context: Context) -> Box<[Filter]> {
        if let Some(status) = context.refuse.or(self.refuse) {
            return Box::new([Filter::Refuse(Refuse { status })]);
        }
        let redirects = match context.redirect {
            Redirect::Never => false,
            Redirect::IfForced => self.force_ssl_redirect,
            Redirect::HostHasTls => self.force_ssl_redirect || self.ssl_redirect,
        };
        // As in ingress-nginx, the exemption compares with the declared path, not with the path of the request.
        if self.no_tls_redirect.iter().any(|prefix| path.as_str().starts_with(&**prefix)) {
            return Box::default();
        }
        let redirect = redirects.then(|| {
            Filter::HttpsRedirect(HttpsRedirect {
                code: self.redirect_code,
                preserve_trailing_slash: self.preserve_trailing_slash,
                port: self.use_port_in_redirects.then_some(context.https_port),
            })
        });
        // Also behind a redirect: that one believes a proxy in front about the scheme, and nobody can show a certificate
        // in cleartext.
        let tls_only = Filter::TlsOnly(TlsOnly { status: StatusCode::FORBIDDEN });
        redirect.into_iter().chain(context.certificate_needed.then_some(tls_only)).collect()
    }
}

impl Default for RouteSettings {
    /// With an empty ConfigMap and no annotation.
    fn default() -> Self {
        Self {
            ssl_redirect: true,
            force_ssl_redirect: false,
            preserve_trailing_slash: false,
            use_port_in_redirects: false,
            redirect_code: StatusCode::PERMANENT_REDIRECT,
            no_tls_redirect: Arc::new(["/.well-known/acme-challenge".into()]),
            retry_non_idempotent: false,
            service_upstream: false,
            balancing: Balancing::default(),
            ssl_passthrough: false,
            proxy_ssl: None,
            proxy_ssl_location_only: false,
            host_tls: HostTls::default(),
            policy: Policy::default(),
            refuse: None,
        }
    }
}

// === impl Balancing ===

impl Balancing {
    /// The settings of the affinity cookie.
    pub(super) fn session(&mut self) -> &mut Affinity {
        self.session.get_or_insert_default()
    }
}

impl Default for Balancing {
    fn default() -> Self {
        Self {
            load_balance: LoadBalancing::RoundRobin,
            hash_by: None,
            subset: false,
            subset_size: SUBSET_SIZE,
            affinity: false,
            session: None,
            ejection_failures: None,
            ejection_time: Duration::from_secs(30),
            ejection_percent: 50,
        }
    }
}

/// A policy with what another one says about endpoints: what is spoken to them, and which one is picked.
pub(super) fn towards(policy: &Arc<Policy>, like: &Policy) -> Arc<Policy> {
    let Policy { protocol, tls, load_balancing, affinity, ejection, slow_start, .. } = like;
    if policy.protocol == *protocol
        && policy.tls == *tls
        && policy.load_balancing == *load_balancing
        && policy.affinity == *affinity
        && policy.ejection == *ejection
        && policy.slow_start == *slow_start
    {
        return policy.clone();
    }
    Arc::new(Policy {
        protocol: *protocol,
        tls: tls.clone(),
        load_balancing: load_balancing.clone(),
        affinity: affinity.clone(),
        ejection: *ejection,
        slow_start: *slow_start,
        ..(**policy).clone()
    })
}
