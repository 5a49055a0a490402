//! Results of `scale` as Markdown: every row with its target and a verdict.

use super::results::{ChangeKind, Churned, Memory, Scale, Stage};
use crate::report::Table;

/// Numbers of Ingresses that targets speak of.
const MANY: usize = 5_000;
const MOST: usize = 20_000;

/// Share of the changes that are due that must be made for the row about them to count.
const KEPT_UP: f64 = 0.95;

/// What ingress-nginx was measured to need, for comparison.
const INGRESS_NGINX: &str = "For comparison, ingress-nginx 1.15: with 1,000 Ingresses 3.2 s from apply to the first correct response \
     (median) when nothing else changes, 5.4 s at 5 changes/s, 383 MB, and 395 s until 1,000 new Ingresses have their status; with one \
     Ingress 85 ms, and 2.2 s at 5 changes/s.";

/// A row of the main table.
struct Row {
    what: String,
    target: &'static str,
    measured: String,
    /// Nothing where there is no target or no measurement.
    met: Option<bool>,
}

/// Everything that a run has to say.
pub(crate) fn full(scale: &Scale) -> String {
    let mut parts = vec![header(scale), targets(scale), "Changes, in ms (median / 99th percentile):".to_owned()];
    parts.push(changes(scale).render());
    parts.push(
        "*bare watcher*: from sending the API call to a watcher of the same objects seeing the change. *response*: from the \
         same moment to the first response that shows it. *on top*: the difference, change by change; below zero, rust-nginx \
         was first."
            .to_owned(),
    );
    if !scale.parts.is_empty() {
        let total: f64 = scale.parts.iter().map(|part| part.seconds).sum();
        let parts_of_run = scale.parts.iter().map(|part| vec![part.name.clone(), format!("{:.1}", part.seconds)]);
        let total = vec!["all".to_owned(), format!("{total:.1}")];
        let header = vec!["part of the run".to_owned(), "s".to_owned()];
        parts.push(Table { header, rows: parts_of_run.chain([total]).collect() }.render());
    }
    parts.push(INGRESS_NGINX.to_owned());
    parts.join("\n\n") + "\n"
}

/// The one table for the front page.
pub(crate) fn summary(scale: &Scale) -> String {
    format!("{}\n\n{INGRESS_NGINX}\n\n{}\n", targets(scale), header(scale))
}

fn header(scale: &Scale) -> String {
    let machine = &scale.machine;
    format!(
        "{} on {} cores of {}, Linux {}; rust-nginx {}; API server, etcd, clients and pods on the same cores.",
        scale.started, machine.cores, machine.processor, machine.kernel, scale.version
    )
}

fn targets(scale: &Scale) -> String {
    let header = ["", "target", "measured", ""].map(str::to_owned).to_vec();
    let rows = rows(scale).into_iter().map(|row| {
        let verdict = match row.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        vec![row.what, row.target.to_owned(), row.measured, verdict.to_owned()]
    });
    Table { header, rows: rows.collect() }.render()
}

fn rows(scale: &Scale) -> Vec<Row> {
    let mut rows = pure(scale);
    let stage = |ingresses| scale.stages.iter().find(|stage| stage.ingresses == ingresses);
    rows.push(served(stage(MANY)));
    rows.push(kept(stage(MANY)));
    rows.push(memory("memory with 5,000 Ingresses, resident", "60 MB", 60e6, stage(MANY)));
    rows.push(memory("memory with 20,000 Ingresses, resident", "180 MB", 180e6, stage(MOST)));
    rows.push(Row::of("start to ready with 20,000 Ingresses", "5 s", stage(MOST), |stage| {
        (format!("{:.2} s", stage.ready), stage.ready <= 5.0)
    }));
    let status = stage(MANY).and_then(|stage| stage.status.as_ref());
    rows.push(Row::of("status of 5,000 new Ingresses written, after the last was created", "10 s", status, |status| {
        let text = format!("{:.1} s (creating them: {:.1} s)", status.written, status.created);
        (text, status.written <= 10.0)
    }));
    rows.push(Row::of("meanwhile: a mistake reported by an Event", "10 s", status, |status| {
        (format!("{:.2} s", status.event), status.event <= 10.0)
    }));
    rows.push(Row::of(
        "meanwhile: longest time between renewals of the Lease (valid for 30 s)",
        "15 s",
        status,
        |status| (format!("{:.1} s", status.renewal), status.renewal <= 15.0),
    ));
    // Sizes without a target have a row of their own each.
    for stage in scale.stages.iter().filter(|stage| !matches!(stage.ingresses, MANY | MOST)) {
        let Memory { resident, .. } = stage.fresh;
        let measured = format!("{:.1} MB, ready in {:.2} s", resident as f64 / 1e6, stage.ready);
        rows.push(Row { what: format!("{} Ingresses", stage.ingresses), target: "", measured, met: None });
    }
    rows
}

