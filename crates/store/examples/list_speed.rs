//! Measures lists and counts: `cargo run --release -p unisono-store --example list_speed -- 10000000`.
//!
//! The argument is the number of finished runs (1,000,000 unless given), of which only the summaries are written. They
//! lie in a temporary directory, made under `TMPDIR`, that takes about 150 bytes for each.
#![expect(clippy::unwrap_used, reason = "a measurement that fails may end at once")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use unisono_model::Name;
use unisono_model::api::{OrchestrationState, OrchestrationSummary};
use unisono_model::ids::Timestamp;
use unisono_store::{Checkpoint, PageRequest, RunFilter, RunKey, Store, StoreOptions};

const BATCH: u64 = 2_000;
const FIRST: i64 = 1_750_000_000_000;
/// Revisions from one run to the next: a chain of three has so many events.
const EVENTS: u64 = 8;
const TIMES: usize = 30;

fn main() {
    let runs: u64 = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(dir.path().join("store"));
    let store = Store::open(options.clone()).unwrap();
    fill(&store, runs);
    drop(store);
    let store = Store::open(options).unwrap();
    println!("{:<58}{:>9} MiB", "size on disk", store.size_bytes() >> 20);
    for (name, filter) in filters(runs) {
        measure(&store, name, &filter);
    }
    delete(&store, runs / 20);
}

