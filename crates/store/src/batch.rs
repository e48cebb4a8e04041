//! What one commit writes, collected in memory.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use unisono_model::Name;
use unisono_model::api::OrchestrationSummary;

use crate::key::{self, Chunk, EntityKind, RunKey};
use crate::row::Row;

/// Writes that are committed together. Of several writes of the same thing, the last one counts and costs.
#[derive(Debug, Default)]
pub struct Batch {
    /// `None` removes.
    pub(crate) entities: BTreeMap<[u8; 9], Option<Vec<u8>>>,
    pub(crate) summaries: BTreeMap<RunKey, NewSummary>,
    pub(crate) history: BTreeMap<Chunk, Vec<u8>>,
    pub(crate) logs: BTreeMap<[u8; 24], Vec<u8>>,
    pub(crate) deleted: BTreeMap<RunKey, Name>,
}

#[derive(Debug)]
pub(crate) struct NewSummary {
    pub(crate) namespace: Name,
    pub(crate) row: Vec<u8>,
}

impl Batch {
    /// Whether nothing was put in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
            && self.summaries.is_empty()
            && self.history.is_empty()
            && self.logs.is_empty()
            && self.deleted.is_empty()
    }

    /// Stores the open entity `key`, in place of what was stored of it before.
    pub fn put_entity(&mut self, kind: EntityKind, key: u64, bytes: &[u8]) {
        self.entities.insert(key::entity(kind, key), Some(bytes.to_vec()));
    }

    /// Removes the entity `key`; nothing happens when it is not there.
    pub fn remove_entity(&mut self, kind: EntityKind, key: u64) {
        self.entities.insert(key::entity(kind, key), None);
    }

    /// Stores what lists show of `run`, in place of what was stored of it before, and puts the run where lists look
    /// for it.
    pub fn summary(&mut self, run: RunKey, namespace: &Name, summary: &OrchestrationSummary) {
        let summary = NewSummary {
            namespace: namespace.clone(),
            row: Row::of(summary).encode(),
        };
        self.summaries.insert(run, summary);
    }

    /// Stores a piece of the history of `run`: all of its facts from `first_revision` to `last_revision`, both
    /// included.
    ///
    /// Pieces may overlap, as they do when a journal is replayed. One that lies within another is dropped, because
    /// the same revision always holds the same fact.
    pub fn history(&mut self, run: RunKey, first_revision: u64, last_revision: u64, bytes: &[u8]) {
        let chunk = Chunk {
            run,
            last: last_revision.max(first_revision),
            first: first_revision,
        };
        self.history.insert(chunk, bytes.to_vec());
    }

    /// Removes everything about `run`, what is stored and what was put in so far. Nothing happens when there is nothing.
    pub fn delete(&mut self, run: RunKey, namespace: &Name) {
        self.summaries.remove(&run);
        remove_range(&mut self.history, Chunk::reaching(run, 0)..=Chunk::last_of(run));
        let logs = key::log(run, 0, 0, 0)..=key::log(run, u32::MAX, u32::MAX, u64::MAX);
        remove_range(&mut self.logs, logs);
        self.deleted.insert(run, namespace.clone());
    }

    /// Stores a piece of the log of one attempt of one activity of `run`; `sequence` orders the pieces. It is dropped when
    /// there is no history of the run, which begins before its logs do: then the run was deleted.
    pub fn log(&mut self, run: RunKey, activity: u32, attempt: u32, sequence: u64, bytes: &[u8]) {
        self.logs
            .insert(key::log(run, activity, attempt, sequence), bytes.to_vec());
    }
}

fn remove_range<K: Copy + Ord>(map: &mut BTreeMap<K, Vec<u8>>, range: RangeInclusive<K>) {
    let keys: Vec<K> = map.range(range).map(|(key, _)| *key).collect();
    for key in keys {
        map.remove(&key);
    }
}