fn pure(scale: &Scale) -> Vec<Row> {
    let pure = scale.pure.as_ref();
    let compile = |what: &str, target, limit: f64, value: fn(&super::results::Pure) -> f64| {
        Row::of(what, target, pure, |pure| {
            let milliseconds = value(pure) / 1e6;
            (format!("{milliseconds:.2} ms"), milliseconds <= limit)
        })
    };
    let lookup = |what: &str, target, limit: f64, value: fn(&super::results::Pure) -> f64| {
        Row::of(what, target, pure, |pure| (format!("{:.0} ns", value(pure)), value(pure) <= limit))
    };
    vec![
        compile("full compile: 20,000 Ingresses, 40,000 paths, 5,000 Services", "400 ms", 400.0, |pure| {
            pure.compile_full
        }),
        compile("one of 20,000 Ingresses changed: compile and install", "3 ms", 3.0, |pure| pure.compile_one_ingress),
        compile("one EndpointSlice changed: compile and install", "1 ms", 1.0, |pure| pure.compile_one_slice),
        lookup("lookup among 20,000 hosts", "300 ns", 300.0, |pure| pure.host_exact),
        lookup("the same for a wildcard", "300 ns", 300.0, |pure| pure.host_wildcard),
        lookup("the same in upper case", "300 ns", 300.0, |pure| pure.host_upper_case),
        lookup("the same for a host that is not there", "300 ns", 300.0, |pure| pure.host_missing),
        allocations("allocations in one of these lookups", pure.map(|pure| pure.host_allocations)),
        lookup("lookup among 1,000 paths of a host", "500 ns", 500.0, |pure| pure.path),
        allocations("allocations in one of these lookups", pure.map(|pure| pure.path_allocations)),
    ]
}

fn allocations(what: &str, count: Option<u64>) -> Row {
    Row::of(what, "0", count.as_ref(), |count| (count.to_string(), *count == 0))
}

fn served(stage: Option<&Stage>) -> Row {
    let churn = stage.and_then(|stage| stage.churn.as_ref());
    let what =
        "apply to first correct response with 5,000 Ingresses at 50 changes/s, on top of a bare watcher: p50, p99";
    Row::of(what, "5 ms, 15 ms", churn, |churn| {
        let (median, tail) =
            (churn.quantile(0.5, |sample| sample.on_top()), churn.quantile(0.99, |sample| sample.on_top()));
        let kept_up = churn.rate.is_none_or(|rate| rate >= 50 && churn.per_second() >= f64::from(rate) * KEPT_UP);
        let pace = if kept_up { String::new() } else { format!(" (only {:.0} changes/s)", churn.per_second()) };
        (format!("{median:.1} ms, {tail:.1} ms{pace}"), median <= 5.0 && tail <= 15.0 && kept_up)
    })
}

fn kept(stage: Option<&Stage>) -> Row {
    let churn = stage.and_then(|stage| stage.churn.as_ref());
    Row::of("meanwhile: requests lost", "0", churn, |churn| {
        let loss = churn.first_loss.as_ref().map_or_else(String::new, |loss| format!(": {loss}"));
        (format!("{} of {}{loss}", churn.lost, churn.requests), churn.lost == 0)
    })
}

fn memory(what: &str, target: &'static str, limit: f64, stage: Option<&Stage>) -> Row {
    Row::of(what, target, stage, |stage| {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let Memory { resident, proportional, peak } = stage.fresh;
        let worn = stage.worn.map_or_else(String::new, |worn| {
            format!("; after changes {:.1} MB, peak {:.1} MB", megabytes(worn.resident), megabytes(worn.peak))
        });
        let text = format!(
            "{:.1} MB (PSS {:.1} MB, peak {:.1} MB{worn})",
            megabytes(resident),
            megabytes(proportional),
            megabytes(peak)
        );
        (text, resident as f64 <= limit)
    })
}

