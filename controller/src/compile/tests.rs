//! The goldens: manifests in, table and diagnostics out.

use super::*;
use crate::{
    args::{self, Environment, Invocation},
    source::files,
};
use serde_json::{Value, json};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// Set to rewrite what the goldens expect.
const UPDATE: &str = "UPDATE_GOLDENS";

/// No variable is set.
struct Bare;

impl Environment for Bare {
    fn get(&self, _: &str) -> Option<String> {
        None
    }

    fn host_name(&self) -> Option<String> {
        None
    }
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn certificate(name: &str) -> Arc<Certificate> {
    let part = |extension| {
        let path = testdata().join(format!("certificates/{name}.{extension}"));
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    Arc::new(Certificate::from_pem(&part("crt"), &part("key")).unwrap())
}

/// The options that a command line gives.
pub(crate) fn options(flags: &str) -> Options {
    let arguments = ["serve", "--manifests=."].into_iter().chain(flags.split_whitespace()).map(OsString::from);
    match args::parse(arguments, &Bare) {
        Ok(Invocation::Serve(config)) => config.compile.options(certificate("fallback")),
        Ok(other) => panic!("{flags:?} is {other:?}"),
        Err(mistakes) => panic!("{flags:?}: {mistakes:?}"),
    }
}

/// The snapshot of some manifests, through the file source.
fn snapshot(manifests: &[(&str, &str)]) -> Snapshot {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in manifests {
        fs::write(directory.path().join(name), content).unwrap();
    }
    files::read(directory.path(), &Snapshot::default())
}

/// Table and diagnostics as they stand in a golden: defaults left out, so that what a case is about can be seen.
fn render(compiled: &Compiled) -> String {
    let Compiled { table, diagnostics, ingresses, references, process } = compiled;
    let mut view = serde_json::to_value(table).unwrap();
    let settings = serde_json::to_value(rust_nginx_proxy::table::Settings::default()).unwrap();
    let policy = serde_json::to_value(rust_nginx_proxy::table::Policy::default()).unwrap();
    subtract(&mut view["settings"], &settings);
    for route in
        view["hosts"].as_array_mut().unwrap().iter_mut().flat_map(|host| host["routes"].as_array_mut().unwrap())
    {
        subtract(&mut route["policy"], &policy);
    }
    let names = |names: &BTreeSet<ObjectName>| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let process = if *process == ProcessSettings::default() { None } else { Some(format!("{process:?}")) };
    let whole = json!({
        "diagnostics": diagnostics,
        "ingresses": names(ingresses),
        "references": { "configMaps": names(&references.config_maps), "secrets": names(&references.secrets) },
        "process": process,
        "table": prune(view),
    });
    serde_saphyr::to_string(&prune(whole)).unwrap()
}

/// Removes from a tree what another one has too.
fn subtract(value: &mut Value, default: &Value) {
    if let (Value::Object(value), Value::Object(default)) = (value, default) {
        for (name, default) in default {
            match value.get_mut(name) {
                Some(same) if *same == *default => _ = value.remove(name),
                // An option that is set by default and not here; pruning would hide it.
                Some(off @ Value::Null) => *off = "off".into(),
                Some(other) => subtract(other, default),
                None => {}
            }
        }
    }
}

/// Leaves out what is empty.
fn prune(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, prune(value)))
            .filter(|(_, value)| match value {
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
                _ => true,
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(prune).collect(),
        other => other,
    }
}

/// Compares with the file, or writes it.
fn expect(path: &Path, actual: &str) -> Result<(), String> {
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, actual).unwrap();
        return Ok(());
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    let difference = expected.lines().zip(actual.lines()).position(|(expected, actual)| expected != actual);
    let line = difference.unwrap_or_else(|| expected.lines().count().min(actual.lines().count()));
    Err(format!(
        "{} differs from line {} on:\n  expected: {}\n  actual:   {}",
        path.display(),
        line + 1,
        expected.lines().nth(line).unwrap_or("(end)"),
        actual.lines().nth(line).unwrap_or("(end)"),
    ))
}

fn assert_all(outcomes: Vec<Result<(), String>>) {
    let differences: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(differences.is_empty(), "{}\nset {UPDATE}=1 to accept", differences.join("\n"));
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// `testdata/<case>.in.yaml` with `base.yaml` beside it; a first line `# flags: …` is its command line.
#[test]
fn cases_compile_to_their_goldens() {
    let base = fs::read_to_string(testdata().join("base.yaml")).unwrap();
    let mut outcomes = Vec::new();
    for input in sorted(&testdata()) {
        let Some(case) = input.to_str().unwrap().strip_suffix(".in.yaml") else { continue };
        let manifests = fs::read_to_string(&input).unwrap();
        let flags = manifests.lines().find_map(|line| line.strip_prefix("# flags:")).unwrap_or_default();
        let snapshot = snapshot(&[("base.yaml", &base), ("case.yaml", &manifests)]);
        let compiled = compile(&snapshot, &options(flags));
        outcomes.push(expect(Path::new(&format!("{case}.out.yaml")), &render(&compiled)));
    }
    assert!(outcomes.len() > 10, "the cases are not where they should be");
    assert_all(outcomes);
}

/// Each example compiles as written, without anything to complain about that its golden does not show.
#[test]
fn examples_compile_to_their_goldens() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut outcomes = Vec::new();
    for path in sorted(&examples) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let snapshot = if path.is_dir() {
            files::read(&path, &Snapshot::default())
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            snapshot(&[("example.yaml", &fs::read_to_string(&path).unwrap())])
        } else {
            continue;
        };
        let compiled = compile(&snapshot, &options(""));
        outcomes.push(expect(&testdata().join(format!("examples/{name}.out.yaml")), &render(&compiled)));
    }
    assert!(outcomes.len() > 5, "the examples are not where they should be");
    assert_all(outcomes);
}
