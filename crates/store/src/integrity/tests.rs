//! Bits of a store's files flip. Whatever the library makes of it, nobody is shown what was not written: opening or reading
//! fails, or shows what was there before, or, of the log behind the last checkpoint, what was there some commits earlier.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use unisono_model::Name;
use unisono_model::api::{OrchestrationState, OrchestrationSummary};
use unisono_model::ids::Timestamp;

use super::{Entries, check};
use crate::{Checkpoint, EntityKind, RunKey, Store, StoreError, StoreOptions};

/// All rows, by keyspace and key.
type Rows = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn rows(store: &Store) -> Result<Rows, StoreError> {
    store
        .snapshot()
        .rows()?
        .map(|row| row.map(|row| ((row.keyspace.to_string(), row.key.to_vec()), row.value.to_vec())))
        .collect()
}

/// A small generator of random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// Commit `number`: every row of an entity is written again and again, so that an older one would be noticed.
fn write(store: &Store, number: u64) {
    let namespace = Name::parse("prod").unwrap();
    let mut batch = store.batch();
    for run in [number % 5, number] {
        let summary = OrchestrationSummary {
            id: Name::parse(&format!("run-{run}")).unwrap(),
            r#type: Name::parse("tenant").unwrap(),
            version: 1,
            state: if number.is_multiple_of(2) {
                OrchestrationState::Running
            } else {
                OrchestrationState::Completed
            },
            correlation_id: None,
            labels: BTreeMap::new(),
            created_at: Timestamp(1),
            ended_at: None,
            waiting_for: Vec::new(),
        };
        batch.summary(RunKey(run), &namespace, &summary);
        batch.put_entity(EntityKind::Run, run, format!("run {run} at {number}").as_bytes());
        batch.history(RunKey(run), number, number, &[number as u8; 90]);
    }
    batch.put_entity(EntityKind::Agent, 1, &[number as u8; 5_000]);
    batch.log(RunKey(number), 0, 1, 0, b"a line");
    store.commit(batch).unwrap();
}

fn checkpoint(store: &Store, number: u64) {
    let checkpoint = Checkpoint {
        position: number,
        revision: number,
        format: 1,
    };
    store.commit_checkpoint(checkpoint).unwrap();
}

/// A store with tables, manifests and a log, and what it may show: the rows after the last checkpoint and each later commit.
fn built() -> (TempDir, Vec<Rows>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions::new(dir.path().join("store"))).unwrap();
    for number in 1..=6 {
        write(&store, number);
    }
    checkpoint(&store, 6);
    for (_, keyspace) in store.0.keyspaces().unwrap() {
        keyspace.rotate_memtable_and_wait().unwrap();
    }
    for number in 7..=12 {
        write(&store, number);
    }
    checkpoint(&store, 12);
    let mut valid = vec![rows(&store).unwrap()];
    for number in 13..=16 {
        write(&store, number);
        valid.push(rows(&store).unwrap());
    }
    drop(store);
    (dir, valid)
}

/// The files under a directory, without the zeros at their ends, and their lengths.
struct Image(Vec<(PathBuf, Vec<u8>, u64)>);

impl Image {
    fn of(dir: &Path) -> Self {
        let mut image = Self(Vec::new());
        image.add(dir);
        image.0.sort();
        image
    }

    fn add(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.add(&path);
            } else {
                let mut bytes = fs::read(&path).unwrap();
                let length = bytes.len() as u64;
                bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
                self.0.push((path, bytes, length));
            }
        }
    }

    /// Some file that is not empty; every other time the log, where most is left to us.
    fn pick(&self, random: &mut Random) -> usize {
        let only_log = random.below(2) == 0;
        loop {
            let file = random.below(self.0.len());
            let (path, bytes, _) = &self.0[file];
            let is_log = path.extension().is_some_and(|end| end == "jnl");
            if !bytes.is_empty() && (is_log || !only_log) {
                return file;
            }
        }
    }

    /// Puts everything back, with one bit flipped.
    fn write(&self, dir: &Path, flip: (usize, usize)) {
        fs::remove_dir_all(dir).unwrap();
        for (index, (path, bytes, length)) in self.0.iter().enumerate() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = bytes.clone();
            if index == flip.0 {
                bytes[flip.1 / 8] ^= 1 << (flip.1 % 8);
            }
            fs::write(path, &bytes).unwrap();
            fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(*length)
                .unwrap();
        }
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Refused,
    Same,
    Earlier,
    Panicked,
}

