//! What every ingress controller must do, area by area, against a real API server
//! and with the chart's rights. The areas are those of the Kubernetes project for
//! the conformance of ingress controllers: host rules, path rules, default backend,
//! class, load balancing. Each check looks at which pod answered and what it saw.

use std::collections::BTreeMap;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::certificate::Authority;
use rust_nginx_tests::client::tls::connect;
use rust_nginx_tests::client::{self, Answer, Connection, Request};
use rust_nginx_tests::control_plane::World;
use rust_nginx_tests::objects::{
    Manifest, Path, backend, endpoints, exact, implementation_specific, ingress, ingress_class, prefix, service,
    tls_secret,
};
use rust_nginx_tests::pod::Pod;
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::subject::Subject;
use rust_nginx_tests::{tests, wait};

pub(crate) fn tests() -> Vec<Test> {
    tests![cluster:
        host_rules,
        host_rules_choose_the_certificate,
        path_rules_exact,
        path_rules_prefix,
        path_rules_mixed,
        default_backend,
        a_class_of_somebody_else,
        load_balancing,
    ]
}

/// What a host leads to if no rule has a say.
const FAKE: &str = "Kubernetes Ingress Controller Fake Certificate";

/// A subject in a cluster, with a Service and a pod behind it for each name.
struct Stage {
    world: World,
    subject: Subject,
    _pods: Vec<Pod>,
}

// === impl Stage ===

impl Stage {
    async fn set(name: &str, pods: &[&str]) -> Result<Self> {
        let world = World::new(name).await?;
        let mut started = vec![];
        for name in pods {
            let pod = Pod::start(name).await?;
            world.apply(backend(name, &[&pod])).await?;
            started.push(pod);
        }
        let subject = world.subject().await?;
        Ok(Self { world, subject, _pods: started })
    }

    /// One Ingress with the same paths for a host.
    async fn host(&self, host: &str, paths: impl IntoIterator<Item = Path>) -> Result<()> {
        let name = if host.is_empty() { "any" } else { host.trim_start_matches("*.") };
        self.world.apply([ingress(name).class(&self.world.class).host(host, paths).build()]).await
    }

    /// Each of these is answered by the pod, which saw that host and path, or with the status. The first may take until
    /// the objects have arrived.
    async fn check(&self, scheme: &str, expected: &[(&str, &str, &str)]) -> Result<()> {
        let [first, rest @ ..] = expected else { return Ok(()) };
        wait::until("the rules have arrived", async || self.check_one(scheme, *first).await).await?;
        for one in rest {
            self.check_one(scheme, *one).await?;
        }
        Ok(())
    }

    async fn check_one(&self, scheme: &str, (host, target, want): (&str, &str, &str)) -> Result<()> {
        let answer = match scheme {
            "https" => self.subject.get_tls(host, target).await?,
            _ => self.subject.get(host, target).await?,
        };
        judge(&answer, host, target, want).with_context(|| format!("{scheme}://{host}{target}"))
    }
}

fn judge(answer: &Answer, host: &str, target: &str, want: &str) -> Result<()> {
    if let Ok(status) = want.parse() {
        return answer.clone().expect(status).map(drop);
    }
    let echo = answer.echo()?;
    ensure!(echo.pod == want, "answered by {}, not by {want}", echo.pod);
    ensure!(echo.values("host") == [host], "the pod saw Host {:?}", echo.values("host"));
    ensure!(echo.target == target, "the pod saw {}", echo.target);
    Ok(())
}

