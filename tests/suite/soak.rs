//! Random changes and outages: what runs for long equals what starts afresh.
//!
//! A fixed number of rounds of random events against a real API server, with the
//! subject's way to it cut, the server killed and its history compacted in between.
//! After each round the subject's table must become that of a second one that has
//! just started, and a host that nothing touches is asked all the time.

use std::collections::BTreeMap;
use std::env;

use anyhow::{Context as _, Result, bail, ensure};
use rust_nginx_tests::certificate::{Authority, Pair};
use rust_nginx_tests::control_plane::{Cluster, ControlPlane, Identity, Kubeconfig, World};
use rust_nginx_tests::load::Load;
use rust_nginx_tests::objects::{
    Manifest, Path, backend, config_map, endpoint_slice, exact, implementation_specific, ingress, ingress_class,
    prefix, service, service_with_ports, tls_secret,
};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::relay::Relay;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::subject::Subject;
use rust_nginx_tests::{tests, wait};
use serde_json::Value;

pub(crate) fn tests() -> Vec<Test> {
    tests![cluster, alone: whatever_happens_the_table_is_that_of_a_fresh_start]
}

/// Repeats a run: the seed that it printed.
const SEED: &str = "RUST_NGINX_TESTS_SOAK_SEED";

/// More rounds for a longer look.
const ROUNDS: &str = "RUST_NGINX_TESTS_SOAK_ROUNDS";

/// Events of a round.
const EVENTS: usize = 15;

/// Random numbers that a seed repeats: SplitMix64.
struct Dice(u64);

/// What happens to the subject's way to the API server in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    None,
    /// Connections break and come back at once: watches go on where they were.
    Hiccup,
    /// The round happens behind its back.
    Cut,
    /// The same, and the history of it is gone: everything is listed anew.
    Compacted,
    /// The API server is killed and starts again.
    Restart,
}

/// The objects that exist, and what can be done to them.
struct Garden<'a> {
    world: &'a World,
    dice: Dice,
    /// By kind and name.
    alive: BTreeMap<(String, String), Manifest>,
    pods: [Pod; 3],
    pairs: Vec<Pair>,
    controller: String,
    config: Manifest,
    /// What was done, for the message of a failure.
    diary: Vec<String>,
}

// === impl Dice ===

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let sides = u64::try_from(sides).expect("a die has few sides");
        usize::try_from((mixed ^ (mixed >> 31)) % sides).expect("below the number of sides")
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())].clone()
    }
}

// === impl Garden ===

impl<'a> Garden<'a> {
    async fn new(world: &'a World, seed: u64) -> Result<Self> {
        let authority = Authority::new("tests")?;
        let pairs = ["h0.test", "h1.test", "*.wild.test"].map(|name| authority.server(&[name]));
        let installed = world.chart.only("IngressClass")?;
        Ok(Self {
            world,
            dice: Dice(seed),
            alive: BTreeMap::new(),
            pods: [Pod::start("a").await?, Pod::start("b").await?, Pod::start("c").await?],
            pairs: pairs.into_iter().collect::<Result<_>>()?,
            controller: installed.0["spec"]["controller"].as_str().context("no controller")?.to_owned(),
            config: world.chart.only("ConfigMap")?.clone().within(&world.system),
            diary: vec![],
        })
    }

    /// Something happens.
    async fn event(&mut self) -> Result<()> {
        let manifest = match self.dice.roll(12) {
            0..4 => self.ingress(),
            4..6 => self.service(),
            6..8 => self.slice(),
            8..10 => self.secret(),
            10 => self.class(),
            _ => self.settings(),
        };
        let manifest = self.world.placed(manifest);
        let key = (manifest.kind().to_owned(), manifest.name().to_owned());
        let cluster = &self.world.cluster;
        if self.alive.contains_key(&key) && self.dice.one_in(3) && manifest.kind() != "ConfigMap" {
            self.diary.push(format!("delete {} {}", key.0, key.1));
            self.alive.remove(&key);
            return cluster.delete(&manifest).await;
        }
        self.diary.push(format!("apply {}", manifest.0));
        // Some fields cannot change in place; then the object is made anew under the same name.
        if let Err(refused) = cluster.apply(&manifest).await {
            ensure!(self.alive.contains_key(&key), "a new object is refused: {refused:#}");
            cluster.delete(&manifest).await?;
            cluster.apply(&manifest).await?;
        }
        self.alive.insert(key, manifest);
        Ok(())
    }

