//! How fast rollouts are in process, in a fleet of 1,000,000 targets.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use unisono_engine::rollout::workload::{Workload, restart};

const TARGETS: usize = 1_000_000;

fn benches(criterion: &mut Criterion) {
    let mut workload = Workload::new(TARGETS);
    let mut group = criterion.benchmark_group("rollout of 1,000,000 targets");
    group.sample_size(10);
    group.throughput(Throughput::Elements(1));
    group.bench_function("one report and what follows", |bencher| {
        bencher.iter(|| workload.report_one())
    });
    group.bench_function("full evaluation", |bencher| bencher.iter(|| workload.evaluate()));
    group.throughput(Throughput::Elements(TARGETS as u64));
    let unchanged = workload.parts("v1", "running");
    group.bench_function("reports that say nothing new", |bencher| {
        bencher.iter(|| unchanged.iter().for_each(|part| workload.report(part.clone())));
    });
    group.bench_function("reports that are durable", |bencher| {
        bencher.iter_batched(
            Vec::new,
            |_: Vec<()>| {
                let news = workload.news();
                news.into_iter().for_each(|part| workload.report(part));
            },
            BatchSize::PerIteration,
        );
    });
    let (rows, revision) = (workload.rows(), workload.revision());
    group.bench_function("restart from rows", |bencher| {
        bencher.iter(|| restart(&rows, revision).is_ok())
    });
    group.finish();
}

criterion_group!(rollouts, benches);
criterion_main!(rollouts);
