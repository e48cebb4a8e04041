//! Measures what a node asks of the store: `cargo run --release -p unisono-store --example store_speed -- 300000`.
//!
//! The argument is the number of finished runs (300,000 unless given). Three and a third times as many entities are
//! written and streamed back. Everything lies in a temporary directory, made under `TMPDIR`.
#![expect(clippy::unwrap_used, reason = "a measurement that fails may end at once")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use unisono_model::Name;
use unisono_model::api::{OrchestrationState, OrchestrationSummary};
use unisono_model::ids::Timestamp;
use unisono_store::{Checkpoint, EntityKind, RunKey, Store, StoreOptions};

const BATCH: u64 = 1_000;
const FIRST: i64 = 1_750_000_000_000;

fn main() {
    let runs: u64 = std::env::args().nth(1).map_or(300_000, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(dir.path().join("store"));
    let store = Store::open(options.clone()).unwrap();
    commits(&store, runs);
    entities(&store, runs * 10 / 3);
    reads(&store, runs);
    println!("{:<44}{:>9} MiB", "size on disk", store.size_bytes() >> 20);
    drop(store);
    let begin = Instant::now();
    let store = Store::open(options).unwrap();
    println!("{:<44}{:>9.1?}", "reopen", begin.elapsed());
    entity_stream(&store);
}

/// A finished run as a 3-step chain leaves it: a summary with a correlation id and a label, and 1 KiB of history.
fn commits(store: &Store, runs: u64) {
    let begin = Instant::now();
    let mut noise = Noise(1);
    let (mut commits, mut checkpoints) = (Vec::new(), Vec::new());
    for first in (0..runs).step_by(BATCH as usize) {
        let mut batch = store.batch();
        let start = Instant::now();
        for run in first..first + BATCH {
            let key = RunKey(run * 12);
            batch.summary(key, &namespace(), &summary(run));
            batch.history(key, key.0, key.0 + 11, &noise.text(1_024));
        }
        store.commit(batch).unwrap();
        commits.push(start.elapsed());
        if first % (20 * BATCH) == 0 {
            let start = Instant::now();
            let checkpoint = Checkpoint {
                position: first,
                revision: first,
                format: 1,
            };
            store.commit_checkpoint(checkpoint).unwrap();
            checkpoints.push(start.elapsed());
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{:<44}{:>9.0}/s",
        "finished runs, 1,000 a commit, not synced",
        runs as f64 / seconds
    );
    show("one such commit, batch built", &mut commits);
    show("checkpoint (sync) after 20 of them", &mut checkpoints);
}

fn entities(store: &Store, count: u64) {
    let begin = Instant::now();
    let mut noise = Noise(2);
    for first in (0..count).step_by(BATCH as usize) {
        let mut batch = store.batch();
        for key in first..first + BATCH {
            batch.put_entity(EntityKind::Run, key * 12, &noise.text(300));
        }
        store.commit(batch).unwrap();
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    println!("{:<44}{rate:>9.0}/s", "entities of 300 bytes put, 1,000 a commit");
}

fn entity_stream(store: &Store) {
    let begin = Instant::now();
    let mut count = 0;
    for row in store.entities().unwrap() {
        black_box(row.unwrap());
        count += 1;
    }
    println!("{:<44}{:>9.1?}", format!("{count} entities streamed"), begin.elapsed());
}

fn reads(store: &Store, runs: u64) {
    let mut noise = Noise(3);
    time("run key by id", 50_000, || {
        let id = id(noise.below(runs));
        assert!(store.run_key(&namespace(), &id).unwrap().is_some());
    });
    time("run key of an unknown id", 50_000, || {
        let id = id(runs + noise.below(runs));
        assert!(store.run_key(&namespace(), &id).unwrap().is_none());
    });
    time("history of one run", 50_000, || {
        let run = RunKey(noise.below(runs) * 12);
        assert_eq!(store.history(run, 0).unwrap().count(), 1);
    });
}

fn summary(run: u64) -> OrchestrationSummary {
    let created_at = Timestamp(FIRST + i64::try_from(run).unwrap());
    let failed = run % 100 == 7;
    OrchestrationSummary {
        id: id(run),
        r#type: Name::parse(&format!("type-{}", run * 7 / 100 % 20)).unwrap(),
        version: 3,
        state: if failed {
            OrchestrationState::Errored
        } else {
            OrchestrationState::Completed
        },
        correlation_id: Some(format!("order-{run}")),
        labels: BTreeMap::from([("team".to_owned(), format!("team-{}", run % 7))]),
        created_at,
        ended_at: Some(created_at.plus_millis(12)),
        waiting_for: Vec::new(),
    }
}

fn namespace() -> Name {
    Name::parse("default").unwrap()
}

/// Random in appearance, so that ids do not arrive in order.
fn id(run: u64) -> Name {
    Name::parse(&format!("{:016x}", run.wrapping_mul(0x9e37_79b9_7f4a_7c15))).unwrap()
}

fn time(name: &str, times: usize, mut what: impl FnMut()) {
    let mut taken: Vec<_> = (0..times)
        .map(|_| {
            let start = Instant::now();
            what();
            start.elapsed()
        })
        .collect();
    show(name, &mut taken);
}

fn show(name: &str, taken: &mut [Duration]) {
    taken.sort_unstable();
    let at = |percent: usize| taken[(taken.len() - 1) * percent / 100];
    println!(
        "{name:<44}{:>9.1?} p50 {:>9.1?} p99 {:>9.1?} max",
        at(50),
        at(99),
        at(100)
    );
}

/// Text that compresses about as well as JSON does: half of it repeats.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn text(&mut self, length: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(length + 32);
        while text.len() < length {
            text.extend_from_slice(b"{\"activity\":\"");
            text.extend_from_slice(format!("{:013x}", self.next() >> 12).as_bytes());
        }
        text.truncate(length);
        text
    }
}
