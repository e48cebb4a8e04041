//! What a node relies on: entities, finished runs, history and logs come back as they were written, once or twice.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use unisono_model::Name;
use unisono_model::api::{OrchestrationState, OrchestrationSummary};
use unisono_model::ids::Timestamp;
use unisono_store::{Batch, Checkpoint, EntityKind, RunKey, Store, StoreOptions};

fn open(dir: &TempDir) -> Store {
    Store::open(StoreOptions::new(dir.path().join("store"))).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn summary(id: &str) -> OrchestrationSummary {
    OrchestrationSummary {
        id: name(id),
        r#type: name("tenant"),
        version: 1,
        state: OrchestrationState::Running,
        correlation_id: None,
        labels: BTreeMap::new(),
        created_at: Timestamp(1),
        ended_at: None,
        waiting_for: Vec::new(),
    }
}

fn entities(store: &Store) -> Vec<(EntityKind, u64, Vec<u8>)> {
    let rows = store.entities().unwrap().map(Result::unwrap);
    rows.map(|(kind, key, bytes)| (kind, key, bytes.to_vec())).collect()
}

fn chunks(store: &Store, after: u64) -> Vec<u64> {
    store
        .history(RunKey(1), after)
        .unwrap()
        .map(|chunk| chunk.unwrap().0)
        .collect()
}

fn write_history(store: &Store, chunks: &[(u64, u64)]) {
    let mut batch = store.batch();
    for (first, last) in chunks {
        batch.history(RunKey(1), *first, *last, format!("{first}-{last}").as_bytes());
    }
    store.commit(batch).unwrap();
}

#[test]
fn entities_come_back_until_they_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut batch = store.batch();
    batch.put_entity(EntityKind::Agent, 1, b"agent");
    batch.put_entity(EntityKind::Run, 2, b"old");
    batch.put_entity(EntityKind::Run, 2, b"new");
    batch.put_entity(EntityKind::Run, u64::MAX, b"done");
    store.commit(batch).unwrap();
    let mut batch = store.batch();
    batch.remove_entity(EntityKind::Run, u64::MAX);
    batch.remove_entity(EntityKind::Definition, 9);
    store.commit(batch).unwrap();
    let expected = vec![
        (EntityKind::Run, 2, b"new".to_vec()),
        (EntityKind::Agent, 1, b"agent".to_vec()),
    ];
    assert_eq!(entities(&store), expected);
    drop(store);
    assert_eq!(entities(&open(&dir)), expected, "after a restart without a checkpoint");
}

#[test]
fn an_iterator_shows_the_moment_it_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut batch = store.batch();
    batch.put_entity(EntityKind::Run, 1, b"1");
    store.commit(batch).unwrap();
    let before = store.entities().unwrap();
    let mut batch = store.batch();
    batch.remove_entity(EntityKind::Run, 1);
    batch.put_entity(EntityKind::Run, 2, b"2");
    store.commit(batch).unwrap();
    let keys: Vec<_> = before.map(|row| row.unwrap().1).collect();
    assert_eq!(keys, [1]);
}

#[test]
fn a_run_is_found_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (prod, test, id) = (name("prod"), name("prod-test"), name("domain.example"));
    assert_eq!(store.run_key(&prod, &id).unwrap(), None);
    let mut batch = store.batch();
    batch.summary(RunKey(7), &prod, &summary(&id));
    batch.summary(RunKey(9), &test, &summary(&id));
    store.commit(batch).unwrap();
    assert_eq!(store.run_key(&prod, &id).unwrap(), Some(RunKey(7)));
    assert_eq!(store.run_key(&test, &id).unwrap(), Some(RunKey(9)));
    assert_eq!(store.run_key(&test, &name("domain")).unwrap(), None);
}

#[test]
fn history_begins_with_the_first_chunk_that_reaches_further() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    write_history(&store, &[(5, 20), (21, 30)]);
    write_history(&store, &[(31, 90)]);
    assert_eq!(chunks(&store, 0), [5, 21, 31]);
    assert_eq!(chunks(&store, 19), [5, 21, 31]);
    assert_eq!(chunks(&store, 20), [21, 31]);
    assert_eq!(chunks(&store, 89), [31]);
    assert_eq!(chunks(&store, 90), [0_u64; 0]);
    assert_eq!(store.history(RunKey(2), 0).unwrap().count(), 0);
}