/// Deletes this many of each of two types as retention does: the oldest first, 512 a commit.
fn delete(store: &Store, most: u64) {
    let begin = Instant::now();
    let (mut looks, mut commits, mut deleted) = (Vec::new(), Vec::new(), 0);
    for name in ["type-3", "type-11"] {
        let r#type = Name::parse(name).unwrap();
        let mut left = usize::try_from(most).unwrap();
        while left > 0 {
            let start = Instant::now();
            let found = store.oldest_ended(&namespace(), &r#type, None, left.min(512)).unwrap();
            looks.push(start.elapsed());
            if found.is_empty() {
                break;
            }
            let mut batch = store.batch();
            found.iter().for_each(|(run, _)| batch.delete(*run, &namespace()));
            let start = Instant::now();
            store.commit(batch).unwrap();
            commits.push(start.elapsed());
            left -= found.len();
            deleted += found.len();
        }
    }
    let rate = deleted as f64 / begin.elapsed().as_secs_f64();
    println!("{:<58}{rate:>9.0}/s", format!("{deleted} deleted, 512 a commit"));
    show("one look for the oldest", &mut looks);
    show("one such commit", &mut commits);
}

/// Runs of 20 types, in five versions one after the other, 1 in 100 errored, 1 in 1,000 of them cancelled; each with a
/// correlation id of its own, one of seven teams, and 1 in 100,000 marked. 1 in 50 takes a day, the others a moment.
fn fill(store: &Store, runs: u64) {
    let begin = Instant::now();
    let mut commits = Vec::new();
    for first in (0..runs).step_by(BATCH as usize) {
        let mut batch = store.batch();
        for run in first..(first + BATCH).min(runs) {
            batch.summary(RunKey(run * EVENTS), &namespace(), &summary(run, runs));
        }
        let start = Instant::now();
        store.commit(batch).unwrap();
        commits.push(start.elapsed());
    }
    let checkpoint = Checkpoint {
        position: 0,
        revision: 0,
        format: 1,
    };
    store.commit_checkpoint(checkpoint).unwrap();
    let rate = runs as f64 / begin.elapsed().as_secs_f64();
    println!("{:<58}{rate:>9.0}/s", "summaries written, 2,000 a commit");
    show("one such commit", &mut commits);
}

fn filters(runs: u64) -> Vec<(&'static str, RunFilter)> {
    let all = RunFilter::default;
    let at = |part: u64| Some(created_at(runs * part / 10));
    let r#type = Some(Name::parse("type-7").unwrap());
    let label = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let [errored, completed] = [OrchestrationState::Errored, OrchestrationState::Completed].map(|state| vec![state]);
    let marked = || RunFilter {
        labels: label("marked", "yes"),
        ..all()
    };
    vec![
        ("all", all()),
        (
            "created before",
            RunFilter {
                created_before: at(5),
                ..all()
            },
        ),
        (
            "state (1 in 100)",
            RunFilter {
                states: errored.clone(),
                ..all()
            },
        ),
        (
            "type (1 in 20)",
            RunFilter {
                r#type: r#type.clone(),
                ..all()
            },
        ),
        (
            "state, type (1 in 2,000)",
            RunFilter {
                states: errored.clone(),
                r#type: r#type.clone(),
                ..all()
            },
        ),
        (
            "old version (the oldest 1 in 5)",
            RunFilter {
                version: Some(1),
                ..all()
            },
        ),
        (
            "label (1 in 7), state (1 in 100)",
            RunFilter {
                labels: label("team", "team-3"),
                states: errored.clone(),
                ..all()
            },
        ),
        (
            "label (1 in 100,000), completed",
            RunFilter {
                states: completed,
                ..marked()
            },
        ),
        (
            "label (1 in 100,000), errored: none",
            RunFilter {
                states: errored.clone(),
                ..marked()
            },
        ),
        (
            "correlation id (1)",
            RunFilter {
                correlation_id: Some(format!("order-{}", runs / 3)),
                ..all()
            },
        ),
        (
            "ended within the last 1 in 1,000",
            RunFilter {
                ended_after: Some(created_at(runs - runs / 1_000)),
                ..all()
            },
        ),
        (
            "created in 1 in 10, state, type, label",
            RunFilter {
                created_after: at(2),
                created_before: at(3),
                states: errored,
                r#type,
                labels: label("team", "team-3"),
                ..all()
            },
        ),
    ]
}

fn measure(store: &Store, name: &str, filter: &RunFilter) {
    let request = || PageRequest { limit: 50, token: None };
    let mut found = 0;
    time(&format!("page of 50: {name}"), || {
        found = black_box(store.list(&namespace(), filter, request()).unwrap())
            .items
            .len();
    });
    let mut count = None;
    time(&format!("count: {name}"), || {
        count = Some(store.count(&namespace(), filter).unwrap())
    });
    let count = count.unwrap();
    let or_more = if count.or_more { " or more" } else { "" };
    println!("    {found} on the page, {}{or_more} in all", count.runs);
}

fn created_at(run: u64) -> Timestamp {
    Timestamp(FIRST + i64::try_from(run).unwrap())
}

fn summary(run: u64, runs: u64) -> OrchestrationSummary {
    let took = if run % 50 == 13 { 24 * 3_600_000 } else { 12 };
    let state = match run {
        run if run % 100_000 == 7 => OrchestrationState::Cancelled,
        run if run % 100 == 7 => OrchestrationState::Errored,
        _ => OrchestrationState::Completed,
    };
    let mut labels = BTreeMap::from([("team".to_owned(), format!("team-{}", run % 7))]);
    if run % 100_000 == 50_001 {
        labels.insert("marked".to_owned(), "yes".to_owned());
    }
    OrchestrationSummary {
        id: Name::parse(&format!("{:016x}", run.wrapping_mul(0x9e37_79b9_7f4a_7c15))).unwrap(),
        r#type: Name::parse(&format!("type-{}", run * 7 / 100 % 20)).unwrap(),
        version: u32::try_from(1 + run * 5 / runs).unwrap(),
        state,
        correlation_id: Some(format!("order-{run}")),
        labels,
        created_at: created_at(run),
        ended_at: Some(created_at(run).plus_millis(took)),
        waiting_for: Vec::new(),
    }
}

fn namespace() -> Name {
    Name::parse("default").unwrap()
}

fn time(name: &str, mut what: impl FnMut()) {
    let mut taken: Vec<_> = (0..TIMES)
        .map(|_| {
            let start = Instant::now();
            what();
            start.elapsed()
        })
        .collect();
    let first = taken[0];
    taken.sort_unstable();
    println!(
        "{name:<58}{:>9.1?} p50 {:>9.1?} max {first:>9.1?} first",
        taken[TIMES / 2],
        taken[TIMES - 1]
    );
}

fn show(name: &str, taken: &mut [Duration]) {
    taken.sort_unstable();
    let at = |percent: usize| taken[(taken.len() - 1) * percent / 100];
    println!(
        "{name:<58}{:>9.1?} p50 {:>9.1?} p99 {:>9.1?} max",
        at(50),
        at(99),
        at(100)
    );
}
