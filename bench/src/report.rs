//! Results as Markdown: ratios to nginx first, absolute numbers beside them.

use crate::peer::Peer;
use crate::results::{Results, Series};
use crate::work::Work;

pub(crate) mod docs;

/// A target that answers less than this share of the requests that were due is marked.
const KEPT_UP: f64 = 0.98;
const DAGGER: &str = " †";

/// Everything that a run has to say.
pub(crate) fn full(results: &Results) -> String {
    let mut parts = vec![header(results)];
    if !results.saturations.is_empty() {
        parts.push(section(
            "CPU per request, ratio to nginx (smallest and largest round)",
            &cpu(results, Detail::Range),
        ));
        parts.push(section("Requests per second when driven as fast as it goes, ratio to nginx", &throughput(results)));
    }
    if !results.latencies.is_empty() {
        parts.push(section(
            "99th percentile of the latency at 60 % of nginx's own rate, ratio to nginx",
            &latency(results),
        ));
        if results.latencies.iter().any(|sample| sample.per_second < sample.rate * KEPT_UP) {
            parts.push("† did not keep up with the rate.".to_owned());
        }
    }
    if !results.memories.is_empty() {
        parts.push(section("Memory", &memory(results)));
    }
    parts.extend(notes(results));
    parts.join("\n\n") + "\n"
}

/// The one table for the front page.
pub(crate) fn summary(results: &Results) -> String {
    format!(
        "CPU per request, ratio to nginx in the same run (median of {} rounds, lower is better):\n\n{}\n\n{}\n",
        results.settings.rounds,
        cpu(results, Detail::Median).render(),
        header(results),
    )
}

/// What callgrind has counted.
pub(crate) fn instructions(counts: &[(Work, u64)]) -> String {
    let table = Table {
        header: vec!["work".to_owned(), "instructions per request".to_owned()],
        rows: counts.iter().map(|(work, count)| vec![work.label().to_owned(), count.to_string()]).collect(),
    };
    table.render() + "\n"
}

/// How much of a series a cell shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Median,
    Range,
}

