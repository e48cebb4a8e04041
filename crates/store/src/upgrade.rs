//! Bringing a store of an earlier release to the format of this one, when it is opened.
//!
//! | format | |
//! |---|---|
//! | 1 | an index row for each run and attribute, without versions and ends |
//! | 2 | postings, ends and counts, block by block |

use fjall::PersistMode;
use unisono_model::Name;

use crate::StoreError;
use crate::index::IndexChanges;
use crate::key::{self, RunKey};
use crate::read::row;
use crate::row::Row;
use crate::store::{FORMAT, Inner, META_FORMAT};

/// Keyspaces that earlier releases had.
pub(crate) const OBSOLETE: [&str; 2] = ["archive", "index"];

/// Runs whose index rows are written together.
const RUNS: usize = 50_000;

/// Brings the store from the format `found` to this release's. A crash on the way leaves the old format, and it begins
/// again at the next start.
pub(crate) fn upgrade(inner: &Inner, found: u32) -> Result<(), StoreError> {
    if found < 2 {
        tracing::info!("the store is of an earlier release: its lists are indexed anew, once, which takes a while");
        index_all(inner)?;
    }
    if found < FORMAT {
        let mut writes = inner.database.batch().durability(Some(PersistMode::SyncAll));
        writes.insert(&inner.meta, META_FORMAT, FORMAT.to_be_bytes());
        writes.commit()?;
    }
    for name in OBSOLETE {
        if inner.database.keyspace_exists(name) {
            let keyspace = inner.database.keyspace(name, Default::default)?;
            inner.database.delete_keyspace(keyspace)?;
        }
    }
    Ok(())
}

/// Makes the index anew from the summaries.
fn index_all(inner: &Inner) -> Result<(), StoreError> {
    let mut writes = inner.database.batch();
    for guard in inner.counts.iter() {
        writes.remove(&inner.counts, guard.key()?);
    }
    writes.commit()?;
    let (mut changes, mut collected) = (IndexChanges::default(), 0);
    for guard in inner.runs.iter() {
        let (key, bytes) = row(guard)?;
        let (namespace, run) = read_run(&key)?;
        let row = Row::decode(run, &bytes)?;
        changes.replace(&namespace, run, (None, Some(&row)))?;
        collected += 1;
        if collected == RUNS {
            write(inner, std::mem::take(&mut changes))?;
            collected = 0;
        }
    }
    write(inner, changes)
}

fn write(inner: &Inner, changes: IndexChanges) -> Result<(), StoreError> {
    let mut writes = inner.database.batch();
    changes.write(inner, &mut writes)?;
    Ok(writes.commit()?)
}

/// The namespace and the run of a summary's key.
fn read_run(key: &[u8]) -> Result<(Name, RunKey), StoreError> {
    let run = RunKey(!key::trailing_run(key)?);
    let namespace = key.len().checked_sub(9).and_then(|end| key.get(..end));
    let namespace = namespace.and_then(|text| Name::parse(std::str::from_utf8(text).ok()?).ok());
    let namespace = namespace.ok_or_else(|| StoreError::damaged("the key of a summary", format_args!("{key:02x?}")))?;
    Ok((namespace, run))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use unisono_model::api::{OrchestrationState, OrchestrationSummary};
    use unisono_model::ids::Timestamp;

    use super::*;
    use crate::{RunFilter, Store, StoreOptions};

    fn fill(store: &Store) {
        let mut batch = store.batch();
        for run in 0..40_000 {
            let namespace = Name::parse(["a", "a-b"][usize::from(run % 3 == 0)]).unwrap();
            let summary = OrchestrationSummary {
                id: Name::parse(&format!("r{run}")).unwrap(),
                r#type: Name::parse("t").unwrap(),
                version: u32::from(run % 2 == 0),
                state: OrchestrationState::Completed,
                correlation_id: None,
                labels: BTreeMap::from([("k".to_owned(), (run % 5).to_string())]),
                created_at: Timestamp(0),
                ended_at: Some(Timestamp(run % 100)),
                waiting_for: Vec::new(),
            };
            batch.summary(RunKey(run.cast_unsigned()), &namespace, &summary);
        }
        store.commit(batch).unwrap();
    }

    fn index(store: &Store) -> Vec<(fjall::Slice, fjall::Slice)> {
        let inner = &store.0;
        let keyspaces = [&inner.postings, &inner.ended, &inner.counts].into_iter();
        let rows = keyspaces.flat_map(|keyspace| keyspace.iter());
        rows.map(|row| row.into_inner().unwrap()).collect()
    }

    /// Makes it what an earlier release would have left, with half of the new index from an attempt that a crash ended.
    fn age(store: &Store) {
        let inner = &store.0;
        for name in OBSOLETE {
            let old = inner.database.keyspace(name, Default::default).unwrap();
            old.insert("old", "row").unwrap();
        }
        for guard in inner.postings.iter().step_by(2) {
            inner.postings.remove(guard.key().unwrap()).unwrap();
        }
        for guard in inner.ended.iter().step_by(2) {
            inner.ended.remove(guard.key().unwrap()).unwrap();
        }
        inner.meta.insert(META_FORMAT, 1_u32.to_be_bytes()).unwrap();
    }

    #[test]
    fn a_store_of_format_1_is_indexed_anew() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(dir.path().join("store"));
        let store = Store::open(options.clone()).unwrap();
        fill(&store);
        let before = index(&store);
        age(&store);
        drop(store);
        for _ in 0..2 {
            let store = Store::open(options.clone()).unwrap();
            assert!(index(&store) == before);
            let namespace = Name::parse("a-b").unwrap();
            assert_eq!(store.count(&namespace, &RunFilter::default()).unwrap().runs, 13_334);
            for name in OBSOLETE {
                assert!(!store.0.database.keyspace_exists(name));
            }
        }
    }
}