async fn host_rules() -> Result<()> {
    let stage = Stage::set("host-rules", &["exact", "wild", "deeper", "any"]).await?;
    let authority = Authority::new("tests")?;
    let rules = ingress("hosts")
        .class(&stage.world.class)
        // Plain HTTP is looked at too.
        .annotation("nginx.ingress.kubernetes.io/ssl-redirect", "false")
        .host("exact.test", [prefix("/", "exact")])
        .host("*.wild.test", [prefix("/", "wild")])
        .host("named.wild.test", [prefix("/", "deeper")])
        .tls("cert", &["exact.test", "*.wild.test"]);
    let pair = authority.server(&["exact.test", "*.wild.test"])?;
    stage.world.apply([tls_secret("cert", &pair), rules.build()]).await?;
    for scheme in ["http", "https"] {
        let expected = [
            ("exact.test", "/", "exact"),
            ("exact.test", "/path?query", "exact"),
            ("a.wild.test", "/", "wild"),
            ("other.wild.test", "/path", "wild"),
            // The exact name has precedence over the wildcard that covers it.
            ("named.wild.test", "/", "deeper"),
            // A wildcard stands for exactly one label.
            ("wild.test", "/", "404"),
            ("a.b.wild.test", "/", "404"),
            ("sub.exact.test", "/", "404"),
            ("exact.test.example", "/", "404"),
            ("unknown.test", "/", "404"),
        ];
        stage.check(scheme, &expected).await?;
    }
    // A rule without host takes what is left, and nothing else.
    stage.host("", [prefix("/", "any")]).await?;
    for scheme in ["http", "https"] {
        let expected = [
            ("unknown.test", "/x", "any"),
            ("wild.test", "/", "any"),
            ("a.b.wild.test", "/", "any"),
            ("exact.test", "/", "exact"),
            ("a.wild.test", "/", "wild"),
            ("named.wild.test", "/", "deeper"),
        ];
        stage.check(scheme, &expected).await?;
    }
    // Without SNI too: nothing but an address is known of the server.
    let session = connect(stage.subject.https(), None, &["http/1.1"]).await?;
    ensure!(session.common_name == FAKE, "{} is shown without SNI", session.common_name);
    let answer = Connection::over(session.wire).send(&Request::get("10.0.0.1", "/")).await?;
    judge(&answer, "10.0.0.1", "/", "any")
}

async fn host_rules_choose_the_certificate() -> Result<()> {
    let stage = Stage::set("host-certificates", &["app"]).await?;
    let authority = Authority::new("tests")?;
    let wild = ingress("wild").class(&stage.world.class).host("*.cert.test", [prefix("/", "app")]);
    let named = ingress("named").class(&stage.world.class).host("named.cert.test", [prefix("/", "app")]);
    stage
        .world
        .apply([
            tls_secret("wild", &authority.server(&["*.cert.test"])?),
            tls_secret("named", &authority.server(&["named.cert.test"])?),
            wild.tls("wild", &["*.cert.test"]).build(),
            named.tls("named", &["named.cert.test"]).build(),
        ])
        .await?;
    stage.check("https", &[("a.cert.test", "/", "app"), ("named.cert.test", "/", "app")]).await?;
    for (name, want) in [
        ("a.cert.test", "*.cert.test"),
        ("A.CERT.test", "*.cert.test"),
        ("named.cert.test", "named.cert.test"),
        ("cert.test", FAKE),
        ("a.b.cert.test", FAKE),
        ("other.test", FAKE),
    ] {
        wait::until(&format!("{want} is shown for {name}"), async || {
            let shown = connect(stage.subject.https(), Some(name), &[]).await?.common_name;
            ensure!(shown == want, "it is {shown}");
            Ok(())
        })
        .await?;
    }
    // A host with TLS is HTTPS only, unless its author says otherwise.
    let answer = stage.subject.get("a.cert.test", "/x").await?.expect(308)?;
    assert_eq!(answer.header("location"), Some("https://a.cert.test/x"));
    Ok(())
}

async fn path_rules_exact() -> Result<()> {
    let stage = Stage::set("exact", &["foo", "slash", "root"]).await?;
    stage.host("foo.test", [exact("/foo", "foo")]).await?;
    stage.host("slash.test", [exact("/foo/", "slash")]).await?;
    stage.host("root.test", [exact("/", "root")]).await?;
    let expected = [
        ("root.test", "/", "root"),
        ("root.test", "/?query", "root"),
        ("root.test", "/foo", "404"),
        ("foo.test", "/foo", "foo"),
        ("foo.test", "/foo?query", "foo"),
        ("foo.test", "/foo/", "404"),
        ("foo.test", "/foo/bar", "404"),
        ("foo.test", "/foobar", "404"),
        ("foo.test", "/FOO", "404"),
        ("foo.test", "/Foo", "404"),
        ("foo.test", "/", "404"),
        ("foo.test", "/bar", "404"),
        ("slash.test", "/foo/", "slash"),
        ("slash.test", "/foo", "404"),
        ("slash.test", "/foo/bar", "404"),
    ];
    stage.check("http", &expected).await
}