/// What became of a flipped bit; panics when rows are shown that may not be.
fn outcome(dir: &Path, valid: &[Rows]) -> Outcome {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let store = Store::open(StoreOptions::new(dir))?;
        rows(&store)
    }));
    match opened {
        Err(_) => Outcome::Panicked,
        Ok(Err(_)) => Outcome::Refused,
        Ok(Ok(rows)) if rows == valid[valid.len() - 1] => Outcome::Same,
        Ok(Ok(rows)) => {
            assert!(valid.contains(&rows), "rows are shown that were never there together");
            Outcome::Earlier
        }
    }
}

#[test]
fn a_flipped_bit_is_never_served() {
    let (dir, valid) = built();
    let store = dir.path().join("store");
    let image = Image::of(&store);
    let seeds = std::env::var("UNISONO_SEED").map(|seed| seed.parse().unwrap());
    let (first, count) = seeds.map_or((0, 100), |seed| (seed, 1));
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for seed in first..first + count {
        let mut random = Random(seed);
        let file = image.pick(&mut random);
        let bit = random.below(image.0[file].1.len() * 8);
        image.write(&store, (file, bit));
        let name = image.0[file].0.strip_prefix(&store).unwrap().display().to_string();
        let found = catch_unwind(AssertUnwindSafe(|| outcome(&store, &valid)));
        let Ok(found) = found else {
            panic!("failed with UNISONO_SEED={seed}: bit {bit} of {name}")
        };
        *outcomes.entry(format!("{} {found:?}", kind(&name))).or_default() += 1;
    }
    println!("{outcomes:#?}");
}

/// The bytes of the log at which its batches begin, and whether each holds a checkpoint.
fn batches(log: &[u8]) -> Vec<(usize, bool)> {
    let mut entries = Entries {
        input: log,
        offset: 0,
        scratch: Vec::new(),
    };
    let mut found = Vec::new();
    loop {
        let offset = entries.offset as usize;
        let Some(batch) = entries.batch().unwrap() else {
            return found;
        };
        found.push((offset, batch.has_checkpoint));
    }
}

#[test]
fn the_head_of_every_batch_before_the_last_checkpoint_is_looked_at() {
    let (dir, _) = built();
    let store = dir.path().join("store");
    let image = Image::of(&store);
    let log = image
        .0
        .iter()
        .position(|(path, ..)| path.extension().is_some_and(|end| end == "jnl"));
    let log = log.unwrap();
    let batches = batches(&image.0[log].1);
    assert!(batches.len() > 18, "the format of the log is another one");
    let last = batches.iter().rposition(|(_, has_checkpoint)| *has_checkpoint).unwrap();
    for (offset, _) in &batches[..last] {
        // The highest bit of the tag, of the count, and of the number.
        let bytes = &image.0[log].1[*offset..];
        let number = u64::from_le_bytes(*bytes[5..].first_chunk().unwrap());
        let bits = [0, 8 + bytes[1].ilog2(), 40 + number.ilog2()];
        // Nothing comes before the first one, so a smaller number changes no order.
        for bit in bits.into_iter().take(if *offset == 0 { 2 } else { 3 }) {
            image.write(&store, (log, offset * 8 + bit as usize));
            let error = check(&store).unwrap_err().to_string();
            assert!(error.contains("0.jnl"), "{error}");
        }
    }
}

/// What makes the check above worth its time.
#[test]
fn the_library_alone_would_show_rows_that_were_written_over() {
    let (dir, valid) = built();
    let store = dir.path().join("store");
    let image = Image::of(&store);
    let log = image
        .0
        .iter()
        .position(|(path, ..)| path.extension().is_some_and(|end| end == "jnl"));
    let log = log.unwrap();
    let batches = batches(&image.0[log].1);
    // An earlier batch gets a number that is higher than all others.
    image.write(&store, (log, (batches[10].0 + 5) * 8 + 6));
    let database = fjall::Database::builder(&store).open().unwrap();
    let mut shown = Rows::new();
    for name in database.list_keyspace_names() {
        let keyspace = database.keyspace(&name, Default::default).unwrap();
        for guard in keyspace.iter() {
            let (key, value) = guard.into_inner().unwrap();
            shown.insert((name.to_string(), key.to_vec()), value.to_vec());
        }
    }
    assert!(!valid.contains(&shown));
}

fn kind(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}
