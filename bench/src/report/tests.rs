use std::time::Duration;

use super::*;
use crate::process::{CpuTime, Memory};
use crate::results::{Latency, Machine, MemoryUse, Saturation, Settings, Version, read_json, write_json};

fn saturation(round: usize, peer: Peer, cpu_ms: u64) -> Saturation {
    Saturation {
        round,
        work: Work::H1,
        peer,
        requests: 1000,
        errors: u64::from(peer == Peer::Envoy),
        per_second: 1e6 / cpu_ms as f64,
        cpu: CpuTime { user: Duration::from_millis(cpu_ms), system: Duration::ZERO },
        origin_cpu: CpuTime::default(),
    }
}

fn latency(peer: Peer, p99_us: u32, per_second: f64) -> Latency {
    Latency { round: 0, work: Work::H1, peer, rate: 1000.0, per_second, errors: 0, p50_us: 50, p99_us }
}

pub(super) fn results() -> Results {
    let version = |peer| Version { peer, version: "1.0".to_owned() };
    Results {
        started: "2026-01-02T03:04:05Z".to_owned(),
        machine: Machine {
            processor: "Some CPU".to_owned(),
            cores: 2,
            kernel: "6.1.0".to_owned(),
            congestion_control: Some("cubic".to_owned()),
        },
        settings: Settings { rounds: 2, seconds: 3, workers: 2, idle_connections: 1000 },
        targets: [Peer::Envoy, Peer::RustNginx, Peer::Nginx, Peer::Baseline].map(version).to_vec(),
        saturations: vec![
            saturation(0, Peer::Nginx, 40),
            saturation(0, Peer::RustNginx, 30),
            saturation(0, Peer::Baseline, 60),
            saturation(0, Peer::Envoy, 100),
            saturation(1, Peer::Nginx, 20),
            saturation(1, Peer::RustNginx, 16),
            saturation(1, Peer::Baseline, 32),
            saturation(1, Peer::Envoy, 50),
        ],
        latencies: vec![
            latency(Peer::Nginx, 200, 999.0),
            latency(Peer::RustNginx, 100, 999.0),
            latency(Peer::Baseline, 100, 999.0),
            latency(Peer::Envoy, 9000, 700.0),
        ],
        memories: vec![MemoryUse {
            peer: Peer::RustNginx,
            idle: Memory { rss: 20_000_000, pss: 15_000_000 },
            http_bytes_per_connection: 9_900.0,
            https_bytes_per_connection: 21_000.0,
            websocket_bytes: Some(22_000.0),
        }],
    }
}

#[test]
fn the_summary_is_one_table_of_ratios() {
    let expected = "\
CPU per request, ratio to nginx in the same run (median of 2 rounds, lower is better):

| work                      | nginx, µs | rust-nginx | baseline | Envoy | rust-nginx / baseline |
|---------------------------|----------:|-----------:|---------:|------:|----------------------:|
| HTTP/1.1 keep-alive, 1 KB |      30.0 |       0.78 |     1.55 |  2.50 |                  0.50 |

2026-01-02T03:04:05Z on 2 cores of Some CPU, Linux 6.1.0, TCP cubic; 2 rounds of 3 s; \
nginx 1.0, rust-nginx 1.0, baseline 1.0, Envoy 1.0.
";
    assert_eq!(summary(&results()), expected);
}

#[test]
fn the_full_report_shows_spread_saturation_memory_and_errors() {
    let report = full(&results());
    for part in [
        "0.78 (0.75-0.80)",
        "45.00 †",
        "† did not keep up with the rate.",
        "| rust-nginx |         20.0 |         15.0 |                         9.9 |                         21.0 |                              22.0 |",
        "2 requests of `h1` failed with Envoy.",
    ] {
        assert!(report.contains(part), "no {part:?} in:\n{report}");
    }
}

#[test]
fn results_survive_their_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deeper/results.json");
    write_json(&path, &results()).unwrap();
    assert_eq!(read_json::<Results>(&path).unwrap(), results());
}
