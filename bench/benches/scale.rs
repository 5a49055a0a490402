//! How long compiling and looking up take in a cluster of 20,000 Ingresses: the part of `make bench-scale` that needs
//! no API server. All of it runs on one thread.
//!
//! The names are read by `bench/src/scale/pure.rs`.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, Result};
use criterion::{BatchSize, Bencher, Criterion, criterion_group, criterion_main};
use rust_nginx::compile::{Compiler, Options};
use rust_nginx::snapshot::{ObjectName, Snapshot};
use rust_nginx_bench::fleet::{Fleet, Shape, namespace_name, service_name};
use rust_nginx_bench::lookup::{self, CLASS, Lookups};
use rust_nginx_proxy::Handle;

const INGRESSES: usize = 20_000;
/// The Ingress and the Service that change.
const INGRESS: usize = 12_346;
const SERVICE: usize = 2_468;

criterion_group!(benches, compile, lookups);
criterion_main!(benches);

fn compile(criterion: &mut Criterion) {
    let fleet = Fleet::new(INGRESSES, CLASS).expect("a fleet can be made");
    let snapshot = fleet.snapshot().expect("its objects can be read");
    let options = lookup::options().expect("a certificate can be made");
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);

    group.bench_function("full", |bencher| {
        let fresh = || Compiler::new(options.clone());
        // Freeing what was made is not part of it: the process does that on another thread.
        bencher.iter_batched(fresh, |mut compiler| (compiler.compile(&snapshot), compiler), BatchSize::PerIteration);
    });

    let ingress = with_another_path(&snapshot, &fleet).expect("an Ingress can be changed");
    group.bench_function("one-ingress", |bencher| alternate(bencher, &options, [&snapshot, &ingress]));

    let slice = with_another_pod(&snapshot, &fleet).expect("a slice can be changed");
    group.bench_function("one-slice", |bencher| alternate(bencher, &options, [&snapshot, &slice]));
    group.finish();
}

/// Compiles and installs two snapshots in turns, as the reconcile loop does with what the watches bring. The table that
/// is replaced is freed by the next install, which is part of it.
fn alternate(bencher: &mut Bencher<'_>, options: &Options, snapshots: [&Snapshot; 2]) {
    let mut compiler = Compiler::new(options.clone());
    let handle = Handle::new(compiler.compile(snapshots[0]).table);
    let mut turn = 0;
    bencher.iter_with_large_drop(|| {
        turn += 1;
        let compiled = compiler.compile(snapshots[turn % 2]);
        assert!(handle.install(compiled.table.clone()), "the table is another one each time");
        compiled
    });
}

fn lookups(criterion: &mut Criterion) {
    let lookups = Lookups::new().expect("tables can be made");
    let mut group = criterion.benchmark_group("lookup");
    for (name, question) in lookups.questions() {
        group.bench_function(*name, |bencher| {
            let mut position = 0;
            bencher.iter(|| {
                position += 1;
                black_box(lookups.ask(black_box(question), position).is_some())
            });
        });
    }
    group.finish();
}

fn with_another_path(snapshot: &Snapshot, fleet: &Fleet) -> Result<Snapshot> {
    let mut ingress = fleet.ingress(INGRESS);
    let last = lookup::paths(&mut ingress)?.last_mut().context("an Ingress without paths")?;
    last.path = Some("/another".to_owned());
    lookup::with(snapshot, ingress)
}

fn with_another_pod(snapshot: &Snapshot, fleet: &Fleet) -> Result<Snapshot> {
    let mut slice = fleet.endpoint_slice(SERVICE);
    let endpoint = slice.endpoints.as_mut().and_then(|endpoints| endpoints.first_mut());
    endpoint.context("a slice without endpoints")?.addresses = vec!["10.244.255.1".to_owned()];
    let name: Arc<str> = slice.metadata.name.as_deref().context("a slice without name")?.into();
    let service = ObjectName::new(namespace_name(Shape::namespace_of_service(SERVICE)), service_name(SERVICE));
    let mut changed = snapshot.clone();
    let slices = changed.endpoint_slices.get_mut(&service).context("a Service without slices")?;
    slices.insert(name, Arc::new(slice.try_into()?));
    Ok(changed)
}
