//! What a run has shown, as Markdown.

use super::Outcome;
use super::samples::{PARTS, Part};
use super::verdict::{growth, megabytes};
use crate::report::Table;

pub(super) fn full(outcome: &Outcome) -> String {
    let Outcome { machine, version, length, .. } = outcome;
    let cores = if machine.cores == 1 { "core" } else { "cores" };
    let header = format!(
        "{} on {} {cores} of {}, Linux {}; rust-nginx {version}, {} min; clients and origins on the same cores.",
        outcome.started,
        machine.cores,
        machine.processor,
        machine.kernel,
        length.as_secs() / 60,
    );
    [header, table(outcome).render(), notes(outcome), verdict(outcome)].join("\n\n") + "\n"
}

fn table(outcome: &Outcome) -> Table {
    let header = ["time", "requests", "1/s", "RSS, MB", "PSS, MB", "anonymous, MB", "descriptors", "threads"];
    let fifth = outcome.length.as_secs() / PARTS as u64;
    let row = |(index, part): (usize, &Part)| {
        let start = index as u64 * fifth;
        let held = part.held;
        let mut row = vec![format!("{}-{}", clock(start), clock(start + fifth)), part.requests.to_string()];
        row.push(format!("{:.0}", part.requests as f64 / fifth as f64));
        row.extend([held.rss, held.pss, held.anonymous].map(|bytes| format!("{:.1}", bytes as f64 / 1e6)));
        row.extend([held.descriptors, held.threads].map(|number| number.to_string()));
        row
    };
    Table { header: header.map(str::to_owned).to_vec(), rows: outcome.parts.iter().enumerate().map(row).collect() }
}

fn notes(outcome: &Outcome) -> String {
    let (early, late) = (outcome.parts[1].held, outcome.parts[PARTS - 1].held);
    format!(
        "From the second fifth to the last: RSS {:+.1} %, PSS {:+.1} %, anonymous {:+.1} %. {} right answers and no wrong \
         one, {} requests broken off by clients, {} changes of the table. With all clients gone for {} s: {} descriptors, \
         {} at the start; {} resident.",
        growth(early.rss, late.rss),
        growth(early.pss, late.pss),
        growth(early.anonymous, late.anonymous),
        outcome.requests,
        outcome.broken_off,
        outcome.changes,
        outcome.drained.as_secs(),
        outcome.idle.end,
        outcome.idle.start,
        megabytes(outcome.rss_after),
    )
}

fn verdict(outcome: &Outcome) -> String {
    match &outcome.failures[..] {
        [] => "Verdict: flat.".to_owned(),
        failures => format!("Verdict: not flat. {}.", failures.join("; ")),
    }
}

fn clock(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
