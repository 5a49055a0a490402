//! The status of Ingresses: which addresses it shows, who writes it, when it goes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use rust_nginx_tests::control_plane::World;
use rust_nginx_tests::objects::{Manifest, endpoint_slice, ingress, ingress_class, node, pod, prefix, service};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::subject::Subject;
use rust_nginx_tests::{tests, wait};
use serde_json::json;

/// Ingresses in the test of many; `STATUS_MANY` overrides it for measurements.
const MANY: usize = 1000;

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = tests![cluster:
        nodes_give_the_status_its_addresses,
        the_zone_is_that_of_the_node,
        a_status_goes_when_the_ingress_is_not_ours_any_more,
        a_class_that_changed_while_nobody_looked_is_noticed,
        a_namespace_that_is_not_selected_any_more_is_left_clean,
        ingresses_of_others_are_never_written,
        the_last_replica_takes_its_addresses_along,
        a_busy_server_is_left_alone_for_a_while,
    ];
    tests.extend(tests![cluster, alone: new_ingresses_do_not_wait_for_thousands]);
    tests
}

/// An installation that publishes an address of its own.
async fn world(name: &str) -> Result<World> {
    let values = [
        ("controller.extraArgs.shutdown-grace-period", "0"),
        ("controller.publishService.enabled", "false"),
        ("controller.extraArgs.publish-status-address", "203.0.113.7"),
    ];
    World::with_values(name, &values).await
}

/// An Ingress of our class.
fn ours(world: &World, name: &str) -> Manifest {
    world.placed(ingress(name).class(&world.class).host(&format!("{name}.test"), [prefix("/", "app")]).build())
}

async fn shows(world: &World, ingress: &str, addresses: &[&str]) -> Result<()> {
    let what = format!("the status of {ingress} shows {addresses:?}");
    wait::until_within(Duration::from_secs(40), &what, async || is_shown(world, ingress, addresses).await).await
}

async fn is_shown(world: &World, ingress: &str, addresses: &[&str]) -> Result<()> {
    let found = world.cluster.published(&world.namespace, ingress).await?;
    ensure!(found == addresses, "it shows {found:?}");
    Ok(())
}

