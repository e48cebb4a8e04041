//! Turning a batch into the rows that change.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::PoisonError;

use fjall::OwnedWriteBatch;

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
        let mut changes = IndexChanges::default();
        for (run, summary) in &batch.summaries {
            inner.write_summary((&mut writes, &mut changes), *run, summary)?;
        }
        changes.write(inner, &mut writes)?;
        for (key, bytes) in batch.logs {
            writes.insert(&inner.logs, key, bytes);
        }
        let reached = inner.write_history(&mut writes, batch.history, *highest)?;
        if reached > *highest {
            writes.insert(&inner.meta, META_HISTORY, reached.to_be_bytes());
        }
        writes.commit()?;
        *highest = reached.max(*highest);
        Ok(())
    }
}

impl Inner {
    /// Writes a summary, and collects what it changes in the index.
    fn write_summary(
        &self,
        (writes, changes): (&mut OwnedWriteBatch, &mut IndexChanges),
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
            let id = key::id(&summary.namespace, row.id());
            writes.insert(&self.ids, id, run.0.to_be_bytes());
        }
        changes.replace(&summary.namespace, run, (old.as_ref(), Some(&row)))?;
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