async fn path_rules_prefix() -> Result<()> {
    let pods = ["foo", "root", "ab", "abc", "abcde", "aaa", "aaabb", "aaabbb", "slash"];
    let stage = Stage::set("prefix", &pods).await?;
    stage.host("foo.test", [prefix("/foo", "foo")]).await?;
    stage.host("slash.test", [prefix("/foo/", "slash")]).await?;
    stage.host("deep.test", [prefix("/a/b", "ab"), prefix("/a/b/c", "abc"), prefix("/a/b/c/d/e", "abcde")]).await?;
    stage.host("aaa.test", [prefix("/aaa", "aaa"), prefix("/aaa/bb", "aaabb"), prefix("/aaa/bbb", "aaabbb")]).await?;
    stage.host("root.test", [prefix("/", "root"), prefix("/aaa", "aaa")]).await?;
    let expected = [
        ("root.test", "/", "root"),
        ("root.test", "/anything/at?all", "root"),
        ("root.test", "/aaa/ccc", "aaa"),
        ("root.test", "/aaaa", "root"),
        ("foo.test", "/foo", "foo"),
        ("foo.test", "/foo/", "foo"),
        ("foo.test", "/foo/bar", "foo"),
        ("foo.test", "/foo?q=/", "foo"),
        ("foo.test", "/foobar", "404"),
        ("foo.test", "/FOO/bar", "404"),
        ("foo.test", "/", "404"),
        ("foo.test", "/bar/foo", "404"),
        // The slash at the end of a prefix means nothing.
        ("slash.test", "/foo", "slash"),
        ("slash.test", "/foo/", "slash"),
        ("slash.test", "/foo/bar", "slash"),
        ("slash.test", "/foobar", "404"),
        ("deep.test", "/a/b", "ab"),
        ("deep.test", "/a/b/", "ab"),
        ("deep.test", "/a/b/d", "ab"),
        ("deep.test", "/a/b/c", "abc"),
        ("deep.test", "/a/b/c/d", "abc"),
        ("deep.test", "/a/b/c/d/e/f", "abcde"),
        ("deep.test", "/a/bc", "404"),
        ("deep.test", "/a", "404"),
        ("aaa.test", "/aaa", "aaa"),
        ("aaa.test", "/aaa/b", "aaa"),
        ("aaa.test", "/aaa/bb", "aaabb"),
        ("aaa.test", "/aaa/bb/b", "aaabb"),
        ("aaa.test", "/aaa/bbb", "aaabbb"),
        ("aaa.test", "/aaa/bbb/", "aaabbb"),
        ("aaa.test", "/aaa/bbbb", "aaa"),
        ("aaa.test", "/aaabb", "404"),
    ];
    stage.check("http", &expected).await
}

async fn path_rules_mixed() -> Result<()> {
    let stage = Stage::set("mixed", &["exact", "prefix", "longer", "implementation", "root"]).await?;
    stage
        .host(
            "mixed.test",
            [
                // Listed in an order that must not matter.
                implementation_specific("/impl", "implementation"),
                prefix("/foo", "prefix"),
                prefix("/", "root"),
                exact("/foo", "exact"),
                prefix("/foo/longer", "longer"),
                exact("/impl/exact", "exact"),
            ],
        )
        .await?;
    let expected = [
        ("mixed.test", "/foo", "exact"),
        ("mixed.test", "/foo/", "prefix"),
        ("mixed.test", "/foo/bar", "prefix"),
        ("mixed.test", "/foo/longer", "longer"),
        ("mixed.test", "/foo/longer/still", "longer"),
        ("mixed.test", "/foo/long", "prefix"),
        ("mixed.test", "/impl", "implementation"),
        ("mixed.test", "/impl/x", "implementation"),
        ("mixed.test", "/implement", "root"),
        ("mixed.test", "/IMPL", "root"),
        ("mixed.test", "/impl/exact", "exact"),
        ("mixed.test", "/impl/exact/", "implementation"),
        ("mixed.test", "/", "root"),
    ];
    stage.check("http", &expected).await
}