#[test]
fn replayed_history_takes_the_place_of_what_it_covers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    write_history(&store, &[(5, 20), (21, 30), (31, 40), (41, 90)]);
    drop(store);
    let store = open(&dir);
    write_history(&store, &[(15, 35)]);
    assert_eq!(chunks(&store, 0), [5, 15, 31, 41], "21-30 lies within 15-35");
    write_history(&store, &[(31, 120), (50, 60), (51, 120)]);
    assert_eq!(chunks(&store, 0), [5, 15, 31]);
    write_history(&store, &[(31, 90), (5, 20), (31, 120)]);
    assert_eq!(chunks(&store, 0), [5, 15, 31]);
    write_history(&store, &[(32, 90)]);
    write_history(&store, &[(5, 20)]);
    assert_eq!(chunks(&store, 0), [5, 15, 31]);
    assert_eq!(chunks(&store, 95), [31]);
    write_history(&store, &[(121, 130)]);
    assert_eq!(chunks(&store, 119), [31, 121]);
}

#[test]
fn logs_are_told_apart_by_activity_and_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut batch = store.batch();
    for (activity, attempt, sequence) in [(0, 1, 0), (0, 1, 1), (0, 2, 0), (u32::MAX, 2, u64::MAX), (1, 1, 0)] {
        batch.log(RunKey(1), activity, attempt, sequence, b"text");
    }
    batch.log(RunKey(2), 0, 1, 0, b"of another run");
    for run in [1, 2] {
        batch.history(RunKey(run), run, run, b"its start");
    }
    store.commit(batch).unwrap();
    let logs = |activity, attempt| {
        let records = store.logs(RunKey(1), activity, attempt).unwrap().map(Result::unwrap);
        let parts = records.map(|record| (record.activity, record.attempt, record.sequence));
        parts.collect::<Vec<_>>()
    };
    let last = (u32::MAX, 2, u64::MAX);
    assert_eq!(logs(None, None), [(0, 1, 0), (0, 1, 1), (0, 2, 0), (1, 1, 0), last]);
    assert_eq!(logs(Some(0), None), [(0, 1, 0), (0, 1, 1), (0, 2, 0)]);
    assert_eq!(logs(Some(0), Some(1)), [(0, 1, 0), (0, 1, 1)]);
    assert_eq!(logs(None, Some(2)), [(0, 2, 0), last]);
    assert_eq!(logs(Some(u32::MAX), Some(2)), [last]);
}

#[test]
fn a_checkpoint_comes_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    assert_eq!(store.checkpoint().unwrap(), None);
    let checkpoint = Checkpoint {
        position: 1 << 40,
        revision: 12,
        format: 3,
    };
    store.commit_checkpoint(checkpoint).unwrap();
    assert!(store.size_bytes() > 0);
    drop(store);
    assert_eq!(open(&dir).checkpoint().unwrap(), Some(checkpoint));
}

#[test]
fn an_empty_batch_is_no_commit() {
    let dir = tempfile::tempdir().unwrap();
    let batch = Batch::default();
    assert!(batch.is_empty());
    open(&dir).commit(batch).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_reader_that_skips_what_it_has_seen_sees_every_revision_in_order(
        batches in vec(vec((1_u64..40, 0_u64..15), 1..4), 1..10),
        after in 0_u64..50,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let mut written = BTreeSet::new();
        for batch in &batches {
            let spans: Vec<_> = batch.iter().map(|(first, length)| (*first, first + length)).collect();
            write_history(&store, &spans);
            written.extend(spans.into_iter().flat_map(|(first, last)| first..=last));
        }
        let mut seen = Vec::new();
        for chunk in store.history(RunKey(1), after).unwrap() {
            let (first, bytes) = chunk.unwrap();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let last: u64 = text.split_once('-').unwrap().1.parse().unwrap();
            let next = seen.last().map_or(after, |last: &u64| *last) + 1;
            prop_assert!(last >= next, "a chunk that tells nothing new");
            seen.extend(first.max(next)..=last);
        }
        let expected: Vec<_> = written.into_iter().filter(|revision| *revision > after).collect();
        prop_assert_eq!(seen, expected);
    }
}