/// Writes a status as another controller would.
async fn overwrite(world: &World, ingress: &str, address: &str) -> Result<()> {
    let api = Api::<Ingress>::namespaced(world.cluster.client.clone(), &world.namespace);
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
    api.patch_status(ingress, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

async fn version(world: &World, ingress: &str) -> Result<String> {
    let api = Api::<Ingress>::namespaced(world.cluster.client.clone(), &world.namespace);
    api.get(ingress).await?.metadata.resource_version.context("an object without a version")
}

async fn reclass(world: &World, ingress: &str, class: &str) -> Result<()> {
    world.cluster.merge(&ours(world, ingress), json!({"spec": {"ingressClassName": class}})).await
}

/// A Pod of the installation with the chart's labels, as a kubelet would show it.
async fn replica(world: &World, name: &str, node: &str) -> Result<Manifest> {
    let labels = world.chart.only("Deployment")?.0["spec"]["template"]["metadata"]["labels"].clone();
    let account = world.chart.only("ServiceAccount")?.name();
    let pod = pod(name, node, account, labels).within(&world.system);
    world.cluster.apply(&pod).await?;
    set_ready(world, &pod, true).await?;
    Ok(pod)
}

async fn set_ready(world: &World, pod: &Manifest, ready: bool) -> Result<()> {
    let ready = if ready { "True" } else { "False" };
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
    world.cluster.set_status(pod, status).await
}

/// Deletes a Pod at once, as a kubelet does when its containers have ended.
async fn remove(world: &World, pod: &Manifest) -> Result<()> {
    let api = Api::<k8s_openapi::api::core::v1::Pod>::namespaced(world.cluster.client.clone(), &world.system);
    api.delete(pod.name(), &DeleteParams::default().grace_period(0)).await?;
    Ok(())
}

async fn add_node(world: &World, node: &Manifest, addresses: &[(&str, &str)]) -> Result<()> {
    world.cluster.apply(node).await?;
    let entry = |(kind, address): &(&str, &str)| json!({"type": kind, "address": address});
    let addresses: Vec<_> = addresses.iter().map(entry).collect();
    world.cluster.set_status(node, json!({"addresses": addresses})).await
}

async fn nodes_give_the_status_its_addresses() -> Result<()> {
    let world = World::with_values("nodes", &[("controller.publishService.enabled", "false")]).await?;
    world.apply([ours(&world, "app")]).await?;
    let subject = world.subject().await?;
    // POD_NAME names nothing yet.
    subject.log.line(&["WARN", "rust-nginx-0", "no such Pod"]).await?;
    let (one, two) = (format!("{}-one", world.namespace), format!("{}-two", world.namespace));
    let (one, two) = (node(&one, None), node(&two, None));
    add_node(&world, &one, &[("InternalIP", "10.1.0.1"), ("ExternalIP", "203.0.113.41")]).await?;
    wait::remains("the status is empty", async || is_shown(&world, "app", &[]).await).await?;
    replica(&world, "rust-nginx-0", one.name()).await?;
    shows(&world, "app", &["203.0.113.41"]).await?;
    // A second replica on a node without an external address.
    add_node(&world, &two, &[("InternalIP", "10.1.0.2")]).await?;
    let second = replica(&world, "rust-nginx-1", two.name()).await?;
    shows(&world, "app", &["10.1.0.2", "203.0.113.41"]).await?;
    set_ready(&world, &second, false).await?;
    shows(&world, "app", &["203.0.113.41"]).await?;
    // The node gets another address.
    add_node(&world, &one, &[("InternalIP", "10.1.0.1"), ("ExternalIP", "203.0.113.42")]).await?;
    shows(&world, "app", &["203.0.113.42"]).await?;
    world.delete([one, two]).await
}

async fn the_zone_is_that_of_the_node() -> Result<()> {
    let world = World::with_values("zone", &[("controller.extraArgs.enable-topology-aware-routing", "true")]).await?;
    let (near, far) = (Pod::start("near").await?, Pod::start("far").await?);
    let mut app = service("app", 80);
    app.0["spec"]["trafficDistribution"] = json!("PreferClose");
    let mut slice = endpoint_slice("app-slice", "app", "", &[(near.address, true), (far.address, true)]);
    for (index, zone) in ["a", "b"].into_iter().enumerate() {
        slice.0["endpoints"][index]["hints"] = json!({"forZones": [{"name": zone}]});
    }
    world.apply([app, slice, ours(&world, "app")]).await?;
    let subject = world.subject().await?;
    let answered_by = async |subject: &Subject| -> Result<Vec<String>> {
        let mut pods = vec![];
        for _ in 0..6 {
            pods.push(subject.echo("app.test", "/").await?.pod);
        }
        Ok(pods)
    };
    // Without a Pod there is no node and no zone.
    wait::until("both zones answer", async || {
        let pods = answered_by(&subject).await?;
        ensure!(pods.iter().any(|pod| pod == "near") && pods.iter().any(|pod| pod == "far"), "it was {pods:?}");
        Ok(())
    })
    .await?;
    let node = node(&format!("{}-one", world.namespace), Some("a"));
    add_node(&world, &node, &[]).await?;
    replica(&world, "rust-nginx-0", node.name()).await?;
    wait::until("only the own zone answers", async || {
        let pods = answered_by(&subject).await?;
        ensure!(pods.iter().all(|pod| pod == "near"), "it was {pods:?}");
        Ok(())
    })
    .await?;
    world.delete([node]).await
}

async fn a_status_goes_when_the_ingress_is_not_ours_any_more() -> Result<()> {
    let world = world("leaving").await?;
    let controller =
        world.chart.only("IngressClass")?.0["spec"]["controller"].as_str().context("no controller")?.to_owned();
    let second_class = format!("{}-second", world.class);
    let by_second =
        world.placed(ingress("second").class(&second_class).host("second.test", [prefix("/", "app")]).build());
    world.apply([ingress_class(&second_class, &controller)]).await?;
    world.apply([ours(&world, "changed"), ours(&world, "overwritten"), ours(&world, "stays"), by_second]).await?;
    let _subject = world.subject().await?;
    for name in ["changed", "overwritten", "stays", "second"] {
        shows(&world, name, &["203.0.113.7"]).await?;
    }
    reclass(&world, "changed", "somebody-elses").await?;
    shows(&world, "changed", &[]).await?;
    world.delete([ingress_class(&second_class, &controller)]).await?;
    shows(&world, "second", &[]).await?;
    // Somebody else has written it since.
    overwrite(&world, "overwritten", "192.0.2.1").await?;
    reclass(&world, "overwritten", "somebody-elses").await?;
    let after = version(&world, "overwritten").await?;
    wait::remains("others' status stays", async || is_shown(&world, "overwritten", &["192.0.2.1"]).await).await?;
    ensure!(version(&world, "overwritten").await? == after, "it was written");
    is_shown(&world, "stays", &["203.0.113.7"]).await
}

async fn a_class_that_changed_while_nobody_looked_is_noticed() -> Result<()> {
    let world = world("unnoticed").await?;
    world.apply([ours(&world, "changed"), ours(&world, "copied")]).await?;
    let subject = world.subject().await?;
    shows(&world, "changed", &["203.0.113.7"]).await?;
    shows(&world, "copied", &["203.0.113.7"]).await?;
    subject.kill().await?;
    for name in ["changed", "copied"] {
        reclass(&world, name, "somebody-elses").await?;
    }
    // Another controller serves it at the same address, and has said so itself.
    overwrite(&world, "copied", "192.0.2.1").await?;
    overwrite(&world, "copied", "203.0.113.7").await?;
    let after = version(&world, "copied").await?;
    let _again = world.subject().await?;
    shows(&world, "changed", &[]).await?;
    ensure!(version(&world, "copied").await? == after, "what another one wrote was written");
    Ok(())
}

async fn a_namespace_that_is_not_selected_any_more_is_left_clean() -> Result<()> {
    let values = [
        ("controller.publishService.enabled", "false"),
        ("controller.extraArgs.publish-status-address", "203.0.113.7"),
        ("controller.scope.enabled", "true"),
        ("controller.scope.namespaceSelector", "served-by=unselected"),
    ];
    let world = World::with_values("unselected", &values).await?;
    let namespace = rust_nginx_tests::objects::namespace(&world.namespace);
    world.cluster.merge(&namespace, json!({"metadata": {"labels": {"served-by": "unselected"}}})).await?;
    world.apply([ours(&world, "app")]).await?;
    let _subject = world.subject().await?;
    shows(&world, "app", &["203.0.113.7"]).await?;
    // By the time that this one is written, the controller has heard of its first write.
    world.apply([ours(&world, "later")]).await?;
    shows(&world, "later", &["203.0.113.7"]).await?;
    world.cluster.merge(&namespace, json!({"metadata": {"labels": {"served-by": null}}})).await?;
    shows(&world, "app", &[]).await
}

async fn ingresses_of_others_are_never_written() -> Result<()> {
    let world = world("untouched").await?;
    let theirs = |name: &str| {
        world.placed(ingress(name).class("somebody-elses").host(&format!("{name}.test"), [prefix("/", "app")]).build())
    };
    world.apply([theirs("empty"), theirs("same"), theirs("other")]).await?;
    overwrite(&world, "same", "203.0.113.7").await?;
    overwrite(&world, "other", "192.0.2.1").await?;
    let versions = async || {
        let all = ["empty", "same", "other"].map(|name| version(&world, name));
        futures::future::try_join_all(all).await
    };
    let before = versions().await?;
    world.apply([ours(&world, "first")]).await?;
    let subject = world.subject().await?;
    shows(&world, "first", &["203.0.113.7"]).await?;
    // Comes and goes: everything about them is looked at again.
    world.apply([ours(&world, "second")]).await?;
    shows(&world, "second", &["203.0.113.7"]).await?;
    reclass(&world, "second", "somebody-elses").await?;
    shows(&world, "second", &[]).await?;
    replica(&world, "rust-nginx-0", "nowhere").await?;
    subject.terminate()?;
    ensure!(subject.exited(Duration::from_secs(30)).await?.success());
    shows(&world, "first", &[]).await?;
    ensure!(versions().await? == before, "an Ingress of somebody else was written");
    Ok(())
}

async fn the_last_replica_takes_its_addresses_along() -> Result<()> {
    let world = world("last").await?;
    world.apply([ours(&world, "app"), ours(&world, "overwritten")]).await?;
    let pods = [replica(&world, "one", "nowhere").await?, replica(&world, "two", "nowhere").await?];
    let one = world.launch("one")?.ready().await?;
    shows(&world, "app", &["203.0.113.7"]).await?;
    let two = world.launch("two")?.ready().await?;
    // The other one goes on.
    one.terminate()?;
    ensure!(one.exited(Duration::from_secs(30)).await?.success());
    is_shown(&world, "app", &["203.0.113.7"]).await?;
    remove(&world, &pods[0]).await?;
    two.log.line(&["this replica leads"]).await?;
    is_shown(&world, "app", &["203.0.113.7"]).await?;
    // It is put right at once, and then not again for a while.
    overwrite(&world, "overwritten", "192.0.2.1").await?;
    shows(&world, "overwritten", &["203.0.113.7"]).await?;
    overwrite(&world, "overwritten", "192.0.2.1").await?;
    // Nobody is left who would go on.
    two.terminate()?;
    ensure!(two.exited(Duration::from_secs(30)).await?.success());
    is_shown(&world, "app", &[]).await?;
    is_shown(&world, "overwritten", &["192.0.2.1"]).await
}

async fn a_busy_server_is_left_alone_for_a_while() -> Result<()> {
    let world = world("busy").await?;
    let account = world.chart.only("ServiceAccount")?.name();
    // Only one write of a status at a time finds a seat (API priority and fairness), while everything else does.
    let level = Manifest(json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": world.class},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"},
        }},
    }));
    let flow = Manifest(json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": world.class},
        "spec": {
            "priorityLevelConfiguration": {"name": world.class}, "matchingPrecedence": 2,
            "rules": [{
                "subjects": [{"kind": "ServiceAccount",
                    "serviceAccount": {"namespace": world.system, "name": account}}],
                "resourceRules": [{"verbs": ["patch"], "apiGroups": ["networking.k8s.io"],
                    "resources": ["ingresses/status"], "namespaces": ["*"]}],
            }],
        },
    }));
    world.cluster.apply(&level).await?;
    world.cluster.apply(&flow).await?;
    // It takes a moment until the server follows its own objects.
    let mut config = kube::Config::from_custom_kubeconfig(world.kubeconfig.file()?, &Default::default()).await?;
    config.default_retry = false;
    let controller = kube::Client::try_from(config)?;
    let nobody = Api::<Ingress>::namespaced(controller, &world.namespace);
    wait::until("writes of a status are turned away", async || {
        let attempts = (0..16).map(|_| async {
            let answer = nobody.patch_status("nobody", &PatchParams::default(), &Patch::Merge(json!({}))).await;
            matches!(&answer, Err(kube::Error::Api(status)) if status.code == 429)
        });
        let turned_away = futures::future::join_all(attempts).await;
        ensure!(turned_away.contains(&true), "none of them is");
        Ok(())
    })
    .await?;
    let names: Vec<String> = (0..200).map(|number| format!("b{number}")).collect();
    world.apply(names.iter().map(|name| ours(&world, name))).await?;
    let subject = world.subject().await?;
    subject.log.line(&["WARN", "cannot write the status", "429"]).await?;
    world.cluster.delete(&flow).await?;
    for name in &names {
        shows(&world, name, &["203.0.113.7"]).await?;
    }
    let warned = subject.log.containing(&["WARN", "cannot write the status"]).len();
    ensure!(warned <= 6, "{warned} times within seconds");
    world.cluster.delete(&level).await
}

