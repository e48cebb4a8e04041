//! Turning a batch into the rows that change.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::PoisonError;

use fjall::OwnedWriteBatch;
use unisono_model::Name;

use crate::batch::NewSummary;
use crate::index::IndexChanges;
use crate::key::{self, Chunk, RunKey};
use crate::row::Row;
use crate::store::{Inner, META_HISTORY};
use crate::{Batch, Store, StoreError};

impl Store {
    /// Applies `batch` atomically: readers and a restart see all of it or nothing. It outlives the process at once,
    /// and a power loss after the next [`commit_checkpoint`](Self::commit_checkpoint).
    ///
    /// May wait for the library's own background work, for 100 ms and more under load.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when an earlier write failed; otherwise what the disk refused.
    pub fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let inner = &*self.0;
        // A panic in here leaves nothing half-written, so the lock's poison says nothing.
        let mut highest = inner.highest_history.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writes = inner.database.batch();
        for (key, bytes) in batch.entities {
            match bytes {
                Some(bytes) => writes.insert(&inner.entities, key, bytes),
                None => writes.remove(&inner.entities, key),
            }
        }
        let mut changes = Changes::default();
        for (run, namespace) in &batch.deleted {
            inner.delete(&mut writes, &mut changes, (*run, namespace))?;
        }
        for (run, summary) in &batch.summaries {
            inner.write_summary((&mut writes, &mut changes), *run, summary)?;
        }
        changes.index.write(inner, &mut writes)?;
        for (key, run) in changes.ids {
            match run {
                Some(run) => writes.insert(&inner.ids, key, run.0.to_be_bytes()),
                None => writes.remove(&inner.ids, key),
            }
        }
        inner.write_logs(&mut writes, batch.logs, &batch.history)?;
        let reached = inner.write_history(&mut writes, batch.history, *highest)?;
        if reached > *highest {
            writes.insert(&inner.meta, META_HISTORY, reached.to_be_bytes());
        }
        writes.commit()?;
        *highest = reached.max(*highest);
        Ok(())
    }
}

/// Rows that several runs of a commit change, so that each is written once.
#[derive(Default)]
struct Changes {
    index: IndexChanges,
    /// Whose ids are from now on; nobody's where an id is free.
    ids: BTreeMap<Vec<u8>, Option<RunKey>>,
}

impl Inner {
    /// Removes all rows of a run.
    fn delete(
        &self,
        writes: &mut OwnedWriteBatch,
        changes: &mut Changes,
        (run, namespace): (RunKey, &Name),
    ) -> Result<(), StoreError> {
        let key = key::run(namespace, key::inverted(run));
        if let Some(stored) = self.runs.get(&key)? {
            let row = Row::decode(run, &stored)?;
            changes.index.replace(namespace, run, (Some(&row), None))?;
            let id = key::id(namespace, row.id());
            if self.ids.get(&id)?.as_deref() == Some(&run.0.to_be_bytes()) {
                changes.ids.insert(id, None);
            }
            writes.remove(&self.runs, key);
        }
        for keyspace in [&self.history, &self.logs] {
            for guard in keyspace.prefix(run.0.to_be_bytes()) {
                writes.remove(keyspace, guard.key()?);
            }
        }
        Ok(())
    }

    fn write_logs(
        &self,
        writes: &mut OwnedWriteBatch,
        logs: BTreeMap<[u8; 24], Vec<u8>>,
        history: &BTreeMap<Chunk, Vec<u8>>,
    ) -> Result<(), StoreError> {
        let mut known = None;
        for (key, bytes) in logs {
            let run = key::run_of_log(&key);
            if known.is_none_or(|(of, _)| of != run) {
                let new = history.range(Chunk::reaching(run, 0)..=Chunk::last_of(run)).next();
                let stored = || self.history.prefix(run.0.to_be_bytes()).next();
                let is_known = new.is_some() || stored().map(|guard| guard.key()).transpose()?.is_some();
                known = Some((run, is_known));
            }
            if known.is_some_and(|(_, is_known)| is_known) {
                writes.insert(&self.logs, key, bytes);
            }
        }
        Ok(())
    }

    /// Writes a summary, and collects what it changes in the index.
    fn write_summary(
        &self,
        (writes, changes): (&mut OwnedWriteBatch, &mut Changes),
        run: RunKey,
        summary: &NewSummary,
    ) -> Result<(), StoreError> {
        let key = key::run(&summary.namespace, key::inverted(run));
        let stored = self.runs.get(&key)?;
        if stored.as_deref() == Some(summary.row.as_slice()) {
            return Ok(());
        }
        let row = Row::decode(run, &summary.row)?;
        let old = stored.as_deref().map(|bytes| Row::decode(run, bytes)).transpose()?;
        if old.is_none() {
            changes.ids.insert(key::id(&summary.namespace, row.id()), Some(run));
        }
        changes
            .index
            .replace(&summary.namespace, run, (old.as_ref(), Some(&row)))?;
        writes.insert(&self.runs, key, summary.row.as_slice());
        Ok(())
    }

    /// Writes history chunks so that none lies within another of its run; the order of last revisions is then the
    /// order of first revisions too. Returns the highest revision written.
    ///
    /// `highest` is the highest revision of any stored chunk: a chunk that begins after it overlaps none, which holds
    /// for all of them except while a journal is replayed, and saves looking.
    fn write_history(
        &self,
        writes: &mut OwnedWriteBatch,
        chunks: BTreeMap<Chunk, Vec<u8>>,
        highest: u64,
    ) -> Result<u64, StoreError> {
        let mut chunks: Vec<_> = chunks.into_iter().collect();
        // A chunk that lies within another comes after it.
        chunks.sort_unstable_by_key(|(chunk, _)| (chunk.run, Reverse(chunk.last), chunk.first));
        let mut reached = 0;
        let mut outer: Option<Chunk> = None;
        for (chunk, bytes) in chunks {
            if outer.is_some_and(|outer| outer.run == chunk.run && outer.first <= chunk.first) {
                continue;
            }
            outer = Some(chunk);
            if chunk.first > highest || self.make_room(writes, chunk)? {
                writes.insert(&self.history, chunk.key(), bytes);
                reached = reached.max(chunk.last);
            }
        }
        Ok(reached)
    }

    /// Removes the stored chunks that lie within the new one; false when the new one lies within a stored one.
    fn make_room(&self, writes: &mut OwnedWriteBatch, new: Chunk) -> Result<bool, StoreError> {
        let until = Chunk::last_of(new.run).key();
        for guard in self.history.range(Chunk::reaching(new.run, new.first).key()..=until) {
            let key = guard.key()?;
            let stored = Chunk::read(&key)?;
            if stored == new {
                return Ok(true);
            }
            if stored.holds(new) {
                return Ok(false);
            }
            if stored.first > new.first && stored.last > new.last {
                break;
            }
            if new.holds(stored) {
                writes.remove(&self.history, key);
            }
        }
        Ok(true)
    }
}