async fn default_backend() -> Result<()> {
    let stage = Stage::set("default-backend", &["rest", "app"]).await?;
    let all = ingress("all").class(&stage.world.class).default_backend("rest").build();
    stage.world.apply([all.clone()]).await?;
    stage.host("app.test", [prefix("/app", "app")]).await?;
    stage.check("http", &[("app.test", "/app", "app"), ("any.test", "/", "rest")]).await?;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        for (host, target) in [("any.test", "/"), ("other.example", "/some/path?query"), ("10.1.2.3", "/x")] {
            let mut request = Request::new(method, host, target);
            if matches!(method, "POST" | "PUT" | "PATCH") {
                request.body = b"a body".to_vec();
            }
            let body = request.body.clone();
            for tls in [false, true] {
                let answer = if tls {
                    client::send_tls(stage.subject.https(), host, &request).await
                } else {
                    client::send(stage.subject.http(), &request).await
                };
                let answer = answer.with_context(|| format!("{method} {host}{target}"))?;
                judge(&answer, host, target, "rest").with_context(|| format!("{method} {host}{target}"))?;
                let echo = answer.echo()?;
                assert_eq!((echo.method.as_str(), echo.body.as_bytes()), (method, &body[..]));
            }
        }
    }
    // A host that has rules of its own is not caught by somebody else's default backend.
    stage.check("http", &[("app.test", "/elsewhere", "404")]).await?;
    // A default backend beside rules takes what these leave over.
    let own = ingress("app.test").class(&stage.world.class).default_backend("rest");
    stage.world.apply([own.host("app.test", [prefix("/app", "app")]).build()]).await?;
    stage.check("http", &[("app.test", "/elsewhere", "rest"), ("app.test", "/app/x", "app")]).await?;
    stage.world.delete([all]).await?;
    stage.subject.answers("any.test", "/", 404).await.map(drop)
}

async fn a_class_of_somebody_else() -> Result<()> {
    let values = [
        ("controller.publishService.enabled", "false"),
        ("controller.extraArgs.publish-status-address", "203.0.113.20"),
    ];
    let world = World::with_values("class-of-another", &values).await?;
    let pod = Pod::start("app").await?;
    world.apply(backend("app", &[&pod])).await?;
    let theirs = format!("{}-theirs", world.class);
    let rule = |name: &str, class: &str| -> Manifest {
        ingress(name).class(class).host(&format!("{name}.test"), [prefix("/", "app")]).build()
    };
    world.apply([ingress_class(&theirs, "example.com/another"), rule("theirs", &theirs)]).await?;
    let subject = world.subject().await?;
    world.apply([rule("ours", &world.class)]).await?;
    subject.routed("ours.test", "/", "app").await?;
    let published = async |name: &str| world.cluster.published(&world.namespace, name).await;
    wait::until("ours has a status", async || {
        let found = published("ours").await?;
        ensure!(found == ["203.0.113.20"], "it shows {found:?}");
        Ok(())
    })
    .await?;
    // By now theirs, which came before ours, would have one as well.
    wait::remains("theirs is left alone", async || {
        subject.get("theirs.test", "/").await?.expect(404)?;
        let found = published("theirs").await?;
        ensure!(found.is_empty(), "its status shows {found:?}");
        Ok(())
    })
    .await?;
    let events = world.cluster.events(&world.namespace, "Ingress", "theirs").await?;
    ensure!(events.is_empty(), "there are Events about it: {events:?}");
    Ok(())
}

async fn load_balancing() -> Result<()> {
    const PODS: usize = 10;
    const ROUNDS: usize = 20;
    let stage = Stage::set("load-balancing", &[]).await?;
    let mut pods = vec![];
    for number in 0..PODS {
        pods.push(Pod::start(&format!("pod-{number}")).await?);
    }
    stage.world.apply([service("app", 80), endpoints("app", &pods.iter().collect::<Vec<_>>())]).await?;
    stage.host("app.test", [prefix("/", "app")]).await?;
    wait::until("requests are served", async || stage.subject.echo("app.test", "/").await).await?;

    // On one connection each pod gets exactly its share.
    let mut connection = Connection::open(stage.subject.http()).await?;
    let mut kept = BTreeMap::<String, usize>::new();
    for _ in 0..PODS * ROUNDS {
        let answer = connection.send(&Request::get("app.test", "/")).await?;
        *kept.entry(answer.echo()?.pod).or_default() += 1;
    }
    ensure!(kept.len() == PODS && kept.values().all(|count| *count == ROUNDS), "not even: {kept:?}");

    // With a connection for each request, each worker takes turns for itself.
    let mut fresh = BTreeMap::<String, usize>::new();
    for _ in 0..PODS * ROUNDS {
        let request = Request::get("app.test", "/").header("Connection", "close");
        *fresh.entry(client::send(stage.subject.http(), &request).await?.echo()?.pod).or_default() += 1;
    }
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (least, most) = (fresh.values().min().copied(), fresh.values().max().copied());
    let spread = most.unwrap_or_default() - least.unwrap_or_default();
    ensure!(fresh.len() == PODS && spread <= workers, "not even over {workers} workers: {fresh:?}");
    Ok(())
}