async fn new_ingresses_do_not_wait_for_thousands() -> Result<()> {
    let world = World::with_values("many", &[("controller.extraArgs.shutdown-grace-period", "0")]).await?;
    let count = std::env::var("STATUS_MANY").ok().and_then(|text| text.parse().ok()).unwrap_or(MANY);
    let api = Api::<Ingress>::namespaced(world.cluster.client.clone(), &world.namespace);
    let create = async |number: usize| {
        let object = serde_json::from_value(ours(&world, &format!("m{number}")).0)?;
        api.create(&PostParams::default(), &object).await?;
        anyhow::Ok(())
    };
    stream::iter(0..count).map(create).buffer_unordered(16).try_collect::<Vec<_>>().await?;
    let subject = world.subject().await?;
    let service = world.chart.only("Service")?.name().to_owned();
    let written = async |address: &str| -> Result<usize> {
        let found = api.list(&ListParams::default()).await?.items;
        let shows = |ingress: &Ingress| {
            let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let first = status.and_then(|balancer| balancer.ingress.as_ref()).and_then(|list| list.first());
            first.is_some_and(|entry| entry.ip.as_deref() == Some(address))
        };
        Ok(found.iter().filter(|ingress| shows(ingress)).count())
    };
    let all_show = async |address: &str, count: usize| -> Result<()> {
        wait::until_within(Duration::from_secs(60), &format!("{count} show {address}"), async || {
            let found = written(address).await?;
            ensure!(found == count, "{found} do");
            Ok(())
        })
        .await
    };
    // Asking for all of them all the time would be the larger load.
    let said =
        async |count: usize| subject.log.line(&["status written", &format!("ingresses={count} ")]).await.map(drop);
    world.cluster.assign_load_balancer(&world.system, &service, "203.0.113.8").await?;
    said(count).await?;
    all_show("203.0.113.8", count).await?;
    // All of them get another address; one that comes now is served first.
    world.cluster.assign_load_balancer(&world.system, &service, "203.0.113.9").await?;
    world.apply([ours(&world, "new")]).await?;
    shows(&world, "new", &["203.0.113.9"]).await?;
    let others = written("203.0.113.9").await?;
    ensure!(others < count + 1, "it was the last of {others}");
    said(count + 1).await?;
    all_show("203.0.113.9", count + 1).await?;
    for line in subject.log.containing(&["status written"]) {
        println!("{line}");
    }
    subject.terminate()?;
    ensure!(subject.exited(Duration::from_secs(60)).await?.success());
    api.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    Ok(())
}