    fn ingress(&mut self) -> Manifest {
        let mut rules = ingress(&format!("web-{}", self.dice.roll(8)));
        let classes = [&self.world.class[..], &self.world.class, &self.world.class, "soak-one", "soak-two", ""];
        rules = match self.dice.pick(&classes) {
            "" => rules.annotation("kubernetes.io/ingress.class", &self.world.class),
            class => rules.class(class),
        };
        for _ in 0..=self.dice.roll(2) {
            let host = self.dice.pick(&["h0.test", "h1.test", "h2.test", "*.wild.test", "a.wild.test", ""]);
            let paths: Vec<_> = (0..=self.dice.roll(3)).map(|_| self.path()).collect();
            rules = rules.host(host, paths);
        }
        if self.dice.one_in(3) {
            rules = rules.default_backend(self.dice.pick(&["app-0", "app-1:http", "app-9"]));
        }
        if self.dice.one_in(2) {
            let secret = format!("cert-{}", self.dice.roll(4));
            let host = self.dice.pick(&["h0.test", "h1.test", "*.wild.test"]);
            rules = rules.tls(&secret, &[host]);
        }
        if self.dice.one_in(2) {
            let (key, value) = self.dice.pick(&[
                ("ssl-redirect", "false"),
                ("force-ssl-redirect", "true"),
                ("proxy-read-timeout", "7"),
                ("proxy-read-timeout", "soon"),
                ("proxy-body-size", "1k"),
                ("whitelist-source-range", "10.0.0.0/8"),
                ("no-such-annotation", "x"),
                ("canary", "true"),
            ]);
            rules = rules.annotation(&format!("nginx.ingress.kubernetes.io/{key}"), value);
        }
        rules.build()
    }

    fn path(&mut self) -> Path {
        let at = self.dice.pick(&["/", "/a", "/a/b", "/c"]);
        let target = self.dice.pick(&["app-0", "app-1:http", "app-2", "app-2:81", "app-3:http"]);
        let kind = self.dice.pick(&[prefix, exact, implementation_specific]);
        kind(at, target)
    }

    fn service(&mut self) -> Manifest {
        let name = format!("app-{}", self.dice.roll(4));
        if self.dice.one_in(2) { service(&name, 80) } else { service_with_ports(&name, &[("http", 80)]) }
    }

    fn slice(&mut self) -> Manifest {
        let service = self.dice.roll(4);
        let name = format!("slice-{service}-{}", self.dice.roll(2));
        let count = self.dice.roll(4);
        let addresses: Vec<_> = (0..count).map(|at| (self.pods[at].address, !self.dice.one_in(3))).collect();
        endpoint_slice(&name, &format!("app-{service}"), self.dice.pick(&["", "http"]), &addresses)
    }

    fn secret(&mut self) -> Manifest {
        let pair = self.pairs[self.dice.roll(self.pairs.len())].clone();
        let mut secret = tls_secret(&format!("cert-{}", self.dice.roll(4)), &pair);
        match self.dice.roll(4) {
            // Found only by its reference.
            0 => secret.0["type"] = "Opaque".into(),
            1 => secret.0["data"]["tls.crt"] = secret.0["data"]["tls.key"].clone(),
            _ => {}
        }
        secret
    }

    fn class(&mut self) -> Manifest {
        let controller = if self.dice.one_in(2) { self.controller.clone() } else { "example.com/other".to_owned() };
        ingress_class(self.dice.pick(&["soak-one", "soak-two"]), &controller)
    }

    fn settings(&mut self) -> Manifest {
        let name = self.config.name().to_owned();
        let age = self.dice.roll(3).to_string();
        let data = [
            ("hsts-max-age", if self.dice.one_in(4) { "soon" } else { &age }),
            ("proxy-read-timeout", self.dice.pick(&["60", "61"])),
            ("ssl-redirect", self.dice.pick(&["true", "false"])),
            ("no-such-key", "x"),
        ];
        let kept = 1 + self.dice.roll(data.len());
        config_map(&name, &data[..kept]).within(&self.world.system)
    }
}

