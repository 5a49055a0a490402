//! Which watches are needed.

use super::{Wanted, id::WatchId, state::State};
use crate::{args::Scope, snapshot::ObjectName};
use std::collections::BTreeSet;

/// Single objects that are watched one by one; each costs a connection. More of them are watched all together.
const SINGLES: usize = 100;

/// The watches for a scope, what flags name, and what objects refer to.
pub(super) fn plan(scope: &Scope, wanted: &Wanted, state: &State) -> BTreeSet<WatchId> {
    let mut watches = BTreeSet::from([
        WatchId::Ingresses,
        WatchId::IngressClasses,
        WatchId::ClassConfigs,
        WatchId::Services,
        WatchId::EndpointSlices,
        WatchId::TlsSecrets,
    ]);
    if matches!(scope, Scope::Selector(_)) {
        watches.insert(WatchId::Namespaces);
    }
    for service in wanted.services.iter().filter(|service| !is_inside(scope, service)) {
        watches.insert(WatchId::Service(service.clone()));
        watches.insert(WatchId::SlicesOf(service.clone()));
    }
    // Most Secrets that are referred to are for TLS and known already, or do not exist yet and will be for TLS.
    let secrets = state.elsewhere().iter();
    watches.extend(single_or_all(scope, secrets, state, WatchId::OtherSecrets, WatchId::Secret));
    let config_maps = state.references().config_maps.iter();
    watches.extend(single_or_all(scope, config_maps, state, WatchId::ConfigMaps, WatchId::ConfigMap));
    watches.extend(own(wanted, state));
    watches
}

/// The watches for what we have to know about our own installation.
fn own(wanted: &Wanted, state: &State) -> BTreeSet<WatchId> {
    let Some(installation) = &wanted.installation else { return BTreeSet::new() };
    let mut watches = BTreeSet::from([WatchId::Pod(installation.pod.clone())]);
    watches.extend(state.peers(installation));
    let nodes: BTreeSet<ObjectName> =
        state.nodes(installation).into_iter().map(|name| ObjectName::new("", name)).collect();
    watches.extend(single_or_all(&Scope::All, nodes.iter(), state, WatchId::Nodes, WatchId::Node));
    watches
}

/// Objects one by one, or all of the resource. Never back to single watches: the crowd may return.
fn single_or_all<'a>(
    scope: &Scope,
    names: impl Iterator<Item = &'a ObjectName>,
    state: &State,
    all: WatchId,
    single: fn(ObjectName) -> WatchId,
) -> BTreeSet<WatchId> {
    let (inside, outside): (Vec<_>, Vec<_>) = names.partition(|name| is_inside(scope, name));
    let mut watches: BTreeSet<WatchId> = outside.into_iter().cloned().map(single).collect();
    let has_all = state.watches().any(|id| *id == all);
    let crowd = has_all || inside.len() > SINGLES;
    // Until the one watch has listed everything, the single ones stay.
    if !state.is_synced(&all) {
        let known = |id: &WatchId| state.watches().any(|known| known == id);
        watches.extend(inside.into_iter().cloned().map(single).filter(|id| !crowd || known(id)));
    }
    if crowd {
        watches.insert(all);
    }
    watches
}

fn is_inside(scope: &Scope, name: &ObjectName) -> bool {
    match scope {
        Scope::All | Scope::Selector(_) => true,
        Scope::Namespace(namespace) => *namespace == *name.namespace,
    }
}

#[cfg(test)]
mod tests {
    use super::{SINGLES, plan};
    use crate::{
        args::{LabelSelector, NodeAddress, Scope},
        compile::References,
        diagnostic::Reason,
        snapshot::{Node, ObjectName, Pod, Secret},
        source::cluster::{
            Installation, News, Wanted,
            id::WatchId,
            state::State,
            store::{Event, Object},
        },
    };
    use std::sync::Arc;

    fn name(text: &str) -> ObjectName {
        ObjectName::parse(text).expect("tests write namespace/name")
    }

    fn referring_to(secrets: impl IntoIterator<Item = ObjectName>) -> State {
        let mut state = State::default();
        state.refer(References { secrets: secrets.into_iter().collect(), ..References::default() });
        state
    }

    fn tell(state: &mut State, id: &WatchId, event: Event) {
        state.add(id.clone());
        state.hear(id, News::Event(event));
    }

    #[test]
    fn only_what_is_not_known_otherwise_is_watched_alone() {
        let mut state = referring_to([name("a/tls"), name("a/basic")]);
        let secret = Secret { name: name("a/tls"), secret_type: String::new(), data: Default::default() };
        tell(&mut state, &WatchId::TlsSecrets, Event::Applied(name("a/tls"), Object::Secret(Arc::new(secret))));
        let watches = plan(&Scope::All, &Wanted::default(), &state);
        assert!(watches.contains(&WatchId::Secret(name("a/basic"))));
        assert!(!watches.contains(&WatchId::Secret(name("a/tls"))));
        assert!(!watches.contains(&WatchId::Namespaces));
        tell(&mut state, &WatchId::TlsSecrets, Event::Deleted(name("a/tls")));
        assert!(plan(&Scope::All, &Wanted::default(), &state).contains(&WatchId::Secret(name("a/tls"))));
    }

