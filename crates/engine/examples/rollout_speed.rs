//! How fast rollouts are in process: `cargo run --release -p unisono-engine --example rollout_speed -- 1000000`.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use unisono_engine::rollout::workload::{Workload, restart};

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    pages * 4096
}

fn main() {
    let targets: usize = std::env::args()
        .nth(1)
        .and_then(|it| it.parse().ok())
        .unwrap_or(1_000_000);
    let begin = (resident(), Instant::now());
    let mut workload = Workload::new(targets);
    println!(
        "{targets} targets joined and a rollout begun in {:?}, {} in flight",
        begin.1.elapsed(),
        workload.in_flight()
    );
    println!(
        "{} bytes a target, names and the workload's own copy of them included",
        (resident() - begin.0) / targets
    );

    for _ in 0..3 {
        let parts = workload.parts("v1", "running");
        let at = Instant::now();
        for part in parts {
            workload.report(part);
        }
        println!("{targets} unchanged reports in {:?}", at.elapsed());
    }
    let mut micros: Vec<f64> = Vec::new();
    for _ in 0..20_000 {
        let at = Instant::now();
        if !workload.report_one() {
            break;
        }
        micros.push(at.elapsed().as_secs_f64() * 1e6);
    }
    micros.sort_by(f64::total_cmp);
    let share = |part: f64| micros[(micros.len() as f64 * part) as usize];
    println!(
        "one report and what follows: p50 {:.1} us, p99 {:.1} us, {} of them",
        share(0.5),
        share(0.99),
        micros.len()
    );

    let at = Instant::now();
    for _ in 0..100 {
        workload.evaluate();
    }
    println!("a full evaluation in {:?}", at.elapsed() / 100);
    let parts = workload.news();
    let (before, at) = (workload.work(), Instant::now());
    for part in parts {
        workload.report(part);
    }
    let (after, took) = (workload.work(), at.elapsed());
    println!(
        "{:.0} durable reports a second (decided, encoded, folded), {} bytes each",
        targets as f64 / took.as_secs_f64(),
        (after.1 - before.1) / targets as u64
    );
    let at = Instant::now();
    let rows = workload.rows();
    println!(
        "{} rows of {} bytes written in {:?}",
        rows.len(),
        rows.iter().map(|it| it.1.len()).sum::<usize>(),
        at.elapsed()
    );
    let revision = workload.revision();
    drop(workload);
    let at = Instant::now();
    let state = restart(&rows, revision).unwrap();
    println!(
        "loaded again in {:?}, {} entities",
        at.elapsed(),
        state.rollouts().all().count()
    );
}
