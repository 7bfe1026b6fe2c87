//! What it costs to get a library from its file into the process, all checks on.
#![allow(
    missing_docs,
    reason = "criterion's macro makes an undocumented function"
)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hotshoe_loader::{Policy, inspect, load, verify};
use std::hint::black_box;

mod common;

fn loading(c: &mut Criterion) {
    let path = common::library();
    let bytes = std::fs::read(&path).expect("the library");
    let mut group = c.benchmark_group("load");
    group.bench_function("inspect", |bencher| {
        bencher.iter(|| inspect(black_box(&bytes)).expect("inspected"))
    });
    group.bench_function("verify and stage", |bencher| {
        bencher.iter(|| verify(black_box(&path), &Policy::default()).expect("verified"));
    });
    // Each stays loaded, as in a host: few samples, or the process is all libraries.
    group.sample_size(20);
    group.measurement_time(std::time::Duration::from_millis(200));
    group.warm_up_time(std::time::Duration::from_millis(50));
    group.bench_function("verify, stage, open, handshake", |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                load(
                    verify(&path, &Policy::default()).expect("verified"),
                    "bench",
                )
                .expect("loaded")
                .module
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, loading);
criterion_main!(benches);