    #[test]
    fn a_crowd_is_watched_together() {
        let names = |count: usize| (0..count).map(|number| name(&format!("a/s{number}")));
        let few = plan(&Scope::All, &Wanted::default(), &referring_to(names(SINGLES)));
        assert_eq!(few.iter().filter(|id| matches!(id, WatchId::Secret(_))).count(), SINGLES);
        assert!(!few.contains(&WatchId::OtherSecrets));

        let mut state = referring_to(names(SINGLES + 1));
        state.add(WatchId::Secret(name("a/s0")));
        let many = plan(&Scope::All, &Wanted::default(), &state);
        assert!(many.contains(&WatchId::OtherSecrets));
        // What was watched alone stays until the crowd has been listed.
        assert_eq!(many.iter().filter(|id| matches!(id, WatchId::Secret(_))).count(), 1);
        tell(&mut state, &WatchId::OtherSecrets, Event::Complete);
        let synced = plan(&Scope::All, &Wanted::default(), &state);
        assert_eq!(synced.iter().filter(|id| matches!(id, WatchId::Secret(_))).count(), 0);
        // And it stays that way.
        state.refer(References::default());
        assert!(plan(&Scope::All, &Wanted::default(), &state).contains(&WatchId::OtherSecrets));
    }

    #[test]
    fn the_own_pod_leads_to_its_fellows_and_their_nodes() {
        let installation = Installation { pod: name("edge/one"), addresses: Some(NodeAddress::External), zone: true };
        let wanted = Wanted { installation: Some(installation.clone()), ..Wanted::default() };
        let mut state = State::new(Some(installation));
        let own = WatchId::Pod(name("edge/one"));
        let about_us = |state: &State| -> Vec<String> {
            let watches = plan(&Scope::All, &wanted, state);
            let ours = watches.iter().filter(|id| matches!(id.resource(), "pods" | "nodes"));
            ours.map(ToString::to_string).collect()
        };
        assert_eq!(about_us(&state), ["pods edge/one"]);
        // It is not there yet: a finding, and nothing is waited for.
        tell(&mut state, &own, Event::Complete);
        assert_eq!(about_us(&state), ["pods edge/one"]);
        assert_eq!(state.take().unwrap().findings[0].reason, Reason::RefNotFound);
        let pod = |text: &str, node: &str| {
            let labels = [("app".to_owned(), "proxy".to_owned())].into();
            let pod = Pod { name: name(text), labels, node: Some(node.into()), ready: true };
            Event::Applied(name(text), Object::Pod(Arc::new(pod)))
        };
        tell(&mut state, &own, pod("edge/one", "n1"));
        assert_eq!(about_us(&state), ["pods edge/one", "pods", "nodes n1"]);
        let peers = WatchId::Peers { namespace: "edge".into(), selector: "app=proxy".into() };
        tell(&mut state, &peers, Event::Complete);
        tell(&mut state, &peers, pod("edge/one", "n1"));
        tell(&mut state, &peers, pod("edge/two", "n2"));
        assert_eq!(about_us(&state), ["pods edge/one", "pods", "nodes n1", "nodes n2"]);
        for (number, text) in ["n1", "n2"].into_iter().enumerate() {
            assert_eq!(state.take().unwrap_or_default().node_addresses, None, "a node is not known yet");
            let external = vec![format!("203.0.113.{number}").into()];
            let node = Node { name: text.into(), external, internal: Vec::new(), zone: Some("a".into()) };
            let id = WatchId::Node(ObjectName::new("", text));
            tell(&mut state, &id, Event::Complete);
            tell(&mut state, &id, Event::Applied(ObjectName::new("", text), Object::Node(Arc::new(node))));
        }
        let snapshot = state.take().unwrap();
        let ip = |text: &str| (Some(text.into()), None);
        assert_eq!(snapshot.node_addresses.as_deref(), Some(&[ip("203.0.113.0"), ip("203.0.113.1")][..]));
        assert_eq!(snapshot.zone.as_deref(), Some("a"));
        assert!(snapshot.findings.is_empty());
        // The pod is gone: what was known about the installation is not known any more.
        tell(&mut state, &own, Event::Deleted(name("edge/one")));
        assert_eq!(about_us(&state), ["pods edge/one"]);
        assert_eq!(state.take().unwrap().node_addresses, None);
    }

    #[test]
    fn who_may_not_read_nodes_is_told_once() {
        let mut state = State::default();
        for text in ["n1", "n2"] {
            let id = WatchId::Node(ObjectName::new("", text));
            state.add(id.clone());
            state.hear(&id, News::Unavailable(format!("nodes {text:?} is forbidden")));
        }
        assert_eq!(state.take().unwrap().findings.len(), 1);
    }

    #[test]
    fn what_is_outside_of_the_namespace_is_watched_alone() {
        let scope = Scope::Namespace("a".into());
        let wanted = Wanted { services: [name("a/x"), name("edge/lb")].into(), ..Wanted::default() };
        let watches = plan(&scope, &wanted, &referring_to([name("edge/tls")]));
        assert!(watches.contains(&WatchId::Service(name("edge/lb"))));
        assert!(watches.contains(&WatchId::SlicesOf(name("edge/lb"))));
        assert!(!watches.contains(&WatchId::Service(name("a/x"))));
        assert!(watches.contains(&WatchId::Secret(name("edge/tls"))));
        assert!(!plan(&Scope::All, &wanted, &State::default()).contains(&WatchId::Service(name("edge/lb"))));
        assert!(
            plan(&Scope::Selector(LabelSelector::parse("x=y").unwrap()), &wanted, &State::default())
                .contains(&WatchId::Namespaces)
        );
    }
}
