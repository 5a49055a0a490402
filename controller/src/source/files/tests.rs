use super::*;
use std::{fs, time::Duration};
use tokio::time::timeout;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n    - port: 80\n";

fn service(name: &str) -> String {
    SERVICE.replace("web", name)
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.services.keys().map(|key| &*key.name).collect()
}

/// A running source.
struct Running {
    directory: tempfile::TempDir,
    snapshots: channel::Receiver<Option<Snapshot>>,
}

impl Running {
    fn start(directory: tempfile::TempDir) -> Self {
        Self::start_at(directory, ".")
    }

    fn start_at(directory: tempfile::TempDir, below: &str) -> Self {
        let (sender, snapshots) = channel::channel(None);
        tokio::spawn(run(directory.path().join(below), Scope::All, sender));
        Self { directory, snapshots }
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.directory.path().join(name), content).unwrap();
    }

    async fn until(&mut self, expected: &[&str]) {
        let arrived = self.snapshots.wait_for(|snapshot| snapshot.as_ref().is_some_and(|it| names(it) == expected));
        let outcome = timeout(Duration::from_secs(20), arrived).await;
        let arrived = outcome.is_ok_and(|result| result.is_ok());
        assert!(
            arrived,
            "expected {expected:?}, found {:?}",
            self.snapshots.borrow().as_ref().map(|it| format!("{it:?}"))
        );
    }
}

#[test]
fn documents_end_at_markers_and_keep_their_lines() {
    let file: Arc<str> = "x.yaml".into();
    let text = "%YAML 1.2\n---\na: |\n  --- inside\n--- # two\nb: 2\n...\n\n# nothing\n---\n---\nc: 3\n";
    let documents = document::split(&file, text);
    let found: Vec<_> = documents.iter().map(|it| (it.place.document, it.place.line, it.parse().unwrap())).collect();
    assert_eq!(
        found,
        [
            (1, 2, serde_json::json!({ "a": "--- inside\n" })),
            (2, 5, serde_json::json!({ "b": 2 })),
            (3, 11, serde_json::json!({ "c": 3 })),
        ]
    );
}

#[test]
fn line_ends_of_other_systems_are_fine() {
    let file: Arc<str> = "x.yaml".into();
    let text = format!("\u{feff}{SERVICE}---\n{}", service("api")).replace('\n', "\r\n");
    let entries = manifest::parse(&file, text.as_bytes());
    assert!(entries.iter().all(|entry| matches!(entry, Entry::Object(..))), "{entries:?}");
    assert_eq!(entries.len(), 2);
}

/// `kubectl get services --all-namespaces --output yaml` of a large cluster.
#[test]
fn a_list_may_be_long() {
    let item = SERVICE.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let items: String =
        (0..20_000).map(|index| format!("  -\n{}", item.replace("web", &format!("web{index}")))).collect();
    let entries =
        manifest::parse(&"all.yaml".into(), format!("apiVersion: v1\nkind: List\nitems:\n{items}").as_bytes());
    assert!(entries.iter().all(|entry| matches!(entry, Entry::Object(..))), "{:?}", entries.first());
    assert_eq!(entries.len(), 20_000);
}

/// A few lines that would take the memory of the machine when written out.
#[test]
fn references_that_multiply_are_one_finding() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let references = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{references}]\n"));
    }
    let entries = manifest::parse(&"bomb.yaml".into(), bomb.as_bytes());
    let [Entry::Unreadable(_, finding)] = &*entries else { panic!("{} entries", entries.len()) };
    assert_eq!(finding.reason, Reason::Unparsable);
}

#[test]
fn what_did_not_change_is_shared() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), SERVICE).unwrap();
    fs::create_dir(directory.path().join("below")).unwrap();
    fs::write(directory.path().join("below/b.yml"), service("api")).unwrap();
    let json = serde_json::json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" } });
    fs::write(directory.path().join("c.json"), json.to_string()).unwrap();
    fs::write(directory.path().join("d.txt"), "not read").unwrap();
    fs::write(directory.path().join(".hidden.yaml"), "not read").unwrap();
    let first = read(directory.path(), &Snapshot::default());
    assert_eq!(names(&first), ["api", "web"]);
    assert_eq!(first.config_maps.len(), 1);
    assert!(first.findings.is_empty(), "{:?}", first.findings);

    fs::write(directory.path().join("below/b.yml"), service("api").replace("80", "81")).unwrap();
    let second = read(directory.path(), &first);
    let same = |name: &str| {
        let key = ObjectName::new("default", name);
        Arc::ptr_eq(&first.services[&key], &second.services[&key])
    };
    assert!(same("web"));
    assert!(!same("api"));
    assert!(first.config_maps.ptr_eq(&second.config_maps));
}

#[test]
fn a_file_that_is_no_text_is_one_finding() {
    let entries = manifest::parse(&"x.yaml".into(), b"a: b\n\xff\n");
    assert_eq!(entries.len(), 1);
    let Entry::Unreadable(_, finding) = &entries[0] else { panic!("{entries:?}") };
    assert_eq!((finding.reason, &*finding.field), (Reason::Unparsable, "document 1, line 2"));
}

#[test]
fn a_directory_that_is_lost_keeps_its_objects() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), SERVICE).unwrap();
    let mut reader = Reader::new(directory.path().to_owned(), Scope::All);
    assert_eq!(names(&reader.read()), ["web"]);
    directory.close().unwrap();
    let lost = reader.read();
    assert_eq!(names(&lost), ["web"]);
    assert_eq!(lost.findings.len(), 1);
}

