//! YAML of a stranger → objects → table: never a panic, and the same from the second reading as from the first.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rust_nginx::{
    args::{self, Invocation, ProcessEnvironment},
    compile::{Options, compile},
    snapshot::Snapshot,
    source::files,
};
use rust_nginx_proxy::tls::Certificate;
use std::{
    fs,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

/// Kept for as long as the process runs; it is written over with every input.
static DIRECTORY: LazyLock<PathBuf> =
    LazyLock::new(|| tempfile::tempdir().expect("the directory for temporary files can be written").keep());

static OPTIONS: LazyLock<Options> = LazyLock::new(|| {
    let line = ["serve", "--manifests=.", "--configmap=default/settings", "--watch-ingress-without-class"];
    let Ok(Invocation::Serve(serve)) = args::parse(line.map(Into::into), &ProcessEnvironment) else {
        panic!("the arguments above are valid");
    };
    let fallback_certificate = Arc::new(Certificate::self_signed().expect("a key can be made"));
    Options { flags: serve.compile, fallback_certificate }
});

fuzz_target!(|bytes: &[u8]| {
    fs::write(DIRECTORY.join("all.yaml"), bytes).expect("the directory can be written");
    let snapshot = files::read(&DIRECTORY, &Snapshot::default());
    let compiled = compile(&snapshot, &OPTIONS);
    let again = compile(&files::read(&DIRECTORY, &Snapshot::default()), &OPTIONS);
    assert_eq!(compiled.diagnostics, again.diagnostics);
});
