//! What a backup is made of: the store at one instant, and the journal from its checkpoint on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use unisono_journal::{FileBatches, FileJournal, Position};
use unisono_store::{Checkpoint, StoreSnapshot};

use super::handle::{Partition, Unavailable};
use super::writer::WriterMessage;

/// Things that must not be removed while somebody reads them.
///
/// A removal happens between two holds or not at all: who takes a hold, and looks for references after that, finds
/// everything that they refer to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds(Arc<Mutex<usize>>);

impl Holds {
    /// Removes, unless somebody holds it: then nothing happens, and trying again later is up to the caller.
    pub(crate) fn remove<T>(&self, remove: impl FnOnce() -> T) -> Option<T> {
        let holders = self.lock();
        (*holders == 0).then(remove)
    }

    /// Forbids to remove anything, when a removal under way is done; `None` when as many do so already.
    pub(crate) fn hold(&self, at_most: usize) -> Option<Hold> {
        let mut holders = self.lock();
        if *holders >= at_most {
            return None;
        }
        *holders += 1;
        Some(Hold(self.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        // A panic in here leaves the count right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Hold(Holds);

impl Drop for Hold {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
    }
}

/// What backups keep from being removed.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackupHolds {
    /// Segments of the journal. Trimming is left out while they are held; the next checkpoint makes up for it.
    pub(crate) journal: Holds,
    /// Files beside journal and store. Whoever deletes one that something in the store may still refer to does so with
    /// [`Holds::remove`].
    pub(crate) files: Holds,
}

/// Everything that a restored server needs, as of one instant.
pub(crate) struct Export {
    pub(crate) snapshot: StoreSnapshot,
    /// The checkpoint that the snapshot holds.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// From the checkpoint on. They reach further than any row of the snapshot.
    pub(crate) batches: FileBatches,
    /// To be dropped when the batches have been read.
    pub(crate) journal_hold: Hold,
    /// To be dropped when the files have been read.
    pub(crate) files_hold: Hold,
}

impl Partition {
    /// Takes what a backup needs; `None` when as many backups are being taken already.
    ///
    /// The order matters: nothing is removed from before the snapshot on, and the journal's end is taken after it, so that
    /// the journal tells of everything that the snapshot shows.
    pub(crate) async fn export(&self, at_most: usize) -> Result<Option<Export>, Unavailable> {
        self.barrier().await?;
        let Some(files_hold) = self.holds.files.hold(at_most) else {
            return Ok(None);
        };
        let Some(journal_hold) = self.holds.journal.hold(at_most) else {
            return Ok(None);
        };
        let snapshot = self.store.get()?.snapshot();
        let checkpoint = snapshot.checkpoint()?;
        let from = checkpoint.map_or(Position::START, |checkpoint| Position::new(checkpoint.position));
        let batches = self.look(move |journal| journal.batches(from)).await?;
        Ok(Some(Export {
            snapshot,
            checkpoint,
            batches,
            journal_hold,
            files_hold,
        }))
    }

    /// Looks at the journal between two appends.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&FileJournal) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (sender, receiver) = oneshot::channel();
        let look = Box::new(move |journal: &FileJournal| {
            let _ = sender.send(look(journal));
        });
        let _ = self.writer.send(WriterMessage::Look(look));
        receiver.await.map_err(|_| Unavailable::Lost)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use unisono_journal::{Epoch, FileOptions, Journal as _};

    use super::*;

    #[test]
    fn a_journal_is_not_trimmed_while_a_backup_reads_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut journal = FileJournal::new(FileOptions {
            dir: dir.path().join("journal"),
            segment_bytes: 4096,
        });
        let mut end = runtime.block_on(journal.open(Epoch::new(1))).unwrap();
        for _ in 0..8 {
            end = runtime
                .block_on(journal.append(end, Bytes::from(vec![7; 2000])))
                .unwrap();
        }
        let holds = Holds::default();
        let (first, second) = (holds.hold(2).unwrap(), holds.hold(2).unwrap());
        assert!(holds.hold(2).is_none());
        let mut reading = journal.batches(Position::START);
        reading.next().unwrap().unwrap();
        drop(first);
        assert!(holds.remove(|| runtime.block_on(journal.trim(end))).is_none());
        assert_eq!(journal.first_position(), Position::START);
        assert_eq!(reading.map(Result::unwrap).count(), 7);
        drop(second);
        assert!(holds.remove(|| runtime.block_on(journal.trim(end))).is_some());
        assert!(journal.first_position() > Position::START);
    }
}
