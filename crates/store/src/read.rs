//! Reading single runs, their history and logs, and all open entities.

use bytes::Bytes;
use fjall::{Guard, Readable};
use unisono_model::Name;

use crate::key::{self, Chunk, EntityKind, RunKey};
use crate::{Store, StoreError};

/// A piece of the log of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The activity's number within its run.
    pub activity: u32,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Orders the pieces of one attempt.
    pub sequence: u64,
    /// What was stored.
    pub bytes: Bytes,
}

impl Store {
    /// Every open entity of a kind as of now, in the order of their keys. Streams: later commits do not show.
    ///
    /// # Errors
    /// None yet; each item has its own.
    pub fn entities_of(
        &self,
        kind: EntityKind,
    ) -> Result<impl Iterator<Item = Result<(u64, Bytes), StoreError>> + Send + use<>, StoreError> {
        let bounds = key::entity(kind, 0)..=key::entity(kind, u64::MAX);
        let rows = self.0.database.snapshot().range(&self.0.entities, bounds);
        Ok(rows.map(|guard| {
            let (key, bytes) = row(guard)?;
            Ok((key::read_entity(&key)?.1, bytes))
        }))
    }

    /// Every open entity as of now, in the order of kind and key. Streams: later commits do not show.
    ///
    /// # Errors
    /// None yet; each item has its own.
    pub fn entities(
        &self,
    ) -> Result<impl Iterator<Item = Result<(EntityKind, u64, Bytes), StoreError>> + Send + use<>, StoreError> {
        let rows = self.0.database.snapshot().iter(&self.0.entities);
        Ok(rows.map(|guard| {
            let (key, bytes) = row(guard)?;
            let (kind, key) = key::read_entity(&key)?;
            Ok((kind, key, bytes))
        }))
    }

    /// The key of the run with this id, open or finished; the one written last, should an id ever be used again.
    ///
    /// # Errors
    /// When the disk or the store's content is damaged.
    pub fn run_key(&self, namespace: &Name, id: &Name) -> Result<Option<RunKey>, StoreError> {
        let bytes = self.0.ids.get(key::id(namespace, id))?;
        bytes
            .map(|bytes| key::number(&bytes, &format!("the key of run {id}")).map(RunKey))
            .transpose()
    }

    /// The chunks of history of `run` that reach beyond `after_revision`, each with its first revision, in the order
    /// of revisions. Neighbours may overlap: the reader skips the revisions it has seen, and those up to
    /// `after_revision`.
    ///
    /// # Errors
    /// None yet; each item has its own.
    pub fn history(
        &self,
        run: RunKey,
        after_revision: u64,
    ) -> Result<impl Iterator<Item = Result<(u64, Bytes), StoreError>> + Send + use<>, StoreError> {
        let from = Chunk::reaching(run, after_revision.saturating_add(1)).key();
        let until = Chunk::last_of(run).key();
        let rows = self.0.database.snapshot().range(&self.0.history, from..=until);
        Ok(rows.map(|guard| {
            let (key, bytes) = row(guard)?;
            Ok((Chunk::read(&key)?.first, bytes))
        }))
    }

    /// The logs of `run`, of one activity and one attempt where given, in the order of activity, attempt and
    /// sequence.
    ///
    /// # Errors
    /// None yet; each item has its own.
    pub fn logs(
        &self,
        run: RunKey,
        activity: Option<u32>,
        attempt: Option<u32>,
    ) -> Result<impl Iterator<Item = Result<LogRecord, StoreError>> + Send + use<>, StoreError> {
        let bound = |end: u32| {
            let attempt_bound = activity.and(attempt).unwrap_or(end);
            let sequence = if end == 0 { 0 } else { u64::MAX };
            key::log(run, activity.unwrap_or(end), attempt_bound, sequence)
        };
        let rows = self
            .0
            .database
            .snapshot()
            .range(&self.0.logs, bound(0)..=bound(u32::MAX));
        let records = rows.map(|guard| {
            let (key, bytes) = row(guard)?;
            let (activity, attempt, sequence) = key::read_log(&key)?;
            Ok(LogRecord {
                activity,
                attempt,
                sequence,
                bytes,
            })
        });
        Ok(
            records.filter(move |record: &Result<LogRecord, StoreError>| match record {
                Ok(record) => attempt.is_none_or(|attempt| record.attempt == attempt),
                Err(_) => true,
            }),
        )
    }
}

pub(crate) fn row(guard: Guard) -> Result<(Bytes, Bytes), StoreError> {
    let (key, value) = guard.into_inner()?;
    Ok((key.into(), value.into()))
}