#[test]
fn circles_of_links_end() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), SERVICE).unwrap();
    std::os::unix::fs::symlink(directory.path(), directory.path().join("circle")).unwrap();
    let snapshot = read(directory.path(), &Snapshot::default());
    assert_eq!(names(&snapshot), ["web"]);
    assert!(!snapshot.findings.is_empty());
}

#[tokio::test]
async fn changes_are_noticed() {
    let mut source = Running::start(tempfile::tempdir().unwrap());
    source.until(&[]).await;
    source.write("a.yaml", SERVICE);
    source.until(&["web"]).await;
    // An editor writes aside and renames over.
    source.write(".a.yaml.new", &service("renamed"));
    let path = source.directory.path().to_owned();
    fs::rename(path.join(".a.yaml.new"), path.join("a.yaml")).unwrap();
    source.until(&["renamed"]).await;
    fs::create_dir(path.join("below")).unwrap();
    source.write("below/b.yaml", &service("below"));
    source.until(&["below", "renamed"]).await;
    fs::remove_file(source.directory.path().join("a.yaml")).unwrap();
    source.until(&["below"]).await;
}

#[tokio::test]
async fn a_mounted_config_map_is_swapped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let link = |from: &str, to: &str| std::os::unix::fs::symlink(from, path.join(to)).unwrap();
    let version = |name: &str, content: &str| {
        fs::create_dir(path.join(name)).unwrap();
        fs::write(path.join(name).join("a.yaml"), content).unwrap();
    };
    version("..1", SERVICE);
    link("..1", "..data");
    link("..data/a.yaml", "a.yaml");
    let mut source = Running::start(directory);
    source.until(&["web"]).await;
    version("..2", &service("api"));
    link("..2", "..data_tmp");
    fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    fs::remove_dir_all(path.join("..1")).unwrap();
    source.until(&["api"]).await;
}

#[tokio::test]
async fn a_directory_that_is_missing_is_waited_for() {
    let mut source = Running::start_at(tempfile::tempdir().unwrap(), "later");
    let published = timeout(Duration::from_millis(200), source.snapshots.changed()).await;
    assert!(published.is_err(), "an empty table would be installed");
    fs::create_dir(source.directory.path().join("later")).unwrap();
    source.write("later/a.yaml", SERVICE);
    source.until(&["web"]).await;
    // Removed and made anew: another directory under the same name.
    fs::remove_dir_all(source.directory.path().join("later")).unwrap();
    fs::create_dir(source.directory.path().join("later")).unwrap();
    source.write("later/b.yaml", &service("again"));
    source.until(&["again"]).await;
}

#[tokio::test]
async fn rewriting_the_same_publishes_nothing() {
    let mut source = Running::start(tempfile::tempdir().unwrap());
    source.write("a.yaml", SERVICE);
    source.until(&["web"]).await;
    source.snapshots.mark_unchanged();
    source.write("a.yaml", SERVICE);
    source.write("b.yaml", "# a comment\n");
    source.write("c.yaml", &service("marker"));
    source.until(&["marker", "web"]).await;
    let directory = source.directory.path();
    for round in 0..3 {
        fs::write(directory.join("a.yaml"), SERVICE).unwrap();
        fs::write(directory.join("b.yaml"), format!("# comment {round}\n")).unwrap();
    }
    let published = timeout(Duration::from_millis(300), source.snapshots.changed()).await;
    assert!(published.is_err(), "nothing changed");
}

/// An Ingress, its namespace, and a Namespace with a label.
fn fill_with_namespaces(directory: &Path) {
    let ingress = |namespace: &str| {
        format!("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, namespace: {namespace}}}\n")
    };
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {team: x}}\n";
    let all = [&*ingress("a"), &*ingress("b"), namespace].join("---\n");
    fs::write(directory.join("a.yaml"), all).unwrap();
}

fn served(directory: &Path, scope: Scope) -> (Vec<String>, Vec<String>) {
    let snapshot = Reader::new(directory.to_owned(), scope).read();
    let names = snapshot.ingresses.keys().map(ToString::to_string).collect();
    (names, snapshot.findings.iter().map(|finding| finding.message.to_string()).collect())
}

#[test]
fn only_the_ingresses_of_the_watched_namespaces_are_served() {
    let directory = tempfile::tempdir().unwrap();
    fill_with_namespaces(directory.path());
    let selector = |text| Scope::Selector(crate::args::LabelSelector::parse(text).unwrap());
    assert_eq!(served(directory.path(), Scope::All).0, ["a/web", "b/web"]);
    assert_eq!(served(directory.path(), Scope::Namespace("b".into())), (vec!["b/web".to_owned()], Vec::new()));
    let (names, findings) = served(directory.path(), selector("team=x"));
    assert_eq!(names, ["a/web"]);
    assert_eq!(
        findings,
        ["Namespace b is not among the manifests, so that its labels are not known: its Ingresses are not served"]
    );
    assert_eq!(served(directory.path(), selector("team!=x")).0, Vec::<String>::new());
}

#[test]
fn what_cannot_be_read_is_remembered() {
    let unreadable = |text: &str| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), text).unwrap();
        read(directory.path(), &Snapshot::default())
    };
    let config_map = |name| ObjectName::new("a", name);
    // A number where a string belongs.
    let known = unreadable("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: a}\ndata: {k: 5}\n");
    assert!(known.may_be_unreadable(&config_map("x")));
    assert!(!known.may_be_unreadable(&config_map("y")));
    // No YAML: nobody knows what it is.
    assert!(unreadable("apiVersion: v1\nkind: ConfigMap\ndata: [\n").may_be_unreadable(&config_map("y")));
    assert!(
        !unreadable("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: 5}\n")
            .may_be_unreadable(&config_map("y"))
    );
}
