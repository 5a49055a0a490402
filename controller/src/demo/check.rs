//! The demo checks itself: what a visitor would try, as a client outside would see it.
//!
//! Every check waits for conditions, never for time, and has a limit. Must not know: tables, compile, the proxy's insides.

use super::{
    client::{Answer, Protocol, Route, Trust},
    manifests::{self, Directory, INGRESS_FILE, NAMESPACE, TLS_HOST},
    pod::{Echo, Pod},
};
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, StatusCode, Version, header};
use std::{collections::BTreeSet, fs, net::SocketAddr, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// No check needs as long.
const LIMIT: Duration = Duration::from_secs(15);

/// Time between two looks at something that will change.
const POLL: Duration = Duration::from_millis(10);

const HOST: &str = "hello.localhost";
const API_HOST: &str = "api.localhost";

/// The running demo, seen from outside.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The port that redirects name; `None` when they name none.
    pub(crate) redirect_port: Option<u16>,
    pub(crate) trust: Trust,
    pub(crate) pods: &'a [Pod],
    pub(crate) directory: &'a Directory,
}

/// What a check found out, in a few words.
type Finding = anyhow::Result<String>;

// === impl Subject ===

impl Subject<'_> {
    /// Runs all checks, prints a line for each, and returns whether all passed.
    pub(crate) async fn check(&self, mut print: impl FnMut(String)) -> bool {
        let checks: Vec<(&str, BoxFuture<'_, Finding>)> = vec![
            ("a request over HTTP reaches a pod", Box::pin(self.http())),
            ("all pods of a Service take turns", Box::pin(self.balancing())),
            ("another host goes to another Service", Box::pin(self.hosts())),
            ("HTTP is redirected where the host has TLS", Box::pin(self.redirect())),
            ("HTTPS shows the certificate of the Secret", Box::pin(self.tls())),
            ("a path goes to another Service", Box::pin(self.paths())),
            ("HTTP/2 over TLS", Box::pin(self.http2(self.https_route()))),
            ("HTTP/2 in cleartext, by prior knowledge", Box::pin(self.http2(self.http_route()))),
            ("a request body arrives whole", Box::pin(self.body())),
            ("a WebSocket opens and echoes", Box::pin(self.websocket())),
            ("an unknown host is answered with 404", Box::pin(self.unknown_host())),
            ("a Service without pods is answered with 503", Box::pin(self.no_endpoints())),
            ("an edited manifest is live at once, an open WebSocket stays", Box::pin(self.live_edit())),
            ("the admin listener says ready", Box::pin(self.ready())),
        ];
        let mut passed = true;
        for (name, check) in checks {
            let start = Instant::now();
            let outcome = timeout(LIMIT, check).await.unwrap_or_else(|_| Err(anyhow::anyhow!("not within {LIMIT:?}")));
            let millis = start.elapsed().as_millis();
            match outcome {
                Ok(finding) => print(format!("ok    {name} ({finding}, {millis} ms)")),
                Err(error) => {
                    passed = false;
                    print(format!("FAIL  {name}: {error:#}"));
                }
            }
        }
        passed
    }

    fn http_route(&self) -> Route {
        Route::Http(self.http)
    }

    fn https_route(&self) -> Route {
        Route::Https(self.https, self.trust.clone())
    }

    async fn http(&self) -> Finding {
        let echo = echo(&self.http_route().get(HOST, "/hello?a=b").await?, "web")?;
        ensure!(
            echo.path == "/hello" && echo.query.as_deref() == Some("a=b"),
            "the pod saw {}?{:?}",
            echo.path,
            echo.query
        );
        ensure!(echo.host == HOST, "the pod saw the host {}", echo.host);
        ensure!(!echo.tls, "the pod was told that the client came over TLS");
        Ok(echo.pod)
    }

    async fn balancing(&self) -> Finding {
        // With many workers each new connection is a draw: this many leave out one of a few pods once in 10^17 runs.
        const MANY: usize = 100;
        let expected: BTreeSet<String> = self
            .pods
            .iter()
            .map(Pod::identity)
            .filter(|pod| pod.service == "web")
            .map(|pod| pod.name.clone())
            .collect();
        let mut seen = BTreeSet::new();
        for _ in 0..MANY {
            seen.insert(echo(&self.http_route().get(HOST, "/").await?, "web")?.pod);
            if seen == expected {
                break;
            }
        }
        ensure!(seen == expected, "only {} of {} answered", names(&seen), names(&expected));
        Ok(names(&seen))
    }

    async fn hosts(&self) -> Finding {
        Ok(echo(&self.http_route().get(API_HOST, "/").await?, "api")?.pod)
    }

    async fn redirect(&self) -> Finding {
        let answer = self.http_route().get(TLS_HOST, "/cart?item=1").await?;
        expect(&answer, StatusCode::PERMANENT_REDIRECT)?;
        let port = self.redirect_port.map(|port| format!(":{port}")).unwrap_or_default();
        let expected = format!("https://{TLS_HOST}{port}/cart?item=1");
        let location = answer.header(header::LOCATION).unwrap_or_default();
        ensure!(location == expected, "Location is {location:?} rather than {expected:?}");
        Ok(format!("308 to {location}"))
    }

    async fn tls(&self) -> Finding {
        // The client believes the demo's authority only: an answer proves the certificate.
        let answer = self.https_route().get(TLS_HOST, "/").await?;
        let echo = echo(&answer, "web")?;
        ensure!(echo.tls, "the pod was not told that the client came over TLS");
        let hsts = answer.header(header::STRICT_TRANSPORT_SECURITY).context("no Strict-Transport-Security header")?;
        Ok(format!("{}, {hsts}", echo.pod))
    }

    async fn paths(&self) -> Finding {
        let https = self.https_route();
        let api = echo(&https.get(TLS_HOST, "/api/orders").await?, "api")?;
        let web = echo(&https.get(TLS_HOST, "/apis").await?, "web")?;
        Ok(format!("/api/orders {}, /apis {}", api.pod, web.pod))
    }

    async fn http2(&self, route: Route) -> Finding {
        let host = if matches!(route, Route::Https(..)) { TLS_HOST } else { HOST };
        let answer = route.request(Protocol::Http2, Method::GET, host, "/", Bytes::new()).await?;
        ensure!(answer.version == Version::HTTP_2, "answered in {:?}", answer.version);
        Ok(echo(&answer, "web")?.pod)
    }

    async fn body(&self) -> Finding {
        const LENGTH: usize = 1_000_000;
        let body = Bytes::from(vec![b'x'; LENGTH]);
        let answer = self.https_route().request(Protocol::Http1, Method::POST, TLS_HOST, "/upload", body).await?;
        let echo = echo(&answer, "web")?;
        ensure!(
            echo.method == "POST" && echo.body_length == LENGTH as u64,
            "{} {} bytes",
            echo.method,
            echo.body_length
        );
        Ok(format!("{LENGTH} bytes"))
    }

    async fn websocket(&self) -> Finding {
        for (route, host) in [(self.http_route(), HOST), (self.https_route(), TLS_HOST)] {
            let mut socket = route.websocket(host, "/").await.with_context(|| format!("on {host}"))?;
            socket.round_trip("hello").await?;
            socket.round_trip(&"long ".repeat(50_000)).await?;
            socket.close().await?;
        }
        Ok("ws and wss".to_owned())
    }

    async fn unknown_host(&self) -> Finding {
        let answer = self.http_route().get("unknown.localhost", "/").await?;
        expect(&answer, StatusCode::NOT_FOUND)?;
        Ok("404".to_owned())
    }

    async fn no_endpoints(&self) -> Finding {
        let file = self.directory.manifests().join("nobody.yaml");
        manifests::write(&file, &ingress("nobody", "nobody.localhost", "nobody"))?;
        let answer = self.until("nobody.localhost", |answer| answer.status == StatusCode::SERVICE_UNAVAILABLE).await;
        fs::remove_file(&file)?;
        answer?;
        self.until("nobody.localhost", |answer| answer.status == StatusCode::NOT_FOUND).await?;
        Ok("503, and 404 when the Ingress is gone".to_owned())
    }

    async fn live_edit(&self) -> Finding {
        let file = self.directory.manifests().join(INGRESS_FILE);
        let mut socket = self.http_route().websocket(HOST, "/").await?;
        socket.round_trip("before").await?;
        let original = fs::read_to_string(&file)?;
        let start = Instant::now();
        manifests::write(&file, &original.replace(HOST, "edited.localhost"))?;
        let edited = async {
            let answer = self.until("edited.localhost", |answer| answer.status == StatusCode::OK).await?;
            let took = start.elapsed().as_millis();
            let echo = echo(&answer, "web")?;
            expect(&self.http_route().get(HOST, "/").await?, StatusCode::NOT_FOUND)?;
            anyhow::Ok(format!("{} after {took} ms", echo.pod))
        }
        .await;
        manifests::write(&file, &original)?;
        let finding = edited?;
        self.until(HOST, |answer| answer.status == StatusCode::OK).await?;
        socket.round_trip("after").await.context("the WebSocket that was open during the edit")?;
        socket.close().await?;
        Ok(finding)
    }

    async fn ready(&self) -> Finding {
        let admin = Route::Http(self.admin);
        for page in ["/healthz", "/livez", "/readyz"] {
            let answer = admin.get("localhost", page).await?;
            expect(&answer, StatusCode::OK).with_context(|| page.to_owned())?;
        }
        let metrics = admin.get("localhost", "/metrics").await?;
        expect(&metrics, StatusCode::OK)?;
        let text = String::from_utf8_lossy(&metrics.body);
        ensure!(
            text.contains("nginx_ingress_controller_requests{"),
            "/metrics has no nginx_ingress_controller_requests"
        );
        Ok("health and metrics".to_owned())
    }

    /// Asks a host again and again until the answer is as it should be.
    async fn until(&self, host: &str, done: impl Fn(&Answer) -> bool) -> anyhow::Result<Answer> {
        let deadline = Instant::now() + LIMIT / 2;
        loop {
            let answer = self.http_route().get(host, "/").await?;
            if done(&answer) {
                return Ok(answer);
            }
            ensure!(Instant::now() < deadline, "{host} still answers {} after {:?}", answer.status, LIMIT / 2);
            sleep(POLL).await;
        }
    }
}

fn expect(answer: &Answer, status: StatusCode) -> anyhow::Result<()> {
    ensure!(answer.status == status, "answered {} rather than {status}", answer.status);
    Ok(())
}

/// What the pod saw, which must belong to the Service.
fn echo(answer: &Answer, service: &str) -> anyhow::Result<Echo> {
    expect(answer, StatusCode::OK)?;
    let echo: Echo = serde_json::from_slice(&answer.body).context("the answer is not that of a sample pod")?;
    ensure!(echo.service == service, "{} of Service {} answered rather than one of {service}", echo.pod, echo.service);
    Ok(echo)
}

fn names(set: &BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// An Ingress for all of a host.
fn ingress(name: &str, host: &str, service: &str) -> String {
    serde_json::json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "ingressClassName": "rust-nginx",
            "rules": [{
                "host": host,
                "http": { "paths": [{
                    "path": "/",
                    "pathType": "Prefix",
                    "backend": { "service": { "name": service, "port": { "number": 80 } } }
                }] }
            }]
        }
    })
    .to_string()
}
