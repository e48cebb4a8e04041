//! The store's part of a verification.

use std::path::Path;

use unisono_engine::codec::read_history_ranges;
use unisono_engine::snapshot::row_revision;
use unisono_model::ids::Revision;
use unisono_store::{Checkpoint, Store, StoreError, StoreOptions, StoredRow};

use super::journal::{Events, hash};
use super::{Problem, RESTORE, StoreContent, Verified, with_causes};
use crate::partition::CHECKPOINT_FORMAT;

/// The keyspace of histories.
const HISTORY: &str = "history";

/// Reads all of the store in the data directory, and compares it with the journal.
pub(super) fn read(data: &Path, events: &Events, verified: &mut Verified) {
    let dir = data.join("store");
    if !dir.is_dir() {
        if events.first > Revision(1) {
            verified.problem(Problem::new(
                format!(
                    "there is no store, and the journal begins with revision {}",
                    events.first
                ),
                "what was before that is gone",
                RESTORE,
            ));
        }
        return;
    }
    let unreadable = |verified: &mut Verified, error: &StoreError| {
        verified.problem(Problem {
            file: Some(dir.clone()),
            ..Problem::new(with_causes(error), "the store cannot be relied on", RESTORE)
        });
    };
    match Store::open(StoreOptions::new(dir.clone())) {
        Err(error) => unreadable(verified, &error),
        Ok(store) => {
            let read = Reader { events, verified }.read(&store);
            if let Err(error) = read {
                unreadable(verified, &error);
            }
        }
    }
}

struct Reader<'a> {
    events: &'a Events,
    verified: &'a mut Verified,
}

impl Reader<'_> {
    fn read(&mut self, store: &Store) -> Result<(), StoreError> {
        if let Some(cut) = store.cut_log() {
            self.verified.notes.push(format!(
                "the store's log was cut at byte {} of {}: what it held of events is made again from the journal at the next \
                 start, and logs of the last moments may be missing",
                cut.offset,
                cut.path.display()
            ));
        }
        let mut content = StoreContent::default();
        let checkpoint = store.checkpoint()?;
        if let Some(checkpoint) = checkpoint {
            content.checkpoint = Some(Revision(checkpoint.revision));
            content.position = Some(checkpoint.position);
        }
        for row in store.snapshot().rows()? {
            let row = row?;
            *content.rows.entry(row.keyspace.to_string()).or_default() += 1;
            if &*row.keyspace == HISTORY {
                self.history(&row);
            }
        }
        self.verified.store = Some(content);
        self.checkpoint(checkpoint);
        self.entities(store)
    }

    /// The checkpoint stands between two batches, and its revision is that of the first of them.
    fn checkpoint(&mut self, checkpoint: Option<Checkpoint>) {
        let events = self.events;
        let Some(checkpoint) = checkpoint else {
            if events.first > Revision(1) {
                self.verified.problem(Problem::new(
                    format!(
                        "the store has no checkpoint, and the journal begins with revision {}",
                        events.first
                    ),
                    "what was before that is gone",
                    RESTORE,
                ));
            }
            return;
        };
        if checkpoint.format > CHECKPOINT_FORMAT {
            self.verified.problem(Problem::new(
                format!("the checkpoint is of format {}", checkpoint.format),
                format!("this program reads up to format {CHECKPOINT_FORMAT}"),
                "use the version of the program that wrote it, or a newer one",
            ));
            return;
        }
        let following = events
            .batches
            .iter()
            .find(|(position, _)| *position >= checkpoint.position);
        let due = Revision(checkpoint.revision).next();
        let (what, meaning) = match following {
            None => (
                format!(
                    "the checkpoint is at position {}, and the journal ends before that",
                    checkpoint.position
                ),
                "the journal has lost batches",
            ),
            Some((_, found)) if *found != due => (
                format!(
                    "after the checkpoint at revision {} the journal goes on with {found}",
                    checkpoint.revision
                ),
                "journal and store do not belong together, or the journal has lost batches",
            ),
            Some(_) => return,
        };
        self.verified.problem(Problem {
            position: Some(checkpoint.position),
            ..Problem::new(what, meaning, RESTORE)
        });
    }

    /// No row has seen more than the journal tells of.
    fn entities(&mut self, store: &Store) -> Result<(), StoreError> {
        let last = self.events.last().max(self.covered());
        for row in store.entities()? {
            let (kind, key, bytes) = row?;
            match row_revision(&bytes) {
                Ok(seen) if seen > last => {
                    self.verified.problem(Problem::new(
                        format!("the row of {kind:?} {key} shows revision {seen}, and the journal ends with {last}"),
                        "the journal has lost batches, or journal and store do not belong together",
                        RESTORE,
                    ));
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) => {
                    self.verified.problem(Problem::new(
                        format!("the row of {kind:?} {key} cannot be read: {error}"),
                        "it was written by a newer version of the program, or is damaged",
                        "use the version of the program that wrote it, or restore a backup with `unisono restore`",
                    ));
                }
            }
        }
        Ok(())
    }

    /// The revision of the checkpoint.
    fn covered(&self) -> Revision {
        let checkpoint = self.verified.store.as_ref().and_then(|store| store.checkpoint);
        checkpoint.unwrap_or_default()
    }

    /// What a history shows of an event is what the journal holds of it, as far as that goes back.
    fn history(&mut self, row: &StoredRow) {
        let told = read_history_ranges(&row.value);
        let problem = match told {
            Err(error) => Some(format!("a history cannot be read: {error}")),
            Ok(told) => told.into_iter().find_map(|(revision, range)| {
                let expected = self.events.hash(revision)?;
                (hash(&row.value[range]) != expected).then(|| {
                    format!("the event at revision {revision} is not the same in a history and in the journal")
                })
            }),
        };
        if let Some(what) = problem {
            self.verified.problem(Problem::new(
                what,
                "the store, or this program, is at fault",
                "keep the directory as it is, report it, and restore a backup with `unisono restore`",
            ));
        }
    }
}