fn changes(scale: &Scale) -> Table {
    let header = ["Ingresses, change", "changes", "API call", "bare watcher", "response", "on top"];
    let mut rows = Vec::new();
    for stage in &scale.stages {
        for churn in [&stage.idle, &stage.churn].into_iter().flatten() {
            let pace = match churn.rate {
                None => "one by one".to_owned(),
                Some(_) => format!("{:.0}/s", churn.per_second()),
            };
            rows.push(line(&format!("{}, {pace}", stage.ingresses), churn, None));
            if churn.rate.is_some() {
                rows.extend(ChangeKind::ALL.map(|kind| line(kind.label(), churn, Some(kind))));
            }
        }
    }
    Table { header: header.map(str::to_owned).to_vec(), rows }
}

fn line(what: &str, churn: &Churned, kind: Option<ChangeKind>) -> Vec<String> {
    let both = |value: fn(&super::results::Sample) -> f64| {
        let quantile = |share| match kind {
            Some(kind) => churn.quantile_of(kind, share, value),
            None => churn.quantile(share, value),
        };
        format!("{:.1} / {:.1}", quantile(0.5), quantile(0.99))
    };
    let count = churn.samples.iter().filter(|sample| kind.is_none_or(|kind| sample.kind == kind)).count();
    vec![
        what.to_owned(),
        count.to_string(),
        both(|sample| sample.answered),
        both(|sample| sample.bare),
        both(|sample| sample.ours),
        both(|sample| sample.on_top()),
    ]
}

// === impl Row ===

impl Row {
    fn of<T>(what: &str, target: &'static str, from: Option<&T>, measure: impl Fn(&T) -> (String, bool)) -> Self {
        let (measured, met) = match from.map(measure) {
            Some((measured, met)) => (measured, Some(met)),
            None => ("not measured".to_owned(), None),
        };
        Self { what: what.to_owned(), target, measured, met }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::results::Machine;
    use crate::scale::results::{Part, Sample};

    /// A run in which one thing is missed.
    pub(crate) fn scale() -> Scale {
        let sample = |ours| Sample { kind: ChangeKind::New, answered: 3.0, bare: 4.0, ours };
        let churn = Churned {
            rate: Some(50),
            seconds: 0.06,
            requests: 100,
            lost: 0,
            first_loss: None,
            samples: [6.0, 7.0, 90.0].map(sample).to_vec(),
        };
        let memory = Memory { resident: 59_000_000, proportional: 58_000_000, peak: 80_000_000 };
        Scale {
            started: "2026-01-02T03:04:05Z".to_owned(),
            machine: Machine {
                processor: "Some CPU".to_owned(),
                cores: 2,
                kernel: "6.1.0".to_owned(),
                congestion_control: Some("cubic".to_owned()),
            },
            version: "0.1.0".to_owned(),
            pure: None,
            stages: vec![Stage {
                ingresses: MANY,
                status: None,
                ready: 1.0,
                fresh: memory,
                idle: None,
                churn: Some(churn),
                worn: None,
            }],
            parts: vec![Part { name: "API server".to_owned(), seconds: 1.0 }],
        }
    }

    #[test]
    fn every_row_has_its_target_and_a_verdict_if_it_was_measured() {
        let rows = rows(&scale());
        assert_eq!(rows.len(), 18);
        let found = |start: &str| rows.iter().find(|row| row.what.starts_with(start)).unwrap();
        assert_eq!(found("full compile").met, None);
        assert_eq!(found("full compile").measured, "not measured");
        assert_eq!(found("apply").met, Some(false), "the slowest of three changes took 86 ms");
        assert_eq!(found("memory with 5,000").met, Some(true));
        assert!(full(&scale()).contains("**missed**"));
    }

    #[test]
    fn a_rate_that_was_not_kept_meets_no_target() {
        let mut scale = scale();
        let churn = scale.stages[0].churn.as_mut().unwrap();
        churn.samples.truncate(2);
        assert_eq!(served(scale.stages.first()).met, Some(false));
        scale.stages[0].churn.as_mut().unwrap().seconds = 0.04;
        assert_eq!(served(scale.stages.first()).met, Some(true));
    }
}
