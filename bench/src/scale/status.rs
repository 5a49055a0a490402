//! Thousands of Ingresses that are new at once: how long until each has its status, and whether Events and the renewals
//! of the Lease wait behind them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams};
use rust_nginx_bench::fleet::Fleet;
use rust_nginx_tests::control_plane::World;
use rust_nginx_tests::objects::{ingress, prefix};
use rust_nginx_tests::wait;

use super::bare::{Bare, Key, Kind};
use super::populate;
use super::results::StatusWork;

/// Longest time for all of it.
const LIMIT: Duration = Duration::from_secs(600);

/// The Ingress with a mistake.
const MISTAKE: &str = "mistake";

/// Creates all Ingresses of the fleet before a leader that has written all there was.
pub(super) async fn measure(world: &World, bare: &Bare, fleet: &Fleet) -> Result<StatusWork> {
    let client = &world.cluster.client;
    let lease = held_lease(world).await?;
    let half = fleet.ingresses() / 2;
    let (start, before) = (Instant::now(), bare.published().0);
    populate::ingresses(client, fleet, 0..half).await?;
    let (last, event) =
        tokio::try_join!(populate::ingresses(client, fleet, half..fleet.ingresses()), warned_about(world))?;
    // The one with the mistake has a status too.
    let written = bare.all_published(before + fleet.ingresses() + 1, LIMIT).await?;
    let end = Instant::now();
    world.delete([mistake(world)]).await?;
    Ok(StatusWork {
        ingresses: fleet.ingresses(),
        created: (last - start).as_secs_f64(),
        written: written.saturating_duration_since(last).as_secs_f64(),
        event: event.as_secs_f64(),
        renewal: longest_gap(&bare.moments(&lease), start, end).as_secs_f64(),
    })
}

async fn held_lease(world: &World) -> Result<Key> {
    let leases = Api::<Lease>::namespaced(world.cluster.client.clone(), &world.system);
    let name = wait::until("somebody leads", async || {
        let found = leases.list(&ListParams::default()).await?;
        let held = |lease: Lease| {
            let holder = lease.spec?.holder_identity.filter(|holder| !holder.is_empty());
            holder.and(lease.metadata.name)
        };
        found.items.into_iter().find_map(held).context("no Lease is held")
    });
    Ok(Key { kind: Kind::Lease, namespace: world.system.clone(), name: name.await? })
}

fn mistake(world: &World) -> rust_nginx_tests::objects::Manifest {
    ingress(MISTAKE).class(&world.class).host("mistake.example.com", [prefix("/", "no-such-service")]).build()
}

/// How long it takes until a mistake is reported.
async fn warned_about(world: &World) -> Result<Duration> {
    world.apply([mistake(world)]).await?;
    let made = Instant::now();
    wait::until_within(LIMIT, "the mistake is reported", async || {
        let events = world.cluster.events(&world.namespace, "Ingress", MISTAKE).await?;
        events.iter().find(|event| event.kind == "Warning").map(|_| ()).context("there is no Warning")
    })
    .await?;
    Ok(made.elapsed())
}

/// The longest time between two of the moments, as far as it lies between start and end, which count too.
fn longest_gap(moments: &[Instant], start: Instant, end: Instant) -> Duration {
    let before = moments.iter().copied().rfind(|at| *at <= start).unwrap_or(start);
    let inside = moments.iter().copied().filter(|at| *at > start && *at < end);
    let all: Vec<_> = std::iter::once(before).chain(inside).chain([end]).collect();
    all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_may_reach_over_either_end() {
        let at = |seconds| start_of_time() + Duration::from_secs(seconds);
        let gap = |moments: &[u64]| {
            let moments: Vec<_> = moments.iter().map(|second| at(*second)).collect();
            longest_gap(&moments, at(100), at(120)).as_secs()
        };
        assert_eq!(gap(&[50, 90, 105, 112, 119, 130]), 15);
        assert_eq!(gap(&[99, 101, 102]), 18);
        assert_eq!(gap(&[]), 20);
    }

    fn start_of_time() -> Instant {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now)
    }
}