/// What the pages about the inside say, apart from what is not a matter of objects.
async fn inside(subject: &Subject) -> Result<[Value; 2]> {
    let page = async |target: &str| {
        let answer = subject.inspect(target).await?.expect(200)?;
        anyhow::Ok(serde_json::from_slice::<Value>(&answer.body)?)
    };
    Ok([page("/debug/table").await?, page("/debug/diagnostics").await?])
}

/// Where two values differ first.
fn difference(at: &str, one: &Value, two: &Value) -> Option<String> {
    match (one, two) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| difference(&format!("{at}/{key}"), &one[key], &two[key]))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(index, (a, b))| difference(&format!("{at}/{index}"), a, b))
        }
        _ => (one != two).then(|| format!("at {at}: {one} runs for long, {two} is fresh")),
    }
}

fn number(variable: &str, default: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text} is no number")),
        Err(_) => Ok(default),
    }
}

async fn whatever_happens_the_table_is_that_of_a_fresh_start() -> Result<()> {
    let (seed, rounds) = (number(SEED, 20_261_126)?, number(ROUNDS, 12)?);
    println!("     {SEED}={seed}, {rounds} rounds");
    let plane = ControlPlane::shared().await?;
    // A certificate that is the same for every process.
    let certificate = ("controller.extraArgs.default-ssl-certificate", "$(POD_NAMESPACE)/default");
    let world = World::with_values("soak", &[certificate]).await?;
    let pair = Authority::new("tests")?.server(&["default.test"])?;
    world.apply([tls_secret("default", &pair).within(&world.system)]).await?;
    let steady = Pod::start("steady").await?;
    world.apply(backend("steady", &[&steady])).await?;
    let rules = ingress("steady").class(&world.class).host("steady.test", [prefix("/", "steady")]);
    world.apply([rules.annotation("nginx.ingress.kubernetes.io/ssl-redirect", "false").build()]).await?;

    // An API server of its own behind a wire that can be cut; the changes go to the one that stays.
    let server = plane.another_server()?;
    server.run().await?;
    let identity = Identity::Certificate(plane.authority.client("administrator", "system:masters")?);
    let authority = plane.authority.certificate.clone();
    let direct = Cluster::new(&Kubeconfig { server: server.address, authority, identity }).await?;
    server.ready(&direct).await?;
    let relay = Relay::start(server.address).await?;
    let kubeconfig = Kubeconfig { server: relay.address, ..world.kubeconfig.clone() };
    let subject = world.launch_with("rust-nginx-0", &kubeconfig)?.ready().await?;
    subject.routed("steady.test", "/", "steady").await?;
    let load = Load::start(&subject, "steady.test");

    let mut garden = Garden::new(&world, seed).await?;
    for round in 0..rounds {
        let outage = match round % 6 {
            1 => Outage::Hiccup,
            2 => Outage::Cut,
            3 => Outage::Compacted,
            5 => Outage::Restart,
            _ => Outage::None,
        };
        garden.diary.push(format!("--- round {round}, {outage:?}"));
        match outage {
            Outage::None => {}
            Outage::Hiccup | Outage::Cut | Outage::Compacted => relay.cut().await,
            Outage::Restart => server.stop().await?,
        }
        if outage == Outage::Hiccup {
            relay.join().await?;
        }
        for _ in 0..EVENTS {
            garden.event().await.with_context(|| format!("seed {seed}: {:#?}", garden.diary.last()))?;
        }
        match outage {
            Outage::None | Outage::Hiccup => {}
            Outage::Cut => relay.join().await?,
            Outage::Compacted => {
                plane.compact().await?;
                relay.join().await?;
            }
            Outage::Restart => {
                server.run().await?;
                server.ready(&direct).await?;
            }
        }
        let fresh = world.launch("rust-nginx-fresh")?.ready().await?;
        let equal = wait::until("the table is that of a fresh start", async || {
            let (old, new) = (inside(&subject).await?, inside(&fresh).await?);
            let names = ["table", "diagnostics"];
            let different = (0..2).find_map(|page| difference(names[page], &old[page], &new[page]));
            if let Some(different) = different {
                bail!("{different}");
            }
            Ok(())
        })
        .await;
        equal.with_context(|| format!("seed {seed}, round {round}, {outage:?}:\n{}", garden.diary.join("\n")))?;
        ensure!(fresh.echo("steady.test", "/").await?.pod == "steady", "the fresh one does not serve");
    }
    load.end().await
}
