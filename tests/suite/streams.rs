//! TCP and UDP services: ports that come and go with ConfigMaps.

use anyhow::{Context as _, Result, ensure};
use rust_nginx_tests::control_plane::World;
use rust_nginx_tests::files::{CLASS, CONTROLLER, Site};
use rust_nginx_tests::objects::{Manifest, config_map, endpoints_at, ingress_class, service_with_ports};
use rust_nginx_tests::runner::Test;
use rust_nginx_tests::{address, tests, wait};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = tests![
        ports_follow_the_config_map_and_the_endpoints,
        the_proxy_protocol_goes_both_ways,
        datagrams_are_answered,
        a_port_that_is_taken_is_told_and_tried_again,
        sessions_outlive_the_ports_when_it_ends,
        a_line_has_the_form_of_the_config_map,
    ];
    tests.extend(tests![cluster: ports_follow_the_objects_of_a_cluster]);
    tests
}

/// A pod that speaks no HTTP: it says its name, a line, and then everything that it hears.
struct Talker {
    address: SocketAddr,
}

impl Talker {
    async fn start(name: &'static str) -> Result<Self> {
        let listener = TcpListener::bind((address::pod(), 5432)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    stream.write_all(format!("{name}\n").as_bytes()).await?;
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        Ok(Self { address })
    }
}

fn db(pods: &[&Talker]) -> [Manifest; 2] {
    let addresses: Vec<_> = pods.iter().map(|pod| pod.address).collect();
    [service_with_ports("db", &[("sql", 5432)]), endpoints_at("db", "sql", &addresses)]
}

/// A site whose TCP and UDP services listen on an address of their own.
async fn site(manifests: Vec<Manifest>) -> Result<(Site, IpAddr)> {
    site_with(manifests, &[]).await
}

/// The same with further keys of the ConfigMap.
async fn site_with(manifests: Vec<Manifest>, keys: &[(&str, &str)]) -> Result<(Site, IpAddr)> {
    let own = address::host();
    let bind = own.to_string();
    let settings = config_map("settings", &[keys, &[("bind-address", &bind)]].concat());
    let manifests = manifests.into_iter().chain([ingress_class(CLASS, CONTROLLER), settings]);
    let site = Site::start_with(manifests, |launch| {
        launch
            .arg("--configmap=default/settings")
            .arg("--tcp-services-configmap=default/tcp")
            .arg("--udp-services-configmap=default/udp")
    })
    .await?;
    Ok((site, own))
}

/// Who answers on a port.
async fn greeting(to: SocketAddr) -> Result<(TcpStream, String)> {
    let mut stream = TcpStream::connect(to).await.with_context(|| format!("connecting to {to}"))?;
    let name = line(&mut stream).await?;
    Ok((stream, name))
}

async fn line(stream: &mut TcpStream) -> Result<String> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let byte = wait::at_most(wait::LONG, "waiting for a line", stream.read_u8()).await?;
        line.push(byte.with_context(|| format!("after {:?}", String::from_utf8_lossy(&line)))?);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

async fn answered_by(to: SocketAddr, expected: &str) -> Result<TcpStream> {
    wait::until("the right one answers", async || {
        let (stream, name) = greeting(to).await?;
        ensure!(name == expected, "{name} answers on {to}");
        Ok(stream)
    })
    .await
}

async fn closed(to: SocketAddr) -> Result<()> {
    wait::until("the port is closed", async || {
        ensure!(TcpStream::connect(to).await.is_err(), "somebody listens on {to}");
        Ok(())
    })
    .await
}

async fn says(stream: &mut TcpStream, text: &str) -> Result<()> {
    stream.write_all(format!("{text}\n").as_bytes()).await?;
    let heard = line(stream).await?;
    ensure!(heard == text, "{heard:?} in place of {text:?}");
    Ok(())
}

async fn ports_follow_the_config_map_and_the_endpoints() -> Result<()> {
    let (a, b) = (Talker::start("a").await?, Talker::start("b").await?);
    let (site, own) = site(vec![]).await?;
    let at = |port| SocketAddr::from((own, port));
    site.files.put("db.yaml", db(&[&a]))?;
    site.files.put("tcp.yaml", [config_map("tcp", &[("9000", "default/db:sql")])])?;
    let mut kept = answered_by(at(9000), "a").await?;
    says(&mut kept, "hello").await?;
    // Another port, by number; another endpoint.
    site.files.put("tcp.yaml", [config_map("tcp", &[("9000", "default/db:sql"), ("9001", "default/db:5432")])])?;
    answered_by(at(9001), "a").await?;
    site.files.put("db.yaml", db(&[&b]))?;
    answered_by(at(9000), "b").await?;
    answered_by(at(9001), "b").await?;
    // Nobody there: closed until somebody is.
    site.files.put("db.yaml", db(&[]))?;
    closed(at(9000)).await?;
    site.subject.log.line(&["default/tcp", "data[9000]", "no ready endpoint"]).await?;
    site.files.put("db.yaml", db(&[&b]))?;
    answered_by(at(9000), "b").await?;
    // A mistake in one entry, a port of ours, and an entry that is gone.
    let entries = [("9001", "default/db:sql"), ("9002", "nonsense"), ("80", "default/db:sql")];
    site.files.put("tcp.yaml", [config_map("tcp", &entries)])?;
    closed(at(9000)).await?;
    answered_by(at(9001), "b").await?;
    site.subject.log.line(&["default/tcp", "data[9002]", "namespace/service:port"]).await?;
    site.subject.log.line(&["default/tcp", "data[80]", "controller's own"]).await?;
    says(&mut kept, "still here").await?;
    drop(kept);
    // Its line in the log.
    site.subject.log.line(&["] TCP 200 "]).await?;
    Ok(())
}

async fn the_proxy_protocol_goes_both_ways() -> Result<()> {
    let pod = TcpListener::bind((address::pod(), 5432)).await?;
    let service = service_with_ports("db", &[("sql", 5432)]);
    let entries = [("9000", "default/db:sql:PROXY:PROXY"), ("9001", "default/db:sql::PROXY")];
    let slice = endpoints_at("db", "sql", &[pod.local_addr()?]);
    let (_site, own) = site(vec![service, slice, config_map("tcp", &entries)]).await?;
    let mut client = wait::until("the port opens", async || Ok(TcpStream::connect((own, 9000)).await?)).await?;
    client.write_all(b"PROXY TCP4 198.51.100.9 203.0.113.1 4711 443\r\nhello\n").await?;
    let (mut heard, _) = wait::at_most(wait::LONG, "the pod is connected to", pod.accept()).await??;
    assert_eq!(line(&mut heard).await?, format!("PROXY TCP4 198.51.100.9 {own} 4711 9000"));
    let mut client = wait::until("the other port opens", async || Ok(TcpStream::connect((own, 9001)).await?)).await?;
    let (mut heard, _) = wait::at_most(wait::LONG, "the pod is connected to", pod.accept()).await??;
    let from = client.local_addr()?;
    assert_eq!(line(&mut heard).await?, format!("PROXY TCP4 {} {own} {} 9001", from.ip(), from.port()));
    heard.write_all(b"back\n").await?;
    assert_eq!(line(&mut client).await?, "back");
    Ok(())
}

async fn datagrams_are_answered() -> Result<()> {
    let pod = UdpSocket::bind((address::pod(), 5353)).await?;
    let to = pod.local_addr()?;
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = pod.recv_from(&mut buffer).await {
            let _ = pod.send_to(&buffer[..length], from).await;
        }
    });
    let mut service = service_with_ports("dns", &[("dns", 53)]);
    service.0["spec"]["ports"][0]["protocol"] = json!("UDP");
    let mut slice = endpoints_at("dns", "dns", &[to]);
    slice.0["ports"][0]["protocol"] = json!("UDP");
    let (site, own) = site(vec![service, slice, config_map("udp", &[("53", "default/dns:dns")])]).await?;
    let client = UdpSocket::bind((address::host(), 0)).await?;
    for round in 0..5 {
        let text = format!("question {round}");
        wait::until("there is an answer", async || {
            client.send_to(text.as_bytes(), (own, 53)).await?;
            let mut buffer = [0; 2048];
            let answer = tokio::time::timeout(Duration::from_millis(200), client.recv_from(&mut buffer)).await;
            let (length, from) = answer.context("nothing came")??;
            ensure!(from == (own, 53).into(), "from {from}");
            ensure!(buffer[..length] == *text.as_bytes(), "{:?}", String::from_utf8_lossy(&buffer[..length]));
            Ok(())
        })
        .await?;
    }
    site.subject.log.line(&[&format!("[{}] [", client.local_addr()?.ip()), "] UDP 200 10 10 "]).await?;
    Ok(())
}

