//! What a backup is made of: the store at one instant, and the journal from its checkpoint on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;
use unisono_journal::{FileBatches, FileJournal, Journal, JournalError, Position};
use unisono_store::{Checkpoint, StoreSnapshot};

use super::handle::{Partition, Unavailable};
use super::writer::WriterMessage;

/// Something that must not be removed while anybody reads it.
///
/// Whoever removes things asks [`Holds::held`] right before, after it is durable that nothing refers to them any more.
/// Then a reader that takes a hold, and looks for references after that, never misses what it finds a reference to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds(Arc<AtomicUsize>);

impl Holds {
    /// Whether nothing may be removed now. Asking again later is up to whoever asks.
    pub(crate) fn held(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    /// Forbids to remove anything; `None` when as many do so already.
    pub(crate) fn hold(&self, at_most: usize) -> Option<Hold> {
        let more = |holders: usize| (holders < at_most).then_some(holders + 1);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Hold(Arc::clone(&self.0)))
    }
}

/// Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Hold(Arc<AtomicUsize>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What backups keep from being removed.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackupHolds {
    /// Segments of the journal. Trimming is left out while they are held; the next checkpoint makes up for it.
    pub(crate) journal: Holds,
    /// Files beside journal and store.
    pub(crate) files: Holds,
}

impl BackupHolds {
    /// Trims a journal that nobody reads; leaves one alone that somebody does.
    pub(crate) async fn trim(&self, journal: &mut impl Journal, before: Position) -> Result<(), JournalError> {
        if self.journal.held() {
            tracing::debug!(%before, "a backup reads the journal, so it is trimmed at a later checkpoint");
            return Ok(());
        }
        journal.trim(before).await
    }
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
        let snapshot = self.store.snapshot();
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
    async fn look<T: Send + 'static>(
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
    use unisono_journal::{Epoch, FileOptions};

    use super::*;

    #[tokio::test]
    async fn a_journal_is_not_trimmed_while_a_backup_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = FileJournal::new(FileOptions {
            dir: dir.path().join("journal"),
            segment_bytes: 4096,
        });
        let mut end = journal.open(Epoch::new(1)).await.unwrap();
        for _ in 0..8 {
            end = journal.append(end, Bytes::from(vec![7; 2000])).await.unwrap();
        }
        let holds = BackupHolds::default();
        let (first, second) = (holds.journal.hold(2).unwrap(), holds.journal.hold(2).unwrap());
        assert!(holds.journal.hold(2).is_none());
        let mut reading = journal.batches(Position::START);
        reading.next().unwrap().unwrap();
        drop(first);
        holds.trim(&mut journal, end).await.unwrap();
        assert_eq!(journal.first_position(), Position::START);
        assert_eq!(reading.map(Result::unwrap).count(), 7);
        drop(second);
        holds.trim(&mut journal, end).await.unwrap();
        assert!(journal.first_position() > Position::START);
    }
}