/// A Markdown table; the first column is text, the others are numbers.
pub(crate) struct Table {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

fn header(results: &Results) -> String {
    let peers: Vec<String> =
        results.peers().into_iter().map(|peer| format!("{} {}", title(peer), results.version(peer))).collect();
    let Results { machine, settings, .. } = results;
    let tcp = machine.congestion_control.as_ref().map(|name| format!(", TCP {name}")).unwrap_or_default();
    let cores = if machine.cores == 1 { "core" } else { "cores" };
    format!(
        "{} on {} {cores} of {}, Linux {}{tcp}; {} rounds of {} s; {}.",
        results.started,
        machine.cores,
        machine.processor,
        machine.kernel,
        settings.rounds,
        settings.seconds,
        peers.join(", "),
    )
}

fn section(title: &str, table: &Table) -> String {
    format!("### {title}\n\n{}", table.render())
}

fn cpu(results: &Results, detail: Detail) -> Table {
    comparison(results, "nginx, µs", 1, detail, |work, peer| results.saturation(work, peer, |sample| sample.cpu_us()))
}

fn throughput(results: &Results) -> Table {
    comparison(results, "nginx, 1/s", 0, Detail::Median, |work, peer| {
        results.saturation(work, peer, |sample| sample.per_second)
    })
}

fn latency(results: &Results) -> Table {
    let mut table = comparison(results, "nginx, µs", 0, Detail::Range, |work, peer| {
        results.latency(work, peer, |sample| f64::from(sample.p99_us))
    });
    table.header.push("rate, 1/s".to_owned());
    for (work, row) in results.works().into_iter().zip(&mut table.rows) {
        let rate = results.latency(work, Peer::Nginx, |sample| sample.rate);
        row.push(number(rate.median(), 0));
        for (peer, cell) in others(results).into_iter().zip(&mut row[2..]) {
            let kept = results.latency(work, peer, |sample| sample.per_second / sample.rate);
            if kept.median().is_some_and(|kept| kept < KEPT_UP) {
                cell.push_str(DAGGER);
            }
        }
    }
    table
}

/// One row per work: nginx in absolute numbers, then every other peer over nginx, and last our
/// build over the other build if there is one.
fn comparison(
    results: &Results,
    nginx: &str,
    decimals: usize,
    detail: Detail,
    series: impl Fn(Work, Peer) -> Series,
) -> Table {
    let others = others(results);
    let against_baseline = others.contains(&Peer::Baseline) && others.contains(&Peer::RustNginx);
    let mut header = vec!["work".to_owned(), nginx.to_owned()];
    header.extend(others.iter().map(|peer| title(*peer).to_owned()));
    if against_baseline {
        header.push("rust-nginx / baseline".to_owned());
    }
    let rows = results.works().into_iter().map(|work| {
        let nginx = series(work, Peer::Nginx);
        let mut row = vec![work.label().to_owned(), number(nginx.median(), decimals)];
        row.extend(others.iter().map(|peer| ratio(&series(work, *peer).over(&nginx), detail)));
        if against_baseline {
            let quotient = series(work, Peer::RustNginx).over(&series(work, Peer::Baseline));
            row.push(ratio(&quotient, detail));
        }
        row
    });
    Table { rows: rows.collect(), header }
}

fn memory(results: &Results) -> Table {
    let header = [
        "",
        "idle RSS, MB",
        "idle PSS, MB",
        "KB per idle HTTP connection",
        "KB per idle HTTPS connection",
        "KB per idle WebSocket, both sides",
    ];
    let rows = results.memories.iter().map(|sample| {
        vec![
            title(sample.peer).to_owned(),
            format!("{:.1}", sample.idle.rss as f64 / 1e6),
            format!("{:.1}", sample.idle.pss as f64 / 1e6),
            format!("{:.1}", sample.http_bytes_per_connection / 1e3),
            format!("{:.1}", sample.https_bytes_per_connection / 1e3),
            sample.websocket_bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{:.1}", bytes / 1e3)),
        ]
    });
    Table { header: header.map(str::to_owned).to_vec(), rows: rows.collect() }
}

/// What a reader has to know about single samples.
fn notes(results: &Results) -> Vec<String> {
    let mut notes = Vec::new();
    for peer in results.peers() {
        for work in Work::ALL {
            let saturated = results.saturations.iter();
            let errors: u64 = saturated
                .filter(|sample| sample.peer == peer && sample.work == work)
                .map(|sample| sample.errors)
                .chain(
                    results
                        .latencies
                        .iter()
                        .filter(|sample| sample.peer == peer && sample.work == work)
                        .map(|sample| sample.errors),
                )
                .sum();
            if errors > 0 {
                notes.push(format!("{errors} requests of `{work}` failed with {}.", title(peer)));
            }
        }
    }
    notes
}

fn others(results: &Results) -> Vec<Peer> {
    results.peers().into_iter().filter(|peer| *peer != Peer::Nginx).collect()
}

fn title(peer: Peer) -> &'static str {
    match peer {
        Peer::Nginx => "nginx",
        Peer::RustNginx => "rust-nginx",
        Peer::Baseline => "baseline",
        Peer::Haproxy => "HAProxy",
        Peer::Envoy => "Envoy",
    }
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn ratio(series: &Series, detail: Detail) -> String {
    let median = number(series.median(), 2);
    match series.range() {
        Some((low, high)) if detail == Detail::Range && low < high => {
            format!("{median} ({low:.2}-{high:.2})")
        }
        _ => median,
    }
}

// === impl Table ===

impl Table {
    pub(crate) fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = self.rows.iter().chain([&self.header]).map(|row| &row[column]);
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
            })
            .collect();
        let line = |row: &[String]| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            format!("| {} |", cells.join(" | "))
        };
        let rule: Vec<String> = widths
            .iter()
            .enumerate()
            .map(|(column, &width)| match column {
                0 => "-".repeat(width + 2),
                _ => format!("{}:", "-".repeat(width + 1)),
            })
            .collect();
        let mut lines = vec![line(&self.header), format!("|{}|", rule.join("|"))];
        lines.extend(self.rows.iter().map(|row| line(row)));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests;
