//! The goldens: manifests in, table and diagnostics out.

mod incremental;

use super::*;
use crate::{
    args::{self, Environment, Invocation},
    diagnostic::Diagnostic,
    source::files,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
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
        Ok(Invocation::Serve(config)) => {
            Options { flags: config.compile, fallback_certificate: certificate("fallback") }
        }
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

/// A table in full, whatever positions its backends have.
fn view(compiled: &Compiled) -> Value {
    serde_json::to_value(&compiled.table).unwrap()
}

/// Table and diagnostics as they stand in a golden: defaults left out, so that what a case is about can be seen.
fn render(compiled: &Compiled) -> String {
    // Nothing comes of expiries without a clock.
    let Compiled { table, diagnostics, ingresses, references, process, expiries: _ } = compiled;
    let mut view = serde_json::to_value(table).unwrap();
    let settings = serde_json::to_value(rust_nginx_proxy::table::Settings::default()).unwrap();
    let policy = serde_json::to_value(rust_nginx_proxy::table::Policy::default()).unwrap();
    subtract(&mut view["settings"], &settings);
    for route in
        view["hosts"].as_array_mut().unwrap().iter_mut().flat_map(|host| host["routes"].as_array_mut().unwrap())
    {
        subtract(&mut route["policy"], &policy);
    }
    let names = |names: &OrdSet<ObjectName>| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let process = if *process == ProcessSettings::default() { None } else { Some(format!("{process:?}")) };
    let whole = json!({
        "diagnostics": diagnostics,
        "ingresses": names(ingresses),
        "references": {
            "configMaps": names(&references.config_maps),
            "secrets": names(&references.secrets),
            "hostNames": references.host_names.iter().collect::<Vec<_>>(),
        },
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

/// What a case says about DNS: lines `# resolves: NAME ADDRESS…`, or `# resolves: NAME` for a name that does not exist.
fn resolved(manifests: &str) -> imbl::OrdMap<Arc<str>, Arc<crate::snapshot::Resolved>> {
    let lines = manifests.lines().filter_map(|line| line.strip_prefix("# resolves:"));
    let names = lines.map(|line| {
        let mut words = line.split_whitespace();
        let name: Arc<str> = words.next().unwrap().into();
        let addresses: Vec<_> = words.map(|word| word.parse().unwrap()).collect();
        let missing = crate::snapshot::Resolved::failed("DNS answers Non-Existent Domain");
        (name, Arc::new(if addresses.is_empty() { missing } else { crate::snapshot::Resolved::found(addresses) }))
    });
    names.collect()
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
        let mut snapshot = snapshot(&[("base.yaml", &base), ("case.yaml", &manifests)]);
        snapshot.host_names = resolved(&manifests);
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
        let manifests = fs::read_to_string(path.join("ingress.yaml")).unwrap_or_default();
        let flags = manifests.lines().find_map(|line| line.strip_prefix("# flags:")).unwrap_or_default();
        let compiled = compile(&snapshot, &options(flags));
        outcomes.push(expect(&testdata().join(format!("examples/{name}.out.yaml")), &render(&compiled)));
    }
    assert!(outcomes.len() > 5, "the examples are not where they should be");
    assert_all(outcomes);
}

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: site\ntype: kubernetes.io/tls\nstringData:\n";

fn secret(name: &str) -> String {
    let part = |key: &str, extension: &str| {
        let text = fs::read_to_string(testdata().join(format!("certificates/{name}.{extension}"))).unwrap();
        format!("  {key}: |\n{}", text.lines().map(|line| format!("    {line}\n")).collect::<String>())
    };
    format!("{SECRET}{}{}", part("tls.crt", "crt"), part("tls.key", "key"))
}

fn site() -> String {
    let base = fs::read_to_string(testdata().join("base.yaml")).unwrap();
    let tls = fs::read_to_string(testdata().join("tls.in.yaml")).unwrap();
    format!("{base}---\n{}", tls.split("---\n").next().unwrap())
}

/// A compiler that has seen other snapshots gives what a fresh one gives, and does not parse a Secret again.
#[test]
fn memory_saves_time_and_changes_nothing() {
    let site = site();
    let snapshots: Vec<_> = [secret("site"), secret("site"), secret("legacy"), String::new(), secret("site")]
        .iter()
        .map(|secret| snapshot(&[("site.yaml", &site), ("secret.yaml", secret)]))
        .collect();
    let options = options("");
    let mut compiler = Compiler::new(options.clone());
    let mut seen = Vec::new();
    for snapshot in &snapshots {
        let (remembered, fresh) = (compiler.compile(snapshot), compile(snapshot, &options));
        assert_eq!(view(&remembered), view(&fresh));
        assert_eq!(remembered.diagnostics, fresh.diagnostics);
        assert_eq!(remembered.references, fresh.references);
        seen.push(remembered.table.certificates().find(Some("site.example.com"))[0].clone());
    }
    assert!(Arc::ptr_eq(&seen[0], &seen[1]), "an equal Secret is not parsed again");
    assert!(!Arc::ptr_eq(&seen[0], &seen[2]));
    assert!(!Arc::ptr_eq(&seen[0], &seen[4]), "what was not used is forgotten");
}

/// Without the right to read IngressClasses only the annotation selects.
#[test]
fn unreadable_classes_select_nothing() {
    let ingress = |name: &str, class: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n{class}  rules:\n    - host: {name}.example.com\n"
        )
    };
    let manifests = [
        ingress("by-class", "spec:\n  ingressClassName: rust-nginx\n"),
        ingress("by-annotation", "  annotations:\n    kubernetes.io/ingress.class: rust-nginx\nspec:\n"),
        ingress(
            "both",
            "  annotations:\n    kubernetes.io/ingress.class: rust-nginx\nspec:\n  ingressClassName: other\n",
        ),
    ]
    .join("---\n");
    let ours = |snapshot: &Snapshot, flags: &str| {
        let compiled = compile(snapshot, &options(flags));
        compiled.ingresses.iter().map(|name| name.name.to_string()).collect::<Vec<_>>()
    };
    let mut snapshot = snapshot(&[("a.yaml", &manifests)]);
    assert_eq!(ours(&snapshot, ""), ["by-annotation"]);
    let resource = ObjectRef::named(ObjectKind::Resource, "ingressclasses");
    let reason = crate::diagnostic::Reason::ResourceUnavailable;
    snapshot.findings = Arc::new([Diagnostic::warning(resource, reason, "", "forbidden")]);
    assert_eq!(ours(&snapshot, ""), ["both", "by-annotation"]);
    assert_eq!(ours(&snapshot, "--watch-ingress-without-class"), ["both", "by-annotation"]);
    assert_eq!(ours(&snapshot, "--ingress-class-by-name"), ["both", "by-annotation", "by-class"]);
}

mod properties {
    use super::*;
    use crate::snapshot::{
        Backend, Ingress, IngressPath, IngressRule, IngressTls, PathType, ServiceBackend, ServicePortRef,
    };
    use proptest::{collection::vec, option, prelude::*, sample::select};
    use rust_nginx_proxy::filter::Filter;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            select(vec![
                "",
                "/",
                "true",
                "a.example.com",
                "*.example.com",
                "/a/../..",
                "/%2F",
                "0",
                "on",
                "/{x}",
                "web"
            ])
            .prop_map(str::to_owned),
            any::<String>(),
        ]
    }

    fn backend() -> impl Strategy<Value = Backend> {
        let port = prop_oneof![
            any::<u16>().prop_map(ServicePortRef::Number),
            text().prop_map(|name| ServicePortRef::Name(name.into())),
            Just(ServicePortRef::Missing),
        ];
        prop_oneof![
            (text(), port).prop_map(|(name, port)| Backend::Service(ServiceBackend { name: name.into(), port })),
            text().prop_map(Backend::Resource),
            Just(Backend::Nothing),
        ]
    }

    fn path() -> impl Strategy<Value = IngressPath> {
        let path_type = select(vec![PathType::Exact, PathType::Prefix, PathType::ImplementationSpecific]);
        (text(), path_type, backend()).prop_map(|(path, path_type, backend)| IngressPath {
            path: path.into(),
            path_type,
            backend,
        })
    }

    fn annotations() -> impl Strategy<Value = BTreeSet<(String, String)>> {
        let names: Vec<_> = annotation::registry().map(|annotation| annotation.name).collect();
        let name = select(names).prop_map(|name| format!("nginx.ingress.kubernetes.io/{name}"));
        vec((name, text()), 0..4).prop_map(|pairs| pairs.into_iter().collect())
    }

    fn ingress() -> impl Strategy<Value = Ingress> {
        let rule = (text(), option::of(vec(path(), 0..4)))
            .prop_map(|(host, paths)| IngressRule { host, paths: paths.map(Into::into) });
        let tls = (vec(text(), 0..3), text())
            .prop_map(|(hosts, name)| IngressTls { hosts: hosts.into(), secret_name: name.into() });
        let parts = (text(), any::<i32>(), annotations(), option::of(backend()), vec(rule, 0..4), vec(tls, 0..2));
        parts.prop_map(|(name, created, annotations, default_backend, rules, tls)| Ingress {
            name: ObjectName::new("default", name),
            uid: "".into(),
            resource_version: "".into(),
            created: jiff::Timestamp::from_second(created.into()).ok(),
            annotations: annotations.into_iter().collect(),
            class_name: Some("rust-nginx".into()),
            default_backend,
            rules: rules.into(),
            tls: tls.into(),
            status: Box::default(),
            status_writer: None,
        })
    }

    /// Some of the annotations that guard whatever their value.
    fn is_guarded(ingress: &Ingress) -> bool {
        ["auth-type", "auth-url", "configuration-snippet", "auth-tls-secret", "auth-secret"].iter().any(|name| {
            let value = ingress.annotations.get(&format!("nginx.ingress.kubernetes.io/{name}"));
            value.is_some_and(|value| !value.trim().is_empty())
        })
    }

    proptest! {
        /// Whatever stands in the objects: no panic, the same bytes again, a route for every path of every host, and
        /// nothing open that an Ingress wants guarded.
        #[test]
        fn nothing_breaks_compile(ingresses in vec(ingress(), 0..6), keys in vec((text(), text()), 0..4)) {
            let base = fs::read_to_string(testdata().join("base.yaml")).unwrap();
            let mut snapshot = snapshot(&[("base.yaml", &base)]);
            for ingress in ingresses {
                snapshot.ingresses.insert(ingress.name.clone(), Arc::new(ingress));
            }
            let name = ObjectName::new("default", "settings");
            let known = config_map::registry().map(|key| key.name).zip(&keys).map(|(key, (_, value))| (key.to_owned(), value.clone()));
            let data = keys.iter().cloned().chain(known).collect();
            snapshot.config_maps.insert(name.clone(), Arc::new(crate::snapshot::ConfigMap { name, data }));
            let options = options("--configmap=default/settings");
            let compiled = compile(&snapshot, &options);
            let again = compile(&snapshot, &options);
            prop_assert_eq!(view(&compiled), view(&again));
            prop_assert_eq!(&compiled.diagnostics, &again.diagnostics);
            for host in compiled.table.hosts().sorted() {
                prop_assert!(host.route("/").is_some());
                prop_assert!(host.route("/any/path").is_some());
                for route in host.routes() {
                    let name = ObjectName::new(&*route.labels.namespace, &*route.labels.ingress);
                    if snapshot.ingresses.get(&name).is_some_and(|ingress| is_guarded(ingress)) {
                        prop_assert!(matches!(&*route.filters, [Filter::Refuse(_)]), "{:?}", route);
                    }
                }
            }
        }
    }
}
