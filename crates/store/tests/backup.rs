//! What a backup relies on: a snapshot stays as it was, and a store made of its rows answers as the first one did.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use unisono_model::Name;
use unisono_model::api::{OrchestrationState, OrchestrationSummary};
use unisono_model::ids::Timestamp;
use unisono_store::{Checkpoint, EntityKind, RunKey, Store, StoreError, StoreImport, StoreOptions, StoredRow};

fn open(dir: &Path) -> Store {
    Store::open(StoreOptions::new(dir)).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// One thing of each kind, about this run.
fn fill(store: &Store, run: u64) {
    let (space, id) = (name("default"), name(&format!("r{run}")));
    let summary = OrchestrationSummary {
        id: id.clone(),
        r#type: name("tenant"),
        version: 1,
        state: OrchestrationState::Completed,
        correlation_id: Some("order 7".to_owned()),
        labels: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
        created_at: Timestamp(1),
        ended_at: Some(Timestamp(2)),
        waiting_for: Vec::new(),
    };
    let mut batch = store.batch();
    batch.put_entity(EntityKind::Run, run, b"open");
    batch.summary(RunKey(run), &space, &summary);
    batch.history(RunKey(run), run, run + 3, b"history");
    batch.log(RunKey(run), 0, 1, 0, b"log");
    store.commit(batch).unwrap();
}

fn rows(store: &Store) -> Vec<StoredRow> {
    store.snapshot().rows().unwrap().map(Result::unwrap).collect()
}

const CHECKPOINT: Checkpoint = Checkpoint {
    position: 4096,
    revision: 7,
    format: 1,
};

#[test]
fn a_store_made_of_the_rows_of_a_snapshot_is_the_store_at_that_instant() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("one"));
    (1..=50).for_each(|run| fill(&store, run));
    store.commit_checkpoint(CHECKPOINT).unwrap();
    let snapshot = store.snapshot();
    let before = rows(&store);
    fill(&store, 60);
    store
        .commit_checkpoint(Checkpoint {
            revision: 99,
            ..CHECKPOINT
        })
        .unwrap();

    assert_eq!(snapshot.checkpoint().unwrap(), Some(CHECKPOINT));
    let mut import = StoreImport::create(&dir.path().join("two")).unwrap();
    let mut copied = Vec::new();
    for row in snapshot.rows().unwrap() {
        let row = row.unwrap();
        copied.push(row.clone());
        import.put(&row.keyspace, row.key, row.value).unwrap();
    }
    assert_eq!(copied, before);
    import.finish(0).unwrap();

    let made = open(&dir.path().join("two"));
    let moved = Checkpoint {
        position: 0,
        ..CHECKPOINT
    };
    assert_eq!(made.checkpoint().unwrap(), Some(moved));
    made.commit_checkpoint(CHECKPOINT).unwrap();
    assert_eq!(rows(&made), before);
    assert!(made.run_key(&name("default"), &name("r50")).unwrap().is_some());
    assert!(made.run_key(&name("default"), &name("r60")).unwrap().is_none());
    // What is written next finds its place among what was there.
    fill(&made, 51);
    assert_eq!(made.history(RunKey(50), 0).unwrap().count(), 1);
}

#[test]
fn a_store_without_a_checkpoint_gets_none() {
    let dir = tempfile::tempdir().unwrap();
    StoreImport::create(dir.path()).unwrap().finish(8).unwrap();
    assert_eq!(open(dir.path()).checkpoint().unwrap(), None);
}

#[test]
fn rows_of_a_newer_release_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut import = StoreImport::create(dir.path()).unwrap();
    let error = import.put("tomorrow", Bytes::new(), Bytes::new()).unwrap_err();
    assert!(matches!(error, StoreError::UnknownKeyspace { .. }), "{error}");
    let newer = Bytes::copy_from_slice(&u32::MAX.to_be_bytes());
    import.put("meta", Bytes::from_static(b"format"), newer).unwrap();
    let error = import.finish(0).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { .. }), "{error}");
}

#[test]
fn an_import_leaves_what_is_there_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    let error = StoreImport::create(dir.path()).err().unwrap();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
}