async fn a_port_that_is_taken_is_told_and_tried_again() -> Result<()> {
    let a = Talker::start("a").await?;
    let (site, own) = site(db(&[&a]).into()).await?;
    let squatter = TcpListener::bind((own, 9000)).await?;
    site.files.put("tcp.yaml", [config_map("tcp", &[("9000", "default/db:sql"), ("9001", "default/db:sql")])])?;
    answered_by((own, 9001).into(), "a").await?;
    site.subject.log.line(&["default/tcp", "data[9000]", "cannot listen"]).await?;
    drop(squatter);
    answered_by((own, 9000).into(), "a").await?;
    Ok(())
}

async fn sessions_outlive_the_ports_when_it_ends() -> Result<()> {
    let a = Talker::start("a").await?;
    let manifests = db(&[&a]).into_iter().chain([config_map("tcp", &[("9000", "default/db:sql")])]).collect();
    let (site, own) = site(manifests).await?;
    let mut kept = answered_by((own, 9000).into(), "a").await?;
    site.subject.terminate()?;
    closed((own, 9000).into()).await?;
    says(&mut kept, "not yet").await?;
    ensure!(site.subject.running().await?, "it ended with a session open");
    drop(kept);
    let status = site.subject.exited(wait::LONG).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

async fn a_line_has_the_form_of_the_config_map() -> Result<()> {
    let a = Talker::start("a").await?;
    let manifests = db(&[&a]).into_iter().chain([config_map("tcp", &[("9000", "default/db:sql")])]).collect();
    let form = "session <$protocol $status $bytes_sent $bytes_received $server_addr:$server_port $upstream_addr \
                $proxy_upstream_name>";
    let (site, own) = site_with(manifests, &[("log-format-stream", form)]).await?;
    let expected = format!("session <TCP 200 2 0 {own}:9000 {} tcp-default-db-sql>", a.address);
    drop(answered_by((own, 9000).into(), "a").await?);
    site.subject.log.line(&[&expected]).await?;
    Ok(())
}

async fn ports_follow_the_objects_of_a_cluster() -> Result<()> {
    let world = World::new("streams").await?;
    let own = address::host();
    let (namespace, system) = (&world.namespace, &world.system);
    let settings = config_map("bind", &[("bind-address", &own.to_string())]).within(system);
    world.apply([settings]).await?;
    let launch = world.launch("rust-nginx-0")?;
    let flags = [format!("--configmap={system}/bind"), format!("--tcp-services-configmap={namespace}/tcp")];
    let subject = flags.into_iter().fold(launch, rust_nginx_tests::subject::Launch::arg).ready().await?;
    let a = Talker::start("a").await?;
    world.apply(db(&[&a])).await?;
    let entry = format!("{namespace}/db:sql");
    world.apply([config_map("tcp", &[("9000", &entry)])]).await?;
    answered_by((own, 9000).into(), "a").await?;
    world.apply([config_map("tcp", &[("9001", &entry)])]).await?;
    answered_by((own, 9001).into(), "a").await?;
    closed((own, 9000).into()).await?;
    // Who wrote a port that cannot be opened learns of it.
    let _squatter = TcpListener::bind((own, 9002)).await?;
    world.apply([config_map("tcp", &[("9001", &entry), ("9002", &entry)])]).await?;
    subject.log.line(&[&format!("{namespace}/tcp"), "data[9002]", "cannot listen"]).await?;
    Ok(())
}
